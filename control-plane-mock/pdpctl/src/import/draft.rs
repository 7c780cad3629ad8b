//! A component file in parts, each of which knows the fields that it comes from. The reader of component files judges it; what that
//! refuses is taken back, part by part, until the rest is good.

use std::collections::{BTreeMap, BTreeSet};

use control_plane_model::component::{API_VERSION, Beside, Component, KIND, from_json_beside};
use control_plane_model::problem::Problem;
use protocol::document::ComponentType;
use serde_json::{Map, Value, json};

use super::item::{Field, Item, List, is_meant};
use super::ledger::{Ledger, shown};

/// What was taken back in a round, by its index at the beginning of it.
#[derive(Default)]
struct Round {
    items: BTreeSet<usize>,
    fields: BTreeMap<usize, Vec<&'static str>>,
}

/// A component file in parts.
pub(super) struct Draft {
    base: Map<String, Value>,
    items: Vec<Item>,
}

impl Draft {
    pub(super) fn new(name: &str, image: &str, component_type: ComponentType) -> Self {
        let base = [
            ("apiVersion", API_VERSION),
            ("kind", KIND),
            ("name", name),
            ("type", component_type.as_str()),
            ("image", image),
        ];
        let base = base.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
        Self { base, items: Vec::new() }
    }

    pub(super) fn add(&mut self, item: Item) {
        self.items.push(item);
    }

    /// Adds a variable that each environment must give a value.
    pub(super) fn declare(&mut self, from: &str, name: &str, why: &str) {
        let mut item = Item::new(List::Env);
        item.need(from, "name", Some(json!(name)), why.to_owned());
        self.add(item);
    }

    /// The component that the reader accepts, with a word on each field.
    ///
    /// # Errors
    /// A rule that is broken by what stands in no list.
    pub(super) fn judge(mut self, ledger: &mut Ledger, beside: &Beside<'_>) -> Result<Component, Problem> {
        self.items.retain(|item| {
            let Some(lacks) = &item.lacks else { return true };
            let why = format!("its {} is left out, since {} is missing or refused", item.list.item(), shown(lacks));
            item.refuse(None, &why, "correct that, and import again", ledger);
            false
        });
        // Each round takes at least one field away, or ends.
        loop {
            let (file, places) = self.file();
            let problems = match from_json_beside(&file, beside) {
                Ok(component) => {
                    self.tell(&places, ledger);
                    return Ok(component);
                }
                Err(problems) => problems,
            };
            let mut round = Round::default();
            for problem in problems {
                self.take_back(&problem, &places, &mut round, ledger)?;
            }
            let mut index = 0;
            self.items.retain(|_| {
                index += 1;
                !round.items.contains(&(index - 1))
            });
        }
    }

    /// The file as it is now, and for each list the items that its indexes mean.
    fn file(&self) -> (Value, BTreeMap<List, Vec<usize>>) {
        let mut file = self.base.clone();
        let mut places: BTreeMap<List, Vec<usize>> = BTreeMap::new();
        for (index, item) in self.items.iter().enumerate() {
            let mut value = Value::Null;
            item.fields.iter().for_each(|field| put(&mut value, field.key, &field.value));
            if let Some(all) = file.entry(item.list.key()).or_insert_with(|| json!([])).as_array_mut() {
                all.push(value);
            }
            places.entry(item.list).or_default().push(index);
        }
        (Value::Object(file), places)
    }

    /// Refuses what a problem is about.
    fn take_back(
        &mut self,
        problem: &Problem,
        places: &BTreeMap<List, Vec<usize>>,
        round: &mut Round,
        ledger: &mut Ledger,
    ) -> Result<(), Problem> {
        let Problem { field, message, hint, code: _ } = problem;
        let mut tokens = field.as_deref().unwrap_or_default().splitn(4, '/').skip(1);
        let key = tokens.next().unwrap_or_default();
        let (index, below) = (tokens.next(), tokens.next().unwrap_or_default());
        let Some((_, of_list)) = places.iter().find(|(list, _)| list.key() == key) else { return Err(problem.clone()) };
        let hint =
            hint.as_deref().unwrap_or("correct it, and import again, or write it into the component file by hand");
        let Some(index) = index.and_then(|index| index.parse::<usize>().ok()) else {
            // The list as a whole cannot be.
            let subject = if message.starts_with("has ") { format!("`{key}` ") } else { String::new() };
            for index in of_list {
                if let Some(item) = self.items.get(*index).filter(|_| round.items.insert(*index)) {
                    item.refuse(None, &format!("{subject}{message}"), hint, ledger);
                }
            }
            return Ok(());
        };
        let Some(index) = of_list.get(index).copied() else { return Err(problem.clone()) };
        let Some(item) = self.items.get_mut(index) else { return Err(problem.clone()) };
        // One word on each is enough, and what is gone breaks no further rule.
        let is_gone = |key: &&str| is_meant(key, below);
        if round.items.contains(&index) || round.fields.get(&index).is_some_and(|keys| keys.iter().any(is_gone)) {
            return Ok(());
        }
        let meant: Vec<bool> = item.fields.iter().map(|field| is_meant(field.key, below)).collect();
        let doubtful: Vec<bool> =
            meant.iter().zip(&item.fields).map(|(meant, field)| *meant && field.without.is_some()).collect();
        let meant = if doubtful.contains(&true) { doubtful } else { meant };
        let needed = meant.iter().zip(&item.fields).any(|(meant, field)| *meant && field.is_needed);
        if needed || !meant.contains(&true) {
            item.refuse(meant.iter().position(|meant| *meant).or(Some(0)), message, hint, ledger);
            round.items.insert(index);
            return Ok(());
        }
        let mut meant = meant.into_iter();
        item.fields.retain(|field| {
            let stays = !meant.next().unwrap_or(false);
            if !stays {
                round.fields.entry(index).or_default().push(field.key);
                let end = field.without.map(|without| format!("; {without}")).unwrap_or_default();
                field.from.iter().for_each(|from| ledger.refuse(from, format!("{message}{end}"), hint));
            }
            stays
        });
        Ok(())
    }

    /// Says of what is left where it stands.
    fn tell(&self, places: &BTreeMap<List, Vec<usize>>, ledger: &mut Ledger) {
        for (list, items) in places {
            for (index, item) in items.iter().enumerate() {
                let to = |key: &str| match key {
                    // The reader has put it in place.
                    "contentFrom" => format!("{}[{index}].content", list.key()),
                    key => format!("{}[{index}].{}", list.key(), key.replace('/', ".")),
                };
                let Some(item) = self.items.get(*item) else { continue };
                for Field { from, key, why, .. } in &item.fields {
                    from.iter().for_each(|from| ledger.map(from, to(key), why.clone()));
                }
                for (at, key, why) in &item.assumed {
                    ledger.default(at, to(key), why.clone());
                }
            }
        }
    }
}

fn put(value: &mut Value, key: &str, new: &Value) {
    let (first, rest) = key.split_once('/').map_or((key, None), |(first, rest)| (first, Some(rest)));
    if !value.is_object() {
        *value = json!({});
    }
    let Some(members) = value.as_object_mut() else { return };
    if let Some(rest) = rest {
        return put(members.entry(first).or_insert(Value::Null), rest, new);
    }
    match members.get_mut(first) {
        Some(Value::Array(all)) => all.extend(new.as_array().into_iter().flatten().cloned()),
        Some(_) | None => drop(members.insert(first.to_owned(), new.clone())),
    }
}

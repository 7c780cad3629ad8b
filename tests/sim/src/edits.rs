//! People edit stored documents in the cluster; and the checks that each such change is reported once, with its count.

use std::collections::BTreeMap;

use pdp_agent::link::intake::{body, body_hash};
use protocol::report::{Condition, Fact, FactKind, State};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::Fault;
use super::api::{Api, Change, Id, Request, generation, is_terminating, text};
use super::check::key_of;
use super::event::Event;
use super::plane::Picture;
use super::world::World;

/// What was changed and told.
#[derive(Debug, Default)]
pub(super) struct Edits {
    /// How often a stored document was changed to differ from the one that came, by uid and generation.
    changes: BTreeMap<(String, i64), i64>,
    /// The API server was restored: facts from before are about changes that are not counted here any more.
    forgot: bool,
    /// Resource and highest count of each fact about changes.
    told: BTreeMap<String, (Id, i64)>,
}

/// The hash of the stored document, if it differs from the one that came.
fn differs(id: &Id, object: &Value) -> Option<String> {
    let spec = object.get("spec")?;
    let came = spec.pointer("/document/hash").and_then(Value::as_str)?;
    let stored = body_hash(&key_of(id)?, &body(spec))?.to_string();
    (stored != came).then_some(stored)
}

impl Edits {
    /// The API server went back in time.
    pub(super) fn restored(&mut self) {
        *self = Self { forgot: true, ..Self::default() };
    }

    pub(super) fn changed(&mut self, change: &Change) {
        let Some(after) = change.after.as_deref() else { return };
        let before = change.before.as_deref();
        if before.is_none_or(|before| before.get("spec") != after.get("spec")) && differs(&change.id, after).is_some() {
            *self.changes.entry((text(after, "uid").to_owned(), generation(after))).or_default() += 1;
        }
        let facts = after.pointer("/status/facts").and_then(Value::as_array).into_iter().flatten();
        for fact in facts.filter_map(|fact| Fact::deserialize(fact).ok()).filter(is_edit) {
            let known = self.told.entry(fact.id.clone()).or_insert_with(|| (change.id.clone(), 0));
            known.1 = known.1.max(times(&fact));
        }
    }

    /// What is wrong at the end. `lost` says of which resources facts may be lost.
    pub(super) fn finish(&self, picture: &Picture, api: &Api, lost: impl Fn(&Id) -> bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let arrived: BTreeMap<&str, i64> = picture
            .facts
            .iter()
            .filter(|(_, fact)| is_edit(fact))
            .map(|(_, fact)| (fact.id.as_str(), times(fact)))
            .collect();
        for (fact, (id, count)) in self.told.iter().filter(|(_, (id, _))| !lost(id)) {
            let recorded = arrived.get(fact.as_str()).copied().unwrap_or(0);
            if recorded != *count {
                wrong.push(format!("{id}: {fact} counted {count}, the control plane knows {recorded}"));
            }
        }
        for ((uid, generation), changes) in &self.changes {
            let prefix = format!("{uid}/{generation}/");
            let of_generation = arrived.iter().filter(|(fact, _)| fact.starts_with(&prefix));
            let counted: i64 = of_generation.map(|(_, count)| count).sum();
            if counted > *changes && !self.forgot {
                wrong.push(format!("{uid} {generation} was changed {changes} times, told are {counted}"));
            }
        }
        for (id, object) in api.iter().filter(|(_, object)| object.pointer("/status/result").is_none()) {
            let Some(key) = key_of(id) else { continue };
            let stored = differs(id, object);
            let state = picture.states.get(&key);
            let hash = state.and_then(|state| state.stored_hash.clone());
            if stored != hash || stored.is_some() != state.is_some_and(says_so) {
                wrong.push(format!("{id} is stored as {stored:?}, the state says {hash:?}: {state:?}"));
            }
            let prefix = format!("{}/{}/", text(object, "uid"), generation(object));
            if stored.is_some() && !lost(id) && !arrived.keys().any(|fact| fact.starts_with(&prefix)) {
                wrong.push(format!("{id} was changed in the cluster and no fact says so"));
            }
        }
        wrong
    }
}

fn is_edit(fact: &Fact) -> bool {
    fact.kind == FactKind::Modified
}

fn times(fact: &Fact) -> i64 {
    fact.count.unwrap_or(1)
}

fn says_so(state: &State) -> bool {
    let says = |one: &Condition| one.condition_type == "Modified" && one.status == "True";
    state.conditions.iter().any(says)
}

impl World {
    /// Somebody edits a stored document, often more than once.
    pub(super) fn edit_document(&mut self) -> bool {
        let documents = |(id, object): &(&Id, &std::sync::Arc<Value>)| {
            key_of(id).is_some() && generation(object) > 0 && !is_terminating(object)
        };
        let ids: Vec<Id> = self.api.iter().filter(documents).map(|(id, _)| id.clone()).collect();
        let Some(last) = u64::try_from(ids.len()).ok().and_then(|count| count.checked_sub(1)) else { return false };
        let at = usize::try_from(self.dice.between(0, last)).unwrap_or(0);
        let Some(id) = ids.get(at).cloned() else { return false };
        let left = if self.dice.per_mille(400) { self.dice.between(1, 4) } else { 0 };
        if self.dice.per_mille(300) {
            self.after(0, 6_000, Event::Break(Fault::DocumentEdited));
        }
        self.edit_again(&id, left)
    }

    /// Somebody edits that document, and goes on with it for a while: often while the edit before is being reported.
    pub(super) fn edit_again(&mut self, id: &Id, left: u64) -> bool {
        let Some(mut object) = self.api.get(id).filter(|object| !is_terminating(object)).cloned() else { return false };
        let version = self.api.version();
        let is_bad = self.dice.per_mille(250);
        let number = self.dice.between(1, 4);
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            edit(&id.kind, spec, number, is_bad);
        }
        self.by_hand(&Request::Update(object));
        if left > 0 {
            self.after(50, 800, Event::Insist { id: id.clone(), left: left - 1 });
        }
        self.api.version() != version
    }
}

fn edit(kind: &str, spec: &mut serde_json::Map<String, Value>, number: u64, is_bad: bool) {
    let present = spec.get("state").and_then(Value::as_str) == Some("Present");
    match kind {
        "Release" if present => {
            if is_bad && let Some(image) = spec.get("image").and_then(Value::as_str) {
                let image = image.replace("/web@", "/bad@");
                spec.insert("image".to_owned(), json!(image));
            } else {
                spec.insert("env".to_owned(), json!([{ "name": "EDITED", "value": number.to_string() }]));
            }
        }
        "Environment" if present => {
            spec.insert("quota".to_owned(), json!({ "pods": number }));
        }
        "TaskRun" if is_bad => {
            spec.insert("cancel".to_owned(), json!(true));
        }
        _ => {}
    }
}

//! What became of every field of a file: one entry for each of its leaves, and one for each default that was taken.

use std::collections::BTreeMap;

use control_plane_model::component::Foreign;
use serde::Serialize;
use serde_json::Value;

use crate::table::Table;

/// Longest key as it is shown, in characters.
const MAX_KEY: usize = 64;

/// What became of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Fate {
    /// It stands in the component file.
    Mapped,
    /// A value is assumed.
    Defaulted,
    /// It is not in the component file.
    Refused,
}

impl Fate {
    const fn word(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Defaulted => "defaulted",
            Self::Refused => "refused",
        }
    }
}

/// One field, as it is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    /// Its place in the file: `endpoints[0].name`.
    pub(super) field: String,
    /// None for what the file does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<u64>,
    pub(super) fate: Fate,
    /// Its place in the component file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) to: String,
    /// Why; empty where that is plain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) why: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) hint: String,
}

#[derive(Clone)]
struct Said {
    fate: Fate,
    to: String,
    why: String,
    hint: String,
}

struct Leaf {
    /// Line and place among the leaves; the first decides, since a tree has its keys by name.
    order: (Option<u64>, usize),
    /// Whether the file has it.
    is_there: bool,
    /// Nothing, or a list or mapping of nothing.
    is_empty: bool,
    said: Option<Said>,
}

impl Leaf {
    fn say(&mut self, new: &Said) {
        match &mut self.said {
            None => self.said = Some(new.clone()),
            // What holds in place of what was refused.
            Some(said) if said.fate == Fate::Refused && new.fate == Fate::Defaulted => {
                said.why = format!("{}; {}", said.why, new.why);
            }
            Some(_) => {}
        }
    }
}

/// What was said of each leaf, by its JSON pointer. The first word stands.
pub(super) struct Ledger {
    leaves: BTreeMap<String, Leaf>,
}

impl Ledger {
    pub(super) fn of(read: &Foreign) -> Self {
        let mut leaves = BTreeMap::new();
        collect(read.tree(), String::new(), read, &mut leaves);
        Self { leaves }
    }

    /// The leaves at `at` and below stand in the component file.
    pub(super) fn map(&mut self, at: &str, to: impl Into<String>, why: String) {
        self.say(at, &Said { fate: Fate::Mapped, to: to.into(), why, hint: String::new() });
    }

    /// A value is assumed for what stands at `at`, or does not stand there.
    pub(super) fn default(&mut self, at: &str, to: impl Into<String>, why: String) {
        self.say(at, &Said { fate: Fate::Defaulted, to: to.into(), why, hint: String::new() });
    }

    /// The leaves at `at` and below are not in the component file.
    pub(super) fn refuse(&mut self, at: &str, why: impl Into<String>, hint: impl Into<String>) {
        self.say(at, &Said { fate: Fate::Refused, to: String::new(), why: why.into(), hint: hint.into() });
    }

    fn say(&mut self, at: &str, said: &Said) {
        if let Some(leaf) = self.leaves.get_mut(at) {
            return leaf.say(said);
        }
        let below = format!("{at}/");
        let mut found = false;
        for (_, leaf) in self.leaves.range_mut(below.clone()..).take_while(|(key, _)| key.starts_with(&below)) {
            leaf.say(said);
            found = true;
        }
        if !found {
            let leaf = Leaf { order: self.behind(at), is_there: false, is_empty: false, said: Some(said.clone()) };
            self.leaves.insert(at.to_owned(), leaf);
        }
    }

    /// Where something is shown that the file does not have: behind what stands beside it.
    fn behind(&self, at: &str) -> (Option<u64>, usize) {
        let mut parent = at;
        while let Some((above, _)) = parent.rsplit_once('/') {
            let below = format!("{above}/");
            let all = self.leaves.range(below.clone()..).take_while(|(key, _)| key.starts_with(&below));
            if let Some(last) = all.filter(|(_, leaf)| leaf.is_there).map(|(_, leaf)| leaf.order).max()
                && !above.is_empty()
            {
                return (last.0, usize::MAX);
            }
            parent = above;
        }
        // What belongs to the whole file stands at its end.
        (Some(u64::MAX), usize::MAX)
    }

    /// All that was said, in the order of the file. A leaf of which nobody spoke is refused.
    pub(super) fn rows(self) -> Vec<Row> {
        let mut leaves: Vec<_> = self.leaves.into_iter().collect();
        leaves.sort_by(|(a, first), (b, second)| (first.order, a).cmp(&(second.order, b)));
        let row = |(pointer, leaf): (String, Leaf)| {
            let Leaf { order: (line, _), is_there, is_empty, said } = leaf;
            let unsaid = || match is_empty {
                true => Said {
                    fate: Fate::Defaulted,
                    to: String::new(),
                    why: "it is empty, which is the same as left out".to_owned(),
                    hint: String::new(),
                },
                false => Said {
                    fate: Fate::Refused,
                    to: String::new(),
                    why: "nothing in a component file says this".to_owned(),
                    hint: "remove it".to_owned(),
                },
            };
            let Said { fate, to, why, hint } = said.unwrap_or_else(unsaid);
            Row { field: shown(&pointer), line: line.filter(|_| is_there), fate, to, why, hint }
        };
        leaves.into_iter().map(row).collect()
    }
}

fn collect(value: &Value, at: String, read: &Foreign, leaves: &mut BTreeMap<String, Leaf>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                collect(member, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), read, leaves);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{at}/{index}"), read, leaves);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) | Value::Array(_) => {
            let order = (read.line(&at), leaves.len());
            let is_empty = matches!(value, Value::Null | Value::Object(_) | Value::Array(_));
            leaves.insert(at, Leaf { order, is_there: true, is_empty, said: None });
        }
    }
}

/// A JSON pointer as people write it: `endpoints[0].name`.
pub(super) fn shown(pointer: &str) -> String {
    let mut text = String::new();
    for token in pointer.split('/').skip(1) {
        let key = token.replace("~1", "/").replace("~0", "~");
        let is_plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '$'));
        if key.parse::<usize>().is_ok() {
            text.push_str(&format!("[{key}]"));
        } else if is_plain && key.chars().count() <= MAX_KEY {
            let dot = if text.is_empty() { "" } else { "." };
            text.push_str(&format!("{dot}{key}"));
        } else {
            let cut: String = key.chars().take(MAX_KEY).collect();
            text.push_str(&format!("[{cut:?}]"));
        }
    }
    text
}

/// How many there are of a fate.
pub(super) fn count(rows: &[Row], fate: Fate) -> usize {
    rows.iter().filter(|row| row.fate == fate).count()
}

/// The rows for people. Of several in a row that are refused for one reason only the first repeats it.
pub(super) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["FIELD", "LINE", "IS", "TO, OR WHY"]).flowing();
    let mut before: Option<&Row> = None;
    for row in rows {
        let Row { field, line, fate, to, why, hint } = row;
        let is_same = |before: &Row| before.fate == *fate && before.why == *why && before.hint == *hint;
        let words = match before.filter(|before| *fate == Fate::Refused && is_same(before)) {
            Some(_) => "as above".to_owned(),
            None => {
                let end = if why.is_empty() || hint.is_empty() { "" } else { "; " };
                let start = if to.is_empty() || why.is_empty() { "" } else { ": " };
                format!("{to}{start}{why}{end}{hint}")
            }
        };
        let line = line.map_or_else(|| "-".to_owned(), |line| line.to_string());
        table.row(vec![field.clone(), line, fate.word().to_owned(), words]);
        before = Some(row);
    }
    table
}

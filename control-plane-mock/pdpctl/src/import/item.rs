//! Items of the lists of a component file, each value with the fields that it comes from.

use serde_json::Value;

use super::ledger::{Ledger, shown};

/// Lists that an import fills; what an item of each is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum List {
    Endpoints,
    Env,
    Files,
}

impl List {
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoints",
            Self::Env => "env",
            Self::Files => "files",
        }
    }

    pub(super) const fn item(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoint",
            Self::Env => "variable",
            Self::Files => "file",
        }
    }
}

/// A value of an item.
#[derive(Debug)]
pub(super) struct Field {
    /// JSON pointers of what it comes from.
    pub(super) from: Vec<String>,
    /// Key in the item, with `/` for one below another.
    pub(super) key: &'static str,
    /// Lists under one key are put together.
    pub(super) value: Value,
    /// Whether the item is nothing without it.
    pub(super) is_needed: bool,
    /// How it changed on the way.
    pub(super) why: String,
    /// What holds if just this is refused; it is refused before others of its key.
    pub(super) without: Option<&'static str>,
}

/// An item of a list.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) list: List,
    pub(super) fields: Vec<Field>,
    /// Defaults: place in the file, key in the item, why.
    pub(super) assumed: Vec<(String, &'static str, String)>,
    /// The field without which it cannot be.
    pub(super) lacks: Option<String>,
}

impl Item {
    pub(super) const fn new(list: List) -> Self {
        Self { list, fields: Vec::new(), assumed: Vec::new(), lacks: None }
    }

    /// Adds a value that the item needs; without one, the item is left out because of the field at `from`.
    pub(super) fn need(&mut self, from: &str, key: &'static str, value: Option<Value>, why: String) {
        match value {
            Some(value) => self.fields.push(Field { is_needed: true, ..field(from, key, value, why) }),
            None => {
                self.lacks.get_or_insert_with(|| from.to_owned());
            }
        }
    }

    /// Adds a value.
    pub(super) fn have(&mut self, from: &str, key: &'static str, value: Value, why: String) {
        self.fields.push(field(from, key, value, why));
    }

    /// Adds a value that is likely to be refused; `without` says what holds then.
    pub(super) fn ask(&mut self, from: &str, key: &'static str, value: Value, why: &str, without: &'static str) {
        self.fields.push(Field { without: Some(without), ..field(from, key, value, why.to_owned()) });
    }

    /// Adds a value that the item needs and that comes from several fields.
    pub(super) fn join(&mut self, from: [&str; 2], key: &'static str, value: Value, why: String) {
        let from = from.map(str::to_owned).to_vec();
        self.fields.push(Field { from, key, value, is_needed: true, why, without: None });
    }

    /// Another field that is said by the value of `key`.
    pub(super) fn also(&mut self, from: &str, key: &'static str) {
        match self.fields.iter_mut().find(|field| field.key == key) {
            Some(field) => field.from.push(from.to_owned()),
            // The item lacks what it needs, and goes with all that belongs to it.
            None => self.fields.push(field(from, key, Value::Null, String::new())),
        }
    }

    /// A default that holds as long as the item is there.
    pub(super) fn assume(&mut self, at: String, key: &'static str, why: String) {
        self.assumed.push((at, key, why));
    }

    /// Refuses all its fields: the one to blame, or all if none is, with the words; the others by naming it.
    pub(super) fn refuse(&self, culprit: Option<usize>, why: &str, hint: &str, ledger: &mut Ledger) {
        let blamed = culprit.and_then(|culprit| self.fields.get(culprit));
        let by = blamed.and_then(|field| field.from.first());
        for field in &self.fields {
            let is_blamed = blamed.is_none_or(|blamed| std::ptr::eq(blamed, field));
            for from in &field.from {
                match by.filter(|_| !is_blamed) {
                    Some(by) => {
                        let why = format!("its {} is left out because of {}", self.list.item(), shown(by));
                        ledger.refuse(from, why, "correct that, and import again");
                    }
                    None => ledger.refuse(from, why, hint),
                }
            }
        }
    }
}

/// Whether the field of a key is what `below` names, a part of it, or the whole of it.
pub(super) fn is_meant(key: &str, below: &str) -> bool {
    let within = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    !below.is_empty() && (key == below || within(below, key) || within(key, below))
}

fn field(from: &str, key: &'static str, value: Value, why: String) -> Field {
    Field { from: vec![from.to_owned()], key, value, is_needed: false, why, without: None }
}

//! One broken rule: where, what, and what to do. Never a value that may be secret.

use crate::message::FieldError;

/// Which documents a rule applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// A field that nobody knows.
    UnknownField,
    /// New documents only. What is stored already goes on.
    New,
    /// Stored documents too: one that breaks the rule could never have worked.
    Always,
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// JSON pointer into the body.
    pub field: String,
    /// What is wrong, in one sentence.
    pub what: String,
    /// What to do; empty where that is plain.
    pub fix: String,
    /// Which documents the rule applies to.
    pub weight: Weight,
}

impl Breach {
    /// A breach by a new document.
    pub(super) fn new(field: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { field: field.into(), what: what.into(), fix: fix.into(), weight: Weight::New }
    }

    /// What is wrong and what to do.
    #[must_use]
    pub fn sentence(&self) -> String {
        if self.fix.is_empty() { self.what.clone() } else { format!("{}; {}", self.what, self.fix) }
    }
}

impl From<Breach> for FieldError {
    fn from(breach: Breach) -> Self {
        let message = breach.sentence();
        Self { field: breach.field, message }
    }
}

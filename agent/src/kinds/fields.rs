//! Which fields of a stored document were changed since it came: the link notes short hashes of them, the operator compares.
//!
//! The note is an annotation, because definitions of an older revision know nothing of it and would refuse a field.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{ContentHash, Tree};

/// Annotation of a stored document: a JSON object with the first digits of the hash of each field as received.
pub const FIELDS: &str = "pdp-agent.dev/fields";

/// Member of the note that says of which document it is. No field of a body has this name.
const DOCUMENT: &str = "document";

/// The annotation's value for the document with this hash and `body`.
#[must_use]
pub fn note(hash: &str, body: &Tree) -> String {
    let mut note = hashes(body);
    note.insert(DOCUMENT.to_owned(), start(hash));
    serde_json::to_string(&note).unwrap_or_default()
}

/// Names of the fields of `body` that are not as `note` says, in order. Empty without a note of the document with this hash: an
/// older agent makes none and leaves that of an earlier document, and anybody may edit it.
#[must_use]
pub fn changed(note: Option<&str>, hash: &str, body: &Tree) -> Vec<String> {
    let came = note.and_then(|note| serde_json::from_str::<BTreeMap<String, String>>(note).ok());
    let Some(mut came) = came else { return Vec::new() };
    if came.remove(DOCUMENT) != Some(start(hash)) {
        return Vec::new();
    }
    let stored = hashes(body);
    let names: BTreeSet<&String> = came.keys().chain(stored.keys()).collect();
    names.into_iter().filter(|name| came.get(*name) != stored.get(*name)).cloned().collect()
}

fn start(hash: &str) -> String {
    hash.chars().take(8).collect()
}

fn hashes(body: &Tree) -> BTreeMap<String, String> {
    let Tree::Map(members) = body else { return BTreeMap::new() };
    members.iter().map(|(name, value)| (name.clone(), ContentHash::of(value).short())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const HASH: &str = "0123456789abcdef";

    fn tree(value: &Value) -> Tree {
        Tree::of(value).unwrap()
    }

    #[test]
    fn what_was_changed_added_or_taken_away_is_named_in_order() {
        let came = json!({ "state": "Present", "image": "a", "scaling": { "replicas": 1 } });
        let note = note(HASH, &tree(&came));
        for (stored, expected) in [
            (came, vec![]),
            (json!({ "state": "Present", "image": "b", "scaling": { "replicas": 1 } }), vec!["image"]),
            (json!({ "state": "Present", "image": "a" }), vec!["scaling"]),
            (
                json!({ "state": "Present", "image": "a", "scaling": { "replicas": 2 }, "env": [] }),
                vec!["env", "scaling"],
            ),
            (json!({ "state": "Absent" }), vec!["image", "scaling", "state"]),
        ] {
            assert_eq!(changed(Some(&note), HASH, &tree(&stored)), expected, "{stored}");
        }
    }

    #[test]
    fn without_a_note_of_this_document_nothing_is_named() {
        let other = note("fedcba9876543210", &tree(&json!({ "a": 1 })));
        for note in [None, Some(""), Some("3"), Some(r#"{"a":1}"#), Some(r#"{"a":"1"}"#), Some(other.as_str())] {
            assert_eq!(changed(note, HASH, &tree(&json!({ "a": 2 }))), Vec::<String>::new(), "{note:?}");
        }
    }
}

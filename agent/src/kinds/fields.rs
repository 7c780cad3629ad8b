//! Which fields of a stored document were changed since it came: the link notes short hashes of them, the operator compares.
//!
//! The note is an annotation, because definitions of an older revision know nothing of it and would refuse a field.

use std::collections::BTreeMap;

use protocol::{ContentHash, Tree};

/// Annotation of a stored document: a JSON object with the first digits of the hash of each field as received.
pub const FIELDS: &str = "pdp-agent.dev/fields";

/// The annotation's value for `body`.
#[must_use]
pub fn note(body: &Tree) -> String {
    serde_json::to_string(&hashes(body)).unwrap_or_default()
}

/// Names of the fields of `body` that are not as `note` says, in order. Empty without a note that can be read: an older agent made
/// none, and anybody may edit it.
#[must_use]
pub fn changed(note: Option<&str>, body: &Tree) -> Vec<String> {
    let Some(came) = note.and_then(|note| serde_json::from_str::<BTreeMap<String, String>>(note).ok()) else {
        return Vec::new();
    };
    let stored = hashes(body);
    let names: std::collections::BTreeSet<&String> = came.keys().chain(stored.keys()).collect();
    names.into_iter().filter(|name| came.get(*name) != stored.get(*name)).cloned().collect()
}

fn hashes(body: &Tree) -> BTreeMap<String, String> {
    let Tree::Map(members) = body else { return BTreeMap::new() };
    members.iter().map(|(name, value)| (name.clone(), ContentHash::of(value).short())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tree(value: &Value) -> Tree {
        Tree::of(value).unwrap()
    }

    #[test]
    fn what_was_changed_added_or_taken_away_is_named_in_order() {
        let came = json!({ "state": "Present", "image": "a", "scaling": { "replicas": 1 } });
        let note = note(&tree(&came));
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
            assert_eq!(changed(Some(&note), &tree(&stored)), expected, "{stored}");
        }
    }

    #[test]
    fn without_a_note_that_can_be_read_nothing_is_named() {
        for note in [None, Some(""), Some("3"), Some(r#"{"a":1}"#)] {
            assert_eq!(changed(note, &tree(&json!({ "a": 1 }))), Vec::<String>::new(), "{note:?}");
        }
    }
}

//! What the intake needs to know of a stored object, taken out of its JSON once: small enough to keep for every resource.

use protocol::document::Desired;
use protocol::name::{Kind, ResourceKey};
use protocol::{ContentHash, Tree};
use serde_json::{Map, Value, json};

use crate::kinds::fields::FIELDS;
use crate::link::store::Table;

/// A stored object of one of our kinds.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// `metadata` without `managedFields` and the note of fields: goes back unchanged with the next update, annotations of people included.
    pub metadata: Map<String, Value>,
    /// Generation and hash as received; none for local objects.
    pub document: Option<Stamp>,
    /// Whether it shall exist.
    pub desired: Desired,
    /// Facts that are not acknowledged.
    pub facts: usize,
    /// Document generation that the operator has finished with: everything removed, or the run ended.
    pub finished: bool,
    /// Spec of a TaskRun without `document`: only `cancel` may change later.
    pub task: Option<Value>,
}

/// Identity of a stored document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// `spec.document.generation`.
    pub generation: i64,
    /// `spec.document.hash`, as received.
    pub hash: String,
}

impl Stored {
    /// Reads an object leniently: what is missing or of another shape counts as absent, since a person may have edited it.
    #[must_use]
    pub fn of(kind: Kind, object: &Value) -> Self {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let status = object.get("status").unwrap_or(&Value::Null);
        let document = stamp(spec);
        let mut metadata = object.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
        metadata.remove("managedFields");
        // The next document has a note of its own.
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(FIELDS);
        }
        let desired = if spec.get("state").and_then(Value::as_str) == Some("Absent") {
            Desired::Absent
        } else {
            Desired::Present
        };
        let facts = status.get("facts").and_then(Value::as_array).map_or(0, Vec::len);
        let finished = finished(kind, document.as_ref(), status);
        let task = (kind == Kind::TaskRun).then(|| body(spec));
        Self { metadata, document, desired, facts, finished, task }
    }

    /// `metadata.uid`, empty if the API server gave none.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.text("uid")
    }

    /// `metadata.resourceVersion`.
    #[must_use]
    pub fn resource_version(&self) -> &str {
        self.text("resourceVersion")
    }

    /// Whether it is being deleted and waits for finalizers.
    #[must_use]
    pub fn terminating(&self) -> bool {
        self.metadata.contains_key("deletionTimestamp")
    }

    fn text(&self, field: &str) -> &str {
        self.metadata.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

fn stamp(spec: &Value) -> Option<Stamp> {
    let document = spec.get("document")?;
    Some(Stamp { generation: document.get("generation")?.as_i64()?, hash: document.get("hash")?.as_str()?.to_owned() })
}

/// Reason of the condition `Ready` once the operator has removed everything that a resource made.
const DELETED: &str = "Deleted";

/// Whether nothing is left to do for the operator, so that the object may go.
fn finished(kind: Kind, document: Option<&Stamp>, status: &Value) -> bool {
    let removed = |generation: i64| {
        status.get("conditions").and_then(Value::as_array).into_iter().flatten().any(|condition| {
            condition.get("type").and_then(Value::as_str) == Some("Ready")
                && condition.get("reason").and_then(Value::as_str) == Some(DELETED)
                && condition.get("observedGeneration").and_then(Value::as_i64) == Some(generation)
        })
    };
    match kind {
        Kind::DataPlane => false,
        Kind::Environment | Kind::Release => document.is_some_and(|stamp| removed(stamp.generation)),
        Kind::TaskRun => status.get("result").is_some_and(Value::is_string),
    }
}

/// `spec` without the stamp: the body as it is stored.
#[must_use]
pub fn body(spec: &Value) -> Value {
    let mut body = spec.clone();
    if let Some(members) = body.as_object_mut() {
        members.remove("document");
    }
    body
}

/// The hash of a body as it is stored; none if it could not be a document's.
#[must_use]
pub fn body_hash(key: &ResourceKey, body: &Value) -> Option<ContentHash> {
    let tree = Tree::of(body).ok()?;
    Some(ContentHash::of_document(key.kind.as_str(), &key.name, &tree))
}

/// An object of `table` from its parts.
#[must_use]
pub(super) fn object(table: Table, metadata: Map<String, Value>, spec: Value) -> Value {
    json!({ "apiVersion": table.api_version(), "kind": table.kind(), "metadata": metadata, "spec": spec })
}

/// Most paths that [`differences`] names.
const MAX_PATHS: usize = 32;

/// JSON pointers at which two values differ: the nearest common place of each difference, at most 32.
#[must_use]
pub fn differences(sent: &Value, stored: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    walk(sent, stored, String::new(), &mut paths);
    paths
}

fn walk(sent: &Value, stored: &Value, path: String, paths: &mut Vec<String>) {
    if sent == stored || paths.len() >= MAX_PATHS {
        return;
    }
    match (sent, stored) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            for name in names {
                let below = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
                walk(a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null), below, paths);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                walk(a, b, format!("{path}/{index}"), paths);
            }
        }
        _ => paths.push(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_at_the_nearest_common_place() {
        for (sent, stored, expected) in [
            (json!({"a": 1}), json!({"a": 1}), vec![]),
            (json!({"a": 1}), json!({"a": 2}), vec!["/a"]),
            (json!({"a": 1}), json!({}), vec!["/a"]),
            (json!({}), json!({"b/c": {"d": 1}}), vec!["/b~1c"]),
            (json!({"l": [1, 2]}), json!({"l": [1, 3]}), vec!["/l/1"]),
            (json!({"l": [1, 2]}), json!({"l": [1]}), vec!["/l"]),
        ] {
            assert_eq!(differences(&sent, &stored), expected, "{sent} {stored}");
        }
    }

    #[test]
    fn many_differences_are_bounded() {
        let stored: Map<String, Value> = (0..1000).map(|n| (n.to_string(), json!(n))).collect();
        assert_eq!(differences(&json!({}), &Value::Object(stored)).len(), MAX_PATHS);
    }

    #[test]
    fn an_object_of_any_shape_is_read() {
        for object in [json!(null), json!({"spec": 3}), json!({"spec": {"document": {"generation": "x"}}})] {
            assert_eq!(Stored::of(Kind::Release, &object).document, None);
        }
    }
}

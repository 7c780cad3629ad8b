//! Objects as JSON: their metadata, and what writes make of them.

use serde_json::{Map, Value, json};

use pdp_agent::kinds::labels::MANAGER;

/// A text member of the metadata.
#[must_use]
pub fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    metadata(object, member).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn metadata<'a>(object: &'a Value, member: &str) -> Option<&'a Value> {
    object.get("metadata")?.get(member)
}

/// Whether it was deleted and something holds it.
#[must_use]
pub fn is_terminating(object: &Value) -> bool {
    metadata(object, "deletionTimestamp").is_some()
}

pub(super) fn has_finalizers(object: &Value) -> bool {
    metadata(object, "finalizers").and_then(Value::as_array).is_some_and(|names| !names.is_empty())
}

pub(super) fn restore_system_fields(next: &mut Value, found: &Value) {
    for member in ["uid", "resourceVersion", "generation", "deletionTimestamp"] {
        if let Some(value) = metadata(found, member) {
            set_metadata(next, member, value.clone());
        }
    }
}

pub(super) fn count_up(object: &mut Value) {
    if !object.get("kind").and_then(Value::as_str).is_some_and(|kind| COUNTED.contains(&kind)) {
        return;
    }
    let generation = metadata(object, "generation").and_then(Value::as_i64).unwrap_or(0);
    set_metadata(object, "generation", json!(generation + 1));
}

pub(super) fn set(object: &mut Value, member: &str, value: Option<&Value>) {
    let Some(members) = object.as_object_mut() else { return };
    match value {
        Some(value) => members.insert(member.to_owned(), value.clone()),
        None => members.remove(member),
    };
}

pub(super) fn set_metadata(object: &mut Value, member: &str, value: Value) {
    let Some(members) = object.as_object_mut() else { return };
    let metadata = members.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert(member.to_owned(), value);
    }
}

/// Takes out of `from` what stands in `before` and not in `now`.
pub(super) fn take_back(from: &mut Value, before: &Value, now: &Value) {
    let (Some(from), Some(before)) = (from.as_object_mut(), before.as_object()) else { return };
    for (name, value) in before.iter().filter(|(name, _)| *name != "metadata") {
        match (from.get_mut(name), now.get(name)) {
            (Some(from), Some(now)) => take_back(from, value, now),
            (Some(_), None) => drop(from.remove(name)),
            (None, _) => {}
        }
    }
}

/// Maps that an apply replaces as a whole.
const ATOMIC: [&str; 3] = ["selector", "podSelector", "namespaceSelector"];

pub(super) fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                let slot = into.entry(name.clone()).or_insert(Value::Null);
                if ATOMIC.contains(&name.as_str()) {
                    *slot = Value::Null;
                }
                merge(slot, value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// Kinds for which the API server counts `metadata.generation`.
const COUNTED: [&str; 12] = [
    "DataPlane",
    "DataPlanePolicy",
    "Release",
    "Environment",
    "TaskRun",
    "Deployment",
    "ReplicaSet",
    "Job",
    "Pod",
    "EndpointSlice",
    "NetworkPolicy",
    "PodDisruptionBudget",
];

/// A new object as it is stored, but for uid and version. `tracked`: with `managedFields`, as far as the operator reads them.
pub(super) fn created(body: &Value, tracked: bool) -> Value {
    let mut object = body.clone();
    let kind = body.get("kind").and_then(Value::as_str).unwrap_or_default();
    let own = kind_is_own(kind);
    if let Some(members) = object.as_object_mut().filter(|_| own) {
        members.remove("status");
    }
    count_up(&mut object);
    if kind == "Namespace" {
        set_metadata(&mut object, "finalizers", json!(["kubernetes"]));
    }
    if tracked && !own && metadata(body, "labels").is_some() {
        set_metadata(&mut object, "managedFields", json!([{ "manager": MANAGER, "operation": "Update" }]));
    }
    object
}

fn kind_is_own(kind: &str) -> bool {
    matches!(kind, "DataPlane" | "DataPlanePolicy" | "Release" | "Environment" | "TaskRun")
}

/// Whether its fields are still owned by the create (`Update`), not yet by an apply.
pub(super) fn is_unconverted(object: &Value) -> bool {
    object.pointer("/metadata/managedFields/0/operation").and_then(Value::as_str) == Some("Update")
}

/// Whether a selector of one term selects it.
pub(super) fn is_selected(object: &Value, selector: &str) -> bool {
    let label = |key: &str| metadata(object, "labels").and_then(|labels| labels.get(key)).and_then(Value::as_str);
    match (selector.strip_prefix('!'), selector.split_once('=')) {
        (Some(key), _) => label(key).is_none(),
        (None, Some((key, value))) => label(key) == Some(value),
        (None, None) => true,
    }
}

/// A merge patch (RFC 7386).
pub(super) fn patch(into: &mut Value, from: &Value) {
    let Some(members) = from.as_object() else {
        into.clone_from(from);
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    let Some(into) = into.as_object_mut() else { return };
    for (name, value) in members {
        if value.is_null() {
            into.remove(name);
        } else {
            patch(into.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

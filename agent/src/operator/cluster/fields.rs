//! Managed fields: turns our old Update entry, and others' entries for how our container starts, into our Apply entry. Pure.

use serde_json::{Value, json};

use crate::kinds::labels::MANAGER;
use crate::operator::object::compare::STARTED_WITH;

/// The managed fields after that, so that the next apply removes what others set there. None if nothing changes.
pub(super) fn converted(live: &Value) -> Option<Value> {
    let mut entries = live.pointer("/metadata/managedFields")?.as_array()?.clone();
    let taken = take_over(&mut entries);
    let is = |entry: &Value, operation: &str| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        text("manager") == MANAGER && text("operation") == operation && text("subresource").is_empty()
    };
    if taken.is_none() && !entries.iter().any(|entry| is(entry, "Update")) {
        return None;
    }
    // Where both exist, everything that we ever set becomes applied: the union of the two field sets.
    let mut fields = taken.unwrap_or_else(|| json!({}));
    entries.iter().filter(|entry| is(entry, "Update") || is(entry, "Apply")).for_each(|entry| {
        merge(&mut fields, entry.get("fieldsV1").unwrap_or(&Value::Null));
    });
    let mut kept: Vec<Value> =
        entries.iter().filter(|entry| !is(entry, "Update") && !is(entry, "Apply")).cloned().collect();
    let mut ours = entries.iter().find(|entry| is(entry, "Update") || is(entry, "Apply"))?.clone();
    if let Some(ours) = ours.as_object_mut() {
        ours.insert("operation".to_owned(), json!("Apply"));
        ours.insert("fieldsV1".to_owned(), fields);
    }
    kept.push(ours);
    Some(Value::Array(kept))
}

/// Where the fields of our container are in a set of managed fields.
const CONTAINER: [&str; 5] = ["f:spec", "f:template", "f:spec", "f:containers", "k:{\"name\":\"main\"}"];

/// Takes [`STARTED_WITH`] of our container out of the entries of others. Returns what they had set of it.
fn take_over(entries: &mut [Value]) -> Option<Value> {
    let mut taken = json!({});
    for entry in entries.iter_mut().filter(|entry| entry.get("manager").and_then(Value::as_str) != Some(MANAGER)) {
        let fields = entry.get_mut("fieldsV1");
        let container = fields.and_then(|fields| CONTAINER.iter().try_fold(fields, |at, key| at.get_mut(*key)));
        let Some(container) = container.and_then(Value::as_object_mut) else { continue };
        for key in STARTED_WITH.map(|key| format!("f:{key}")) {
            if let Some(theirs) = container.remove(&key) {
                merge(&mut taken, &json!({ key: theirs }));
            }
        }
    }
    let none = taken.as_object().is_none_or(serde_json::Map::is_empty);
    (!none).then(|| CONTAINER.iter().rev().fold(taken, |inner, key| json!({ *key: inner })))
}

fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        for (key, value) in from {
            merge(into.entry(key).or_insert_with(|| json!({})), value);
        }
    }
}

/// The last field manager of `live` that is not us and did not write a subresource.
#[must_use]
pub fn rival(live: &Value) -> Option<String> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    entries
        .iter()
        .filter(|entry| text(entry, "manager") != MANAGER && text(entry, "subresource") != "status")
        .max_by_key(|entry| text(entry, "time"))
        .map(|entry| text(entry, "manager"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_update_entry_becomes_an_apply_entry() {
        let live = json!({"metadata": {"managedFields": [
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
            {"manager": MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:a": {}}}},
            {"manager": MANAGER, "operation": "Update", "fieldsV1": {"f:spec": {"f:b": {}}}},
        ]}});
        let entries = converted(&live).unwrap();
        assert_eq!(entries.as_array().unwrap().len(), 2);
        assert_eq!(entries[1]["operation"], "Apply");
        assert_eq!(entries[1]["fieldsV1"], json!({"f:spec": {"f:a": {}, "f:b": {}}}));
        assert_eq!(converted(&json!({"metadata": {"managedFields": [entries[1].clone()]}})), None);
    }

    #[test]
    fn what_somebody_set_of_the_start_of_our_container_becomes_ours() {
        let of_main = |fields: Value| CONTAINER.iter().rev().fold(fields, |inner, key| json!({ *key: inner }));
        let live = json!({"metadata": {"managedFields": [
            {"manager": MANAGER, "operation": "Apply", "fieldsV1": of_main(json!({"f:image": {}}))},
            {"manager": "kubectl-set", "operation": "Update", "fieldsV1": of_main(json!({"f:env": {"k:a": {}}, "f:stdin": {}}))},
        ]}});
        let entries = converted(&live).unwrap();
        assert_eq!(entries[0]["fieldsV1"], of_main(json!({"f:stdin": {}})));
        assert_eq!(entries[1]["fieldsV1"], of_main(json!({"f:env": {"k:a": {}}, "f:image": {}})));
        let done = json!({"metadata": {"managedFields": entries}});
        assert_eq!(converted(&done), None, "there is nothing left to take over");
    }

    #[test]
    fn the_last_other_manager_is_the_rival() {
        let live = json!({"metadata": {"managedFields": [
            {"manager": MANAGER, "operation": "Apply", "time": "2026-01-03T00:00:00Z"},
            {"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-02T00:00:00Z"},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "time": "2026-01-04T00:00:00Z"},
        ]}});
        assert_eq!(rival(&live).as_deref(), Some("kubectl-edit"));
    }
}

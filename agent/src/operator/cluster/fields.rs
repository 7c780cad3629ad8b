//! Managed fields: who set what, and how what we once wrote by update becomes ours by apply. Pure.

use serde_json::{Value, json};

use crate::kinds::labels::MANAGER;

/// The list of managed fields with our `Update` entry turned into `Apply`; none if there is nothing to turn.
pub(super) fn converted(live: &Value) -> Option<Value> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let is = |entry: &Value, operation: &str| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        text("manager") == MANAGER && text("operation") == operation && text("subresource").is_empty()
    };
    if !entries.iter().any(|entry| is(entry, "Update")) {
        return None;
    }
    // Where both exist, everything that we ever set becomes applied: the union of the two field sets.
    let mut fields = json!({});
    entries.iter().filter(|entry| is(entry, "Update") || is(entry, "Apply")).for_each(|entry| {
        merge(&mut fields, entry.get("fieldsV1").unwrap_or(&Value::Null));
    });
    let mut kept: Vec<Value> =
        entries.iter().filter(|entry| !is(entry, "Update") && !is(entry, "Apply")).cloned().collect();
    let mut ours = entries.iter().find(|entry| is(entry, "Update"))?.clone();
    if let Some(ours) = ours.as_object_mut() {
        ours.insert("operation".to_owned(), json!("Apply"));
        ours.insert("fieldsV1".to_owned(), fields);
    }
    kept.push(ours);
    Some(Value::Array(kept))
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
    fn the_last_other_manager_is_the_rival() {
        let live = json!({"metadata": {"managedFields": [
            {"manager": MANAGER, "operation": "Apply", "time": "2026-01-03T00:00:00Z"},
            {"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-02T00:00:00Z"},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "time": "2026-01-04T00:00:00Z"},
        ]}});
        assert_eq!(rival(&live).as_deref(), Some("kubectl-edit"));
    }
}

//! Whether an object in the cluster still is what was rendered.
//!
//! Only fields that we set are compared: what others add, and what the API server fills in, is left alone. Lists whose items
//! have an identity are compared item by item, the others as wholes. Names paths that differ, never values.

use serde_json::Value;

use crate::quantity::Quantity;

/// Paths of fields that we set and that are different or missing in `live`. Empty: nothing to repair.
#[must_use]
pub fn drift(desired: &Value, live: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    walk(desired, live, &mut String::new(), &mut paths);
    paths
}

fn walk(desired: &Value, live: &Value, at: &mut String, paths: &mut Vec<String>) {
    match (desired, live) {
        (Value::Object(members), Value::Object(found)) => {
            for (key, value) in members {
                descend(key, value, found.get(key), at, paths);
            }
        }
        (Value::Array(items), Value::Array(found)) => match identity(items) {
            Some(key) => {
                for item in items {
                    let name = item.get(key).unwrap_or(&Value::Null);
                    let other = found.iter().find(|candidate| candidate.get(key) == Some(name));
                    descend(name.as_str().unwrap_or_default(), item, other, at, paths);
                }
            }
            None if items.len() == found.len() => {
                for (index, (item, other)) in items.iter().zip(found).enumerate() {
                    descend(&index.to_string(), item, Some(other), at, paths);
                }
            }
            None => paths.push(at.clone()),
        },
        (Value::String(text), Value::String(found)) => {
            if text != found && !same_quantity(at, text, found) {
                paths.push(at.clone());
            }
        }
        (
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
            _,
        ) => {
            if desired != live {
                paths.push(at.clone());
            }
        }
    }
}

fn descend(key: &str, desired: &Value, live: Option<&Value>, at: &mut String, paths: &mut Vec<String>) {
    let length = at.len();
    at.push('/');
    at.push_str(key);
    match live {
        Some(live) => walk(desired, live, at, paths),
        // The API server drops what is empty.
        None if empty(desired) => {}
        None => paths.push(at.clone()),
    }
    at.truncate(length);
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(value) => !value,
    }
}

/// The member by which items of this list are told apart, if they are objects that all have it.
fn identity(items: &[Value]) -> Option<&'static str> {
    ["name", "mountPath", "topologyKey"]
        .into_iter()
        .find(|key| !items.is_empty() && items.iter().all(|item| item.get(*key).is_some_and(Value::is_string)))
}

fn same_quantity(at: &str, a: &str, b: &str) -> bool {
    let amounts = ["/requests/", "/limits/", "/hard/", "/default/", "/defaultRequest/"];
    amounts.iter().any(|part| at.contains(part)) && Quantity::parse(a).is_some_and(|a| Quantity::parse(b) == Some(a))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_add_is_no_drift() {
        let desired =
            json!({"spec": {"replicas": 2, "containers": [{"name": "main", "env": [{"name": "A", "value": "1"}]}]}});
        let live = json!({"spec": {"replicas": 2, "paused": false, "containers": [
            {"name": "sidecar"}, {"name": "main", "image": "x", "env": [{"name": "B"}, {"name": "A", "value": "1"}]}]}});
        assert_eq!(drift(&desired, &live), Vec::<String>::new());
    }

    #[test]
    fn what_differs_is_named_by_path() {
        for (desired, live, path) in [
            (json!({"a": 1}), json!({"a": 2}), "/a"),
            (json!({"a": {"b": "x"}}), json!({"a": {}}), "/a/b"),
            (json!({"l": [{"name": "m", "v": 1}]}), json!({"l": [{"name": "m", "v": 2}]}), "/l/m/v"),
            (json!({"l": [1, 2]}), json!({"l": [1]}), "/l"),
            (json!({"l": [1, 2]}), json!({"l": [1, 3]}), "/l/1"),
            (json!({"a": "1"}), json!({"a": "1000m"}), "/a"),
            (json!({"a": {"b": 1}}), json!({"a": 1}), "/a"),
        ] {
            assert_eq!(drift(&desired, &live), [path], "{desired} {live}");
        }
    }

    #[test]
    fn amounts_are_compared_as_amounts() {
        let desired = json!({"resources": {"limits": {"cpu": "1000m"}}});
        assert!(drift(&desired, &json!({"resources": {"limits": {"cpu": "1"}}})).is_empty());
        assert_eq!(drift(&desired, &json!({"resources": {"limits": {"cpu": "2"}}})).len(), 1);
    }

    #[test]
    fn empty_values_that_the_server_drops_are_no_drift() {
        assert!(drift(&json!({"data": {}, "list": [], "flag": false, "zero": 0}), &json!({})).is_empty());
    }
}

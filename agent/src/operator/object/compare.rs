//! Whether an object in the cluster still is what was rendered.
//!
//! Only fields that we set are compared: what others add, and what the API server fills in, is left alone, but for what says how our
//! container is started and when it counts as well. Lists whose items have an identity are compared item by item, the others as wholes.
//! Where an additional member changes the meaning (of a selector, the peers of a network policy, the subjects of a binding), what others
//! add is a difference too. Names paths that differ, never values.

use std::collections::BTreeSet;

use protocol::quantity::Quantity;
use serde_json::Value;

/// Members that mean something only as a whole: a label more in a selector chooses fewer pods, a peer more opens a policy. The API
/// server merges none of them, so an apply takes back what others added. Source: `atomic` in the types of k8s.io/api.
const WHOLE: [&str; 6] = ["selector", "podSelector", "namespaceSelector", "ingress", "egress", "subjects"];

/// Fields that decide how our container starts and when it counts as well. What another manager added to them is drift, unlike a
/// container beside ours: server-side apply would keep it in every later release.
pub const STARTED_WITH: [&str; 10] = [
    "args",
    "command",
    "env",
    "envFrom",
    "lifecycle",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "volumeMounts",
    "workingDir",
];

/// Where our container is in the paths here.
const OURS: &str = "/spec/template/spec/containers/main";

/// Whether `at` is one of [`STARTED_WITH`] of our container.
fn started_with(at: &str) -> bool {
    at.strip_prefix(OURS).and_then(|rest| rest.strip_prefix('/')).is_some_and(|key| STARTED_WITH.contains(&key))
}

/// Paths of fields that we set and that are different or missing in `live`. Empty: nothing to repair.
#[must_use]
pub fn drift(desired: &Value, live: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    walk(desired, live, false, &mut String::new(), &mut paths);
    paths
}

fn walk(desired: &Value, live: &Value, whole: bool, at: &mut String, paths: &mut Vec<String>) {
    match (desired, live) {
        (Value::Object(members), Value::Object(found)) => {
            for (key, value) in members {
                descend(key, value, found.get(key), whole || WHOLE.contains(&key.as_str()), at, paths);
            }
            // Also if our object is empty: `namespaceSelector: {}` selects all namespaces. The path names the object and not the
            // member that was added: paths are reported to the control plane, and the member is somebody else's text.
            if *at == OURS {
                let added = STARTED_WITH.iter().filter(|key| !members.contains_key(**key) && found.contains_key(**key));
                paths.extend(added.map(|key| format!("{at}/{key}")));
            }
            if whole && found.keys().any(|key| !members.contains_key(key)) {
                paths.push(at.clone());
            }
        }
        (Value::Array(items), Value::Array(found)) => match identity(items).filter(|_| !whole) {
            Some(key) => {
                if started_with(at) && found.len() > items.len() {
                    paths.push(at.clone());
                }
                for item in items {
                    let name = item.get(key).unwrap_or(&Value::Null);
                    let other = found.iter().find(|candidate| candidate.get(key) == Some(name));
                    descend(name.as_str().unwrap_or_default(), item, other, whole, at, paths);
                }
            }
            None if items.len() == found.len() => {
                for (index, (item, other)) in items.iter().zip(found).enumerate() {
                    descend(&index.to_string(), item, Some(other), whole, at, paths);
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

fn descend(key: &str, desired: &Value, live: Option<&Value>, whole: bool, at: &mut String, paths: &mut Vec<String>) {
    let length = at.len();
    at.push('/');
    at.push_str(key);
    match live {
        Some(live) => walk(desired, live, whole, at, paths),
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

/// The member by which items of this list are told apart: one that they all have, each with another value. Two mounts of one volume
/// have the same name.
fn identity(items: &[Value]) -> Option<&'static str> {
    ["name", "mountPath", "topologyKey"].into_iter().find(|key| {
        let values: BTreeSet<&str> = items.iter().filter_map(|item| item.get(*key)?.as_str()).collect();
        !items.is_empty() && values.len() == items.len()
    })
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
    fn what_others_add_to_the_start_of_our_container_is_named() {
        let of = |main: Value| json!({"spec": {"template": {"spec": {"containers": [{"name": "sidecar"}, main]}}}});
        let desired =
            of(json!({"name": "main", "env": [{"name": "A"}], "volumeMounts": [{"name": "v", "mountPath": "/a"}]}));
        for (main, path) in [
            (json!({"env": [{"name": "A"}, {"name": "B"}], "volumeMounts": [{"name": "v", "mountPath": "/a"}]}), "env"),
            (
                json!({"env": [{"name": "A"}], "volumeMounts": [{"name": "v", "mountPath": "/a"}], "command": ["sh"]}),
                "command",
            ),
            (
                json!({"env": [{"name": "A"}], "volumeMounts": [{"name": "v", "mountPath": "/a"}], "envFrom": [{}]}),
                "envFrom",
            ),
            (
                json!({"env": [{"name": "A"}], "volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/b"}]}),
                "volumeMounts",
            ),
            (
                json!({"env": [{"name": "A"}], "volumeMounts": [{"name": "v", "mountPath": "/a"}], "livenessProbe": {"exec": {"command": ["true"]}}}),
                "livenessProbe",
            ),
        ] {
            let mut main = main;
            main["name"] = json!("main");
            assert_eq!(drift(&desired, &of(main)), [format!("{OURS}/{path}")]);
        }
        let main = json!({"name": "main", "env": [{"name": "A"}], "volumeMounts": [{"name": "v", "mountPath": "/a"}], "stdin": true});
        assert_eq!(drift(&desired, &of(main)), Vec::<String>::new());
    }

    #[test]
    fn two_files_of_one_volume_are_two() {
        let mounts = json!([{"name": "config", "mountPath": "/a", "subPath": "file.0"}, {"name": "config", "mountPath": "/b", "subPath": "file.1"}]);
        assert_eq!(drift(&json!({ "volumeMounts": mounts }), &json!({ "volumeMounts": mounts })), Vec::<String>::new());
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
    fn what_others_add_where_it_changes_the_meaning_of_a_whole_is_named() {
        let labels = json!({"app": "a"});
        for (desired, live, path) in [
            (json!({"podSelector": {}}), json!({"podSelector": {"matchLabels": labels}}), "/podSelector"),
            (json!({"selector": labels}), json!({"selector": {"app": "a", "b": "c"}}), "/selector"),
            (json!({"ingress": []}), json!({"ingress": [{}]}), "/ingress"),
            (
                json!({"egress": [{"to": [{"podSelector": {}}]}]}),
                json!({"egress": [{"to": [{"podSelector": {}, "namespaceSelector": {"matchLabels": labels}}]}]}),
                "/egress/0/to/0",
            ),
            (
                json!({"ingress": [{"from": [{"podSelector": {}}]}]}),
                json!({"ingress": [{"from": [{"podSelector": {}}, {"ipBlock": {"cidr": "0.0.0.0/0"}}]}]}),
                "/ingress/0/from",
            ),
            (json!({"subjects": [{"name": "a"}]}), json!({"subjects": [{"name": "a"}, {"name": "b"}]}), "/subjects"),
            (
                json!({"subjects": [{"name": "a"}]}),
                json!({"subjects": [{"name": "a", "namespace": "n"}]}),
                "/subjects/0",
            ),
        ] {
            assert_eq!(drift(&desired, &live), [path], "{desired} {live}");
        }
        let desired = json!({"egress": [{"to": [{"podSelector": {}}]}]});
        let live = json!({"egress": [{"to": [{"podSelector": {}, "namespaceSelector": {}}]}]});
        assert_eq!(drift(&desired, &live), ["/egress/0/to/0"]);
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

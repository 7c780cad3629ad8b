//! Attacks by init containers: the start gate is the only one allowed, in its exact form.

use serde_json::{Value, json};

/// Title, fields of the pod's spec, part of the refusal.
pub(crate) fn shapes() -> Vec<(&'static str, Value, &'static str)> {
    let refusal = "spec.initContainers[] has only the fields";
    // Which of the two the API server says first is its own choice.
    let security =
        "spec.initContainers[].securityContext has only the fields|spec.initContainers[] has only the fields";
    let secret = json!([{"name": "S", "valueFrom": {"secretKeyRef": {"name": "config", "key": "k"}}}]);
    vec![
        ("an init container", json!({"initContainers": [{"name": "i", "image": "x"}]}), refusal),
        (
            "a privileged init container",
            gate(
                &json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": true, "capabilities": {"drop": ["ALL"]}}}),
            ),
            security,
        ),
        ("an init container that is no start gate", gate(&json!({"name": "thief"})), refusal),
        ("a start gate that runs a command", gate(&json!({"command": ["sh"]})), refusal),
        ("a start gate that runs something else", gate(&json!({"args": ["run", "start-gate"]})), refusal),
        ("a start gate that goes on beside the program", gate(&json!({"restartPolicy": "Always"})), refusal),
        ("a start gate with a Secret", gate(&json!({ "env": secret })), refusal),
    ]
}

/// A pod's start gate as the operator makes it, with some fields changed.
fn gate(change: &Value) -> Value {
    let mut gate = json!({
        "name": "start-gate", "args": ["start-gate"],
        "image": format!("registry.customer.test:5000/none@sha256:{}", "0".repeat(64)),
        "securityContext": {"allowPrivilegeEscalation": false, "privileged": false, "capabilities": {"drop": ["ALL"]}},
    });
    for (key, value) in change.as_object().into_iter().flatten() {
        gate[key] = value.clone();
    }
    json!({ "initContainers": [gate] })
}

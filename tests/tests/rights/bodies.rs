//! Bodies of requests: what the operator makes, and what it must not.

use serde_json::{Value, json};

use super::attacks::Places;

/// The one label that selectors of the operator name.
const RELEASE: &str = "pdp-agent.dev/release";

pub(crate) fn labels(name: &str) -> Value {
    json!({
        "pdp-agent.dev/agent": format!("{name}.{name}"),
        "pdp-agent.dev/installation": name,
        "pod-security.kubernetes.io/enforce": "restricted",
    })
}

pub(crate) fn namespace(name: &str, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

pub(crate) fn binding(places: &Places, role: &str, account: &str) -> Value {
    let agent = &places.agent;
    bind(
        &format!("{agent}-{role}"),
        &json!({"kind": "ServiceAccount", "name": format!("{agent}-{account}"), "namespace": agent}),
    )
}

pub(crate) fn bind(role: &str, subject: &Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": [subject],
    })
}

pub(crate) fn token(audience: &str, seconds: u32) -> Value {
    json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": [audience], "expirationSeconds": seconds},
    })
}

/// A pod that passes `restricted`, with fields of its spec and of its container changed.
pub(crate) fn pod(spec: &Value, container: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "thief"}, "spec": pod_spec(spec, container)})
}

fn pod_spec(spec: &Value, container: &Value) -> Value {
    let mut made = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "serviceAccountName": "default",
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "main", "image": "registry.customer.test:5000/none@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "imagePullPolicy": "IfNotPresent", "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
    });
    merge(&mut made, spec);
    merge(&mut made["containers"][0], container);
    made
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        if into[key].is_object() && value.is_object() {
            merge(&mut into[key], value);
        } else {
            into[key] = value.clone();
        }
    }
}

/// A Deployment, Job, … whose pods would be [`pod`].
pub(crate) fn workload(kind: &str, spec: &Value, container: &Value) -> Value {
    let mut pod = pod_spec(spec, container);
    if kind == "Deployment" {
        pod["restartPolicy"] = "Always".into();
    }
    let template = json!({"metadata": {"labels": {RELEASE: "thief"}}, "spec": pod});
    let (group, body) = match kind {
        "Job" => (
            "batch/v1",
            json!({"suspend": true, "podReplacementPolicy": "Failed", "backoffLimit": 0, "template": template}),
        ),
        "Deployment" => {
            ("apps/v1", json!({"replicas": 0, "selector": {"matchLabels": {RELEASE: "thief"}}, "template": template}))
        }
        other => panic!("no workload of kind {other}"),
    };
    // The allowed object has a name of its own and stays, so that attacks are refused by admission and not because the name is taken.
    let name = if spec == &json!({}) && container == &json!({}) { "allowed" } else { "thief" };
    let metadata = json!({"name": name, "labels": {RELEASE: "thief"}});
    json!({"apiVersion": group, "kind": kind, "metadata": metadata, "spec": body})
}

pub(crate) fn service(spec: &Value) -> Value {
    let name = if spec == &json!({}) { "allowed" } else { "thief" };
    let mut made = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": {RELEASE: "thief"}, "ports": [{"port": 80}]},
    });
    merge(&mut made["spec"], spec);
    made
}

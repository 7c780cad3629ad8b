//! The list of fields that the chart's admission policies are rendered from (`files/shape.yaml`), read as they read it: what is built
//! here must be in it, or the API server would refuse the operator's own work.

use serde_json::{Value, json};

use super::ObjectKind;
use crate::kinds::DNS;

const LIST: &str = include_str!("../../../../helm/pdp-agent/files/shape.yaml");

fn list() -> Value {
    serde_saphyr::from_str(LIST).unwrap()
}

/// Ranges that `pdp-world` always leaves out.
pub(crate) fn private() -> Vec<String> {
    serde_json::from_value(list()["private"].clone()).unwrap()
}

/// Egress of `pdp-dns` where the pods of the cluster's DNS are in this namespace and listen on this port.
pub(crate) fn dns((namespace, port): (&str, u16)) -> Value {
    let list = list();
    if (namespace, port) == DNS {
        return list["fixed"]["networkpolicies"]["pdp-dns"]["egress"].clone();
    }
    let text = list["dns"].to_string();
    let said = text.replace("\"PORT\"", &port.to_string()).replace("\"NAMESPACE\"", &json!(namespace).to_string());
    serde_json::from_str(&said).unwrap()
}

/// Where `pdp-dns` says that the pods of the cluster's DNS are.
fn said(spec: &Value) -> Option<(&str, u16)> {
    let rule = spec.pointer("/egress/0")?;
    let namespace = rule.pointer("/to/0/namespaceSelector/matchLabels/kubernetes.io~1metadata.name")?;
    Some((namespace.as_str()?, u16::try_from(rule.pointer("/ports/0/port")?.as_u64()?).ok()?))
}

/// What of `object` the policies would not let through, as paths. Namespaces and RoleBindings have policies of their own.
pub(crate) fn outside(object: &Value) -> Vec<String> {
    let list = list();
    let plural = ObjectKind::of(object["kind"].as_str().unwrap()).unwrap().names().2;
    let name = object["metadata"]["name"].as_str().unwrap();
    let mut found = Vec::new();
    for part in ["labels", "annotations"] {
        own(&object["metadata"][part], &format!("metadata.{part}"), &mut found);
    }
    for key in object["metadata"].as_object().unwrap().keys() {
        if !["name", "namespace", "labels", "annotations"].contains(&key.as_str()) {
            found.push(format!("metadata.{key}"));
        }
    }
    if ["namespaces", "rolebindings"].contains(&plural) {
        return found;
    }
    if let Some(fixed) = list["fixed"].get(plural) {
        // What depends on the customer's ranges (`pdp-world`) has a rule of its own in the policy.
        let mut spec = object["spec"].clone();
        // The API server drops what is empty before the policies see it.
        spec.as_object_mut().unwrap().retain(|_, value| *value != json!([]));
        let mut fixed = fixed[name].clone();
        if let ("pdp-dns", Some(place)) = (name, said(&spec)) {
            fixed["egress"] = dns(place);
        }
        if name != "pdp-world" && fixed != spec {
            found.push(format!("{plural}/{name} is {spec} and not {fixed}"));
        }
        return found;
    }
    if list["named"].get(plural).is_some_and(|names| !names.as_array().unwrap().contains(&json!(name))) {
        found.push(format!("{plural}/{name}"));
    }
    let mut rest = object.clone();
    for head in ["apiVersion", "kind", "metadata"] {
        rest.as_object_mut().unwrap().remove(head);
    }
    compare(&rest, &list["objects"][plural], plural, &mut found);
    if ["deployments", "jobs"].contains(&plural) {
        compare(&object["spec"]["template"], &list["podTemplate"], "template", &mut found);
    }
    found
}

fn own(map: &Value, at: &str, found: &mut Vec<String>) {
    let known = ["name", "instance", "part-of", "managed-by"].map(|name| format!("app.kubernetes.io/{name}"));
    for key in map.as_object().into_iter().flatten().map(|(key, _)| key) {
        if !key.starts_with("pdp-agent.dev/") && !known.contains(key) {
            found.push(format!("{at}.{key}"));
        }
    }
}

fn compare(value: &Value, shape: &Value, at: &str, found: &mut Vec<String>) {
    let Some(shape) = shape.as_object() else {
        found.push(at.to_owned());
        return;
    };
    for (name, _) in shape.iter().filter(|(name, _)| name.ends_with('!')) {
        let name = name.trim_end_matches('!');
        if value.get(name).is_none() {
            found.push(format!("{at}.{name} is missing"));
        }
    }
    for (key, value) in value.as_object().unwrap() {
        let at = format!("{at}.{key}");
        let rule = [key.clone(), format!("{key}!"), format!("{key}[]")]
            .into_iter()
            .find_map(|name| shape.get_key_value(&name));
        let Some((name, rule)) = rule else {
            found.push(at);
            continue;
        };
        match rule {
            Value::Null => {}
            Value::Object(_) if name.ends_with("[]") => {
                value.as_array().unwrap().iter().for_each(|item| compare(item, rule, &at, found));
            }
            Value::Object(_) => compare(value, rule, &at, found),
            Value::Array(allowed) if allowed.contains(value) => {}
            Value::String(word) if word == "<own>" => own(value, &at, found),
            Value::String(word)
                if word == "<image>" && value.as_str().is_some_and(|image| image.contains("@sha256:")) => {}
            Value::String(word)
                if word.strip_prefix("first ").is_some_and(|first| value.get(0) == Some(&json!(first))) => {}
            Value::String(word) if word == "> 0" && value.as_i64() > Some(0) => {}
            Value::String(_) | Value::Bool(_) | Value::Number(_) if rule == value => {}
            Value::Array(_) | Value::String(_) | Value::Bool(_) | Value::Number(_) => {
                found.push(format!("{at}={value}"))
            }
        }
    }
}

#[test]
fn what_is_not_on_the_list_is_found() {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": {"istio-injection": "x"}},
        "spec": {"paused": true, "template": {"spec": {
            "hostNetwork": true, "dnsPolicy": "Default", "securityContext": {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"image": "a:b", "securityContext": {"allowPrivilegeEscalation": false}, "env": [{"name": "A", "value": "b"}]}],
        }}},
    });
    let expected = [
        "metadata.labels.istio-injection",
        "deployments.spec.paused",
        "template.spec.automountServiceAccountToken is missing",
        "template.spec.containers.env.value",
        "template.spec.containers.image=\"a:b\"",
        "template.spec.dnsPolicy=\"Default\"",
        "template.spec.hostNetwork",
        "template.spec.securityContext.runAsUser=0",
    ];
    assert_eq!(outside(&deployment), expected);
}

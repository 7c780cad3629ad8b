//! A document cannot have a secret put anywhere by the kubelet's expansion: each string of each document that becomes pods is
//! planted with every form that looks like a variable, and what is rendered is expanded as the kubelet does it.

use std::collections::{BTreeMap, BTreeSet};

use protocol::document::{ReleaseSpec, TaskRunSpec};
use schemars::JsonSchema;
use serde_json::{Value, json};

use super::fixture;
use super::reconcile::rendering::{Rendering, content_hash};
use super::release::parsed::ValidRelease;
use super::release::render::{self, Input, expand};
use super::task_run::named;
use crate::kinds::{SecurityLevel, TaskRun};

const PLANTS: &str = "$(SECRET) ${SECRET} $SECRET $$(SECRET) $$$(SECRET) $(SECRET $";

/// Documents that together have every field of a Release.
fn releases() -> [Value; 4] {
    let probe = json!({"port": 8080, "path": "/ready", "headers": [{"name": "X-Health", "value": "deep"}]});
    let mut service = json!(fixture::service());
    service["command"] = json!(["/app", "--serve"]);
    service["probes"] = json!({"startup": probe, "readiness": probe, "liveness": probe});
    service["restartToken"] = json!("again");
    service["endpoints"][0]["basePath"] = json!("/api");
    service["resources"] =
        json!({"cpuRequest": "100m", "cpuLimit": "1", "memoryRequest": "64Mi", "memoryLimit": "256Mi"});
    let mut grpc = json!(fixture::small_service());
    let probe = json!({"port": 8080, "grpc": {"service": "acme.Orders"}});
    grpc["probes"] = json!({"startup": probe, "readiness": probe, "liveness": probe});
    let mut asked = json!(fixture::small_service());
    let probe = json!({"exec": {"command": ["/alive", "now"]}});
    asked["probes"] = json!({"startup": probe, "readiness": probe, "liveness": probe});
    let mut task = json!(fixture::task());
    task["command"] = json!(["/app", "--migrate"]);
    task["args"] = json!(["now"]);
    [service, grpc, asked, task]
}

fn render(spec: &ReleaseSpec) -> Result<Rendering, Vec<String>> {
    let release = ValidRelease::parse(spec)?;
    Ok(render::build(&Input {
        data_plane: "dp1",
        name: "shop-web-dev",
        environment: "shop-dev",
        project: "shop",
        namespace: "dp-acme-shop-dev",
        content_hash: &content_hash(spec),
        level: SecurityLevel::Restricted,
        pull_secrets: &[],
        gate: None,
        release: &release,
    }))
}

/// Paths of all strings of a document; indexes are `*`.
fn strings(value: &Value, path: &str, found: &mut BTreeMap<String, String>) {
    match value {
        Value::String(_) => drop(found.insert(path.to_owned(), generic(path))),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| strings(item, &format!("{path}/{at}"), found));
        }
        Value::Object(members) => {
            members.iter().for_each(|(key, member)| strings(member, &format!("{path}/{key}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn generic(path: &str) -> String {
    let part = |part: &str| if part.parse::<usize>().is_ok() { "*".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Paths of all strings that the schema of a document knows.
fn of_schema<T: JsonSchema>() -> BTreeSet<String> {
    let root = json!(schemars::schema_for!(T));
    let mut found = BTreeSet::new();
    walk(&root, &root, String::new(), &mut found);
    found
}

fn walk(root: &Value, schema: &Value, path: String, found: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return walk(root, root.pointer(reference.trim_start_matches('#')).unwrap(), path, found);
    }
    for either in ["anyOf", "oneOf", "allOf"] {
        schema[either].as_array().into_iter().flatten().for_each(|one| walk(root, one, path.clone(), found));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(root, property, format!("{path}/{name}"), found);
    }
    if schema["items"].is_object() {
        walk(root, &schema["items"], format!("{path}/*"), found);
    }
    let kind = &schema["type"];
    if kind == "string" || kind.as_array().is_some_and(|kinds| kinds.contains(&json!("string"))) {
        found.insert(path);
    }
}

/// Everything that the kubelet expands in an object: command and arguments of containers, probes and hooks, plain values of
/// variables, paths of mounts.
fn expanded<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match (key.as_str(), member) {
                    // Sent as they are.
                    ("httpHeaders", _) => {}
                    ("command" | "args", Value::Array(items)) => found.extend(items.iter().filter_map(Value::as_str)),
                    ("value" | "subPathExpr", Value::String(text)) => found.push(text),
                    (_, member) => expanded(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expanded(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Panics if the kubelet would put the value of a variable anywhere into these objects.
fn nothing_expands<'a>(objects: impl Iterator<Item = &'a Value>, about: &str) -> Vec<String> {
    let mut given = Vec::new();
    for object in objects {
        let mut found = Vec::new();
        expanded(object, &mut found);
        for text in found {
            let process = expand(text, &|_| panic!("{about}: {text} would be expanded"));
            given.push(String::from_utf8(process).unwrap());
        }
    }
    given
}

/// Each string planted on its own, and what of it the agent takes.
fn planted<T: JsonSchema>(documents: &[Value], take: impl Fn(Value, &str) -> Option<Vec<String>>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for document in documents {
        let mut paths = BTreeMap::new();
        strings(document, "", &mut paths);
        for (path, generic) in paths {
            reached.insert(generic.clone());
            let mut planted = document.clone();
            let place = planted.pointer_mut(&path).unwrap();
            let text = format!("{}{PLANTS}", place.as_str().unwrap());
            *place = json!(text);
            if let Some(given) = take(planted, &path) {
                taken.insert(generic.clone());
                let whole =
                    matches!(generic.as_str(), "/command/*" | "/args/*") || generic.ends_with("/exec/command/*");
                assert!(!whole || given.contains(&text), "{path}: the process gets {given:?}");
            }
        }
    }
    let known = of_schema::<T>();
    assert_eq!(reached, known, "a field is not in the sample documents of this test");
    taken
}

#[test]
fn no_string_of_a_release_is_expanded_by_the_kubelet() {
    let taken = planted::<ReleaseSpec>(&releases(), |document, path| {
        // A document that is no Release any more is refused earlier.
        let spec: ReleaseSpec = serde_json::from_value(document).ok()?;
        let rendering = render(&spec).ok()?;
        Some(nothing_expands(rendering.objects.iter().chain(&rendering.job), path))
    });
    for field in [
        "/command/*",
        "/args/*",
        "/env/*/value",
        "/files/*/content",
        "/restartToken",
        "/probes/liveness/path",
        "/probes/liveness/exec/command/*",
    ] {
        assert!(taken.contains(field), "{field} was not taken: {taken:?}");
    }
}

#[test]
fn no_string_of_a_run_is_expanded_by_the_kubelet() {
    let rendering = render(&fixture::task()).unwrap();
    let job = rendering.job.unwrap();
    let run = json!({"release": "shop-migrate-dev", "args": ["--all", "now"]});
    let taken = planted::<TaskRunSpec>(&[run], |document, path| {
        let spec: TaskRunSpec = serde_json::from_value(document).ok()?;
        let object: TaskRun = serde_json::from_value(json!({"metadata": {"name": "run"}, "spec": spec,
            "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "TaskRun"}))
        .unwrap();
        Some(nothing_expands(std::iter::once(&named(job.clone(), &object, "run-1")), path))
    });
    assert!(taken.contains("/args/*"), "{taken:?}");
}

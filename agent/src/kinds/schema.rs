//! The definitions as they are installed: the types' schemas, and what types cannot say.
//!
//! Rules that span fields are CEL, evaluated by the API server, so that a bad object is refused with or without us. Lists and maps
//! are atomic: a document is one whole, and a merge of two writers would be neither's intent.

#![expect(clippy::indexing_slicing, reason = "members of JSON objects that are made here")]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use protocol::document::{ComponentType, Shape};
use serde_json::{Value, json};

use super::{DataPlane, DataPlanePolicy, Environment, Release, SCHEMA_REVISION, TaskRun};

/// Annotation on each definition that carries its schema revision.
pub const REVISION_ANNOTATION: &str = "pdp-agent.dev/schema-revision";

/// What a document may never do, whatever its kind: go back, or change under the same generation.
const DOCUMENT_RULES: [(&str, &str); 2] = [
    (
        "!has(oldSelf.document) || (has(self.document) && self.document.generation >= oldSelf.document.generation)",
        "document.generation never falls, and a document is never taken away; make a new one with a higher generation",
    ),
    (
        "!has(oldSelf.document) || !has(self.document) || self.document.generation != oldSelf.document.generation \
         || self.document.hash == oldSelf.document.hash",
        "the same document.generation has the same hash; a changed document needs a higher generation",
    ),
];

/// Definitions of all kinds, as `pdp-agent crds` prints them and the chart installs them.
///
/// # Errors
/// Only if a schema that the derive made is not JSON, which a test rules out.
pub fn crds() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    let environment = [
        required_when_present(&["organization", "project", "environment"]),
        nothing_when_absent(&["organization", "project", "environment", "quota", "egress"]),
        (
            "self.state == 'Absent' || oldSelf.state == 'Absent' || (self.organization == oldSelf.organization && \
             self.project == oldSelf.project && self.environment == oldSelf.environment)"
                .to_owned(),
            "organization, project and environment name the namespace and cannot change; make another Environment"
                .to_owned(),
        ),
    ];
    let mut release_fields = property_names(&Release::crd())?;
    release_fields.retain(|field| field != "state" && field != "document");
    let release = [
        required_when_present(&["environment", "owner", "type", "image"]),
        nothing_when_absent(&release_fields.iter().map(String::as_str).collect::<Vec<_>>()),
        only_with("endpoints", |shape| shape.endpoints),
        only_with("scaling", Shape::is_kept_running),
        only_with("probes", Shape::is_kept_running),
        only_with("task", Shape::is_task),
        (
            "self.state == 'Absent' || oldSelf.state == 'Absent' || self.environment == oldSelf.environment".to_owned(),
            "environment names the namespace and cannot change while the release is present; make it Absent first"
                .to_owned(),
        ),
    ];
    let task_run = [(
        "self.release == oldSelf.release && has(self.args) == has(oldSelf.args) && \
         (!has(self.args) || self.args == oldSelf.args) && (!has(oldSelf.cancel) || (has(self.cancel) && (self.cancel || !oldSelf.cancel)))"
            .to_owned(),
        "a run keeps its release and args, and a cancelled run stays cancelled; make another TaskRun".to_owned(),
    )];
    Ok(vec![
        finished(DataPlane::crd(), &[], true)?,
        finished(DataPlanePolicy::crd(), &[], false)?,
        finished(Environment::crd(), &environment, true)?,
        finished(Release::crd(), &release, true)?,
        finished(TaskRun::crd(), &task_run, true)?,
    ])
}

fn required_when_present(fields: &[&str]) -> (String, String) {
    let all: Vec<String> = fields.iter().map(|field| format!("has(self.{field})")).collect();
    (
        format!("self.state == 'Absent' || ({})", all.join(" && ")),
        format!("with state Present, {} are required", fields.join(", ")),
    )
}

/// A field that only components of a certain shape have.
fn only_with(field: &str, has: fn(&Shape) -> bool) -> (String, String) {
    let types = ComponentType::ALL.into_iter().filter(|component| has(&component.shape()));
    let types: Vec<_> = types.map(|component| format!("'{}'", component.as_str())).collect();
    (
        format!("!has(self.{field}) || !has(self.type) || self.type in [{}]", types.join(", ")),
        format!("only {} may have {field}; remove it or use another type", ComponentType::names(has)),
    )
}

fn nothing_when_absent(fields: &[&str]) -> (String, String) {
    let any: Vec<String> = fields.iter().map(|field| format!("has(self.{field})")).collect();
    (
        format!("self.state == 'Present' || !({})", any.join(" || ")),
        "with state Absent, nothing else may be given; the identity is the object's name".to_owned(),
    )
}

fn property_names(definition: &CustomResourceDefinition) -> Result<Vec<String>, serde_json::Error> {
    let value = serde_json::to_value(definition)?;
    let properties = value.pointer(&format!("{SCHEMA}/properties/spec/properties")).and_then(Value::as_object);
    Ok(properties.map(|map| map.keys().cloned().collect()).unwrap_or_default())
}

const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";

fn finished(
    definition: CustomResourceDefinition,
    rules: &[(String, String)],
    documents: bool,
) -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut value = serde_json::to_value(definition)?;
    value["metadata"]["annotations"] = json!({
        REVISION_ANNOTATION: SCHEMA_REVISION.to_string(),
        "helm.sh/resource-policy": "keep",
    });
    value["metadata"]["labels"] = json!({ "app.kubernetes.io/name": "pdp-agent" });
    if let Some(schema) = value.pointer_mut(SCHEMA) {
        atomic(schema);
        if let Some(item) = schema.pointer_mut("/properties/spec/properties/env/items") {
            item["x-kubernetes-validations"] = one_source("value");
        }
        if let Some(item) = schema.pointer_mut("/properties/spec/properties/files/items") {
            item["x-kubernetes-validations"] = one_source("content");
        }
        let mut all: Vec<Value> =
            rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect();
        if documents {
            all.extend(DOCUMENT_RULES.iter().map(|(rule, message)| json!({"rule": rule, "message": message})));
        }
        if !all.is_empty()
            && let Some(spec) = schema.pointer_mut("/properties/spec")
        {
            spec["x-kubernetes-validations"] = Value::Array(all);
        }
    }
    serde_json::from_value(value)
}

fn one_source(field: &str) -> Value {
    json!([{
        "rule": format!("has(self.{field}) != has(self.secretRef)"),
        "message": format!("exactly one of {field} and secretRef is required"),
    }])
}

/// Lists and maps as wholes, and bounds on what the types leave open in status.
fn atomic(schema: &mut Value) {
    if let Some(kind) = schema.get("type").and_then(Value::as_str).map(str::to_owned) {
        if kind == "array" {
            schema["x-kubernetes-list-type"] = json!("atomic");
            if schema.get("maxItems").is_none() {
                schema["maxItems"] = json!(4096);
            }
        }
        if kind == "object" && schema.get("additionalProperties").is_some() {
            schema["x-kubernetes-map-type"] = json!("atomic");
        }
    }
    match schema {
        Value::Object(members) => {
            // `uint32` and the like are no formats of OpenAPI; the API server would warn at every install.
            if members.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                members.remove("format");
            }
            members.values_mut().for_each(atomic);
        }
        Value::Array(items) => items.iter_mut().for_each(atomic),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_defined_once_with_its_revision() {
        let names: Vec<String> = crds().unwrap().iter().map(|crd| crd.spec.names.kind.clone()).collect();
        assert_eq!(names, ["DataPlane", "DataPlanePolicy", "Environment", "Release", "TaskRun"]);
        for crd in crds().unwrap() {
            let annotations = crd.metadata.annotations.unwrap();
            assert_eq!(annotations[REVISION_ANNOTATION], SCHEMA_REVISION.to_string());
        }
    }

    #[test]
    fn an_absent_release_may_carry_no_other_field() {
        let crd = serde_json::to_value(&crds().unwrap()[3]).unwrap();
        let rules = crd.pointer(&format!("{SCHEMA}/properties/spec/x-kubernetes-validations")).unwrap().to_string();
        for field in property_names(&Release::crd()).unwrap() {
            assert!(rules.contains(&format!("has(self.{field})")) || field == "state", "{field} is missing in {rules}");
        }
    }

    #[test]
    fn every_list_is_atomic_and_bounded() {
        for crd in crds().unwrap() {
            visit(&serde_json::to_value(&crd).unwrap(), &crd.spec.names.kind);
        }
        fn visit(value: &Value, at: &str) {
            if value["type"] == "array" && value.get("items").is_some() {
                assert_eq!(value["x-kubernetes-list-type"], "atomic", "{at}");
                assert!(value["maxItems"].is_number(), "{at}");
            }
            match value {
                Value::Object(members) => members.iter().for_each(|(key, value)| visit(value, &format!("{at}/{key}"))),
                Value::Array(items) => items.iter().for_each(|value| visit(value, at)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
    }
}

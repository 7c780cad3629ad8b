//! Objects that both API servers are given, and what of an answer has to be the same.

use serde_json::{Value, json};

pub(crate) fn resource(release: bool) -> kube::api::ApiResource {
    if release {
        kube::api::ApiResource::erase::<pdp_agent::kinds::Release>(&())
    } else {
        kube::api::ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&())
    }
}

pub(crate) fn typed(body: Value) -> kube::api::DynamicObject {
    serde_json::from_value(body).unwrap()
}

/// The answer to a deletion is a status if the object is gone, and the object if something holds it.
pub(crate) fn deleted(answer: Option<Value>) -> Option<Value> {
    answer.filter(|object| {
        object["metadata"]["deletionTimestamp"].is_string() && object["metadata"]["finalizers"].is_array()
    })
}

pub(crate) fn content_of(release: bool, generation: i64, content: u8) -> Value {
    if !release {
        return json!({"data": {"generation": generation.to_string(), "content": content.to_string()}});
    }
    json!({"spec": {
        "document": {"generation": generation, "hash": format!("{content:064x}")},
        "state": "Present", "environment": "dev", "owner": {"component": "web", "track": "v1.0"}, "type": "Service",
        "image": format!("registry.example/web@sha256:{content:064x}"),
        "endpoints": [{"name": "http", "port": 8080, "kind": "HTTP"}],
    }})
}

/// What both sides must agree on.
pub(crate) fn plain(object: &Value) -> Value {
    let metadata = &object["metadata"];
    json!({
        "name": metadata["name"],
        // ConfigMaps have none.
        "generation": metadata.get("generation").filter(|_| object.get("spec").is_some()),
        "finalizers": metadata["finalizers"].as_array().filter(|names| !names.is_empty()),
        "terminating": metadata["deletionTimestamp"].is_string(),
        "spec": object.get("spec"),
        "status": object.get("status"),
        "data": object.get("data"),
    })
}

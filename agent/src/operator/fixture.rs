//! Specs that the tests of this module share.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use protocol::document::ReleaseSpec;
use serde_json::{Value, json};

use super::object::fixed::namespace_name;
use super::reconcile::round::Reconcile as _;
use super::reconcile::shared::Shared;
use super::world::index::Own;
use crate::kinds::{DataPlanePolicy, Environment, Release};
use server::{OWN, Server};

pub(crate) mod server;

pub(crate) const IMAGE: &str =
    "registry.example.com/acme/web@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A service with everything that a document can say.
pub(crate) fn service() -> ReleaseSpec {
    serde_json::from_value(json!({
        "state": "Present",
        "environment": "shop-dev",
        "owner": {"component": "web", "track": "v1.2", "release": 3},
        "type": "Service",
        "image": IMAGE,
        "args": ["-port", "8080"],
        "env": [
            {"name": "GREETING", "value": "hello $(HOME)"},
            {"name": "PASSWORD", "secretRef": {"path": "shop/db", "key": "password"}},
        ],
        "files": [
            {"path": "/etc/app/settings.yaml", "content": "a: 1\n", "mode": "0755"},
            {"path": "/etc/app/logo.png", "content": "iVBORw0KGgo=", "encoding": "Base64"},
            {"path": "/etc/app/token", "secretRef": {"path": "shop/api", "key": "token", "version": 2}},
        ],
        "volumes": [{"path": "/data", "size": "1Gi"}, {"path": "/tmp", "medium": "Memory", "size": "64Mi"}],
        "endpoints": [
            {"name": "http", "port": 8080, "kind": "HTTP", "visibility": ["Project"]},
            {"name": "metrics", "port": 9090, "kind": "HTTP"},
        ],
        "scaling": {"replicas": 2},
        "resources": {"cpuRequest": "100m", "memoryLimit": "256Mi"},
        "probes": {
            "liveness": {"port": 8080, "path": "/status/200", "periodSeconds": 5},
            "startup": {"port": 9090, "grpc": {"service": "acme.Orders"}},
        },
        "security": {"runAsUser": 10001, "runAsGroup": 10002},
    }))
    .unwrap()
}

/// The least service.
pub(crate) fn small_service() -> ReleaseSpec {
    serde_json::from_value(json!({
        "state": "Present",
        "environment": "shop-dev",
        "owner": {"component": "web", "track": "v1.0"},
        "type": "Service",
        "image": IMAGE,
        "endpoints": [{"name": "http", "port": 8080, "kind": "HTTP"}],
    }))
    .unwrap()
}

/// A manual task with a secret and a limit.
pub(crate) fn task() -> ReleaseSpec {
    serde_json::from_value(json!({
        "state": "Present",
        "environment": "shop-dev",
        "owner": {"component": "migrate", "track": "v1.0"},
        "type": "ManualTask",
        "image": IMAGE,
        "env": [{"name": "PASSWORD", "secretRef": {"path": "shop/db", "key": "password"}}],
        "task": {"retries": 2, "timeoutSeconds": 60},
    }))
    .unwrap()
}

/// One of our kinds as stored.
pub(crate) fn own(kind: &str, name: &str, spec: Value, status: Value) -> Value {
    json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": kind, "spec": spec, "status": status,
        "metadata": {"name": name, "uid": name, "resourceVersion": "1", "generation": 1}})
}

/// An environment of project `shop` that is ready.
pub(crate) fn put_environment(shared: &Shared, handle: &str) {
    let name = format!("shop-{handle}");
    let environment: Environment = serde_json::from_value(own(
        "Environment",
        &name,
        json!({"state": "Present", "organization": "acme", "project": "shop", "environment": handle}),
        json!({"namespace": namespace_name("acme", "shop", handle), "conditions": [{"type": "Ready", "status": "True",
            "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
    ))
    .unwrap();
    shared.index.lock().environments.insert(name, Own::Read(Arc::new(environment)));
}

/// A task `job` without secrets in environment `dev`, taken up by its own rounds.
pub(crate) async fn ready_task(server: &Mutex<Server>, shared: &Shared) -> Release {
    put_environment(shared, "dev");
    let policy = json!({"registries": [{"prefix": "registry.example.com/"}], "logs": {"mode": "Disabled"}});
    shared.index.lock().policy = Some(DataPlanePolicy::new("default", serde_json::from_value(policy).unwrap()));
    let spec = ReleaseSpec { env: None, ..task() };
    let mut release: Release = serde_json::from_value(own("Release", "job", json!(spec), json!({}))).unwrap();
    while release.status.as_ref().is_none_or(|status| status.effective.is_none()) {
        shared.index.lock().releases.insert("job".to_owned(), Own::Read(Arc::new(release.clone())));
        Release::reconcile(shared, "job", &release, Timestamp::UNIX_EPOCH).await.unwrap();
        let stored = server.lock().unwrap().objects[&format!("{OWN}/releases/job/status")]["status"].clone();
        release.status = serde_json::from_value(stored).unwrap();
    }
    shared.index.lock().releases.insert("job".to_owned(), Own::Read(Arc::new(release.clone())));
    release
}

/// Stands in every text that a kubelet, a runtime, the scheduler or a controller writes into [`planted_pod`].
pub(crate) const CANARY: &str = "s3cret-of-the-customer";

/// Reasons with which a container waits, and one that only a runtime could have made up.
pub(crate) const WAITING: [&str; 14] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "StartError",
    "PostStartHookError",
    CANARY,
];

/// The same while its start gate is in this state, in the cluster's words with the canary.
pub(crate) fn planted_gate(state: &str, waiting: &str) -> k8s_openapi::api::core::v1::Pod {
    let words = format!("exec: \"/{CANARY}\": no such file or directory");
    let ended = json!({"terminated": {"reason": CANARY, "exitCode": 1, "message": words, "containerID": CANARY}});
    let passed = json!({"terminated": {"reason": "Completed", "exitCode": 0, "containerID": CANARY}});
    let (state, last) = match state {
        "tries" => (json!({"running": {}}), json!({})),
        "tries again" => (json!({"running": {}}), ended),
        "ended" => (ended, json!({})),
        "passed" => (passed, ended),
        _ => (json!({"waiting": {"reason": waiting, "message": words}}), json!({})),
    };
    let mut pod = planted_pod("PodInitializing", true);
    let gate = json!([{"name": "start-gate", "ready": false, "restartCount": 1, "image": CANARY, "imageID": CANARY,
        "state": state, "lastState": last}]);
    pod.status.get_or_insert_default().init_container_statuses = serde_json::from_value(gate).unwrap();
    pod
}

/// A pod of the template `new` with the canary wherever the cluster puts words: reasons, messages, conditions, the image.
pub(crate) fn planted_pod(waiting: &str, scheduled: bool) -> k8s_openapi::api::core::v1::Pod {
    let words =
        format!("exec: \"/{CANARY}\": stat /{CANARY}: no such file or directory; runAsNonRoot; insufficient {CANARY}");
    let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": words});
    // The one reason whose message is looked at.
    let ended = if waiting == "StartError" { waiting } else { CANARY };
    let place = if scheduled { ("True", "") } else { ("False", "Unschedulable") };
    serde_json::from_value(json!({
        "metadata": {"name": "web-new-1", "namespace": "ns",
            "labels": {"pod-template-hash": "new", "batch.kubernetes.io/job-name": "j"}},
        "spec": {"containers": [{"name": "main", "image": format!("{CANARY}.test/web")}]},
        "status": {
            "phase": "Pending", "reason": CANARY, "message": words,
            "conditions": [
                condition("PodScheduled", place.0, place.1),
                condition("Ready", "False", CANARY),
                condition("DisruptionTarget", "True", CANARY),
            ],
            "containerStatuses": [{
                "name": "main", "ready": false, "restartCount": 3, "image": "i", "imageID": CANARY,
                "state": {"waiting": {"reason": waiting, "message": words}},
                "lastState": {"terminated": {"reason": ended, "exitCode": 128, "message": words, "containerID": CANARY}},
            }],
        },
    }))
    .unwrap()
}

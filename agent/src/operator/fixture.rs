//! Specs that the tests of this module share.

use protocol::spec::ReleaseSpec;
use serde_json::json;

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
            {"path": "/etc/app/settings.yaml", "content": "a: 1\n"},
            {"path": "/etc/app/token", "secretRef": {"path": "shop/api", "key": "token", "version": 2}},
        ],
        "endpoints": [
            {"name": "http", "port": 8080, "kind": "HTTP", "visibility": ["Project"]},
            {"name": "metrics", "port": 9090, "kind": "HTTP"},
        ],
        "scaling": {"replicas": 2},
        "resources": {"cpuRequest": "100m", "memoryLimit": "256Mi"},
        "probes": {"liveness": {"port": 8080, "path": "/status/200", "periodSeconds": 5}},
        "security": {"runAsUser": 10001},
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

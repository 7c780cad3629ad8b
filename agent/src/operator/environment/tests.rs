//! What a round asks of the API server.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::*;
use crate::operator::fixture::server::{self, Server};

/// The process that made the namespace ended before it bound its rights there.
#[tokio::test]
async fn a_namespace_without_the_binding_gets_it_before_anything_in_it_is_read() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let mut environment: Environment = serde_json::from_value(json!({
        "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Environment",
        "metadata": {"name": "shop-dev", "uid": "e", "resourceVersion": "1", "generation": 1},
        "spec": {"state": "Present", "organization": "acme", "project": "shop", "environment": "dev"},
    }))
    .unwrap();
    let begun = || {
        let shared = server::shared(&server);
        let policy = json!({"registries": [{"prefix": "registry.example.com/"}], "logs": {"mode": "Disabled"}});
        let policy = DataPlanePolicy::new("default", serde_json::from_value(policy).unwrap());
        shared.index.lock().policy = Some(policy);
        shared
    };
    Environment::reconcile(&begun(), "shop-dev", &environment, Timestamp::UNIX_EPOCH).await.unwrap();
    {
        let mut server = server.lock().unwrap();
        let status = "/apis/pdp-agent.dev/v1alpha1/namespaces/pdp/environments/shop-dev/status";
        environment.status = serde_json::from_value(server.objects[status]["status"].clone()).unwrap();
        let namespace = environment.status.as_ref().unwrap().namespace.clone().unwrap();
        server.objects.retain(|path, _| *path == format!("/api/v1/namespaces/{namespace}"));
        assert_eq!(server.objects.len(), 1);
        server.bound = Some("/serviceaccounts/");
    }
    let shared = begun();
    for _ in 0..2 {
        Environment::reconcile(&shared, "shop-dev", &environment, Timestamp::UNIX_EPOCH).await.unwrap();
    }
    let server = server.lock().unwrap();
    let made = |part: &str| server.objects.keys().any(|path| path.contains(part));
    assert!(made("/rolebindings/") && made("/networkpolicies/"), "{:#?}", server.asked);
}

#[tokio::test]
async fn an_environment_without_its_handles_says_so_and_nothing_else_is_written() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let shared = server::shared(&server);
    let mut environment: Environment = serde_json::from_value(json!({
        "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Environment",
        "metadata": {"name": "shop-dev", "uid": "e", "resourceVersion": "1", "generation": 1},
        "spec": {"state": "Present", "organization": "acme", "project": "shop"},
    }))
    .unwrap();
    let status = "/apis/pdp-agent.dev/v1alpha1/namespaces/pdp/environments/shop-dev/status";
    for _ in 0..2 {
        Environment::reconcile(&shared, "shop-dev", &environment, Timestamp::UNIX_EPOCH).await.unwrap();
        let stored = server.lock().unwrap().objects[status].clone();
        environment.status = serde_json::from_value(stored["status"].clone()).unwrap();
    }
    assert_eq!(server.lock().unwrap().asked, [format!("PUT {status}")], "once");
    let conditions = environment.status.unwrap().conditions;
    for (condition, expected) in [("Ready", "False"), ("Stalled", "True")] {
        let found = conditions.iter().find(|found| found.condition_type == condition).unwrap();
        assert_eq!((found.status.as_str(), found.reason.as_str()), (expected, "Invalid"));
        assert!(found.message.contains("set all three"), "{}", found.message);
    }
}

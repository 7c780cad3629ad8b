//! What a round asks of the API server.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::*;
use crate::operator::fixture::server::{self, Server};

fn environment() -> Environment {
    serde_json::from_value(json!({
        "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Environment",
        "metadata": {"name": "shop-dev", "uid": "e", "resourceVersion": "1", "generation": 1},
        "spec": {"state": "Present", "organization": "acme", "project": "shop", "environment": "dev"},
    }))
    .unwrap()
}

/// An operator that has just begun.
fn begun(server: &Arc<Mutex<Server>>) -> Shared {
    let shared = server::shared(server);
    let policy = json!({"registries": [{"prefix": "registry.example.com/"}], "logs": {"mode": "Disabled"}});
    shared.index.lock().policy = Some(DataPlanePolicy::new("default", serde_json::from_value(policy).unwrap()));
    shared
}

async fn round(shared: &Shared, environment: &Environment) -> Result<Option<Duration>, ApiError> {
    Environment::reconcile(shared, "shop-dev", environment, Timestamp::UNIX_EPOCH).await
}

const STATUS: &str = "/apis/pdp-agent.dev/v1alpha1/namespaces/pdp/environments/shop-dev/status";

fn status(server: &Arc<Mutex<Server>>) -> crate::kinds::EnvironmentStatus {
    serde_json::from_value(server.lock().unwrap().objects[STATUS]["status"].clone()).unwrap()
}

/// Everything but the namespace and what `keep` says is gone; its name.
fn lost(server: &Arc<Mutex<Server>>, keep: &str) -> String {
    let namespace = status(server).namespace.unwrap();
    let itself = format!("/api/v1/namespaces/{namespace}");
    server.lock().unwrap().objects.retain(|path, _| *path == itself || path.contains(keep));
    namespace
}

/// The process that made the namespace ended before it bound its rights there.
#[tokio::test]
async fn a_namespace_without_the_binding_gets_it_before_anything_in_it_is_read() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let mut environment = environment();
    round(&begun(&server), &environment).await.unwrap();
    environment.status = Some(status(&server));
    lost(&server, "nothing");
    server.lock().unwrap().bound = Some("/serviceaccounts/");
    let shared = begun(&server);
    for _ in 0..2 {
        round(&shared, &environment).await.unwrap();
    }
    let server = server.lock().unwrap();
    let made = |part: &str| server.objects.keys().any(|path| path.contains(part));
    assert!(made("/rolebindings/") && made("/networkpolicies/"), "{:#?}", server.asked);
}

/// A person has taken out whom it binds.
#[tokio::test]
async fn an_emptied_binding_is_filled_again_before_anything_that_it_allows_is_read() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let mut environment = environment();
    round(&begun(&server), &environment).await.unwrap();
    environment.status = Some(status(&server));
    let namespace = lost(&server, "/rolebindings/");
    let shared = begun(&server);
    {
        let mut server = server.lock().unwrap();
        server.bound = Some("/serviceaccounts/");
        for (path, object) in server.objects.iter_mut().filter(|(path, _)| path.contains("/rolebindings/")) {
            object["subjects"] = json!([]);
            let name = path.rsplit_once('/').unwrap().1;
            observe::absorb(&shared, &Place::new(ObjectKind::RoleBinding, &namespace, name), object);
        }
    }
    for _ in 0..2 {
        round(&shared, &environment).await.unwrap();
    }
    let server = server.lock().unwrap();
    let bindings: Vec<_> = server.objects.iter().filter(|(path, _)| path.contains("/rolebindings/")).collect();
    assert!(bindings.iter().any(|(_, object)| !object["subjects"].as_array().unwrap().is_empty()), "{bindings:#?}");
    assert!(server.objects.keys().any(|path| path.contains("/networkpolicies/")), "{:#?}", server.asked);
}

/// Somebody has deleted its object and made it anew.
#[tokio::test]
async fn an_absent_environment_without_status_takes_the_namespace_along_that_carries_its_label() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let mut environment = environment();
    round(&begun(&server), &environment).await.unwrap();
    let namespace = lost(&server, "/rolebindings/");
    environment.spec.body.state = Desired::Absent;
    let shared = begun(&server);
    let itself = format!("/api/v1/namespaces/{namespace}");
    let object = server.lock().unwrap().objects[&itself].clone();
    observe::absorb(&shared, &Place::new(ObjectKind::Namespace, "", &namespace), &object);
    round(&shared, &environment).await.unwrap();
    assert!(!server.lock().unwrap().objects.contains_key(&itself), "{:#?}", server.lock().unwrap().asked);
}

/// An older agent cannot read the newest documents: it does not know whether they are absent.
#[tokio::test]
async fn a_release_that_cannot_be_read_keeps_its_environment() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let mut environment = environment();
    round(&begun(&server), &environment).await.unwrap();
    environment.status = Some(status(&server));
    let namespace = lost(&server, "/rolebindings/");
    environment.spec.body.state = Desired::Absent;
    let shared = begun(&server);
    let labels = json!({"pdp-agent.dev/release": "web", "pdp-agent.dev/data-plane": "dp1"});
    let object =
        json!({"kind": "Service", "metadata": {"name": "web", "uid": "s", "resourceVersion": "1", "labels": labels}});
    observe::absorb(&shared, &Place::new(ObjectKind::Service, &namespace, "web"), &object);
    let unreadable =
        crate::operator::world::index::Own::Unreadable { metadata: Box::default(), error: "newer".to_owned() };
    shared.index.lock().releases.insert("web".to_owned(), unreadable);
    round(&shared, &environment).await.unwrap();
    assert!(server.lock().unwrap().objects.contains_key(&format!("/api/v1/namespaces/{namespace}")));
    let ready = status(&server).conditions.into_iter().find(|condition| condition.condition_type == "NotEmpty");
    assert!(ready.unwrap().message.contains("web"));
}

#[tokio::test]
async fn what_the_cluster_refuses_of_an_environment_is_said() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let shared = begun(&server);
    server.lock().unwrap().judge = Some(|object| {
        let message = "networkpolicies is forbidden: exceeded quota: few, requested: count/networkpolicies=1";
        let refusal = json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": message});
        (object["kind"] == "NetworkPolicy").then_some(refusal)
    });
    round(&shared, &environment()).await.unwrap_err();
    let stalled = status(&server).conditions.into_iter().find(|condition| condition.condition_type == "Stalled");
    let stalled = stalled.unwrap();
    assert_eq!((stalled.reason.as_str(), stalled.message.contains("exceeded quota")), ("Quota", true), "{stalled:?}");
}

#[tokio::test]
async fn an_environment_without_its_handles_says_so_and_nothing_else_is_written() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let shared = server::shared(&server);
    let mut environment = environment();
    environment.spec.body.environment = None;
    for _ in 0..2 {
        round(&shared, &environment).await.unwrap();
        environment.status = Some(status(&server));
    }
    assert_eq!(server.lock().unwrap().asked, [format!("PUT {STATUS}")], "once");
    let conditions = environment.status.unwrap().conditions;
    for (condition, expected) in [("Ready", "False"), ("Stalled", "True")] {
        let found = conditions.iter().find(|found| found.condition_type == condition).unwrap();
        assert_eq!((found.status.as_str(), found.reason.as_str()), (expected, "Invalid"));
        assert!(found.message.contains("set all three"), "{}", found.message);
    }
}

use std::sync::{Arc, Mutex};

use super::*;
use crate::operator::fixture::server::{self, Server};
use crate::operator::object::owner::OwnerKind;
use crate::operator::world::tracked::Place;

fn deployment(image: &str, replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "ns", "labels": {"pdp-agent.dev/data-plane": "dp1", "pdp-agent.dev/release": "web"}},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "main", "image": image}]}}}})
}

fn refusal(code: u16, message: &str) -> Option<Value> {
    Some(json!({"kind": "Status", "status": "Failure", "code": code, "reason": "Forbidden", "message": message}))
}

fn no_room(object: &Value) -> Option<Value> {
    let message =
        "pods \"web\" is forbidden: exceeded quota: pdp-quota, requested: pods=1, used: pods=2, limited: pods=2";
    if object["kind"] == "Pod" { refusal(403, message) } else { None }
}

fn no_pod_of_the_operator(object: &Value) -> Option<Value> {
    let message =
        "pods \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: not by you";
    if object["kind"] == "Pod" { refusal(422, message) } else { None }
}

/// Asks about `wanted` where `present` runs. Returns the reason, and what was tried.
async fn asked(
    judge: fn(&Value) -> Option<Value>,
    present: Option<&Value>,
    wanted: &Value,
) -> (Option<String>, Vec<String>) {
    let server: Arc<Mutex<Server>> = Arc::default();
    server.lock().unwrap().judge = Some(judge);
    let shared = server::shared(&server);
    if let Some(present) = present {
        let mut live = present.clone();
        live["metadata"]["uid"] = json!("u");
        live["metadata"]["resourceVersion"] = json!("1");
        server.lock().unwrap().objects.insert("/apis/apps/v1/namespaces/ns/deployments/web".to_owned(), live.clone());
        observe::absorb(&shared, &Place::new(ObjectKind::Deployment, "ns", "web"), &live);
    }
    let answer = check(&shared, OwnerKind::Release.named("web"), std::slice::from_ref(wanted), present.is_some()).await;
    let asked = server.lock().unwrap().asked.clone();
    let reason = match answer {
        Ok(()) => None,
        Err(Halt::Blocked(why, _) | Halt::Invalid(why)) => Some(why.reason),
        Err(Halt::Api(error)) => panic!("{error}"),
    };
    (reason, asked.into_iter().filter(|line| line.starts_with("POST")).collect())
}

const POD: &str = "POST /api/v1/namespaces/ns/pods";

#[tokio::test]
async fn a_full_quota_stops_neither_fewer_pods_nor_none_nor_those_that_run() {
    let runs = deployment("a@sha256:1", 2);
    let none = Vec::<String>::new();
    for (wanted, reason, tried) in [
        (deployment("a@sha256:1", 2), None, none.clone()),
        (deployment("a@sha256:1", 1), None, none.clone()),
        (deployment("a@sha256:1", 0), None, none.clone()),
        (deployment("b@sha256:2", 1), None, vec![POD.to_owned()]),
        (deployment("b@sha256:2", 0), None, vec![POD.to_owned()]),
        (deployment("b@sha256:2", 2), Some("Quota".to_owned()), vec![POD.to_owned()]),
    ] {
        assert_eq!(asked(no_room, Some(&runs), &wanted).await, (reason, tried), "{wanted}");
    }
    let first = asked(no_room, None, &deployment("a@sha256:1", 1)).await;
    assert_eq!(
        first,
        (Some("Quota".to_owned()), vec![POD.to_owned()]),
        "nothing is tried that is created right after, but a pod"
    );
}

#[tokio::test]
async fn a_full_quota_stops_no_first_release_that_makes_no_pod_when_it_is_deployed() {
    assert_eq!(asked(no_room, None, &deployment("a@sha256:1", 0)).await, (None, vec![POD.to_owned()]));
    let mut task = deployment("a@sha256:1", 1);
    (task["apiVersion"], task["kind"]) = (json!("batch/v1"), json!("Job"));
    task["spec"].as_object_mut().unwrap().remove("replicas");
    let tried = vec!["POST /apis/batch/v1/namespaces/ns/jobs".to_owned(), POD.to_owned()];
    assert_eq!(asked(no_room, None, &task).await, (None, tried.clone()));
    let policy = asked(no_pod_of_the_operator, None, &task).await;
    assert_eq!(policy, (Some("PolicyDenied".to_owned()), tried), "a policy would refuse its runs as well");
}

#[tokio::test]
async fn a_policy_that_refuses_what_runs_already_meets_only_the_trial() {
    let runs = deployment("a@sha256:1", 2);
    let wanted = deployment("b@sha256:2", 2);
    assert_eq!(asked(no_pod_of_the_operator, Some(&runs), &wanted).await, (None, vec![POD.to_owned(), POD.to_owned()]));
    let only_new = |object: &Value| {
        let image = object.pointer("/spec/containers/0/image").and_then(Value::as_str);
        if image == Some("b@sha256:2") { no_pod_of_the_operator(object) } else { None }
    };
    assert_eq!(asked(only_new, Some(&runs), &wanted).await.0.as_deref(), Some("PolicyDenied"));
    assert_eq!(asked(no_pod_of_the_operator, None, &wanted).await.0.as_deref(), Some("PolicyDenied"));
}

#[test]
fn one_pod_is_what_the_controller_would_make() {
    let pod = one_pod(&deployment("a@sha256:1", 1)).unwrap();
    let owner = &pod["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["controller"]), (&json!("ReplicaSet"), &json!(true)));
    assert_eq!((&pod["metadata"]["labels"], &pod["metadata"]["namespace"]), (&json!({"a": "b"}), &json!("ns")));
    let name = pod["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with(pod["metadata"]["generateName"].as_str().unwrap()), "{name}");
    assert_eq!(one_pod(&json!({"kind": "Service", "metadata": {"name": "web"}})), None);
}

#[test]
fn a_policy_speaks_first_and_every_word_is_kept() {
    let why = why(vec![(Class::Quota, "no room".to_owned()), (Class::Policy, "no latest".to_owned())]);
    assert_eq!(why.reason, "PolicyDenied");
    assert!(why.message.contains("no room") && why.message.contains("no latest"));
}

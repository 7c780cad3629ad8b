//! The messages in the status of a release are true, whatever it is.

use protocol::report::Replicas;

use super::*;

fn ready(scene: &Scene) -> &protocol::report::Condition {
    scene.status.conditions.iter().find(|condition| condition.condition_type == "Ready").unwrap()
}

#[test]
fn a_release_is_not_said_to_serve_with_what_it_does_not_have() {
    let mut scene = Scene::serving();
    assert_eq!(ready(&scene).message, "all pods serve on every endpoint");
    scene.kind = Kind::WithoutEndpoints;
    scene.step();
    assert_eq!(ready(&scene).message, "all pods are ready; the release has no endpoints");
    scene.workload.deployment.as_mut().unwrap().desired = 0;
    scene.workload.deployment.as_mut().unwrap().total = 0;
    scene.workload.pods.clear();
    scene.step();
    assert_eq!(ready(&scene).message, "the release asks for no pods, and none runs");
}

#[test]
fn a_task_is_said_to_be_runnable_and_not_to_serve() {
    let mut scene = Scene::new();
    scene.kind = Kind::Task;
    scene.admit();
    scene.everything_is_there();
    scene.step();
    let ready = ready(&scene);
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("True", "Runnable"));
    assert!(!ready.message.contains("serve") && !ready.message.contains("endpoint"), "{}", ready.message);
    assert_eq!(scene.status.facts[0].reason, "Runnable");
    assert_eq!(scene.status.replicas, None);
}

#[test]
fn pods_on_their_way_out_never_make_more_ready_pods_than_wanted() {
    let mut scene = Scene::serving();
    let old = PodView {
        name: "web-old".to_owned(),
        template_hash: Some("old".to_owned()),
        ready: true,
        ..PodView::default()
    };
    scene.workload.pods.push(old);
    scene.step();
    assert_eq!(scene.condition("Ready"), "True Serving");
    assert_eq!(scene.status.replicas, Some(Replicas { desired: 1, updated: 1, ready: 1 }));
}

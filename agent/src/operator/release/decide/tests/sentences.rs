//! The messages in the status of a release are true, whatever it is.

use protocol::report::Replicas;

use super::*;
use crate::operator::world::mark::Mark;

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

#[test]
fn pods_that_run_another_image_than_was_asked_for_are_told_of_without_its_name() {
    let asked = "image-rev1";
    let of = |scene: &Scene| scene.condition("ImageRewritten");
    let mut scene = Scene::serving();
    scene.workload.pods[0].image = Some(Mark::of(asked));
    scene.step();
    assert_eq!(of(&scene), "none");
    scene.workload.pods[0].image = Some(Mark::of("mirror.customer.test/image-rev1"));
    scene.step();
    assert_eq!((of(&scene).as_str(), scene.condition("Ready").as_str()), ("True ChangedInCluster", "True Serving"));
    let said = json!(scene.status).to_string();
    assert!(said.contains("kubectl get pods -n ns -l pdp-agent.dev/release=web") && !said.contains("mirror"), "{said}");
    // Pods come and go: nothing is written for it.
    assert_eq!(scene.step(), "[]");
    let pods = std::mem::take(&mut scene.workload.pods);
    scene.step();
    assert_eq!(of(&scene), "True ChangedInCluster");
    scene.workload.pods = pods;
    scene.workload.pods[0].image = Some(Mark::of(asked));
    scene.step();
    assert_eq!(of(&scene), "none", "the webhook is gone");
}

#[test]
fn an_image_that_cannot_be_pulled_and_is_not_the_one_asked_for_is_told_of_while_it_waits() {
    let mut scene = Scene::new();
    scene.admit();
    scene.everything_is_there();
    scene.pods("rev1", false);
    let waiting = Waiting { reason: ClusterWords::new("ImagePullBackOff"), message: ClusterWords::new(": not found") };
    scene.workload.pods[0].waiting = Some(waiting);
    scene.workload.pods[0].image = Some(Mark::of("mirror.customer.test/image-rev1"));
    scene.step();
    assert_eq!(scene.condition("Stalled"), "True ImagePull");
    assert_eq!(scene.condition("ImageRewritten"), "True ChangedInCluster");
}

#[test]
fn pods_of_what_ran_before_are_not_taken_for_pods_of_the_new_image() {
    let mut scene = Scene::serving();
    scene.workload.pods[0].image = Some(Mark::of("image-rev1"));
    scene.generation(2);
    scene.admit();
    assert_eq!(scene.condition("ImageRewritten"), "none");
    scene.everything_is_there();
    // The Deployment is written, and its controller has not made new pods yet.
    scene.workload.deployment.as_mut().unwrap().generation = 2;
    scene.step();
    assert_eq!(scene.condition("ImageRewritten"), "none");
    // A person has the Deployment run something else: that is repaired, or contested.
    let mut scene = Scene::serving();
    scene.drifts(ObjectKind::Deployment, "web", true, fights::MAX);
    scene.workload.pods[0].image = Some(Mark::of("image-of-a-person"));
    scene.step();
    assert_eq!(
        (scene.condition("Contested").as_str(), scene.condition("ImageRewritten").as_str()),
        ("True Contested", "none")
    );
}

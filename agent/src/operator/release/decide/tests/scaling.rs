//! An autoscaler of ours: switched on and off around a Deployment that serves, and pods that it starts later.

use super::*;
use crate::operator::world::mark::Mark;
use crate::operator::world::workload::{AutoscalerView, Blind};

fn blind(blind: Option<Blind>) -> Option<AutoscalerView> {
    Some(AutoscalerView { spec: Mark::of("spec"), least: 1, blind })
}

/// As generation 1 serves with an autoscaler.
fn scaled() -> Scene {
    let mut scene = Scene::new();
    scene.autoscaled = vec!["rev1"];
    scene.admit();
    scene.everything_is_there();
    scene.pods("rev1", true);
    scene.workload.autoscaler = blind(None);
    scene.step();
    assert_eq!(content_state(&scene.status, &scene.identity), ContentState::Effective);
    scene
}

fn autoscaler() -> ObjectRef {
    reference(ObjectKind::HorizontalPodAutoscaler, "web")
}

fn message<'a>(scene: &'a Scene, condition: &str) -> &'a str {
    let found = scene.status.conditions.iter().find(|found| found.condition_type == condition);
    found.map_or("", |found| &found.message)
}

fn replicas(write: &Write<ReleaseStatus>) -> Option<&Value> {
    match write {
        Write::Apply { object, .. } => object.pointer("/spec/replicas"),
        Write::Status(_) | Write::Create(_) | Write::CreateSecret(_) | Write::Delete { .. } => None,
    }
}

#[test]
fn an_autoscaler_takes_over_the_pods_that_run() {
    let mut scene = Scene::serving();
    scene.generation(2);
    scene.autoscaled = vec!["rev2"];
    scene.admit();
    scene.drifts(ObjectKind::Deployment, "web", false, 0);
    let deployment = scene.live.get_mut(&reference(ObjectKind::Deployment, "web")).unwrap();
    (deployment.drift, deployment.autoscaled) = (vec!["/metadata/annotations".to_owned()], Some(5));
    let decision = scene.decide();
    let writes = format!("{:?}", decision.writes);
    assert_eq!(writes, "[create ConfigMap/config-rev2, apply Deployment/web, create HorizontalPodAutoscaler/web]");
    assert_eq!(replicas(&decision.writes[1]), Some(&json!(5)));
}

#[test]
fn what_an_autoscaler_has_set_stays_until_it_is_gone_and_then_the_named_number_is_taken() {
    let mut scene = scaled();
    scene.generation(2);
    scene.admit();
    let deployment = reference(ObjectKind::Deployment, "web");
    // The one of generation 1 still scales it, which the API server was asked.
    scene.live.get_mut(&deployment).unwrap().drift = vec!["/metadata/annotations".to_owned()];
    scene.live.get_mut(&deployment).unwrap().autoscaled = Some(5);
    let decision = scene.decide();
    assert_eq!(format!("{:?}", decision.writes), "[create ConfigMap/config-rev2, apply Deployment/web]");
    assert_eq!(replicas(&decision.writes[1]), Some(&json!(5)));
    scene.everything_is_there();
    scene.pods("rev2", true);
    // Nobody looks for it while the new revision is rolled out.
    let left = scene.live.remove(&autoscaler()).unwrap();
    assert_eq!(scene.decide().wake, Some(Duration::ZERO));
    scene.step();
    assert_eq!(scene.condition("Ready"), "True Serving");
    scene.live.insert(autoscaler(), left);
    assert_eq!(scene.step(), "[delete HorizontalPodAutoscaler/web]", "it goes once the new revision serves");
    scene.live.remove(&autoscaler());
    scene.drifts(ObjectKind::Deployment, "web", false, 0);
    let decision = scene.decide();
    assert!(format!("{:?}", decision.writes).starts_with("[apply Deployment/web"), "{:?}", decision.writes);
    assert_eq!(replicas(&decision.writes[0]), Some(&json!(2)));
}

#[test]
fn an_autoscaler_that_somebody_deletes_comes_back() {
    let mut scene = scaled();
    scene.live.remove(&autoscaler());
    assert!(scene.step().starts_with("[create HorizontalPodAutoscaler/web"));
    scene.everything_is_there();
    assert_eq!(scene.step(), "[]");
}

#[test]
fn pods_that_an_autoscaler_starts_are_more_than_are_needed_to_serve() {
    let mut scene = scaled();
    let deployment = scene.workload.deployment.as_mut().unwrap();
    (deployment.desired, deployment.generation) = (3, 2);
    scene.step();
    assert_eq!(scene.condition("Ready"), "True Serving", "its controller has not seen yet that the number is another");
    let deployment = scene.workload.deployment.as_mut().unwrap();
    (deployment.observed_generation, deployment.updated, deployment.total) = (2, 3, 3);
    scene.step();
    assert_eq!(scene.condition("Ready"), "True Serving");
    assert_eq!(message(&scene, "Ready"), "enough pods serve, and the autoscaler asks for more");
    scene.workload.deployment.as_mut().unwrap().failure = Some(ClusterWords::new("exceeded quota: pdp-quota"));
    scene.step();
    assert!(
        message(&scene, "Ready")
            .starts_with("enough pods serve, and the autoscaler asks for more; the namespace's quota")
    );
    // Of what is rolled out all have to be there.
    scene.generation(2);
    scene.autoscaled = vec!["rev1", "rev2"];
    scene.admit();
    scene.everything_is_there();
    scene.pods("rev2", true);
    let deployment = scene.workload.deployment.as_mut().unwrap();
    (deployment.desired, deployment.updated, deployment.total) = (3, 3, 3);
    scene.step();
    assert_eq!(scene.condition("Ready"), "False RollingOut");
}

#[test]
fn a_version_of_which_enough_pods_and_not_all_are_ready_does_not_count_as_the_one_before() {
    let mut scene = scaled();
    scene.generation(2);
    scene.autoscaled = vec!["rev1", "rev2"];
    scene.admit();
    scene.everything_is_there();
    scene.pods("rev2", true);
    let deployment = scene.workload.deployment.as_mut().unwrap();
    (deployment.desired, deployment.updated, deployment.total) = (3, 3, 4);
    scene.step();
    scene.now += SignedDuration::from_secs(301);
    scene.step();
    assert_eq!(scene.condition("Failed"), "True ProgressDeadlineExceeded");
    scene.step();
    assert_eq!(scene.condition("RolledBack"), "False RolloutFailed");
    scene.pods("rev1", true);
    scene.step();
    assert_eq!(scene.condition("RolledBack"), "True RolloutFailed");
    scene.workload.deployment.as_mut().unwrap().desired = 3;
    scene.step();
    assert_eq!(scene.facts().last(), Some(&(FactKind::RolledBack, 2)));
}

#[test]
fn an_autoscaler_that_knows_nothing_of_its_pods_says_what_to_do_and_the_release_serves() {
    let mut scene = scaled();
    for (why, reason, words) in [
        (Blind::NothingMeasures, "NoMetrics", "install metrics-server"),
        (Blind::NothingRequested, "NoRequest", "give it a request"),
        (Blind::Another, "AnotherAutoscaler", "kubectl get hpa -n ns"),
    ] {
        scene.workload.autoscaler = blind(Some(why));
        assert_eq!(scene.step(), "[status]");
        assert_eq!(
            (scene.condition("CannotScale"), scene.condition("Ready")),
            (format!("True {reason}"), "True Serving".to_owned())
        );
        let said = message(&scene, "CannotScale");
        assert!(said.contains(words), "{said}");
        assert_eq!(scene.step(), "[]", "said once");
    }
    scene.workload.autoscaler = blind(None);
    scene.step();
    assert_eq!(scene.condition("CannotScale"), "none");
}

use std::collections::BTreeSet;

use jiff::SignedDuration;
use protocol::report::FactKind;
use serde_json::{Value, json};

use super::*;
use crate::kinds::ObjectRef;
use crate::kinds::conditions::Reason;
use crate::operator::reconcile::fights;
use crate::operator::reconcile::modified::Modified;
use crate::operator::reconcile::rendering::Rendering;
use crate::operator::reconcile::write::Live;
use crate::operator::world::cluster_words::ClusterWords;
use crate::operator::world::workload::{DeploymentView, PodView, ReplicaSetView, SliceView, Waiting};

mod dies;
mod edits;
mod removal;
mod scene;
mod sentences;
mod words;

use scene::{Kind, Scene, live, reference, rendering};

#[test]
fn until_the_controller_has_seen_the_deployment_status_is_written_once() {
    let mut scene = Scene::new();
    scene.admit();
    let is_status = |write: &Write<ReleaseStatus>| matches!(write, Write::Status(_));
    let decision = scene.decide();
    assert!(!decision.writes.is_empty() && !decision.writes.iter().any(is_status), "{:?}", decision.writes);
    scene.everything_is_there();
    assert_eq!(scene.decide().writes, []);
    let deployment = DeploymentView { generation: 1, desired: 1, ..DeploymentView::default() };
    scene.workload.deployment = Some(deployment.clone());
    assert_eq!(scene.decide().writes, []);
    scene.workload.deployment = Some(DeploymentView { observed_generation: 1, ..deployment });
    assert!(scene.decide().writes.iter().all(is_status));
    assert_eq!(scene.decide().writes.len(), 1);
}

#[test]
fn a_new_release_is_added_served_and_then_nothing_is_written() {
    let mut scene = Scene::new();
    assert_eq!(content_state(&scene.status, &scene.identity), ContentState::New);
    scene.admit();
    assert_eq!(scene.step(), "[create ConfigMap/config-rev1, create Service/web-http, create Deployment/web]");
    assert_eq!(scene.condition("Ready"), "False RollingOut");
    scene.everything_is_there();
    scene.pods("rev1", false);
    scene.step();
    assert_eq!(scene.condition("Ready"), "False RollingOut");
    scene.pods("rev1", true);
    assert_eq!(scene.step(), "[status]");
    assert_eq!((scene.condition("Ready").as_str(), scene.facts()), ("True Serving", vec![(FactKind::Ready, 1)]));
    assert_eq!(scene.step(), "[]", "nothing changes, nothing is written");
}

#[test]
fn an_update_switches_addresses_only_when_the_new_pods_serve_and_prunes_after_the_drain() {
    let mut scene = Scene::serving();
    scene.generation(2);
    scene.admit();
    scene.drifts(ObjectKind::Service, "web-http", false, 0);
    scene.drifts(ObjectKind::Deployment, "web", false, 0);
    assert_eq!(scene.step(), "[create ConfigMap/config-rev2, apply Deployment/web]");
    scene.everything_is_there();
    scene.drifts(ObjectKind::Service, "web-http", false, 0);
    scene.pods("rev2", false);
    assert!(!scene.step().contains("Service"), "callers are not moved yet");
    scene.pods("rev2", true);
    assert!(scene.step().starts_with("[apply Service/web-http"), "now they are");
    assert_eq!(scene.condition("Ready"), "False RollingOut");
    scene.everything_is_there();
    let old = PodView { name: "old".to_owned(), template_hash: Some("rev1".to_owned()), ..PodView::default() };
    scene.workload.pods.push(PodView { terminating: true, ..old });
    scene.step();
    assert_eq!(scene.condition("Ready"), "True Serving");
    assert_eq!(scene.step(), "[]", "old pods still drain");
    scene.workload.pods.pop();
    assert_eq!(scene.step(), "[]", "the old configuration belongs to a kept revision");
    scene.status.bindings.retain(|binding| binding.revision == "rev2");
    assert_eq!(scene.step(), "[delete ConfigMap/config-rev1, delete ControllerRevision/rev1]");
}

#[test]
fn configuration_that_something_uses_is_kept() {
    let mut scene = Scene::serving();
    scene.status.objects.push(reference(ObjectKind::ConfigMap, "config-rev0"));
    scene.live.insert(reference(ObjectKind::ConfigMap, "config-rev0"), live());
    scene.in_use = Some(BTreeSet::from(["config-rev0".to_owned()]));
    assert!(!scene.step().contains("delete"));
    scene.in_use = None;
    assert!(!scene.step().contains("delete"), "what was not looked up counts as used");
    scene.in_use = Some(BTreeSet::new());
    assert!(scene.step().contains("delete ConfigMap/config-rev0"));
    scene.live.insert(reference(ObjectKind::ConfigMap, "config-rev0"), Live { ours: false, ..live() });
    assert!(!scene.step().contains("delete"), "somebody else's by now");
}

#[test]
fn the_secret_of_a_revision_that_nothing_is_made_of_goes_with_the_last_that_reads_it() {
    let mut scene = Scene::serving();
    let (secret, config) =
        (reference(ObjectKind::Secret, "secret-rev0"), reference(ObjectKind::ConfigMap, "config-rev0"));
    let slots =
        BTreeMap::from([("secrets".to_owned(), secret.name.clone()), ("config".to_owned(), config.name.clone())]);
    scene.status.bindings.insert(0, Binding { revision: "rev0".to_owned(), slots });
    for object in [secret, config] {
        scene.live.insert(object.clone(), live());
        scene.status.objects.push(object);
    }
    let needs_use = |scene: &Scene, rendering: &Rendering| super::prune::needs_use(&scene.status, rendering);
    assert!(needs_use(&scene, &rendering("rev1")));
    // A run of a task may have been recorded for it and be started later.
    let task = Rendering { job: Some(json!({})), ..rendering("rev1") };
    assert!(!needs_use(&scene, &task));
    scene.in_use = Some(BTreeSet::from(["secret-rev0".to_owned()]));
    assert_eq!(scene.step(), "[]", "pods read it");
    scene.in_use = Some(BTreeSet::new());
    assert_eq!(scene.step(), "[delete Secret/secret-rev0]", "the rendering stays, and its configuration");
    // While it is the serving one, it stays.
    let mut scene = Scene::serving();
    let slots = BTreeMap::from([("secrets".to_owned(), "secret-rev1".to_owned())]);
    scene.status.bindings = vec![Binding { revision: "rev1".to_owned(), slots }];
    scene.status.objects.push(reference(ObjectKind::Secret, "secret-rev1"));
    scene.live.insert(reference(ObjectKind::Secret, "secret-rev1"), live());
    scene.in_use = Some(BTreeSet::new());
    assert_eq!(scene.step(), "[]");
}

#[test]
fn a_rollout_that_fails_goes_back_once_and_is_not_tried_again() {
    let mut scene = Scene::serving();
    scene.generation(2);
    scene.admit();
    scene.everything_is_there();
    scene.pods("rev2", false);
    scene.crashes();
    assert_eq!(scene.step(), "[status]", "the failure is durable before anything goes back");
    assert_eq!(content_state(&scene.status, &scene.identity), ContentState::Failed);
    assert_eq!((scene.condition("Ready").as_str(), target(&scene.status)), ("False CrashLoop", Some("rev1")));
    scene.drifts(ObjectKind::Deployment, "web", false, 0);
    assert!(scene.step().contains("apply Deployment/web"), "the last good revision is applied");
    scene.everything_is_there();
    scene.pods("rev1", true);
    scene.step();
    assert_eq!(scene.condition("RolledBack"), "True RolloutFailed");
    assert_eq!(scene.facts(), [(FactKind::Ready, 1), (FactKind::Failed, 2), (FactKind::RolledBack, 2)]);
    assert_eq!(scene.step(), "[]");
    scene.generation(3);
    assert_eq!(content_state(&scene.status, &scene.identity), ContentState::New, "a new generation is tried");
}

#[test]
fn what_an_earlier_generation_came_to_is_no_outcome_of_one_that_waits() {
    let mut scene = Scene::serving();
    scene.generation(2);
    scene.admit();
    scene.everything_is_there();
    scene.pods("rev2", false);
    scene.crashes();
    scene.step();
    scene.generation(3);
    scene.blocked = Some(Reason::new("PolicyDenied", "not now"));
    scene.everything_is_there();
    scene.pods("rev1", true);
    scene.step();
    assert_eq!(scene.facts(), [(FactKind::Ready, 1), (FactKind::Failed, 2)]);
    assert_eq!(scene.condition("Concluded"), "none");
}

#[test]
fn without_an_earlier_revision_a_failure_stays_for_inspection() {
    let mut scene = Scene::new();
    scene.admit();
    scene.everything_is_there();
    scene.pods("rev1", false);
    scene.crashes();
    scene.step();
    assert_eq!((scene.condition("Failed").as_str(), target(&scene.status)), ("True CrashLoop", None));
    assert_eq!(scene.condition("RolledBack"), "none");
    assert_eq!(scene.step(), "[]");
}

#[test]
fn the_deadline_fails_a_rollout_and_stands_still_while_it_is_stalled() {
    let mut scene = Scene::serving();
    scene.generation(2);
    scene.admit();
    scene.everything_is_there();
    scene.pods("rev2", false);
    scene.step();
    scene.workload.pods[0].unschedulable = Some(ClusterWords::new("0/1 nodes"));
    scene.now += SignedDuration::from_secs(200);
    scene.step();
    assert_eq!(scene.condition("Stalled"), "True Unschedulable");
    scene.now += SignedDuration::from_secs(2000);
    scene.step();
    assert_eq!(
        content_state(&scene.status, &scene.identity),
        ContentState::Rolling,
        "waiting for others has no deadline"
    );
    scene.workload.pods[0].unschedulable = None;
    scene.step();
    assert_eq!(scene.condition("Stalled"), "none");
    scene.now += SignedDuration::from_secs(299);
    scene.step();
    assert_eq!(content_state(&scene.status, &scene.identity), ContentState::Rolling);
    scene.now += SignedDuration::from_secs(2);
    scene.step();
    assert_eq!(scene.condition("Failed"), "True ProgressDeadlineExceeded");
}

#[test]
fn the_deadline_begins_anew_with_each_new_pod_and_not_with_one_in_the_place_of_another() {
    let mut scene = Scene::serving();
    scene.generation(2);
    scene.admit();
    scene.everything_is_there();
    scene.pods("rev2", false);
    scene.workload.deployment.as_mut().unwrap().desired = 4;
    scene.step();
    for number in 2..=4 {
        scene.now += SignedDuration::from_secs(120);
        scene.step();
        let next = PodView { name: format!("web-{number}"), ..scene.workload.pods[0].clone() };
        scene.workload.pods.push(next);
        scene.step();
    }
    scene.now += SignedDuration::from_secs(299);
    scene.step();
    assert_eq!(content_state(&scene.status, &scene.identity), ContentState::Rolling, "{:?}", scene.status.rollout);
    scene.workload.pods[3].evicted = true;
    scene.workload.pods.push(PodView { name: "web-5".to_owned(), ..scene.workload.pods[0].clone() });
    scene.step();
    scene.now += SignedDuration::from_secs(2);
    scene.step();
    assert_eq!(scene.condition("Failed"), "True ProgressDeadlineExceeded");
    assert!(scene.status.failed.as_ref().unwrap().message.contains("evicted: it wrote more than a volume's size"));
    assert_eq!(scene.status.pods[0].reason.as_deref(), Some("Evicted"));
}

#[test]
fn a_service_that_somebody_pointed_elsewhere_is_taken_back_while_new_pods_roll() {
    let mut scene = Scene::serving();
    scene.generation(2);
    scene.admit();
    scene.everything_is_there();
    scene.pods("rev2", false);
    let service = scene.live.get_mut(&reference(ObjectKind::Service, "web-http")).unwrap();
    service.drift = vec!["/spec/selector/no".to_owned()];
    let written = scene.step();
    assert!(written.starts_with("[apply Service/web-http"), "the new pods would never be reached: {written}");
}

#[test]
fn drift_is_repaired_until_somebody_else_insists() {
    let mut scene = Scene::serving();
    for repairs in 0..fights::MAX {
        scene.drifts(ObjectKind::Deployment, "web", true, repairs);
        assert_eq!(scene.step(), "[apply Deployment/web]");
        scene.everything_is_there();
        scene.step();
    }
    scene.drifts(ObjectKind::Deployment, "web", true, fights::MAX);
    assert_eq!(scene.step(), "[status]");
    assert_eq!(scene.condition("Contested"), "True Contested");
    let message = &scene.status.conditions.iter().find(|found| found.condition_type == "Contested").unwrap().message;
    assert!(message.contains("kubectl-edit") && message.contains("/spec/replicas"), "{message}");
    scene.drifts(ObjectKind::Deployment, "web", true, fights::MAX - 1);
    assert!(scene.step().contains("apply Deployment/web"), "after the window it is tried again");
}

#[test]
fn a_deleted_object_comes_back_and_a_foreign_one_is_never_adopted() {
    let mut scene = Scene::serving();
    scene.live.remove(&reference(ObjectKind::Service, "web-http"));
    assert_eq!(scene.step(), "[create Service/web-http]");
    scene.live.insert(
        reference(ObjectKind::Service, "web-http"),
        Live { ours: false, drift: vec!["/spec".to_owned()], ..live() },
    );
    assert_eq!(scene.step(), "[status]");
    assert_eq!(scene.condition("Ready"), "False NameTaken");
}

#[test]
fn a_pause_stops_every_write_but_status() {
    let mut scene = Scene::serving();
    scene.paused = Some("until tomorrow");
    scene.live.clear();
    assert_eq!(scene.step(), "[status]");
    assert_eq!(scene.condition("Paused"), "True AskedFor");
    assert_eq!(scene.step(), "[]");
    scene.paused = None;
    assert!(scene.step().contains("create Deployment/web"));
}

#[test]
fn what_blocks_a_generation_is_said_while_the_last_one_is_kept_alive() {
    let mut scene = Scene::serving();
    scene.generation(2);
    scene.blocked = Some(Reason::new("PolicyDenied", "no such registry"));
    scene.live.remove(&reference(ObjectKind::Deployment, "web"));
    let writes = scene.step();
    assert!(writes.contains("create Deployment/web"), "{writes}");
    assert_eq!(scene.condition("PolicyDenied"), "True PolicyDenied");
    assert_eq!((scene.status.observed_generation, target(&scene.status)), (Some(2), Some("rev1")));
    let message = &scene.status.conditions.iter().find(|found| found.condition_type == "Ready").unwrap().message;
    assert!(message.ends_with("generation 1 serves on"), "{message}");
}

#[test]
fn an_overtaken_rollout_has_no_outcome() {
    let mut scene = Scene::serving();
    scene.generation(2);
    scene.admit();
    scene.everything_is_there();
    scene.pods("rev2", false);
    scene.crashes();
    scene.generation(3);
    scene.blocked = Some(Reason::new("Quota", "no room"));
    scene.step();
    assert_eq!(scene.facts(), [(FactKind::Ready, 1)]);
    assert_eq!(target(&scene.status), Some("rev1"));
}

#[test]
fn the_same_content_under_a_new_generation_rolls_nothing() {
    let mut scene = Scene::serving();
    scene.identity.generation = 2;
    assert_eq!(content_state(&scene.status, &scene.identity), ContentState::New);
    scene.admit();
    assert_eq!(scene.step(), "[status]");
    assert_eq!(scene.facts(), [(FactKind::Ready, 1), (FactKind::Ready, 2)]);
    assert_eq!(scene.step(), "[]");
}

#[test]
fn ten_revisions_are_kept_and_the_serving_one_always() {
    let mut scene = Scene::serving();
    for generation in 2..30 {
        scene.generation(generation);
        scene.admit();
    }
    let kept: Vec<&str> = scene.status.bindings.iter().map(|binding| binding.revision.as_str()).collect();
    assert_eq!(kept.len(), KEPT_REVISIONS);
    assert!(kept.contains(&"rev1") && kept.contains(&"rev29") && !kept.contains(&"rev2"), "{kept:?}");
}

#[test]
fn an_object_that_is_being_deleted_is_waited_for_and_does_not_count_as_serving() {
    let mut scene = Scene::serving();
    scene.live.get_mut(&reference(ObjectKind::Deployment, "web")).unwrap().terminating = true;
    scene.step();
    assert_eq!(scene.condition("Ready"), "False Terminating");
    assert_eq!(scene.condition("Stalled"), "True Terminating");
    scene.generation(2);
    scene.admit();
    scene.everything_is_there();
    scene.live.get_mut(&reference(ObjectKind::Deployment, "web")).unwrap().terminating = true;
    scene.pods("rev2", true);
    scene.step();
    assert_eq!(scene.condition("Ready"), "False Terminating", "its pods may be those of before");
    scene.live.remove(&reference(ObjectKind::Deployment, "web"));
    assert!(scene.step().contains("create Deployment/web"));
}

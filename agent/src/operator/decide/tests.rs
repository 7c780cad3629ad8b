use std::collections::BTreeSet;

use protocol::report::FactKind;
use serde_json::json;

use super::super::cluster_words::ClusterWords;
use super::super::progress::{DeploymentView, PodView, ReplicaSetView, SliceView, Waiting};
use super::*;
use crate::kinds::ObjectRef;

mod edits;
mod removal;
mod sentences;
mod words;

/// A cluster small enough to read: what a release sees of it, and one decision at a time.
struct Scene {
    identity: Identity,
    status: ReleaseStatus,
    live: BTreeMap<ObjectRef, Live>,
    revisions: BTreeMap<ObjectRef, Live>,
    workload: Workload,
    fights: BTreeMap<ObjectRef, Vec<Timestamp>>,
    in_use: Option<BTreeSet<String>>,
    paused: Option<&'static str>,
    blocked: Option<Trouble>,
    now: Timestamp,
    kind: Kind,
}

/// What the release is.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Service,
    WithoutEndpoints,
    Task,
}

fn objects(revision: &str) -> Vec<Value> {
    let object = |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name}, "revision": revision});
    vec![object("ConfigMap", &format!("config-{revision}")), object("Service", "web-http"), object("Deployment", "web")]
}

fn rendering(revision: &str) -> Rendering {
    Rendering {
        renderer: 1,
        image: format!("image-{revision}"),
        deadline_seconds: 300,
        objects: objects(revision),
        job: None,
        secrets: BTreeMap::new(),
        addresses: BTreeMap::from([("http".to_owned(), "http://web-http.ns.svc:8080".to_owned())]),
    }
}

fn live() -> Live {
    Live {
        uid: "u".to_owned(),
        resource_version: "1".to_owned(),
        ours: true,
        terminating: false,
        drift: Vec::new(),
        was_equal: false,
        rival: None,
        autoscaled: None,
    }
}

fn reference(kind: ObjectKind, name: &str) -> ObjectRef {
    kind.named(name)
}

impl Scene {
    fn new() -> Self {
        Self {
            identity: Identity {
                name: "web".to_owned(),
                uid: "r".to_owned(),
                generation: 1,
                local: false,
                content_hash: "h1".to_owned(),
                revision: "rev1".to_owned(),
                modified: None,
            },
            status: ReleaseStatus::default(),
            live: BTreeMap::new(),
            revisions: BTreeMap::new(),
            workload: Workload::default(),
            fights: BTreeMap::new(),
            in_use: Some(BTreeSet::new()),
            paused: None,
            blocked: None,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            kind: Kind::Service,
        }
    }

    /// A release whose generation 1 serves.
    fn serving() -> Self {
        let mut scene = Self::new();
        scene.admit();
        scene.everything_is_there();
        scene.pods("rev1", true);
        scene.step();
        assert_eq!(standing(&scene.status, &scene.identity), Standing::Effective);
        scene
    }

    fn generation(&mut self, generation: i64) {
        self.identity.generation = generation;
        self.identity.content_hash = format!("h{generation}");
        self.identity.revision = format!("rev{generation}");
    }

    fn admit(&mut self) {
        let slots = Slots::from([("config".to_owned(), format!("config-{}", self.identity.revision))]);
        let (rendering, objects) = (rendering(&self.identity.revision), objects(&self.identity.revision));
        let admission = Admission {
            identity: &self.identity,
            status: &self.status,
            namespace: "ns",
            slots: &slots,
            target: Target { rendering: &rendering, objects: &objects, secret: None },
            workload: &self.workload,
        };
        self.status = admit(&admission, self.now);
    }

    /// As if every wanted object had been applied.
    fn everything_is_there(&mut self) {
        let revision = target(&self.status).unwrap().to_owned();
        for object in objects(&revision) {
            let (_, reference) = object::reference(&object).unwrap();
            self.live.insert(reference, live());
        }
        self.revisions.insert(reference(ObjectKind::ControllerRevision, &revision), live());
    }

    fn drifts(&mut self, kind: ObjectKind, name: &str, was_equal: bool) {
        let found = self.live.get_mut(&reference(kind, name)).unwrap();
        found.drift = vec!["/spec/replicas".to_owned()];
        found.was_equal = was_equal;
        found.rival = Some("kubectl-edit".to_owned());
    }

    /// One pod of `revision`; ready ones are reached by the Service.
    fn pods(&mut self, revision: &str, ready: bool) {
        self.workload.deployment = Some(DeploymentView {
            generation: 1,
            observed_generation: 1,
            revision: Some(revision.to_owned()),
            desired: 1,
            updated: 1,
            total: 1,
            failure: None,
        });
        self.workload.replica_sets =
            vec![ReplicaSetView { template_hash: revision.to_owned(), revision: Some(revision.to_owned()) }];
        let name = format!("web-{revision}");
        let pod = PodView { name: name.clone(), template_hash: Some(revision.to_owned()), ready, ..PodView::default() };
        self.workload.pods = vec![pod];
        let reached = if ready { BTreeSet::from([name]) } else { BTreeSet::new() };
        self.workload.slices = vec![SliceView { service: "web-http".to_owned(), ready: reached }];
    }

    fn crashes(&mut self) {
        let pod = &mut self.workload.pods[0];
        pod.waiting =
            Some(Waiting { reason: ClusterWords::new("CrashLoopBackOff"), message: ClusterWords::new("back-off") });
        pod.restarts = 3;
    }

    /// One decision.
    fn decide(&self) -> Decision<ReleaseStatus> {
        let revision = target(&self.status).map(str::to_owned);
        let mut rendering = revision.as_deref().map(rendering);
        let mut objects = revision.as_deref().map(objects).unwrap_or_default();
        match self.kind {
            Kind::Service => {}
            Kind::WithoutEndpoints => {
                rendering.iter_mut().for_each(|rendering| rendering.addresses.clear());
                objects.retain(|object| object["kind"] != "Service");
            }
            Kind::Task => objects.retain(|object| object["kind"] == "ConfigMap"),
        }
        decide(
            &Observed {
                identity: &self.identity,
                status: &self.status,
                blocked: self.blocked.as_ref(),
                paused: self.paused,
                target: rendering.as_ref().map(|rendering| Target { rendering, objects: &objects, secret: None }),
                live: &self.live,
                revisions: &self.revisions,
                in_use: self.in_use.as_ref(),
                workload: &self.workload,
                fights: &self.fights,
            },
            self.now,
        )
    }

    /// One decision; its status is taken over. Returns its writes.
    fn step(&mut self) -> String {
        let decision = self.decide();
        for write in &decision.writes {
            if let Write::Status(status) = write {
                self.status = (**status).clone();
            }
        }
        for object in decision.repaired {
            self.fights.entry(object).or_default().push(self.now);
        }
        format!("{:?}", decision.writes)
    }

    fn condition(&self, name: &str) -> String {
        let found = self.status.conditions.iter().find(|condition| condition.condition_type == name);
        found.map_or_else(|| "none".to_owned(), |found| format!("{} {}", found.status, found.reason))
    }

    fn facts(&self) -> Vec<(FactKind, i64)> {
        self.status.facts.iter().map(|fact| (fact.kind, fact.generation)).collect()
    }
}

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
    assert_eq!(standing(&scene.status, &scene.identity), Standing::New);
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
    scene.drifts(ObjectKind::Service, "web-http", false);
    scene.drifts(ObjectKind::Deployment, "web", false);
    assert_eq!(scene.step(), "[create ConfigMap/config-rev2, apply Deployment/web]");
    scene.everything_is_there();
    scene.drifts(ObjectKind::Service, "web-http", false);
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
    let needs_use = |scene: &Scene, rendering: &Rendering| super::super::prune::needs_use(&scene.status, rendering);
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
    assert_eq!(standing(&scene.status, &scene.identity), Standing::Failed);
    assert_eq!((scene.condition("Ready").as_str(), target(&scene.status)), ("False CrashLoop", Some("rev1")));
    scene.drifts(ObjectKind::Deployment, "web", false);
    assert!(scene.step().contains("apply Deployment/web"), "the last good revision is applied");
    scene.everything_is_there();
    scene.pods("rev1", true);
    scene.step();
    assert_eq!(scene.condition("RolledBack"), "True RolloutFailed");
    assert_eq!(scene.facts(), [(FactKind::Ready, 1), (FactKind::Failed, 2), (FactKind::RolledBack, 2)]);
    assert_eq!(scene.step(), "[]");
    scene.generation(3);
    assert_eq!(standing(&scene.status, &scene.identity), Standing::New, "a new generation is tried");
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
    assert_eq!(standing(&scene.status, &scene.identity), Standing::Rolling, "waiting for others has no deadline");
    scene.workload.pods[0].unschedulable = None;
    scene.step();
    assert_eq!(scene.condition("Stalled"), "none");
    scene.now += SignedDuration::from_secs(299);
    scene.step();
    assert_eq!(standing(&scene.status, &scene.identity), Standing::Rolling);
    scene.now += SignedDuration::from_secs(2);
    scene.step();
    assert_eq!(scene.condition("Failed"), "True ProgressDeadlineExceeded");
}

#[test]
fn drift_is_repaired_until_somebody_else_insists() {
    let mut scene = Scene::serving();
    for _ in 0..MAX_FIGHTS {
        scene.drifts(ObjectKind::Deployment, "web", true);
        assert_eq!(scene.step(), "[apply Deployment/web]");
        scene.everything_is_there();
        scene.step();
        scene.now += SignedDuration::from_secs(60);
    }
    scene.drifts(ObjectKind::Deployment, "web", true);
    assert_eq!(scene.step(), "[status]");
    assert_eq!(scene.condition("Contested"), "True Contested");
    let message = &scene.status.conditions.iter().find(|found| found.condition_type == "Contested").unwrap().message;
    assert!(message.contains("kubectl-edit") && message.contains("/spec/replicas"), "{message}");
    scene.now += FIGHT_WINDOW;
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
    scene.blocked = Some(Trouble::new("PolicyDenied", "no such registry"));
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
    scene.blocked = Some(Trouble::new("Quota", "no room"));
    scene.step();
    assert_eq!(scene.facts(), [(FactKind::Ready, 1)]);
    assert_eq!(target(&scene.status), Some("rev1"));
}

#[test]
fn the_same_content_under_a_new_generation_rolls_nothing() {
    let mut scene = Scene::serving();
    scene.identity.generation = 2;
    assert_eq!(standing(&scene.status, &scene.identity), Standing::New);
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

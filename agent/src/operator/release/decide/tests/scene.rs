//! A release in a cluster small enough to read, and one decision about it at a time.

use super::*;

/// A cluster small enough to read: what a release sees of it, and one decision at a time.
pub(super) struct Scene {
    pub(super) identity: Identity,
    pub(super) status: ReleaseStatus,
    pub(super) live: BTreeMap<ObjectRef, Live>,
    pub(super) revisions: BTreeMap<ObjectRef, Live>,
    pub(super) workload: Workload,
    pub(super) in_use: Option<BTreeSet<String>>,
    pub(super) last_lines: bool,
    pub(super) paused: Option<&'static str>,
    pub(super) blocked: Option<Reason>,
    pub(super) invalid: Option<Reason>,
    pub(super) now: Timestamp,
    pub(super) kind: Kind,
}

/// What the release is.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Service,
    WithoutEndpoints,
    Task,
}

pub(super) fn objects(revision: &str) -> Vec<Value> {
    let object = |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name}, "revision": revision});
    vec![object("ConfigMap", &format!("config-{revision}")), object("Service", "web-http"), object("Deployment", "web")]
}

pub(super) fn rendering(revision: &str) -> Rendering {
    Rendering {
        renderer: 1,
        image: format!("image-{revision}"),
        deadline_seconds: 300,
        objects: objects(revision),
        job: None,
        secrets: BTreeMap::new(),
        addresses: BTreeMap::from([("http".to_owned(), "http://web-http.ns.svc:8080".to_owned())]),
        majors: Vec::new(),
        major_addresses: BTreeMap::new(),
    }
}

pub(super) fn live() -> Live {
    Live {
        uid: "u".to_owned(),
        resource_version: "1".to_owned(),
        ours: true,
        terminating: false,
        drift: Vec::new(),
        was_equal: false,
        repairs: 0,
        rival: None,
        autoscaled: None,
    }
}

pub(super) fn reference(kind: ObjectKind, name: &str) -> ObjectRef {
    kind.named(name)
}

impl Scene {
    pub(super) fn new() -> Self {
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
            in_use: Some(BTreeSet::new()),
            last_lines: false,
            paused: None,
            blocked: None,
            invalid: None,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            kind: Kind::Service,
        }
    }

    /// A release whose generation 1 serves.
    pub(super) fn serving() -> Self {
        let mut scene = Self::new();
        scene.admit();
        scene.everything_is_there();
        scene.pods("rev1", true);
        scene.step();
        assert_eq!(content_state(&scene.status, &scene.identity), ContentState::Effective);
        scene
    }

    pub(super) fn generation(&mut self, generation: i64) {
        self.identity.generation = generation;
        self.identity.content_hash = format!("h{generation}");
        self.identity.revision = format!("rev{generation}");
    }

    pub(super) fn admit(&mut self) {
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
    pub(super) fn everything_is_there(&mut self) {
        let revision = target(&self.status).unwrap().to_owned();
        for object in objects(&revision) {
            let (_, reference) = object::reference(&object).unwrap();
            self.live.insert(reference, live());
        }
        self.revisions.insert(reference(ObjectKind::ControllerRevision, &revision), live());
    }

    pub(super) fn drifts(&mut self, kind: ObjectKind, name: &str, was_equal: bool, repairs: usize) {
        let found = self.live.get_mut(&reference(kind, name)).unwrap();
        found.drift = vec!["/spec/replicas".to_owned()];
        found.was_equal = was_equal;
        found.repairs = repairs;
        found.rival = Some("kubectl-edit".to_owned());
    }

    /// One pod of `revision`; ready ones are reached by the Service.
    pub(super) fn pods(&mut self, revision: &str, ready: bool) {
        self.workload.deployment = Some(DeploymentView {
            generation: 1,
            observed_generation: 1,
            revision: Some(revision.to_owned()),
            desired: 1,
            updated: 1,
            total: 1,
            failure: None,
            ..DeploymentView::default()
        });
        self.workload.replica_sets =
            vec![ReplicaSetView { template_hash: revision.to_owned(), revision: Some(revision.to_owned()) }];
        let name = format!("web-{revision}");
        let pod = PodView { name: name.clone(), template_hash: Some(revision.to_owned()), ready, ..PodView::default() };
        self.workload.pods = vec![pod];
        let reached = if ready { BTreeSet::from([name]) } else { BTreeSet::new() };
        self.workload.slices = vec![SliceView { service: "web-http".to_owned(), ready: reached }];
    }

    pub(super) fn crashes(&mut self) {
        let pod = &mut self.workload.pods[0];
        pod.waiting =
            Some(Waiting { reason: ClusterWords::new("CrashLoopBackOff"), message: ClusterWords::new("back-off") });
        pod.restarts = 3;
    }

    /// One decision.
    pub(super) fn decide(&self) -> Decision<ReleaseStatus> {
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
                invalid: self.invalid.as_ref(),
                paused: self.paused,
                target: rendering.as_ref().map(|rendering| Target { rendering, objects: &objects, secret: None }),
                live: &self.live,
                revisions: &self.revisions,
                in_use: self.in_use.as_ref(),
                lost: None,
                last_lines: self.last_lines,
                contested: None,
                workload: &self.workload,
            },
            self.now,
        )
    }

    /// One decision; its status is taken over. Returns its writes.
    pub(super) fn step(&mut self) -> String {
        let decision = self.decide();
        for write in &decision.writes {
            if let Write::Status(status) = write {
                self.status = (**status).clone();
            }
        }
        format!("{:?}", decision.writes)
    }

    pub(super) fn condition(&self, name: &str) -> String {
        let found = self.status.conditions.iter().find(|condition| condition.condition_type == name);
        found.map_or_else(|| "none".to_owned(), |found| format!("{} {}", found.status, found.reason))
    }

    pub(super) fn facts(&self) -> Vec<(FactKind, i64)> {
        self.status.facts.iter().map(|fact| (fact.kind, fact.generation)).collect()
    }
}

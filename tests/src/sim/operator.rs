//! The operator's process: the real build and decision for releases; its watches and its loop as small as can be.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use jiff::Timestamp;
use pdp_agent::kinds::{ObjectRef, ReleaseStatus, SecurityLevel};
use pdp_agent::link::intake::body;
use pdp_agent::link::store::{ApiError, ApiStatus};
use pdp_agent::operator::build::{self, Input};
use pdp_agent::operator::compare;
use pdp_agent::operator::decide::{self, Identity, Observed, Remains, Standing, Target};
use pdp_agent::operator::object::{self, DATA_PLANE, RELEASE};
use pdp_agent::operator::progress::Workload;
use pdp_agent::operator::rendering::{Rendering, Slots, content_hash, revision_name};
use pdp_agent::operator::report::Trouble;
use pdp_agent::operator::validated::ValidRelease;
use pdp_agent::operator::write::{Live, Write};
use protocol::spec::{Desired, ReleaseSpec};
use serde_json::{Value, json};

use super::Bug;
use super::api::{Answer, Change, Id, Request, generation, text};
use super::world::{Caller, Event, World, release_of};

const DATA_PLANE_ID: &str = "dp-1";
const NAMESPACE: &str = "dp-shop-dev";

/// One process.
pub(super) struct Operator {
    pub(super) incarnation: u64,
    cache: BTreeMap<Id, Rc<Value>>,
    /// Parsed renderings, by uid of their object.
    renderings: BTreeMap<String, Rc<Rendering>>,
    /// Versions at which objects were seen to go.
    gone: BTreeMap<Id, u64>,
    queued: BTreeSet<String>,
    tasks: BTreeMap<u64, Task>,
    tokens: u64,
}

/// Writes of one decision, under way.
struct Task {
    release: String,
    uid: String,
    resource_version: String,
    writes: VecDeque<Write<ReleaseStatus>>,
    deleting: Option<Id>,
}

impl World {
    pub(super) fn start_operator(&mut self) {
        if self.operator.is_some() {
            return;
        }
        self.incarnations += 1;
        let cache = self.api.iter().map(|(id, object)| (id.clone(), Rc::clone(object))).collect();
        self.operator = Some(Operator {
            incarnation: self.incarnations,
            cache,
            renderings: BTreeMap::new(),
            gone: BTreeMap::new(),
            queued: BTreeSet::new(),
            tasks: BTreeMap::new(),
            tokens: 0,
        });
        self.note(format!("operator {} starts", self.incarnations));
        let releases: Vec<String> =
            self.api.iter().filter(|(id, _)| id.kind == "Release").map(|(id, _)| id.name.clone()).collect();
        releases.iter().for_each(|release| self.wake(release, 10));
    }

    /// Has a release looked at within so many milliseconds.
    pub(super) fn wake(&mut self, release: &str, within: u64) {
        let Some(operator) = &mut self.operator else { return };
        if operator.queued.insert(release.to_owned()) {
            let event = Event::Reconcile { incarnation: operator.incarnation, release: release.to_owned() };
            self.after(1, within, event);
        }
    }

    pub(super) fn operator_watch(&mut self, change: &Change) {
        let Some(operator) = &mut self.operator else { return };
        match (&change.after, &change.before) {
            (Some(object), _) => operator.observe(object),
            (None, Some(before)) => operator.removed(before),
            (None, None) => {}
        }
        let object = change.after.as_ref().or(change.before.as_ref());
        let release = if change.id.kind == "Release" {
            Some(change.id.name.clone())
        } else {
            object.and_then(|object| release_of(object)).map(str::to_owned)
        };
        if let Some(release) = release {
            self.wake(&release, 10);
        }
    }

    pub(super) fn reconcile(&mut self, incarnation: u64, release: &str) {
        let now = Timestamp::from_second(1_770_000_000).unwrap_or_default()
            + jiff::SignedDuration::from_millis(i64::try_from(self.now).unwrap_or(0));
        let Some(operator) = self.operator.as_mut().filter(|operator| operator.incarnation == incarnation) else {
            return;
        };
        operator.queued.remove(release);
        if operator.tasks.values().any(|task| task.release == release) {
            return self.wake(release, 200);
        }
        let deployments = operator.ids(release, "Deployment");
        let services: Vec<String> = operator.ids(release, "Service").into_iter().map(|id| id.name).collect();
        let workload = deployments.first().map_or_else(Workload::default, |id| self.pods.view(id, &services));
        // The kubelet's pods outlive their Deployment for a moment.
        let pods = self.pods.count(&Id {
            kind: "Deployment".to_owned(),
            namespace: NAMESPACE.to_owned(),
            name: deployments.first().map_or_else(String::new, |id| id.name.clone()),
        });
        let Some(decided) = operator.decide(release, &workload, pods, now) else { return };
        if let Some(wake) = decided.wake {
            let at = self.now + u64::try_from(wake.as_millis()).unwrap_or(1_000);
            self.at(at, Event::Reconcile { incarnation, release: release.to_owned() });
        }
        if decided.writes.is_empty() {
            return;
        }
        let Some(operator) = &mut self.operator else { return };
        let Some(object) = operator.cache.get(&Id::own("Release", release)) else { return };
        let task = Task {
            release: release.to_owned(),
            uid: text(object, "uid").to_owned(),
            resource_version: text(object, "resourceVersion").to_owned(),
            writes: decided.writes.into(),
            deleting: None,
        };
        operator.tokens += 1;
        let token = operator.tokens;
        operator.tasks.insert(token, task);
        self.next_write(token);
    }

    fn next_write(&mut self, token: u64) {
        let bug = self.bug;
        let Some(operator) = &mut self.operator else { return };
        let caller = Caller::Operator(operator.incarnation);
        let Some(task) = operator.tasks.get_mut(&token) else { return };
        let Some(write) = task.writes.pop_front() else {
            let release = task.release.clone();
            operator.tasks.remove(&token);
            return self.wake(&release, 10);
        };
        task.deleting = None;
        let request = match write {
            Write::Status(status) => {
                if bug == Some(Bug::FailureNotRecorded) && status.failed.is_some() {
                    return self.next_write(token);
                }
                Request::UpdateStatus(json!({
                    "kind": "Release",
                    "metadata": { "name": task.release, "uid": task.uid, "resourceVersion": task.resource_version },
                    "status": status,
                }))
            }
            Write::Create(object) => Request::Create(object),
            // No release here has secrets.
            Write::CreateSecret(_) => return self.next_write(token),
            Write::Apply { mut object, uid, resource_version } => {
                if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.insert("uid".to_owned(), json!(uid));
                    metadata.insert("resourceVersion".to_owned(), json!(resource_version));
                }
                Request::Apply(object)
            }
            Write::Delete { object, uid, resource_version } => {
                let id = Id { kind: object.kind, namespace: NAMESPACE.to_owned(), name: object.name };
                task.deleting = Some(id.clone());
                Request::Delete { id, uid, resource_version }
            }
        };
        self.call(caller, token, request);
    }

    pub(super) fn operator_reply(&mut self, token: u64, answer: Answer) {
        let Some(operator) = &mut self.operator else { return };
        let Some(task) = operator.tasks.get_mut(&token) else { return };
        match answer {
            Ok(object) => {
                if let Some(object) = object {
                    if object.get("kind").and_then(Value::as_str) == Some("Release") {
                        text(&object, "resourceVersion").clone_into(&mut task.resource_version);
                    }
                    operator.observe(&Rc::new(object));
                }
                self.next_write(token);
            }
            Err(error) => {
                // Gone already: the watch will say so too.
                if let (Some(gone), ApiError::Answered(ApiStatus { code: 404, .. })) = (&task.deleting, &error) {
                    operator.cache.remove(gone);
                }
                // The first failure ends the list; the next look decides anew.
                let release = task.release.clone();
                operator.tasks.remove(&token);
                self.wake(&release, 1_000);
            }
        }
    }
}

struct Decided {
    writes: Vec<Write<ReleaseStatus>>,
    wake: Option<std::time::Duration>,
}

impl Decided {
    fn one(write: Write<ReleaseStatus>) -> Self {
        Self { writes: vec![write], wake: None }
    }
}

impl Operator {
    fn observe(&mut self, object: &Rc<Value>) {
        let id = Id::of(object);
        let version = version(object);
        let known = self.cache.get(&id).map_or(0, |known| self::version(known));
        if version >= known.max(self.gone.get(&id).copied().unwrap_or(0)) {
            self.cache.insert(id, Rc::clone(object));
        }
    }

    fn removed(&mut self, before: &Value) {
        let id = Id::of(before);
        if self.cache.get(&id).is_some_and(|known| text(known, "uid") == text(before, "uid")) {
            self.gone.insert(id.clone(), version(before) + 1);
            self.cache.remove(&id);
        }
    }

    fn ids(&self, release: &str, kind: &str) -> Vec<Id> {
        let of = |(id, object): &(&Id, &Rc<Value>)| id.kind == kind && release_of(object) == Some(release);
        self.cache.iter().filter(of).map(|(id, _)| id.clone()).collect()
    }

    fn decide(&mut self, release: &str, workload: &Workload, pods: usize, now: Timestamp) -> Option<Decided> {
        let object = Rc::clone(self.cache.get(&Id::own("Release", release))?);
        let object = object.as_ref();
        let spec: ReleaseSpec = serde_json::from_value(body(object.get("spec")?)).ok()?;
        let status: ReleaseStatus = object
            .get("status")
            .map_or_else(|| Some(ReleaseStatus::default()), |status| serde_json::from_value(status.clone()).ok())?;
        let hash = content_hash(&spec);
        let identity = Identity {
            name: release.to_owned(),
            uid: text(object, "uid").to_owned(),
            generation: generation(object),
            local: false,
            revision: revision_name(release, &hash),
            content_hash: hash,
        };
        let revisions = self.live(release, true, &[]);
        if spec.state == Desired::Absent {
            let mut live = self.live(release, false, &[]);
            live.extend(revisions);
            let remains = Remains { identity: &identity, status: &status, paused: None, live: &live, pods };
            let decision = decide::remove(&remains, now);
            return Some(Decided { writes: decision.writes, wake: decision.wake });
        }
        let mut blocked = None;
        if decide::standing(&status, &identity) == Standing::New {
            match ValidRelease::parse(&spec) {
                Ok(valid) => return Some(self.admit(&identity, &status, &valid, now)),
                Err(reasons) => blocked = Some(Trouble::new("Invalid", reasons.join("; "))),
            }
        }
        let rendering = decide::target(&status).and_then(|revision| {
            let stored = self.cache.get(&revision_id(revision))?;
            Some((revision.to_owned(), Self::rendering(&mut self.renderings, stored)?))
        });
        let slots = |revision: &str| decide::binding(&status, revision).cloned().unwrap_or_default();
        let bound = rendering.as_ref().and_then(|(name, rendering)| rendering.bound(name, &slots(name)).ok());
        let objects = bound.unwrap_or_default();
        let live = self.live(release, false, &objects);
        let target = rendering.as_ref().map(|(_, rendering)| Target {
            rendering: rendering.as_ref(),
            objects: &objects,
            secret: None,
        });
        let observed = Observed {
            identity: &identity,
            status: &status,
            blocked: blocked.as_ref(),
            paused: None,
            target,
            live: &live,
            revisions: &revisions,
            in_use: None,
            workload,
            fights: &BTreeMap::new(),
        };
        let decision = decide::decide(&observed, now);
        Some(Decided { writes: decision.writes, wake: decision.wake })
    }

    fn rendering(known: &mut BTreeMap<String, Rc<Rendering>>, stored: &Value) -> Option<Rc<Rendering>> {
        let uid = text(stored, "uid");
        if !known.contains_key(uid) {
            known.insert(uid.to_owned(), Rc::new(Rendering::read(stored).ok()?));
        }
        known.get(uid).map(Rc::clone)
    }

    /// The rendering first, then the status that says it is being rolled out; the workload comes after both.
    fn admit(&self, identity: &Identity, status: &ReleaseStatus, valid: &ValidRelease, now: Timestamp) -> Decided {
        let input = Input {
            data_plane: DATA_PLANE_ID,
            name: &identity.name,
            environment: "shop-dev",
            project: "shop",
            namespace: NAMESPACE,
            content_hash: &identity.content_hash,
            level: SecurityLevel::Restricted,
            pull_secrets: &[],
            release: valid,
        };
        let Some(stored) = self.cache.get(&revision_id(&identity.revision)) else {
            let labels = BTreeMap::from([
                (DATA_PLANE.to_owned(), DATA_PLANE_ID.to_owned()),
                (RELEASE.to_owned(), identity.name.clone()),
            ]);
            let rendering = build::build(&input);
            return Decided::one(Write::Create(rendering.stored(
                &identity.revision,
                NAMESPACE,
                identity.generation,
                &labels,
            )));
        };
        let objects =
            Rendering::read(stored).ok().and_then(|stored| stored.bound(&identity.revision, &Slots::new()).ok());
        let next = decide::admit(status, identity, NAMESPACE, &Slots::new(), &objects.unwrap_or_default(), now);
        Decided::one(Write::Status(Box::new(next)))
    }

    /// Objects of a release, stored renderings or the others, as the decision sees them.
    fn live(&self, release: &str, renderings: bool, wanted: &[Value]) -> BTreeMap<ObjectRef, Live> {
        let of = |(id, object): &(&Id, &Rc<Value>)| {
            id.namespace == NAMESPACE
                && release_of(object) == Some(release)
                && (id.kind == "ControllerRevision") == renderings
        };
        let found = self.cache.iter().filter(of).filter_map(|(_, object)| {
            let (_, reference) = object::reference(object)?;
            let desired =
                wanted.iter().find(|wanted| object::reference(wanted).is_some_and(|(_, other)| other == reference));
            let live = Live {
                uid: text(object, "uid").to_owned(),
                resource_version: text(object, "resourceVersion").to_owned(),
                ours: true,
                terminating: false,
                drift: desired.map_or_else(Vec::new, |desired| compare::drift(desired, object)),
                was_equal: false,
                rival: None,
            };
            Some((reference, live))
        });
        found.collect()
    }
}

fn revision_id(name: &str) -> Id {
    Id { kind: "ControllerRevision".to_owned(), namespace: NAMESPACE.to_owned(), name: name.to_owned() }
}

fn version(object: &Value) -> u64 {
    text(object, "resourceVersion").parse().unwrap_or(0)
}

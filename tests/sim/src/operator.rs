//! The operator's process: the real build and decisions; its watches and its loop as small as can be.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use pdp_agent::kinds::{ObjectRef, ReleaseStatus};
use pdp_agent::link::store::{ApiError, ApiStatus};
use pdp_agent::operator::decide::Decision;
use pdp_agent::operator::object::{self, RELEASE, TASK_RUN};
use pdp_agent::operator::progress::Workload;
use pdp_agent::operator::unanswered::Unanswered;
use pdp_agent::operator::write::Write;
use serde::Serialize;
use serde_json::{Value, json};

use super::Bug;
use super::api::{Answer, Change, Id, Request, text};
use super::calls::CALL_DEADLINE;
use super::event::{Caller, Event};
use super::pods::Pods;
use super::renderings::{Known, Spec, Views};
use super::trace::note;
use super::world::World;

pub(super) const NAMESPACE: &str = "dp-shop-dev";

/// One process.
pub(super) struct Operator {
    /// Whether it holds the lease: looked at before each write.
    pub(super) leads: bool,
    pub(super) cache: BTreeMap<Id, Rc<Value>>,
    /// What it saw of pods last, if the API server went back in time since: its watches are silent.
    pub(super) pods: Option<Pods>,
    /// Parsed renderings and their bound objects, by name.
    pub(super) renderings: BTreeMap<String, Rc<Known>>,
    /// Objects as the decision saw them last.
    pub(super) views: Views,
    /// What the specs of releases say, read once for each change.
    pub(super) specs: BTreeMap<String, Rc<Spec>>,
    /// Versions at which objects were seen to go.
    gone: BTreeMap<Id, u64>,
    queued: BTreeSet<Id>,
    /// What a release looked like when there was nothing to do: the decision is pure, so it need not be asked again.
    settled: BTreeMap<String, String>,
    tasks: BTreeMap<u64, Task>,
    tokens: u64,
    unanswered: Unanswered,
    now: Duration,
}

/// Writes of one decision, under way.
struct Task {
    id: Id,
    uid: String,
    resource_version: String,
    writes: VecDeque<Write<Value>>,
    deleting: Option<Id>,
    /// Whether nothing after the write under way makes sense if it is refused.
    carries_all: bool,
    creating: Option<u64>,
    /// Something was refused: looked at again after a wait.
    refused: bool,
}

/// What one look at a resource came to.
pub(super) struct Decided {
    writes: Vec<Write<Value>>,
    wake: Option<std::time::Duration>,
}

impl World {
    pub(super) fn start_operator(&mut self) {
        if self.operator.is_some() {
            return;
        }
        self.incarnations += 1;
        let incarnation = self.incarnations;
        let cache = self.api.iter().map(|(id, object)| (id.clone(), Rc::clone(object))).collect();
        let mut operator = Operator {
            leads: true,
            cache,
            pods: None,
            renderings: BTreeMap::new(),
            views: Views::default(),
            specs: BTreeMap::new(),
            gone: BTreeMap::new(),
            queued: BTreeSet::new(),
            settled: BTreeMap::new(),
            tasks: BTreeMap::new(),
            tokens: 0,
            unanswered: Unanswered::default(),
            now: Duration::from_millis(self.now),
        };
        if !self.operators.is_empty() || self.now > 0 {
            operator.unanswered.took_over(operator.now);
        }
        self.operators.insert(incarnation, operator);
        self.operator = Some(incarnation);
        note!(self, "operator {incarnation} starts");
        self.wake_all(10);
    }

    /// Has a resource looked at within so many milliseconds, by every operator that runs.
    pub(super) fn wake(&mut self, id: &Id, within: u64) {
        for incarnation in self.operators.keys().copied().collect::<Vec<_>>() {
            self.wake_one(incarnation, id, within);
        }
    }

    pub(super) fn wake_all(&mut self, within: u64) {
        let own = |id: &&Id| matches!(id.kind.as_str(), "Release" | "Environment" | "TaskRun");
        let all: Vec<Id> = self.api.iter().map(|(id, _)| id).filter(own).cloned().collect();
        all.iter().for_each(|id| self.wake(id, within));
    }

    fn wake_one(&mut self, incarnation: u64, id: &Id, within: u64) {
        let Some(operator) = self.operators.get_mut(&incarnation) else { return };
        if operator.queued.insert(id.clone()) {
            self.after(1, within, Event::Reconcile { incarnation, id: id.clone() });
        }
    }

    pub(super) fn operator_watch(&mut self, incarnation: u64, change: &Change) {
        let Some(operator) = self.operators.get_mut(&incarnation) else { return };
        match (&change.after, &change.before) {
            (Some(object), _) => operator.observe(object),
            (None, Some(before)) => operator.removed(before),
            (None, None) => {}
        }
        let owner = change.after.as_ref().or(change.before.as_ref()).and_then(|object| owner_of(object));
        if let Some(owner) = owner {
            self.wake_one(incarnation, &owner, 10);
        }
    }

    pub(super) fn operator_listed(&mut self, incarnation: u64, objects: &[Rc<Value>], listed: u64) {
        let Some(operator) = self.operators.get_mut(&incarnation) else { return };
        let found: BTreeSet<Id> = objects.iter().map(|object| Id::of(object)).collect();
        let is_gone = |(id, object): &(&Id, &Rc<Value>)| !found.contains(id) && version(object) <= listed;
        let gone: Vec<_> = operator.cache.iter().filter(is_gone).map(|(_, object)| Rc::clone(object)).collect();
        gone.iter().for_each(|object| operator.removed(object));
        objects.iter().for_each(|object| operator.observe(object));
        self.wake_all(10);
    }

    /// The virtual clock as a time of day.
    pub(super) fn wall_clock(&self) -> Timestamp {
        Timestamp::from_second(1_770_000_000).unwrap_or_default()
            + jiff::SignedDuration::from_millis(i64::try_from(self.now).unwrap_or(0))
    }

    pub(super) fn reconcile(&mut self, incarnation: u64, id: &Id) {
        let now = self.wall_clock();
        let Some(mut operator) = self.operators.remove(&incarnation) else { return };
        operator.queued.remove(id);
        operator.now = Duration::from_millis(self.now);
        let busy = operator.tasks.values().any(|task| task.id == *id);
        let idle = !operator.leads && self.bug != Some(Bug::LeadershipUnchecked);
        let decided = if busy || idle {
            None
        } else {
            match id.kind.as_str() {
                "Release" => self.release(&mut operator, &id.name, now),
                "Environment" => operator.environment(&id.name, now),
                "TaskRun" => self.task_run(&operator, &id.name, now),
                _ => None,
            }
        };
        let task = decided.as_ref().filter(|decided| !decided.writes.is_empty()).and_then(|_| operator.cache.get(id));
        let task = task.map(|object| (text(object, "uid").to_owned(), text(object, "resourceVersion").to_owned()));
        operator.tokens += 1;
        let token = operator.tokens;
        let wake = decided.as_ref().and_then(|decided| decided.wake);
        let starts = task.is_some();
        if let (Some((uid, resource_version)), Some(decided)) = (task, decided) {
            let writes = decided.writes.into();
            operator.tasks.insert(
                token,
                Task {
                    id: id.clone(),
                    uid,
                    resource_version,
                    writes,
                    deleting: None,
                    carries_all: false,
                    creating: None,
                    refused: false,
                },
            );
        }
        self.operators.insert(incarnation, operator);
        if busy {
            return self.wake_one(incarnation, id, 200);
        }
        if let Some(wake) = wake {
            let at = self.now + u64::try_from(wake.as_millis()).unwrap_or(1_000);
            self.at(at, Event::Reconcile { incarnation, id: id.clone() });
        }
        if starts {
            self.next_write(incarnation, token);
        }
    }

    fn release(&self, operator: &mut Operator, release: &str, now: Timestamp) -> Option<Decided> {
        let deployments = operator.ids(release, "Deployment");
        let services: Vec<String> = operator.ids(release, "Service").into_iter().map(|id| id.name).collect();
        let seen = operator.pods.as_ref().unwrap_or(&self.pods);
        let workload = deployments.first().map_or_else(Workload::default, |id| seen.view(id, &services));
        // The kubelet's pods outlive their Deployment for a moment.
        let pods = seen.count(&Id {
            kind: "Deployment".to_owned(),
            namespace: NAMESPACE.to_owned(),
            name: deployments.first().map_or_else(String::new, |id| id.name.clone()),
        });
        let looks = operator.looks(release, &workload, pods, self.api.version());
        if operator.settled.get(release) == Some(&looks) {
            return None;
        }
        let decided = operator.decide(release, &workload, pods, &self.api, now)?;
        if decided.writes.is_empty() && decided.wake.is_none() {
            operator.settled.insert(release.to_owned(), looks);
        }
        Some(decided)
    }

    fn next_write(&mut self, incarnation: u64, token: u64) {
        let unchecked = self.bug == Some(Bug::LeadershipUnchecked);
        let Some(operator) = self.operators.get_mut(&incarnation) else { return };
        let leads = operator.leads;
        let Some(task) = operator.tasks.get_mut(&token) else { return };
        let next = task.writes.pop_front().filter(|_| leads || unchecked);
        let Some(write) = next else {
            let (id, at_once) = (task.id.clone(), leads && !task.refused);
            operator.tasks.remove(&token);
            return self.wake_one(incarnation, &id, if at_once { 10 } else { 1_000 });
        };
        (task.deleting, task.creating) = (None, None);
        task.carries_all = write.carries_all();
        let request = match write {
            Write::Status(status) => Request::UpdateStatus(json!({
                "kind": task.id.kind,
                "metadata": { "name": task.id.name, "uid": task.uid, "resourceVersion": task.resource_version },
                "status": status,
            })),
            Write::Create(object) => {
                let (limit, now) = (Duration::from_millis(CALL_DEADLINE), Duration::from_millis(self.now));
                task.creating = Some(operator.unanswered.begin(&object, limit, now));
                Request::Create(object)
            }
            // No release here has secrets.
            Write::CreateSecret(_) => return self.next_write(incarnation, token),
            Write::Apply { mut object, uid, resource_version } => {
                if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.insert("uid".to_owned(), json!(uid));
                    metadata.insert("resourceVersion".to_owned(), json!(resource_version));
                }
                Request::Apply(object)
            }
            Write::Delete { object, uid, resource_version } => {
                let id = object_id(&object);
                task.deleting = Some(id.clone());
                Request::Delete { id, uid, resource_version }
            }
        };
        self.call(Caller::Operator(incarnation), token, request);
    }

    pub(super) fn operator_reply(&mut self, incarnation: u64, token: u64, answer: Answer) {
        let Some(operator) = self.operators.get_mut(&incarnation) else { return };
        let Some(task) = operator.tasks.get_mut(&token) else { return };
        if let Some(create) = task.creating.filter(|_| !answer.as_ref().is_err_and(leaves_open)) {
            operator.unanswered.answered(create);
        }
        match answer {
            Ok(object) => {
                if let Some(object) = object {
                    if Id::of(&object) == task.id {
                        text(&object, "resourceVersion").clone_into(&mut task.resource_version);
                    }
                    operator.observe(&Rc::new(object));
                }
                self.next_write(incarnation, token);
            }
            Err(error) => {
                // What is refused holds up only what stands on it.
                if let ApiError::Answered(ApiStatus { code: 403 | 422, .. }) = &error
                    && !task.carries_all
                {
                    task.writes.retain(Write::stands_alone);
                    task.refused = true;
                    return self.next_write(incarnation, token);
                }
                // Gone already: the watch will say so too.
                if let (Some(gone), ApiError::Answered(ApiStatus { code: 404, .. })) = (&task.deleting, &error) {
                    operator.cache.remove(gone);
                }
                // Any other failure ends the list; the next look decides anew.
                let id = task.id.clone();
                operator.tasks.remove(&token);
                self.wake_one(incarnation, &id, 1_000);
            }
        }
    }
}

impl Decided {
    pub(super) fn of<S: Serialize>(decision: Decision<S>) -> Self {
        Self { writes: decision.writes.into_iter().map(untyped).collect(), wake: decision.wake }
    }

    pub(super) fn one(write: Write<ReleaseStatus>) -> Self {
        Self { writes: vec![untyped(write)], wake: None }
    }
}

fn untyped<S: Serialize>(write: Write<S>) -> Write<Value> {
    match write {
        Write::Status(status) => Write::Status(Box::new(json!(status))),
        Write::Create(object) => Write::Create(object),
        Write::CreateSecret(name) => Write::CreateSecret(name),
        Write::Apply { object, uid, resource_version } => Write::Apply { object, uid, resource_version },
        Write::Delete { object, uid, resource_version } => Write::Delete { object, uid, resource_version },
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

    /// All that a decision about a release depends on but the time.
    fn looks(&self, release: &str, workload: &Workload, pods: usize, stored: u64) -> String {
        use std::fmt::Write as _;
        let mut looks = format!("{pods} {workload:?}");
        let own = Id::own("Release", release);
        let of = |(id, object): &(&Id, &Rc<Value>)| **id == own || release_of(object) == Some(release);
        for (_, object) in self.cache.iter().filter(of) {
            let _infallible = write!(looks, " {}", text(object, "resourceVersion"));
        }
        // Renderings are looked up at the API server.
        let _infallible = write!(looks, " {}", if self.renderings.is_empty() { stored } else { 0 });
        looks
    }

    /// How long something may still be created for this owner.
    pub(super) fn settles(&self, label: &str, name: &str) -> Option<Duration> {
        self.unanswered.left(label, name, self.now)
    }

    pub(super) fn cached(&self, id: &Id) -> Option<&Rc<Value>> {
        self.cache.get(id)
    }
}

/// Objects of namespaces lie in the one of all releases, namespaces themselves in none.
pub(super) fn object_id(reference: &ObjectRef) -> Id {
    let namespace = if reference.kind == "Namespace" { super::api::AGENT } else { NAMESPACE };
    Id { kind: reference.kind.clone(), namespace: namespace.to_owned(), name: reference.name.clone() }
}

/// The release that an object belongs to.
pub(super) fn release_of(object: &Value) -> Option<&str> {
    object::label(object, RELEASE)
}

/// The resource whose look a change of `object` is worth.
pub(super) fn owner_of(object: &Value) -> Option<Id> {
    let id = Id::of(object);
    match id.kind.as_str() {
        "Release" | "Environment" | "TaskRun" => Some(id),
        "Namespace" => Some(Id::own("Environment", id.name.trim_start_matches("dp-"))),
        "Job" => object::label(object, TASK_RUN).map(|run| Id::own("TaskRun", run)),
        _ => release_of(object).map(|release| Id::own("Release", release)),
    }
}

/// As the operator's `ApiError::leaves_open`.
fn leaves_open(error: &ApiError) -> bool {
    !matches!(error, ApiError::Answered(ApiStatus { code: ..500, .. }))
}

fn version(object: &Value) -> u64 {
    text(object, "resourceVersion").parse().unwrap_or(0)
}

//! The invariants: looked at with every change, and at the end. I1 to I15 as in the design of the link: I1 outcomes, I2 once,
//! I3 generations, I4 older leaders, I5 durable, I6 converges, I7 the last state is the truth, I9 windows, I15 absence.

use std::collections::{BTreeMap, BTreeSet};

use protocol::name::{Kind, ResourceKey};
use protocol::report::{Fact, FactKind};
use protocol::session::Millis;
use serde_json::Value;

use super::api::{Api, Change, Id, generation, is_terminating, text};
use super::edits::Edits;
use super::event::Caller;
use super::memory::Told;
use super::owner::owner_of;
use super::plane::{Picture, Plane};
use super::pods::CANARY;
use super::rival::Edited;
use super::truth::{floor, is_absent, misled, untrue, untrue_exit};

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `I3` and the like.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// When and by whom something was changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Millis,
    /// When the call was made.
    pub(super) since: Millis,
    /// None: a person in the cluster.
    pub(super) by: Option<Caller>,
    /// That process has not noticed a restore of the API server yet, and acts on the state from before.
    pub(super) unaware: bool,
}

/// What the checks remember.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pub(super) violations: Vec<Violation>,
    /// The control plane was restored from a copy.
    pub(super) restored: bool,
    /// The API server was restored from a snapshot.
    pub(super) api_restored: bool,
    /// Highest generation that was ever stored.
    highest: BTreeMap<Id, i64>,
    /// When a resource was last stored as Absent.
    absent: BTreeMap<Id, Millis>,
    /// When a resource was deleted last.
    forgotten: BTreeMap<Id, Millis>,
    /// When somebody in the cluster deleted one.
    by_hand: BTreeMap<Id, Millis>,
    /// When an object was created, by uid.
    created: BTreeMap<String, Millis>,
    /// What the intake has decided about, by connection.
    decided: BTreeSet<(u64, ResourceKey)>,
    /// Newest process of either role that has changed an object.
    touched: BTreeMap<(Id, bool), u64>,
    edits: Edits,
    pub(super) edited: Edited,
    pub(super) told: Told,
    /// Jobs that were made, by run: for which object, and when somebody has deleted it.
    jobs: BTreeMap<String, (String, Option<Millis>)>,
}

/// Longest time by which the operator's view and its calls together may be late.
const LATE: Millis = 20_000;

/// Kinds that documents are stored as.
fn is_own(id: &Id) -> bool {
    matches!(id.kind.as_str(), "Release" | "Environment" | "TaskRun")
}

/// Whether a text that a kubelet or runtime wrote is in what leaves the cluster.
fn says_what_a_runtime_said(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(CANARY),
        Value::Array(items) => items.iter().any(says_what_a_runtime_said),
        Value::Object(members) => members.values().any(says_what_a_runtime_said),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

pub(super) fn key_of(id: &Id) -> Option<ResourceKey> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == id.kind)?;
    Some(ResourceKey { kind, name: id.name.clone() })
}

impl Checks {
    pub(super) fn broken(&mut self, invariant: &'static str, what: String) {
        self.violations.push(Violation { invariant, what });
    }

    /// Somebody in the cluster deletes a resource: its generations may begin anew.
    pub(super) fn deleted_by_hand(&mut self, id: &Id, now: Millis) {
        self.by_hand.insert(id.clone(), now);
        self.highest.remove(id);
    }

    /// The API server was restored: the loss of what was stored since is no violation.
    pub(super) fn api_restored(&mut self, api: &Api, now: Millis) {
        let known: BTreeSet<Id> = self.highest.keys().chain(self.by_hand.keys()).cloned().collect();
        self.highest =
            api.iter().filter(|(id, _)| is_own(id)).map(|(id, object)| (id.clone(), generation(object))).collect();
        self.by_hand.extend(known.into_iter().map(|id| (id, now)));
        self.api_restored = true;
        self.forgotten.clear();
        self.touched.clear();
        self.jobs.clear();
        self.edits.restored();
        self.told.restored();
    }

    /// Somebody deletes a Job. If the run's status does not show yet that the Job was seen, the operator cannot know of it.
    pub(super) fn job_deleted_by_hand(&mut self, run: Option<&Value>, now: Millis) {
        let Some(run) = run else { return };
        let conditions = run.pointer("/status/conditions").and_then(Value::as_array);
        let seen = conditions.into_iter().flatten().any(|condition| {
            let reason = condition.get("reason").and_then(Value::as_str).unwrap_or_default();
            matches!(reason, "Running" | "Pending")
        });
        let name = text(run, "name");
        if !seen && run.pointer("/status/started").is_none() {
            self.jobs.remove(name);
        } else if let Some((_, by_hand)) = self.jobs.get_mut(name) {
            *by_hand = Some(now);
        }
    }

    /// After every change in the API server.
    pub(super) fn changed(&mut self, change: &Change, moment: &Moment, plane: &Plane, api: &Api) {
        self.leaders(change, moment);
        self.edits.changed(change);
        self.edited.changed(change, moment.by).into_iter().for_each(|what| self.broken("fights", what));
        if is_own(&change.id)
            && let Some(after) = &change.after
            && after.get("status").is_some_and(says_what_a_runtime_said)
        {
            self.broken("words", format!("{} says what a kubelet or runtime said", change.id));
        }
        let was_deleted = change.before.as_deref().is_some_and(is_terminating);
        let is_deleted = change.after.as_deref().is_some_and(is_terminating);
        match change.id.kind.as_str() {
            "Release" | "Environment" | "TaskRun" => {
                // A create that was under way when its resource was forgotten cannot be stopped: the resource must be removed again,
                // which the checks at the end verify.
                let forgotten = self.forgotten.get(&change.id).copied();
                let late = change.before.is_none() && forgotten.is_some_and(|at| moment.since < at);
                if change.after.is_none() {
                    self.forgotten.insert(change.id.clone(), moment.now);
                }
                match &change.after {
                    Some(after) if late => {
                        self.highest.insert(change.id.clone(), generation(after));
                    }
                    Some(_) | None if was_deleted => {}
                    Some(_) if is_deleted => self.deleted(change, moment, plane),
                    Some(after) => self.stored(change, after, plane, moment),
                    None => self.deleted(change, moment, plane),
                }
            }
            "Deployment" | "Namespace" if was_deleted => {}
            "Deployment" | "Namespace" => self.workload(change, api, moment),
            "Job" if change.before.is_none() => {
                let run = change.after.as_deref().and_then(owner_of);
                let uid = run
                    .as_ref()
                    .and_then(|run| api.get(run))
                    .map_or_else(String::new, |run| text(run, "uid").to_owned());
                let ended = run.as_ref().is_some_and(|run| {
                    api.get(run).is_none_or(|run| run.pointer("/status/result").is_some()) && !self.api_restored
                });
                let name = run.map_or_else(String::new, |run| run.name);
                // A TaskRun that was deleted and came back cannot know of a Job that somebody deleted as well. A create that was under
                // way when somebody deleted the Job cannot be stopped, nor the end of the run that follows from the deletion.
                let before = self.jobs.insert(name.clone(), (uid.clone(), None));
                let late = before.as_ref().and_then(|(_, by_hand)| *by_hand).is_some_and(|at| moment.since < at);
                let again = before.is_some_and(|(before, by_hand)| !late && (by_hand.is_none() || before == uid));
                if ended && !late {
                    self.broken("left", format!("the Job of run {name} was made after the run had ended"));
                }
                if again {
                    self.broken("I2", format!("run {name} has a second Job"));
                }
            }
            _ => {}
        }
    }

    /// I4: what a newer leader has touched, no older one changes.
    fn leaders(&mut self, change: &Change, moment: &Moment) {
        let Some(by) = moment.by else { return };
        let key = (change.id.clone(), matches!(by, Caller::Link(_)));
        let newest = self.touched.get(&key).copied().unwrap_or(0);
        if by.incarnation() < newest && change.before.is_some() {
            self.broken("I4", format!("{by:?} changed {} after {newest} had", change.id));
        }
        self.touched.insert(key, newest.max(by.incarnation()));
    }

    fn deleted(&mut self, change: &Change, moment: &Moment, plane: &Plane) {
        let before = change.before.as_deref().map_or(0, generation);
        // The forget of a run may carry the generation of a cancellation that never arrived.
        let covers = |forget: &i64| *forget == before || (change.id.kind == "TaskRun" && *forget > before);
        let asked = key_of(&change.id)
            .is_some_and(|key| plane.record.forgets.iter().any(|(of, generation)| *of == key && covers(generation)));
        if moment.by.is_some() && !asked && !self.restored {
            self.broken("I15", format!("{} at generation {before} was deleted and nobody asked for it", change.id));
        }
    }

    fn stored(&mut self, change: &Change, after: &Value, plane: &Plane, moment: &Moment) {
        let (id, before) = (&change.id, change.before.as_deref());
        let stored = generation(after);
        let highest = self.highest.get(id).copied().unwrap_or(0);
        if stored < highest {
            self.broken("I3", format!("{id} fell from generation {highest} to {stored}"));
        }
        // Only the intake writes the spec, once for each generation.
        let changed = before.is_some_and(|before| before.get("spec") != after.get("spec")) && moment.by.is_some();
        if changed && stored == highest {
            self.broken("I2", format!("{id} was changed twice for generation {stored}"));
        }
        let new = changed || before.is_none();
        if new && self.restored && plane.held().is_some() && plane.drew_since_its_restore(id, stored) {
            self.broken("held", format!("{id} {stored} was stored while a person had to decide"));
        }
        self.highest.insert(id.clone(), highest.max(stored));
        if is_absent(after) {
            self.absent.insert(id.clone(), moment.now);
        }
        let says_ready = |object: &Value| {
            let facts = object.pointer("/status/facts").and_then(Value::as_array);
            facts.into_iter().flatten().any(|fact| {
                fact.get("kind").and_then(Value::as_str) == Some("Ready")
                    && fact.get("generation").and_then(Value::as_i64) == Some(stored)
            })
        };
        untrue_exit(id, after).into_iter().for_each(|what| self.broken("I7", what));
        // The image that serves counts, not the stored one: somebody may have edited that, and the edit may be refused.
        let image = after.pointer("/status/effective/image").and_then(Value::as_str).unwrap_or_default();
        if !moment.unaware && image.contains("/bad@") && says_ready(after) && !before.is_some_and(says_ready) {
            self.broken("I7", format!("{id} says that generation {stored} is ready, and it cannot serve"));
        }
    }

    /// A workload is deleted only if its resource was wanted Absent at some time of its life. (The deletion may come late, when the
    /// resource is wanted again: the operator then creates it again.)
    fn workload(&mut self, change: &Change, api: &Api, moment: &Moment) {
        let Some(before) = &change.before else {
            let uid = change.after.as_ref().map_or_else(String::new, |object| text(object, "uid").to_owned());
            self.created.insert(uid, moment.now);
            return;
        };
        if change.after.as_deref().is_some_and(|after| !is_terminating(after)) {
            return;
        }
        let owner = owner_of(before);
        let absent = owner.as_ref().and_then(|owner| self.absent.get(owner)).copied();
        let is_absent_now = owner.and_then(|owner| api.get(&owner)).is_some_and(is_absent);
        let created = self.created.get(text(before, "uid")).copied().unwrap_or(0);
        if !is_absent_now && absent.is_none_or(|absent| absent + LATE < created) {
            self.broken("I15", format!("{} was deleted though nobody wanted that meanwhile", change.id));
        }
    }

    /// The intake has an answer for a document or a forget of this connection.
    pub(super) fn decided(&mut self, wire: u64, key: &ResourceKey) {
        self.decided.insert((wire, key.clone()));
    }

    /// An answer of *accepted* came over a connection: the intake must have decided it there.
    pub(super) fn answered(&mut self, wire: u64, key: &ResourceKey) {
        if !self.decided.contains(&(wire, key.clone())) {
            self.broken(
                "wire",
                format!("{key} was answered on connection {wire}, and nothing was decided about it there"),
            );
        }
    }

    /// The control plane was told that a document is stored.
    pub(super) fn acknowledged(&mut self, key: &ResourceKey, acknowledged: i64, api: &Api, now: Millis) {
        let id = Id::own(key.kind.as_str(), &key.name);
        let stored = api.get(&id).map_or(0, generation);
        let floor = floor(api);
        // Unless somebody in the cluster has deleted it since, which is reported.
        let by_hand = self.by_hand.get(&id).is_some_and(|at| now < at + 60_000);
        if stored.max(floor) < acknowledged && !by_hand {
            self.broken("I5", format!("{key} {acknowledged} was accepted, stored is {stored}, the floor {floor}"));
        }
    }

    /// At the end, when everything is quiet.
    pub(super) fn finish(&mut self, plane: &Plane, api: &Api) {
        let picture = plane.picture();
        for (key, accepted) in &plane.record.accepted {
            self.outcome(key, *accepted, plane, (&picture, api));
        }
        for (key, wish) in &picture.wanted {
            let stored = api.get(&Id::own(key.kind.as_str(), &key.name)).map_or(0, generation);
            if stored != wish.generation {
                self.broken("I6", format!("{key} is at {stored}, wanted is {}", wish.generation));
            }
            if key.kind == Kind::Release {
                self.effective(key, &picture, api);
            }
        }
        for (id, object) in api.iter().filter(|(id, _)| is_own(id)) {
            let Some(key) = key_of(id) else { continue };
            // A generation above the forgotten one is from before a restore, and a person accepted that it stays.
            let forgotten = picture.forgotten.get(&key).is_some_and(|forgotten| generation(object) <= *forgotten);
            if !picture.wanted.contains_key(&key) && forgotten {
                self.broken("I4", format!("{key} is there though it was forgotten"));
            }
            let observed = object.pointer("/status/observedGeneration").and_then(Value::as_i64);
            let known = picture.states.get(&key).and_then(|state| state.observed_generation);
            if observed != known {
                self.broken("I7", format!("{key} is observed at {observed:?}, the control plane knows {known:?}"));
            }
        }
        let lost = |id: &Id| self.api_restored || self.restored || self.by_hand.contains_key(id);
        let edits = self.edits.finish(&picture, api, lost);
        let untaken = self.edited.finish(api);
        edits.into_iter().chain(untrue(api)).chain(misled(api)).chain(untaken).for_each(|what| self.broken("I7", what));
        // The Job of an ended run stays with its pod, for the log.
        let made = api.iter().filter(|(id, _)| !is_own(id)).filter_map(|(id, object)| Some((id, owner_of(object)?)));
        for (id, owner) in made.filter(|(_, owner)| owner.kind != "TaskRun") {
            // Objects stay if nobody knows of them any more: the store was restored and somebody deleted their resource.
            let is_orphan = self.api_restored || (self.restored && self.by_hand.contains_key(&owner));
            if api.get(&owner).is_none() && !is_orphan {
                self.broken("left", format!("{id} is there, and {owner} is not"));
            }
        }
        for key in picture.states.keys().filter(|key| key.kind != Kind::DataPlane) {
            if api.get(&Id::own(key.kind.as_str(), &key.name)).is_none() {
                self.broken("I7", format!("{key} has a state at the control plane and is not there"));
            }
        }
    }

    /// I1: every accepted generation has an outcome, or a higher one was accepted.
    fn outcome(&mut self, key: &ResourceKey, accepted: i64, plane: &Plane, (picture, api): (&Picture, &Api)) {
        let outcome = |kind: FactKind| match kind {
            FactKind::Ready | FactKind::Failed | FactKind::Deleted | FactKind::TaskEnded => true,
            FactKind::RolledBack | FactKind::TaskStarted | FactKind::Modified => false,
        };
        let overtaken = plane.record.accepted.iter().any(|(other, higher)| other == key && *higher > accepted);
        let outcomes: Vec<_> = picture
            .facts
            .iter()
            // A run ends once, whatever generations came after that.
            .filter(|(of, fact)| of == key && (fact.generation == accepted || key.kind == Kind::TaskRun))
            .filter(|(_, fact)| outcome(fact.kind))
            .filter_map(|(_, fact)| fact.id.split('/').next())
            .collect();
        let told = |(of, fact): &(ResourceKey, Fact)| of == key && fact.generation == accepted && outcome(fact.kind);
        let restored = self.restored && self.api_restored;
        // Only a fact reached this store while the session was held; then a restore of the API server removed the resource too.
        let unknown =
            restored && !picture.wanted.contains_key(key) && api.get(&Id::own(key.kind.as_str(), &key.name)).is_none();
        let lost = unknown || plane.told_to_the_lost.iter().any(told);
        if !overtaken && !lost && outcomes.is_empty() && !picture.ended.contains(key) {
            let state = picture.states.get(key).map(|state| &state.conditions);
            self.broken("I1", format!("{key} {accepted} was accepted and its outcome never came: {state:?}"));
        }
        // The first part of an id is the object's uid: one object says one outcome of one generation.
        // After a restore of the API server the object may report it again.
        if !self.api_restored && outcomes.len() > outcomes.iter().collect::<BTreeSet<_>>().len() {
            self.broken("I1", format!("{key} {accepted} has two outcomes"));
        }
    }

    /// I3: the generation that serves is the newest that became ready and has not failed since.
    fn effective(&mut self, key: &ResourceKey, picture: &Picture, api: &Api) {
        let id = Id::own("Release", &key.name);
        let Some(object) = api.get(&id) else { return };
        // A recreated object has no record of what was ready before;
        // a restored store has lost the facts since its copy was made.
        if is_absent(object) || self.by_hand.contains_key(&id) || self.restored {
            return;
        }
        let facts = picture.facts.iter().filter(|(of, _)| of == key).map(|(_, fact)| fact);
        // Generations that were ready before a removal do not count.
        let removed = facts.clone().filter(|fact| fact.kind == FactKind::Deleted).map(|fact| fact.generation).max();
        let ready = facts.filter(|fact| fact.kind == FactKind::Ready && Some(fact.generation) > removed);
        let ready = ready.map(|fact| fact.generation).max();
        let effective = object.pointer("/status/effective/generation").and_then(Value::as_i64);
        // A generation that was overtaken while it rolled may serve without an outcome of its own.
        if effective < ready {
            self.broken("I3", format!("{key} serves generation {effective:?}, ready was {ready:?}"));
        }
    }
}

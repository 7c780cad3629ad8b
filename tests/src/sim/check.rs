//! The invariants (numbers of ARCHITECTURE.md): looked at with every change, and at the end.

use std::collections::{BTreeMap, BTreeSet};

use protocol::name::{Kind, ResourceKey};
use protocol::report::FactKind;
use protocol::session::Millis;
use serde_json::Value;

use super::api::{Api, Change, Id, generation, text};
use super::plane::Plane;

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `I3` and the like.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// What the checks remember.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pub(super) violations: Vec<Violation>,
    /// Highest generation that was ever stored.
    highest: BTreeMap<Id, i64>,
    /// Version of the API server when a release was last stored as Absent.
    absent: BTreeMap<String, u64>,
    /// When a release was deleted last.
    forgotten: BTreeMap<Id, Millis>,
    /// Version of the API server when an object was created, by uid.
    created: BTreeMap<String, u64>,
}

impl Checks {
    pub(super) fn broken(&mut self, invariant: &'static str, what: String) {
        self.violations.push(Violation { invariant, what });
    }

    /// After every change in the API server.
    pub(super) fn changed(&mut self, change: &Change, plane: &Plane, api: &Api, (now, since): (Millis, Millis)) {
        match change.id.kind.as_str() {
            "Release" => {
                // A create that was under way when its resource was forgotten: nothing can hold it back, so it must be
                // removed again; the end looks whether it was.
                let forgotten = self.forgotten.get(&change.id).copied();
                let late = change.before.is_none() && forgotten.is_some_and(|at| since < at);
                if change.after.is_none() {
                    self.forgotten.insert(change.id.clone(), now);
                }
                match &change.after {
                    Some(after) if late => {
                        self.highest.insert(change.id.clone(), generation(after));
                    }
                    Some(_) | None => self.release(change, plane, api),
                }
            }
            "Deployment" => self.deployment(change, api),
            _ => {}
        }
    }

    fn release(&mut self, change: &Change, plane: &Plane, api: &Api) {
        let id = &change.id;
        let Some(after) = &change.after else {
            let before = change.before.as_deref().map_or(0, generation);
            let key = ResourceKey { kind: Kind::Release, name: id.name.clone() };
            if !plane.forgets.contains(&(key, before)) {
                self.broken("I15", format!("{id} at generation {before} was deleted and nobody asked for it"));
            }
            return;
        };
        let stored = generation(after);
        let highest = self.highest.get(id).copied().unwrap_or(0);
        if stored < highest {
            self.broken("I3", format!("{id} fell from generation {highest} to {stored}"));
        }
        let changed = change.before.as_ref().and_then(|before| before.get("spec")) != after.get("spec");
        if changed && stored == highest {
            self.broken("I2", format!("{id} was changed twice for generation {stored}"));
        }
        self.highest.insert(id.clone(), highest.max(stored));
        if is_absent(after) {
            self.absent.insert(id.name.clone(), api.version());
        }
    }

    /// A workload goes only if its release was to be absent at some time of its life. (The deletion may come late, when the
    /// release is wanted again: the operator then makes it anew.)
    fn deployment(&mut self, change: &Change, api: &Api) {
        let Some(before) = &change.before else {
            let uid = change.after.as_ref().map_or_else(String::new, |object| text(object, "uid").to_owned());
            self.created.insert(uid, api.version());
            return;
        };
        if change.after.is_some() {
            return;
        }
        let owner = before.pointer("/metadata/labels/pdp-agent.dev~1release").and_then(Value::as_str);
        let absent = owner.and_then(|owner| self.absent.get(owner)).copied().unwrap_or(0);
        let now = owner.and_then(|owner| api.get(&Id::own("Release", owner))).is_some_and(is_absent);
        if !now && absent < self.created.get(text(before, "uid")).copied().unwrap_or(0) {
            self.broken("I15", format!("{} was deleted though its release was never absent meanwhile", change.id));
        }
    }

    /// The control plane was told that a document is stored.
    pub(super) fn acknowledged(&mut self, key: &ResourceKey, acknowledged: i64, api: &Api) {
        let stored = api.get(&Id::own("Release", &key.name)).map_or(0, generation);
        let floor = floor(api);
        if stored.max(floor) < acknowledged {
            self.broken("I5", format!("{key} {acknowledged} was accepted, stored is {stored}, the floor {floor}"));
        }
    }

    /// At the end, when everything is quiet.
    pub(super) fn finish(&mut self, plane: &Plane, api: &Api) {
        let outcome = |kind: FactKind| match kind {
            FactKind::Ready | FactKind::Failed | FactKind::Deleted => true,
            FactKind::RolledBack | FactKind::TaskStarted | FactKind::TaskEnded | FactKind::Modified => false,
        };
        for (key, accepted) in &plane.accepted {
            let overtaken = plane.accepted.iter().any(|(other, higher)| other == key && higher > accepted);
            let outcomes: Vec<_> = plane
                .facts
                .values()
                .filter(|(of, fact)| of == key && fact.generation == *accepted && outcome(fact.kind))
                .filter_map(|(_, fact)| fact.id.split('/').next())
                .collect();
            if !overtaken && outcomes.is_empty() {
                self.broken("I1", format!("{key} {accepted} was accepted and its outcome never came"));
            }
            // The first part of an id is the object's uid: one object says one outcome of one generation.
            if outcomes.len() > outcomes.iter().collect::<BTreeSet<_>>().len() {
                self.broken("I1", format!("{key} {accepted} has two outcomes"));
            }
        }
        for (key, issued) in &plane.issued {
            let stored = api.get(&Id::own("Release", &key.name)).map_or(0, generation);
            if stored != issued.generation {
                self.broken("I6", format!("{key} is at {stored}, wanted is {}", issued.generation));
            }
            self.effective(key, plane, api);
        }
        for (id, object) in api.iter().filter(|(id, _)| id.kind == "Release") {
            let key = ResourceKey { kind: Kind::Release, name: id.name.clone() };
            if !plane.issued.contains_key(&key) {
                self.broken("I4", format!("{key} is there though it was forgotten"));
            }
            let observed = object.pointer("/status/observedGeneration").and_then(Value::as_i64);
            let known = plane.states.get(&key).and_then(|state| state.observed_generation);
            if observed != known {
                self.broken("I7", format!("{key} is observed at {observed:?}, the control plane knows {known:?}"));
            }
        }
    }

    /// I3: what serves is the newest generation that became ready and has not failed since.
    fn effective(&mut self, key: &ResourceKey, plane: &Plane, api: &Api) {
        let Some(object) = api.get(&Id::own("Release", &key.name)) else { return };
        if is_absent(object) {
            return;
        }
        let facts = plane.facts.values().filter(|(of, _)| of == key).map(|(_, fact)| fact);
        // What was ready before a removal serves no more.
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

fn is_absent(release: &Value) -> bool {
    release.pointer("/spec/state").and_then(Value::as_str) == Some("Absent")
}

/// Highest generation that was really deleted.
pub(super) fn floor(api: &Api) -> i64 {
    let data_plane = api.get(&Id::own("DataPlane", "default"));
    data_plane.and_then(|object| object.pointer("/status/floor")).and_then(Value::as_i64).unwrap_or(0)
}

//! What a process was told, and must not forget: a write from a state that is older than its own last one would do again what was
//! done since, and a create of what it has created itself shows that it has lost sight of it.

use std::collections::BTreeMap;

use protocol::session::Millis;
use serde_json::Value;

use super::api::{Answer, Id, Request, text};

/// What answers have told each process.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Newest version of each of our objects, by process and uid.
    newest: BTreeMap<(u64, String), u64>,
    /// When an object was first answered, by process and uid.
    made: BTreeMap<(u64, String), Millis>,
    /// The API server went back in time: what was gone is there again, which a process believes only when it has started anew.
    restored: bool,
}

/// Kinds whose status is written after every decision.
fn is_decided(kind: &str) -> bool {
    matches!(kind, "Release" | "Environment" | "TaskRun")
}

/// Kinds that watches follow, and that nobody but their release makes.
fn is_followed(kind: &str) -> bool {
    matches!(kind, "Deployment" | "Service" | "ConfigMap" | "PodDisruptionBudget" | "ControllerRevision")
}

fn version(object: &Value) -> u64 {
    text(object, "resourceVersion").parse().unwrap_or(0)
}

impl Told {
    pub(super) fn restored(&mut self) {
        *self = Self { restored: true, ..Self::default() };
    }

    /// A process is given an answer.
    pub(super) fn answered(&mut self, process: u64, answer: &Answer, now: Millis) {
        let Ok(Some(object)) = answer else { return };
        let (id, key) = (Id::of(object), (process, text(object, "uid").to_owned()));
        if is_decided(&id.kind) {
            let newest = self.newest.entry(key).or_default();
            *newest = version(object).max(*newest);
        } else if is_followed(&id.kind) {
            self.made.entry(key).or_insert(now);
        }
    }

    /// What is wrong with a request that a process makes.
    pub(super) fn asked(&self, process: u64, request: &Request) -> Option<String> {
        let Request::UpdateStatus(body) = request else { return None };
        let newest = self.newest.get(&(process, text(body, "uid").to_owned()))?;
        let of = version(body);
        (is_decided(&request.id().kind) && of < *newest)
            .then(|| format!("{} is written from version {of}, and {newest} was answered", request.id()))
    }

    /// What is wrong with a create, asked for at `since`, that found something of that name.
    pub(super) fn exists(&self, process: u64, found: &Value, since: Millis) -> Option<String> {
        let id = Id::of(found);
        let knows = self.made.get(&(process, text(found, "uid").to_owned())).is_some_and(|told| *told < since);
        (is_followed(&id.kind) && knows && !self.restored)
            .then(|| format!("{id} is created again by who has created it"))
    }
}

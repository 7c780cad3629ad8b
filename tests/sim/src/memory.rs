//! Checks that a process remembers the answers to its own calls: a status write based on a version older than its own last write would do
//! again what was done since, and a second create of an object shows that the process has lost sight of it.

use std::collections::BTreeMap;

use protocol::session::Millis;
use serde_json::Value;

use super::api::{Answer, Id, Request, text};

/// What answers have told each process.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Newest version of each of our objects, by process and uid.
    newest: BTreeMap<(u64, String), u64>,
    /// When an object first came in an answer, by process and uid.
    made: BTreeMap<(u64, String), Millis>,
    /// The API server was restored: deleted objects are back, which a process only accepts after it has restarted.
    restored: bool,
}

/// Kinds whose status the operator writes after every decision.
fn is_decided(kind: &str) -> bool {
    matches!(kind, "Release" | "Environment" | "TaskRun")
}

/// Kinds that are watched, and that are created for a release only.
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

    /// Reports a status write that is based on an older version than the process knows.
    pub(super) fn asked(&self, process: u64, request: &Request) -> Option<String> {
        let Request::UpdateStatus(body) = request else { return None };
        let newest = self.newest.get(&(process, text(body, "uid").to_owned()))?;
        let of = version(body);
        (is_decided(&request.id().kind) && of < *newest)
            .then(|| format!("{} is written from version {of}, and {newest} was answered", request.id()))
    }

    /// Reports a create, requested at `since`, of an object that the process knows already.
    pub(super) fn exists(&self, process: u64, found: &Value, since: Millis) -> Option<String> {
        let id = Id::of(found);
        let knows = self.made.get(&(process, text(found, "uid").to_owned())).is_some_and(|told| *told < since);
        (is_followed(&id.kind) && knows && !self.restored)
            .then(|| format!("{id} is created again by who has created it"))
    }
}

//! The API server's store goes back to an older copy of itself; and finalizers, which make deletions take their time.

use super::Fault;
use super::api::{AGENT, Api, Id, Request, is_terminating, text};
use super::event::{Caller, Event};
use super::pods::{contents, orphans};
use super::trace::note;
use super::world::World;

/// A copy of the API server's store.
#[derive(Debug)]
pub(super) struct Snapshot {
    api: Api,
    /// Of the leases, which lie there too.
    transitions: i64,
    terms: i64,
}

impl World {
    pub(super) fn take_snapshot(&mut self) {
        self.snapshot = Some(Snapshot { api: self.api.clone(), transitions: self.transitions, terms: self.terms });
    }

    /// The API server stops, and goes on with the older copy. Calls under way are lost. Watches, which wait for versions that are yet
    /// to come, stay silent; each process notices by its lease, and starts anew.
    pub(super) fn restore_api(&mut self) -> bool {
        let Some(snapshot) = self.snapshot.take() else { return false };
        self.restores += 1;
        self.before_restore = self.incarnations;
        self.api.restore(&snapshot.api);
        (self.transitions, self.terms) = (snapshot.transitions, snapshot.terms);
        self.checks.api_restored(&self.api, self.now);
        let controlled = |id: &&Id| matches!(id.kind.as_str(), "Deployment" | "Job" | "Service" | "Namespace");
        for id in self.api.iter().map(|(id, _)| id).filter(controlled).cloned().collect::<Vec<_>>() {
            self.after(50, 2_000, Event::Controllers { id });
        }
        // What was made for an object that the copy does not hold any more is collected.
        for id in orphans(&self.api) {
            self.after(50, 2_000, Event::Controllers { id });
        }
        // Objects that were terminating when the copy was made get their finalizers removed now.
        let held: Vec<Id> =
            self.api.iter().filter(|(_, object)| is_terminating(object)).map(|(id, _)| id.clone()).collect();
        held.into_iter().for_each(|id| self.after(100, 8_000, Event::Finalize { id }));
        let links = self.links.keys().map(|incarnation| Caller::Link(*incarnation));
        let operators = self.operators.keys().map(|incarnation| Caller::Operator(*incarnation));
        for caller in links.chain(operators).collect::<Vec<_>>() {
            for stream in self.streams(caller) {
                let (at, round) = self.watches.get(&stream).copied().unwrap_or_default();
                self.watches.insert(stream, (at, round + 1));
            }
            self.after(200, 2_500, Event::Rewound { caller });
        }
        true
    }

    pub(super) fn rewound(&mut self, caller: Caller) {
        if !self.is_running(caller) {
            return;
        }
        note!(self, "{caller:?} notices that the API server went back in time");
        self.leave(caller);
        match caller {
            Caller::Link(incarnation) if self.link == Some(incarnation) => {
                self.link = None;
                self.after(500, 8_000, Event::StartLink);
            }
            Caller::Operator(incarnation) if self.operator == Some(incarnation) => {
                self.operator = None;
                self.after(500, 8_000, Event::StartOperator);
            }
            Caller::Link(_) | Caller::Operator(_) => {}
        }
    }

    /// Somebody's tool puts a finalizer on one of our resources, and takes it off some time later.
    pub(super) fn add_finalizer(&mut self) -> bool {
        let own = |(id, object): &(&Id, &std::sync::Arc<serde_json::Value>)| {
            id.namespace == AGENT
                && matches!(id.kind.as_str(), "Release" | "TaskRun" | "Environment")
                && !is_terminating(object)
        };
        let ids: Vec<Id> = self.api.iter().filter(own).map(|(id, _)| id.clone()).collect();
        let Some(last) = u64::try_from(ids.len()).ok().and_then(|count| count.checked_sub(1)) else { return false };
        let at = usize::try_from(self.dice.between(0, last)).unwrap_or(0);
        let Some(id) = ids.get(at) else { return false };
        self.by_hand(&Request::Finalizers { id: id.clone(), names: vec!["example.com/tool"] });
        self.after(500, 8_000, Event::Finalize { id: id.clone() });
        true
    }

    pub(super) fn finalize(&mut self, id: &Id) {
        if id.kind == "Namespace" {
            return self.empty(id);
        }
        if self.api.get(id).is_some_and(is_terminating) {
            self.reached.insert(Fault::SlowDeletion);
        }
        self.by_hand(&Request::Finalizers { id: id.clone(), names: Vec::new() });
    }

    /// A namespace that is going takes along what is in it, and goes when that is gone.
    fn empty(&mut self, id: &Id) {
        if !self.api.get(id).is_some_and(is_terminating) {
            return;
        }
        for within in contents(&self.api, &id.name) {
            let Some(object) = self.api.get(&within).filter(|object| !is_terminating(object)) else { continue };
            let (uid, resource_version) = (text(object, "uid").to_owned(), text(object, "resourceVersion").to_owned());
            self.by_hand(&Request::Delete { id: within, uid, resource_version });
        }
        if contents(&self.api, &id.name).is_empty() {
            self.by_hand(&Request::Finalizers { id: id.clone(), names: Vec::new() });
        } else {
            self.after(500, 4_000, Event::Finalize { id: id.clone() });
        }
    }
}

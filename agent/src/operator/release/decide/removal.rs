//! The decision for an absent release: remove what it made, report that once, wait to be forgotten.
//!
//! Only what its labels or its recorded set name is removed. Pods go first, so that nothing runs without its configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use protocol::mutant::{self, Mutant};
use protocol::report::FactKind;

use super::Identity;
use crate::kinds::conditions::{self, Conditions, NewFact, Reason};
use crate::kinds::{ObjectRef, ReleaseStatus};
use crate::operator::cluster::unanswered;
use crate::operator::object::ObjectKind;
use crate::operator::reconcile::modified::{self, Ledger};
use crate::operator::reconcile::write::{Decision, Live, Write};

/// Condition of an absent release: everything was gone at least once.
const REMOVED: &str = "Removed";

/// What is left of an absent release.
#[derive(Debug, Clone, Copy)]
pub struct Remains<'a> {
    pub identity: &'a Identity,
    /// Its status as stored.
    pub status: &'a ReleaseStatus,
    /// Until when a person stopped writes.
    pub paused: Option<&'a str>,
    /// Why the customer's budget lets nothing be removed now, if so.
    pub waits: Option<&'a Reason>,
    /// Every object of it that exists, stored renderings included.
    pub live: &'a BTreeMap<ObjectRef, Live>,
    /// Pods that still exist.
    pub pods: usize,
    /// How long something may still be created for it.
    pub settles: Option<Duration>,
}

/// Decides for an absent release.
#[must_use]
pub fn remove(remains: &Remains<'_>, now: Timestamp) -> Decision<ReleaseStatus> {
    let Remains { identity: _, status, paused, waits, live, pods, settles } = *remains;
    let ours: Vec<_> = live.iter().filter(|(_, live)| live.ours).collect();
    let runs = |reference: &ObjectRef| {
        matches!(ObjectKind::of(&reference.kind), Some(ObjectKind::Deployment | ObjectKind::Job))
    };
    let (first, rest): (Vec<_>, Vec<_>) = ours.iter().partition(|(reference, _)| runs(reference));
    let drained = first.is_empty() && pods == 0;
    let now_due = if drained { &rest } else { &first };
    let mut writes = Vec::new();
    if paused.is_none() && waits.is_none() {
        let due = now_due.iter().filter(|(_, live)| !live.terminating);
        writes.extend(due.map(|(reference, live)| Write::delete(reference, live)));
    }
    // A rendering is created before anything is recorded. Once everything was reported as gone, nothing was created any more.
    let over = already_reported(remains) && status.objects.is_empty();
    let settles = settles.filter(|_| !over && !mutant::is(Mutant::CreateForgotten));
    let left = match settles {
        _ if pods > 0 => Left::Pods,
        _ if !ours.is_empty() => Left::Objects,
        Some(settles) => Left::Unanswered(settles),
        None => Left::Nothing,
    };
    let next = described(remains, left, now);
    if next != *status {
        writes.push(Write::Status(Box::new(next)));
    }
    let wake = if let Left::Unanswered(settles) = left { Some(settles) } else { None };
    Decision { writes, wake }
}

/// What of a release there may still be.
#[derive(Clone, Copy, PartialEq)]
enum Left {
    Pods,
    Objects,
    /// No object is left, but a create without an answer may still come for this long.
    Unanswered(Duration),
    Nothing,
}

/// Whether it was reported for this generation that everything is gone.
fn already_reported(remains: &Remains<'_>) -> bool {
    remains.status.conditions.iter().any(|condition| {
        condition.condition_type == REMOVED && condition.observed_generation == Some(remains.identity.generation)
    })
}

fn described(remains: &Remains<'_>, left: Left, now: Timestamp) -> ReleaseStatus {
    let Remains { identity, status, paused, waits, live: _, pods: _, settles: _ } = *remains;
    let gone = left == Left::Nothing;
    let mut next = status.clone();
    next.observed_generation = Some(identity.generation);
    next.rollout = None;
    next.failed = None;
    let mut conditions = Conditions::new(&status.conditions, identity.generation, now);
    let why = match (left, waits) {
        (Left::Nothing, _) => Reason::new("Deleted", "everything that this release made is gone"),
        (_, _) if paused.is_some() => {
            Reason::new("Paused", "removal waits, because a person stopped writes to workloads")
        }
        (_, Some(waits)) => waits.clone(),
        (Left::Unanswered(_), None) => unanswered::settling(),
        (Left::Pods, None) => Reason::new("Removing", "pods are being stopped"),
        (Left::Objects, None) => Reason::new("Removing", "objects are being removed"),
    };
    if let Some(waits) = waits {
        conditions.set("Stalled", true, waits);
    }
    conditions.paused(paused);
    conditions.set("Ready", false, &why);
    // Reported once per generation, also when something that was created late appears and is removed afterwards.
    let reported = already_reported(remains);
    if gone || reported {
        conditions.set(REMOVED, true, &Reason::new("Deleted", "everything that this release had made was removed"));
    }
    let ledger = Ledger { uid: &identity.uid, facts: &mut next.facts, last: &mut next.last_fact };
    modified::tell(identity.modified.as_ref(), &mut conditions, ledger);
    if gone {
        if !reported || mutant::is(Mutant::OutcomeSaidAgain) {
            let fact = NewFact { kind: FactKind::Deleted, what: why, exit_code: None };
            let generation = identity.fact_generation();
            conditions::append(&mut next.facts, &mut next.last_fact, &identity.uid, generation, fact, now);
        }
        next.effective = None;
        next.bindings.clear();
        next.objects.clear();
        next.endpoints.clear();
        next.pods.clear();
        next.replicas = None;
        next.namespace = None;
    }
    next.conditions = conditions.finish();
    next
}

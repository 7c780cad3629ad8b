//! The decision for one environment. Pure: no client, no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use protocol::mutant::{self, Mutant};
use protocol::report::FactKind;

use super::objects::Wanted;
use crate::kinds::conditions::{self, Conditions, NewFact, Reason};
use crate::kinds::labels::AGENT;
use crate::kinds::{EnvironmentStatus, ObjectRef};
use crate::operator::cluster::unanswered;
use crate::operator::object::{self, ObjectKind};
use crate::operator::reconcile::fights;
use crate::operator::reconcile::modified::{self, Ledger, Modified};
use crate::operator::reconcile::write::{Decision, Live, Write};

/// What one decision looks at.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// Uid of the Environment.
    pub uid: &'a str,
    /// Generation of its document, or `metadata.generation`.
    pub generation: i64,
    /// Generation that facts carry.
    pub fact_generation: i64,
    /// How the stored spec differs from the document that came.
    pub modified: Option<&'a Modified>,
    /// Its status as stored.
    pub status: &'a EnvironmentStatus,
    pub namespace: &'a str,
    /// The agent whose label it carries, if that is another one.
    pub holder: Option<&'a str>,
    /// Until when a person stopped writes.
    pub paused: Option<&'a str>,
    /// How long something may still be created for it.
    pub settles: Option<Duration>,
    /// What is there of what is wanted or was made, the namespace among it.
    pub live: &'a BTreeMap<ObjectRef, Live>,
}

/// Decides for a present environment. `warning` is shown in a condition and blocks nothing.
#[must_use]
pub fn decide(
    observed: &Observed<'_>,
    wanted: Result<&Wanted, &Reason>,
    warning: Option<&Reason>,
    now: Timestamp,
) -> Decision<EnvironmentStatus> {
    let mut status = observed.status.clone();
    let mut writes = Vec::new();
    let mut why = wanted.err().cloned();
    let mut contested = None;
    let namespace = observed.live.get(&ObjectKind::Namespace.named(observed.namespace));
    match namespace {
        Some(live) if live.terminating => {
            why = Some(Reason::new(
                "NamespaceTerminating",
                format!("namespace {} is being deleted; it is made again once it is gone", observed.namespace),
            ));
        }
        Some(live) if !live.ours => {
            let taken = match observed.holder {
                Some(holder) => format!("belongs to the agent {holder} on this cluster, as its label {AGENT} says"),
                None => "exists and was not created for this environment".to_owned(),
            };
            let help = "it is never adopted, remove it or use other handles";
            why = Some(Reason::new("NamespaceTaken", format!("namespace {} {taken}; {help}", observed.namespace)));
        }
        Some(_) => {
            status.namespace = Some(observed.namespace.to_owned());
        }
        None => {}
    }
    if why.is_none()
        && observed.paused.is_none()
        && let Ok(wanted) = wanted
    {
        (writes, contested) = changes(observed, wanted);
        // Recorded before it is made: an Absent document does not name it, and nothing else would find it.
        status.namespace = Some(observed.namespace.to_owned());
    }
    status.observed_generation = Some(observed.generation);
    let done = why.is_none() && writes.is_empty() && namespace.is_some();
    let was_ready = conditions::is_true(&observed.status.conditions, "Ready");
    let mut conditions = Conditions::new(&observed.status.conditions, observed.generation, now);
    conditions.paused(observed.paused);
    if let Some(why) = &why {
        conditions.set("Stalled", true, why);
    }
    if let Some(warning) = warning {
        conditions.set("Degraded", true, warning);
    }
    if let Some(contested) = &contested {
        conditions.set("Contested", true, contested);
    }
    let why = why.unwrap_or_else(|| {
        if done {
            Reason::new("Prepared", "the namespace is ready for releases")
        } else {
            Reason::new("Preparing", "the namespace is being prepared")
        }
    });
    // Repair of one object does not make the namespace unfit.
    let ready = done
        || (was_ready && namespace.is_some_and(|live| live.ours && !live.terminating) && why.reason == "Preparing");
    let why = if ready && !done { Reason::new("Prepared", "the namespace is ready for releases") } else { why };
    conditions.set("Ready", ready, &why);
    // Reported once per generation, also when the namespace is deleted and comes back afterwards.
    let already_reported = reported(observed, PREPARED) || (was_ready && reported(observed, "Ready"));
    if ready || already_reported {
        conditions.set(PREPARED, true, &Reason::new("Prepared", "the namespace was ready for releases"));
    }
    let ledger = Ledger { uid: observed.uid, facts: &mut status.facts, last: &mut status.last_fact };
    modified::tell(observed.modified, &mut conditions, ledger);
    status.conditions = conditions.finish();
    if ready && !already_reported {
        let fact = NewFact { kind: FactKind::Ready, what: why, exit_code: None };
        conditions::append(&mut status.facts, &mut status.last_fact, observed.uid, observed.fact_generation, fact, now);
    }
    if status != *observed.status {
        let at = if status.namespace == observed.status.namespace { writes.len() } else { 0 };
        writes.insert(at, Write::Status(Box::new(status)));
    }
    Decision { writes, wake: None }
}

/// Condition of a present environment: it was ready at least once.
const PREPARED: &str = "Prepared";

/// Whether an outcome of this generation was reported before.
fn reported(observed: &Observed<'_>, outcome: &str) -> bool {
    observed.status.conditions.iter().any(|condition| {
        condition.condition_type == outcome && condition.observed_generation == Some(observed.generation)
    })
}

/// Writes that are due, and why an object is contested.
fn changes(observed: &Observed<'_>, wanted: &Wanted) -> (Vec<Write<EnvironmentStatus>>, Option<Reason>) {
    let (mut writes, mut contested) = (Vec::new(), None);
    for object in &wanted.present {
        let Some((kind, reference)) = object::reference(object) else { continue };
        match observed.live.get(&reference) {
            None => writes.push(Write::Create(object.clone())),
            Some(live) if !live.terminating && !live.drift.is_empty() => {
                match fights::contested(kind, &reference.name, live) {
                    Some(why) => contested = Some(why),
                    None => writes.push(Write::apply(object, live)),
                }
            }
            Some(_) => {}
        }
    }
    for reference in &wanted.absent {
        if let Some(live) = observed.live.get(reference).filter(|live| live.ours && !live.terminating) {
            writes.push(Write::delete(reference, live));
        }
    }
    (writes, contested)
}

/// Condition of an absent environment: everything was gone at least once.
const REMOVED: &str = "Removed";

/// What still stands in the way of removing an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Nothing.
    None,
    /// Releases that are present in it, or not yet removed.
    Releases(Vec<String>),
    /// Objects in its namespace that we did not make.
    Foreign(Vec<String>),
    /// Its namespace cannot be made ours, for this reason.
    Kept(Reason),
}

/// Whether the namespace exists and is ours. Only then may its content be listed: the rights to that are in the namespace and are
/// deleted with it.
#[must_use]
pub fn exists_and_ours(namespace: &str, live: &BTreeMap<ObjectRef, Live>) -> bool {
    live.get(&ObjectKind::Namespace.named(namespace)).is_some_and(|live| live.ours && !live.terminating)
}

/// Decides for an absent environment.
#[must_use]
pub fn remove(observed: &Observed<'_>, obstacle: &Obstacle, now: Timestamp) -> Decision<EnvironmentStatus> {
    let mut status = observed.status.clone();
    status.observed_generation = Some(observed.generation);
    let mut writes = Vec::new();
    let namespace_ref = ObjectKind::Namespace.named(observed.namespace);
    let namespace = observed.live.get(&namespace_ref).filter(|live| live.ours);
    // Without a name nothing was ever created.
    let settles = observed.settles.filter(|_| namespace.is_none() && status.namespace.is_some());
    let settles = settles.filter(|_| !mutant::is(Mutant::CreateForgotten));
    let (why, waits) = match (namespace, obstacle) {
        (None, _) if settles.is_some() => (unanswered::settling(), false),
        (None, Obstacle::None | Obstacle::Releases(_) | Obstacle::Foreign(_) | Obstacle::Kept(_)) => {
            (Reason::new("Deleted", "everything that this environment made is gone"), false)
        }
        (Some(_), Obstacle::Releases(names)) => (
            Reason::new(
                "NotEmpty",
                format!("releases are present in it: {}; it is removed once they are absent", names.join(", ")),
            ),
            true,
        ),
        (Some(_), Obstacle::Foreign(names)) => (
            Reason::new(
                "NotEmpty",
                format!(
                    "its namespace holds objects that the agent did not make: {}; the namespace is deleted once they are gone. What the cluster puts into every \
                     namespace can be named in clusterObjects of DataPlanePolicy/default",
                    names.join(", ")
                ),
            ),
            true,
        ),
        (Some(_), Obstacle::Kept(why)) => (why.clone(), false),
        (Some(live), Obstacle::None) => {
            if observed.paused.is_none() && !live.terminating {
                writes.push(Write::delete(&namespace_ref, live));
            }
            (Reason::new("Removing", "the namespace is being deleted"), false)
        }
    };
    let gone = namespace.is_none() && settles.is_none();
    let mut conditions = Conditions::new(&observed.status.conditions, observed.generation, now);
    conditions.set("Ready", false, &why);
    if waits {
        conditions.set("NotEmpty", true, &why);
    }
    conditions.paused(observed.paused);
    // Reported once per generation, also when a namespace that was created late appears and is removed afterwards.
    let already_reported = reported(observed, REMOVED);
    if gone || already_reported {
        let what = Reason::new("Deleted", "everything that this environment had made was removed");
        conditions.set(REMOVED, true, &what);
    }
    let ledger = Ledger { uid: observed.uid, facts: &mut status.facts, last: &mut status.last_fact };
    modified::tell(observed.modified, &mut conditions, ledger);
    status.conditions = conditions.finish();
    if gone {
        if !already_reported {
            let fact = NewFact { kind: FactKind::Deleted, what: why, exit_code: None };
            conditions::append(
                &mut status.facts,
                &mut status.last_fact,
                observed.uid,
                observed.fact_generation,
                fact,
                now,
            );
        }
        status.namespace = None;
    }
    if status != *observed.status {
        writes.push(Write::Status(Box::new(status)));
    }
    Decision { writes, wake: settles }
}

#[cfg(test)]
mod tests;

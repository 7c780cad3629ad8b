//! The decision for one release: what is observed and what is wanted, to a list of writes. Pure: no client, no clock.
//!
//! It is asked again after every event, and finds out from status and cluster where it stands; nothing is remembered between two
//! calls. Order within one generation: add what is missing, roll the pods, switch addresses once the new pods serve, prune after
//! the drain. A rollout that fails goes back once to what served before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use protocol::mutant::{self, Mutant};

use super::progress::{APPLYING, Verdict};
use crate::kinds::conditions;
use crate::kinds::{Binding, ObjectRef, ReleaseStatus, Rollout};
use crate::operator::object::{self, ObjectKind};
use crate::operator::reconcile::rendering::Slots;
use crate::operator::reconcile::write::{Decision, Write};
use crate::operator::world::workload::Workload;

mod difference;
pub mod observed;
mod outcome;
pub mod prune;
mod removal;
mod rollout;
pub mod switch;

use difference::{Applied, apply};
pub use observed::{Identity, Observed, Target};
pub use removal::{Remains, remove};
use rollout::{RolloutStep, probation, rolled_back};

/// Revisions that are kept, with their renderings and what they are bound to.
pub const KEPT_REVISIONS: usize = 10;

/// Poll interval for a foreign object in our way: watches show only our label.
const IN_THE_WAY_RETRY: Duration = Duration::from_secs(10);

/// Where the newest content of a release stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentState {
    /// Not acted on yet.
    New,
    /// Being rolled out.
    Rolling,
    /// It serves, or has served.
    Effective,
    /// It failed, and is not tried again.
    Failed,
}

/// Where the newest content stands, from status alone.
#[must_use]
pub fn content_state(status: &ReleaseStatus, identity: &Identity) -> ContentState {
    let failed = status.failed.as_ref();
    if failed.is_some_and(|failed| failed.generation == identity.generation && failed.hash == identity.content_hash) {
        return if mutant::is(Mutant::FailedIsTriedAgain) { ContentState::New } else { ContentState::Failed };
    }
    if let Some(rollout) = &status.rollout {
        let same = rollout.generation == identity.generation && rollout.revision == identity.revision;
        return if same { ContentState::Rolling } else { ContentState::New };
    }
    let effective = status.effective.as_ref();
    if effective.is_some_and(|done| done.generation == Some(identity.generation) && done.revision == identity.revision)
    {
        return ContentState::Effective;
    }
    ContentState::New
}

/// The revision that shall run now: the one being rolled out, else the last good one.
#[must_use]
pub fn target(status: &ReleaseStatus) -> Option<&str> {
    let rolling = status.rollout.as_ref().map(|rollout| rollout.revision.as_str());
    rolling.or_else(|| status.effective.as_ref().map(|effective| effective.revision.as_str()))
}

/// What the slots of `revision` are bound to.
#[must_use]
pub fn binding<'a>(status: &'a ReleaseStatus, revision: &str) -> Option<&'a Slots> {
    status.bindings.iter().find(|binding| binding.revision == revision).map(|binding| &binding.slots)
}

/// What the rollout of the newest content begins with.
#[derive(Debug, Clone, Copy)]
pub struct Admission<'a> {
    pub identity: &'a Identity,
    /// Its status as stored.
    pub status: &'a ReleaseStatus,
    pub namespace: &'a str,
    /// What its slots are bound to.
    pub slots: &'a Slots,
    pub target: Target<'a>,
    /// The present state of its workload.
    pub workload: &'a Workload,
}

/// Status with the rollout begun, recorded before anything of it is created. Equal to what the next decision would write, so that
/// the next one writes no status of its own.
#[must_use]
pub fn admit(admission: &Admission<'_>, now: Timestamp) -> ReleaseStatus {
    let Admission { identity, status, namespace, slots, target, workload } = *admission;
    let mut next = bind(status, &identity.revision, slots);
    next.namespace = Some(namespace.to_owned());
    next.rollout = Some(Rollout {
        generation: identity.generation,
        revision: identity.revision.clone(),
        since: conditions::timestamp(now),
    });
    next.failed = None;
    next.probation = None;
    let secret = target.secret.map(|name| ObjectKind::Secret.named(name));
    record(&mut next, target.objects.iter().filter_map(object::reference).map(|(_, found)| found).chain(secret));
    let observed = Observed {
        identity,
        status,
        blocked: None,
        invalid: None,
        paused: None,
        target: Some(target),
        live: &BTreeMap::new(),
        revisions: &BTreeMap::new(),
        lost: None,
        in_use: None,
        workload,
        last_lines: false,
        contested: None,
    };
    let seen = outcome::Seen {
        verdict: &Verdict::Progressing(APPLYING.to_owned()),
        contested: None,
        in_the_way: None,
        reported: outcome::reported(&observed),
        stopping: None,
    };
    outcome::describe(&observed, &seen, &mut next, now);
    next
}

/// Status with another binding of `revision`.
#[must_use]
pub fn bind(status: &ReleaseStatus, revision: &str, slots: &Slots) -> ReleaseStatus {
    let mut next = status.clone();
    next.bindings.retain(|binding| binding.revision != revision);
    next.bindings.push(Binding { revision: revision.to_owned(), slots: slots.clone() });
    let effective = next.effective.as_ref().map(|effective| effective.revision.clone());
    while next.bindings.len() > KEPT_REVISIONS {
        let kept = |binding: &Binding| Some(&binding.revision) == effective.as_ref() || binding.revision == revision;
        let Some(oldest) = next.bindings.iter().position(|binding| !kept(binding)) else { break };
        next.bindings.remove(oldest);
    }
    next
}

/// Adds `objects` to the recorded set, so that they can be pruned whatever happens next.
fn record(status: &mut ReleaseStatus, objects: impl Iterator<Item = ObjectRef>) {
    let mut set: BTreeSet<ObjectRef> = status.objects.drain(..).collect();
    set.extend(objects);
    status.objects = set.into_iter().collect();
}

/// Decides for a present release.
#[must_use]
pub fn decide(observed: &Observed<'_>, now: Timestamp) -> Decision<ReleaseStatus> {
    let mut status = observed.status.clone();
    let mut applied = observed.target.map_or_else(Applied::default, |target| apply(observed, &target));
    let verdict = verdict(observed, &applied);
    let mut wake = None;
    let mut failed_now = false;
    let mut reported = outcome::reported(observed);
    if let Some(why) = observed.invalid {
        rollout::conclude_failed(observed, &mut status, &mut reported, why, now);
        failed_now = true;
    }
    let of_invalid = |rollout: &Rollout| failed_now && rollout.generation == observed.identity.generation;
    let mut failing = None;
    if status.rollout.as_ref().is_some_and(of_invalid) {
        status.rollout = None;
    } else if let Some(rollout) = status.rollout.clone() {
        let progress = RolloutStep { observed, rollout: &rollout, now };
        match &verdict {
            Verdict::Serving if applied.switches.is_empty() => progress.served(&mut status, &mut reported),
            Verdict::Serving | Verdict::Stalled(_) => {}
            Verdict::Failed(why) => failing = Some(why.clone()),
            Verdict::Progressing(doing) => match progress.deadline(&mut status, doing) {
                Ok(left) => wake = Some(left),
                Err(why) => failing = Some(why),
            },
        }
    } else if let Some(why) = probation(observed, now) {
        failing = Some(why);
    } else if verdict == Verdict::Serving {
        rolled_back(observed, &mut status, &mut reported, now);
    }
    let mut stopping = None;
    if let Some(why) = failing {
        wake = rollout::last_lines(observed, now);
        if wake.is_some() {
            stopping = Some(why);
        } else {
            rollout::failed(observed, &mut status, &mut reported, &why, now);
            failed_now = true;
        }
    }
    if applied.in_the_way.is_some() {
        wake = Some(IN_THE_WAY_RETRY);
    }
    if failed_now || observed.paused.is_some() {
        // After a failure the next round starts from the new status, and rolls back; a pause stops every write to workloads.
        applied.writes.clear();
        applied.switches.clear();
    }
    let mut writes = applied.writes;
    if writes.is_empty() && (observed.status.rollout.is_none() || verdict == Verdict::Serving) {
        writes.append(&mut applied.switches);
    }
    if writes.is_empty() && status.rollout.is_none() && verdict == Verdict::Serving && observed.paused.is_none() {
        writes.extend(prune::prune(observed, &mut status));
    }
    // After a restart, or for a run, it would be found nowhere else.
    if observed.paused.is_none()
        && let Some(lost) = observed.lost
    {
        writes.push(Write::Create(lost.clone()));
    }
    let seen = outcome::Seen {
        verdict: &verdict,
        contested: applied.contested.as_ref().or(observed.contested),
        in_the_way: applied.in_the_way.as_ref(),
        reported,
        stopping: stopping.as_ref(),
    };
    outcome::describe(observed, &seen, &mut status, now);
    if status != *observed.status {
        writes.push(Write::Status(Box::new(status)));
        wake = wake.or(failed_now.then_some(Duration::ZERO));
    }
    Decision { writes, wake }
}

fn verdict(observed: &Observed<'_>, applied: &Applied) -> Verdict {
    let Some(target) = &observed.target else {
        return Verdict::Progressing("nothing runs yet".to_owned());
    };
    if let Some(why) = &applied.in_the_way {
        return Verdict::Stalled(why.clone());
    }
    if !applied.writes.is_empty() && observed.status.rollout.is_some() {
        return Verdict::Progressing(APPLYING.to_owned());
    }
    let of_kind = |kind: ObjectKind| {
        let objects = target.objects.iter().filter_map(object::reference);
        objects.filter(move |(found, _)| *found == kind).map(|(_, reference)| reference.name)
    };
    if !target.serves() {
        return if applied.writes.is_empty() { Verdict::Serving } else { Verdict::Progressing(APPLYING.to_owned()) };
    }
    if mutant::is(Mutant::ReadyTooEarly) {
        return Verdict::Serving;
    }
    observed.workload.verdict(&of_kind(ObjectKind::Service).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;

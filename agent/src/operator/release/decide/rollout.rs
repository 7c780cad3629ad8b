//! How a rollout ends: it serves, it fails, or its time is over; and that the last good revision serves again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use protocol::mutant::{self, Mutant};
use protocol::report::{Effective, FactKind};

use super::{ContentState, Observed, content_state, outcome};
use crate::kinds::conditions::{self, NewFact, Reason, STOPPING};
use crate::kinds::{FailedGeneration, Probation, ReleaseStatus, Rollout};
use crate::operator::release::progress;
use crate::operator::world::workload::PodView;

/// One step of a rollout.
pub(super) struct RolloutStep<'a> {
    pub(super) observed: &'a Observed<'a>,
    pub(super) rollout: &'a Rollout,
    pub(super) now: Timestamp,
}

impl RolloutStep<'_> {
    pub(super) fn served(&self, status: &mut ReleaseStatus, reported: &mut Option<FactKind>) {
        let Some(target) = &self.observed.target else { return };
        status.rollout = None;
        let before =
            status.effective.take().filter(|before| before.revision != self.rollout.revision && target.serves());
        status.probation = before.map(|previous| Probation {
            since: conditions::timestamp(self.now),
            restarts: restarts(self.observed),
            previous,
        });
        status.effective = Some(Effective {
            generation: Some(self.rollout.generation),
            revision: self.rollout.revision.clone(),
            image: target.rendering.image.clone(),
        });
        // A generation that was superseded while it rolled out has no outcome of its own.
        if self.rollout.generation == self.observed.identity.generation {
            // Facts report the first outcome only; later changes show in conditions.
            if reported.is_none() {
                let what = if target.serves() {
                    Reason::new("Serving", "the new pods serve")
                } else {
                    Reason::new("Runnable", "the task can be run")
                };
                append(self.observed, status, FactKind::Ready, what, self.now);
                *reported = Some(FactKind::Ready);
            }
        }
    }

    /// Time left, or why it is over. The clock stands still while the rollout is stalled, and begins anew with each new pod: pods take
    /// turns, and the time is for one of them, as in Kubernetes.
    pub(super) fn deadline(&self, status: &mut ReleaseStatus, doing: &str) -> Result<Duration, Reason> {
        let seconds = self.observed.target.map_or(300, |target| target.rendering.deadline_seconds);
        let stalled = conditions::is_true(&self.observed.status.conditions, "Stalled");
        let since = conditions::parse_time(&self.rollout.since).filter(|_| !stalled && !self.advances());
        let Some(since) = since else {
            if let Some(rollout) = &mut status.rollout {
                rollout.since = conditions::timestamp(self.now);
            }
            return Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
        };
        let left = SignedDuration::from_secs(i64::from(seconds)) - self.now.duration_since(since);
        if left.is_positive() {
            return Ok(left.unsigned_abs() + Duration::from_millis(100));
        }
        Err(Reason::new(
            "ProgressDeadlineExceeded",
            format!("not ready after {seconds} s: {doing}; check the readiness probe and the log of the new pods"),
        ))
    }

    /// Whether there are more pods of the newest template than status says. A node may end or refuse one after the other, and they all
    /// stay in the list, so those beyond the wanted number do not count.
    fn advances(&self) -> bool {
        let Observed { workload, status, .. } = self.observed;
        let Some(deployment) = workload.deployment.as_ref().filter(|deployment| deployment.is_observed()) else {
            return false;
        };
        let pods = i32::try_from(workload.newest_pods().count()).unwrap_or(i32::MAX);
        let before = status.replicas.as_ref().map_or(pods, |replicas| replicas.updated);
        pods > before && pods <= deployment.desired
    }
}

/// The newest content does not serve, or not any more: what served before shall run, if anything did.
pub(super) fn failed(
    observed: &Observed<'_>,
    status: &mut ReleaseStatus,
    reported: &mut Option<FactKind>,
    why: &Reason,
    now: Timestamp,
) {
    if let Some(rollout) = status.rollout.take() {
        // A superseded rollout does not decide about the newest generation.
        if mutant::is(Mutant::FailureNotRecorded) || rollout.generation != observed.identity.generation {
            return;
        }
    } else {
        status.effective = status.probation.take().map(|probation| probation.previous);
    }
    conclude_failed(observed, status, reported, why, now);
}

/// How long the last lines of the newest pods are still waited for before they make way. None: long enough, or there is nothing to read
/// or nobody who may, or the pods stay.
pub(super) fn last_lines(observed: &Observed<'_>, now: Timestamp) -> Option<Duration> {
    let ran = |pod: &PodView| pod.started.is_some() || pod.terminated.is_some() || pod.restarts > 0;
    let read = observed.last_lines && observed.status.effective.is_some() && observed.workload.newest_pods().any(ran);
    conditions::last_lines_wait(&observed.status.conditions, now).filter(|_| read)
}

/// How long a new revision that serves is watched.
const PROBATION: SignedDuration = SignedDuration::from_secs(60);

/// Why the newest revision, which serves since less than a minute, makes way for the one before: a container of it has died.
pub(super) fn probation(observed: &Observed<'_>, now: Timestamp) -> Option<Reason> {
    let probation = observed.status.probation.as_ref()?;
    let since = conditions::parse_time(&probation.since)?;
    let newest = content_state(observed.status, observed.identity) == ContentState::Effective;
    // Its last lines may be read beyond the minute.
    let over = now.duration_since(since) >= PROBATION && !conditions::is_true(&observed.status.conditions, STOPPING);
    if !newest || over || restarts(observed) <= probation.restarts {
        return None;
    }
    let dead = observed.workload.newest_pods().max_by_key(|pod| pod.restarts)?;
    let seconds = PROBATION.as_secs();
    Some(Reason::new(
        "Crashed",
        format!("a new container served and ended within {seconds} s{}", progress::death(dead)),
    ))
}

/// Restarts of all pods of the newest template.
fn restarts(observed: &Observed<'_>) -> i32 {
    observed.workload.newest_pods().map(|pod| pod.restarts).fold(0, i32::saturating_add)
}

/// Records that the newest content has failed and is not tried again; reported unless an outcome of it was.
pub(super) fn conclude_failed(
    observed: &Observed<'_>,
    status: &mut ReleaseStatus,
    reported: &mut Option<FactKind>,
    why: &Reason,
    now: Timestamp,
) {
    let identity = observed.identity;
    status.failed = Some(FailedGeneration {
        generation: identity.generation,
        hash: identity.content_hash.clone(),
        reason: why.reason.clone(),
        message: why.message.clone(),
    });
    if reported.is_none() {
        append(observed, status, FactKind::Failed, why.clone(), now);
        *reported = Some(FactKind::Failed);
    }
}

fn append(observed: &Observed<'_>, status: &mut ReleaseStatus, kind: FactKind, what: Reason, now: Timestamp) {
    let identity = observed.identity;
    let fact = NewFact { kind, what, exit_code: None };
    conditions::append(&mut status.facts, &mut status.last_fact, &identity.uid, identity.fact_generation(), fact, now);
}

/// Reports once that the last good revision serves again after a failure that was reported.
pub(super) fn rolled_back(
    observed: &Observed<'_>,
    status: &mut ReleaseStatus,
    reported: &mut Option<FactKind>,
    now: Timestamp,
) {
    let already_reported = conditions::is_true(&observed.status.conditions, outcome::ROLLED_BACK)
        || reported.is_some_and(|reported| reported != FactKind::Failed);
    // The failure of an earlier generation is no outcome of one that only waits for its admission.
    let failed = status
        .failed
        .as_ref()
        .filter(|failed| failed.generation == observed.identity.generation || mutant::is(Mutant::FailureOfAnother));
    let (Some(_), Some(effective), false) = (failed, &status.effective, already_reported) else { return };
    let message = match effective.generation {
        Some(generation) => format!("generation {generation} serves again"),
        None => "the last good revision serves again".to_owned(),
    };
    append(observed, status, FactKind::RolledBack, Reason::new("RolledBack", message), now);
    *reported = Some(FactKind::RolledBack);
}

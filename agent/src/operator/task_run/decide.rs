//! The decision for one run. Pure: no client, no clock.
//!
//! The Job's name is recorded before the Job is created, and a Job that was seen once and is gone is never made again: the
//! task may have run. Facts say start and end once.

use std::time::Duration;

use jiff::Timestamp;
use protocol::mutant::{self, Mutant};
use protocol::report::{Condition, FactKind};
use serde_json::{Value, json};

use crate::kinds::TaskRunStatus;
use crate::kinds::conditions::{self, Conditions, NewFact, Reason, STOPPING};
use crate::operator::cluster::unanswered;
use crate::operator::object::ObjectKind;
use crate::operator::reconcile::modified::{self, Ledger, Modified};
use crate::operator::reconcile::write::{Decision, Write};
use crate::operator::release::progress;
use crate::operator::world::index::JobView;
use crate::operator::world::workload::{GateView, PodView};
use words::Began;

mod early;
mod words;

/// What one decision looks at.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// Name of the TaskRun.
    pub name: &'a str,
    pub uid: &'a str,
    /// Generation of its document, or `metadata.generation`.
    pub generation: i64,
    /// Generation that facts carry.
    pub fact_generation: i64,
    /// How the stored spec differs from the document that came.
    pub modified: Option<&'a Modified>,
    /// Whether it shall end.
    pub cancel: bool,
    /// Its status as stored.
    pub status: &'a TaskRunStatus,
    /// What its Job would be, while none is recorded.
    pub blueprint: Option<&'a Result<Blueprint, Reason>>,
    /// Why the customer does not let its Job start now, if so.
    pub denied: Option<&'a Reason>,
    /// The recorded Job, rendered again: while it is not there, or shall be suspended.
    pub recorded: Option<&'a Value>,
    /// The recorded Job in the cluster.
    pub job: &'a JobSeen,
    /// Until when a person stopped writes.
    pub paused: Option<&'a str>,
    /// How long its Job may still be created.
    pub settles: Option<Duration>,
    /// Whether anybody may read the last lines of its pods before they are stopped.
    pub last_lines: bool,
}

/// The Job that a run will create.
#[derive(Debug, Clone, PartialEq)]
pub struct Blueprint {
    pub namespace: String,
    /// Rendering.
    pub revision: String,
    /// The Job.
    pub job: Value,
}

/// The Job as it is.
#[derive(Debug, Clone, PartialEq)]
pub enum JobSeen {
    /// It is not there.
    Missing,
    /// It is.
    Found {
        /// Of what was seen.
        uid: String,
        /// Of what was seen.
        resource_version: String,
        /// Whether it is being deleted.
        terminating: bool,
        job: JobView,
        pods: Vec<PodView>,
    },
}

/// How long a pod's last state is waited for after its Job has ended.
const EXIT_CODE_WAIT: Duration = Duration::from_secs(2);

/// How long the pod of a run stays that has ended while another container of it runs on: its log can be read until then.
pub const KEPT_OUTLIVED: Duration = Duration::from_secs(600);

/// How long a Job may take to make a pod: longer, and something refuses it.
const NO_POD: Duration = Duration::from_secs(10);

/// Decides.
#[must_use]
pub fn decide(observed: &Observed<'_>, now: Timestamp) -> Decision<TaskRunStatus> {
    let mut next = observed.status.clone();
    next.observed_generation = Some(observed.generation);
    let mut step = Draft { observed, now, writes: Vec::new(), wake: None, stopping: false, next };
    let said = step.take();
    let mut conditions = Conditions::new(&observed.status.conditions, observed.generation, now);
    conditions.paused(observed.paused);
    if step.stopping {
        conditions.set(
            STOPPING,
            true,
            &Reason::new("Cancelled", "its pods are stopped once their last lines were read"),
        );
    }
    match said {
        RunState::Waits(why) => {
            conditions.set("Stalled", true, &why);
            conditions.set("Ended", false, &why);
        }
        RunState::Goes(why) => conditions.set("Ended", false, &why),
        RunState::Ended(why) => conditions.set("Ended", true, &why),
    }
    let ledger = Ledger { uid: observed.uid, facts: &mut step.next.facts, last: &mut step.next.last_fact };
    modified::tell(observed.modified, &mut conditions, ledger);
    step.next.conditions = conditions.finish();
    if step.next != *observed.status {
        // The name is recorded before the Job is made; everything else is written after it was done.
        let status = Write::Status(Box::new(step.next.clone()));
        let recording = observed.status.job.is_none() && step.next.job.is_some();
        let at = if recording { 0 } else { step.writes.len() };
        step.writes.insert(at, status);
    }
    Decision { writes: step.writes, wake: step.wake }
}

enum RunState {
    Waits(Reason),
    Goes(Reason),
    Ended(Reason),
}

struct Draft<'a> {
    observed: &'a Observed<'a>,
    now: Timestamp,
    writes: Vec<Write<TaskRunStatus>>,
    wake: Option<Duration>,
    /// Its pods are stopped once their last lines were read.
    stopping: bool,
    next: TaskRunStatus,
}

impl Draft<'_> {
    fn take(&mut self) -> RunState {
        if self.observed.status.job.is_none() {
            return self.begin();
        }
        match self.observed.job {
            JobSeen::Missing => self.vanished(),
            JobSeen::Found { uid, resource_version, terminating, job, pods } => {
                self.follow(uid, resource_version, *terminating, job, pods)
            }
        }
    }

    fn begin(&mut self) -> RunState {
        if self.observed.cancel {
            return self.end("Cancelled", None, Reason::new("Cancelled", "cancelled before it began"));
        }
        if self.observed.paused.is_some() {
            return RunState::Waits(Reason::new("Paused", "a person stopped writes to workloads"));
        }
        if let Some(why) = self.denied() {
            return RunState::Waits(why.clone());
        }
        match self.observed.blueprint {
            Some(Ok(Blueprint { namespace, revision, job })) => {
                self.next.namespace = Some(namespace.clone());
                self.next.revision = Some(revision.clone());
                self.next.job = job.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
                self.writes.push(Write::Create(job.clone()));
                RunState::Goes(Reason::new("Starting", "the Job is being created"))
            }
            Some(Err(why)) => RunState::Waits(why.clone()),
            None => RunState::Waits(Reason::new("ReleaseNotReady", "its release is not ready")),
        }
    }

    fn denied(&self) -> Option<&Reason> {
        self.observed.denied.filter(|_| !mutant::is(Mutant::PolicyNotAskedForRuns))
    }

    /// The Job was recorded and is not there: it was never created, or somebody removed it.
    fn vanished(&mut self) -> RunState {
        let was_seen = self
            .observed
            .status
            .conditions
            .iter()
            .any(|condition| condition.condition_type == "Ended" && words::tells_of_a_job(&condition.reason));
        if self.observed.cancel {
            let settles = self.observed.settles.filter(|_| !was_seen && !mutant::is(Mutant::CreateForgotten));
            if let Some(left) = settles {
                self.wake = Some(left);
                return RunState::Goes(unanswered::settling());
            }
            return self.end("Cancelled", None, Reason::new("Cancelled", "cancelled; its Job is gone"));
        }
        match self
            .observed
            .recorded
            .filter(|_| (!was_seen && self.observed.status.started.is_none()) || mutant::is(Mutant::JobMadeAgain))
        {
            Some(job) => {
                if let Some(why) = self.denied() {
                    return RunState::Waits(why.clone());
                }
                if self.observed.paused.is_none() {
                    self.writes.push(Write::Create(job.clone()));
                }
                RunState::Goes(Reason::new("Starting", "the Job is being created"))
            }
            None => self.end(
                "Unknown",
                None,
                Reason::new("JobLost", "its Job is gone, so how it ended is not known; run it again if needed"),
            ),
        }
    }

    fn follow(&mut self, uid: &str, version: &str, terminating: bool, job: &JobView, pods: &[PodView]) -> RunState {
        let started = pods.iter().filter_map(|pod| pod.started.clone()).min();
        if self.next.started.is_none()
            && let Some(started) = started.or_else(|| job.complete.then(|| job.started.clone()).flatten())
        {
            self.next.started = Some(started);
            self.fact(FactKind::TaskStarted, Reason::new("Started", "the task's pod runs"), None);
        }
        // Names of pods are random: the last attempt is the one that began last. While the watch of pods lags behind that of Jobs,
        // what looks like the last one is an earlier one, with another exit code.
        let ended: Vec<_> = pods.iter().filter(|pod| pod.terminated.is_some()).collect();
        let all = usize::try_from(job.attempts).is_ok_and(|attempts| ended.len() >= attempts);
        let last =
            ended.into_iter().filter(|_| all || mutant::is(Mutant::ExitCodeOfFirstAttempt)).max_by(|one, other| {
                let later = (&one.started, &one.name).cmp(&(&other.started, &other.name));
                if mutant::is(Mutant::ExitCodeOfFirstAttempt) { later.reverse() } else { later }
            });
        let exit = last.and_then(|pod| pod.terminated.as_ref()).map(|(_, code)| *code);
        let known = exit.is_some();
        let exit = exit.flatten();
        if job.complete {
            return self.ended(
                job,
                (known, exit),
                "Succeeded",
                Reason::new("Succeeded", "the task ended with success"),
            );
        }
        if let Some(reason) = &job.failed {
            let began = if self.next.started.is_some() { Began::Yes } else { Began::Never(self.waited()) };
            let why = words::failed(reason, last, pods, &began);
            return self.ended(job, (known, exit), "Failed", why);
        }
        if !self.observed.cancel
            && let Some((result, why)) = self.over_before_its_job(last, pods)
        {
            self.next.ended = last.and_then(|pod| pod.finished.clone());
            return self.end(result, exit, why);
        }
        if self.observed.cancel {
            if job.suspended && job.active == 0 {
                return self.end("Cancelled", exit, Reason::new("Cancelled", "cancelled; its pods are gone"));
            }
            if !job.suspended && !terminating && self.observed.paused.is_none() && !self.waits_for_last_lines(pods) {
                self.suspend(uid, version);
            }
            return RunState::Goes(Reason::new("Cancelling", "its pods are being stopped"));
        }
        // In an earlier attempt of a run that has started the gate may have given up.
        let starting = pods.iter().filter(|pod| self.next.started.is_none() || pod.gate.is_none());
        match starting.clone().find_map(words::waits) {
            Some(why) => RunState::Waits(why),
            None if self.next.started.is_some() => RunState::Goes(words::running()),
            None if starting.clone().any(|pod| pod.gate == Some(GateView::Tries)) => {
                RunState::Goes(Reason::new("Pending", progress::AT_THE_GATE))
            }
            // The Job is about to end, or to try again: until then what is known stays.
            None if !pods.is_empty() && pods.iter().all(|pod| pod.timed_out) => self.waits_on(words::starting()),
            None if pods.is_empty() && self.makes_no_pod(job) => {
                RunState::Waits(words::no_pod(self.next.namespace.as_deref().unwrap_or_default()))
            }
            None => RunState::Goes(words::starting()),
        }
    }

    /// Why it waited until now, by what status says.
    fn waited(&self) -> Option<Reason> {
        let stalled = |condition: &&Condition| condition.condition_type == "Stalled" && condition.status == "True";
        let stalled = self.observed.status.conditions.iter().find(stalled)?;
        Some(Reason::new(&stalled.reason, stalled.message.clone()))
    }

    /// What is known stays: why it waited, if it has not begun.
    fn waits_on(&self, otherwise: Reason) -> RunState {
        let waited = self.waited().filter(|_| self.next.started.is_none());
        waited.map_or(RunState::Goes(otherwise), RunState::Waits)
    }

    /// Whether the Job has begun a while ago and no pod of it was ever made.
    fn makes_no_pod(&mut self, job: &JobView) -> bool {
        let none = !job.suspended && job.active == 0 && job.attempts == 0;
        let Some(begun) = job.started.as_deref().and_then(conditions::parse_time).filter(|_| none) else {
            return false;
        };
        let since = Duration::try_from(self.now.duration_since(begun)).unwrap_or_default();
        self.wake = NO_POD.checked_sub(since).filter(|left| !left.is_zero());
        self.wake.is_none()
    }

    fn waits_for_last_lines(&mut self, pods: &[PodView]) -> bool {
        if !self.observed.last_lines || !pods.iter().any(|pod| pod.started.is_some() && !pod.terminating) {
            return false;
        }
        self.wake = conditions::last_lines_wait(&self.observed.status.conditions, self.now);
        self.stopping = self.wake.is_some();
        self.stopping
    }

    /// Applies the whole Job with `suspend`: applying a part of it would remove our other fields.
    fn suspend(&mut self, uid: &str, version: &str) {
        let (uid, resource_version) = (uid.to_owned(), version.to_owned());
        let Some(object) = self.observed.recorded.map(suspended) else {
            // Its rendering is gone: the Job goes as a whole, its pods with it.
            let object = ObjectKind::Job.named(self.next.job.as_deref().unwrap_or_default());
            self.writes.push(Write::Delete { object, uid, resource_version });
            return;
        };
        self.writes.push(Write::Apply { object, uid, resource_version, repairs: false });
    }

    /// The Job has ended. The pod's last state may come a moment later, with an exit code unless that is withheld.
    fn ended(&mut self, job: &JobView, (known, exit): (bool, Option<i32>), result: &str, why: Reason) -> RunState {
        let ended = job.ended.as_deref().and_then(conditions::parse_time);
        let since = ended.map(|ended| self.now.duration_since(ended)).and_then(|since| Duration::try_from(since).ok());
        let left = since.and_then(|since| EXIT_CODE_WAIT.checked_sub(since)).filter(|left| !left.is_zero());
        if !known && let Some(left) = left {
            self.wake = Some(left);
            return self.waits_on(words::running());
        }
        self.next.ended.clone_from(&job.ended);
        self.end(result, exit, why)
    }

    fn end(&mut self, result: &str, exit: Option<i32>, why: Reason) -> RunState {
        self.next.result = Some(result.to_owned());
        self.next.exit_code = exit;
        if self.next.ended.is_none() {
            self.next.ended = Some(conditions::timestamp(self.now));
        }
        self.fact(FactKind::TaskEnded, why.clone(), exit);
        RunState::Ended(why)
    }

    fn fact(&mut self, kind: FactKind, what: Reason, exit_code: Option<i32>) {
        let fact = NewFact { kind, what, exit_code };
        let Observed { uid, fact_generation, .. } = *self.observed;
        conditions::append(&mut self.next.facts, &mut self.next.last_fact, uid, fact_generation, fact, self.now);
    }
}

/// The Job with its pods stopped.
#[must_use]
pub fn suspended(job: &Value) -> Value {
    let mut job = job.clone();
    if let Some(spec) = job.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("suspend".to_owned(), json!(true));
    }
    job
}

#[cfg(test)]
mod tests;

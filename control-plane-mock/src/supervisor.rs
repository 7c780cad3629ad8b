//! The one place where tasks are made: each has a name, and all end when the server does.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owner of all tasks of one control plane.
#[derive(Debug, Clone, Default)]
pub struct Supervisor {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Supervisor {
    /// Cancelled when the server stops.
    #[must_use]
    pub const fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs `task` until it ends or the server stops and the grace is over.
    #[expect(clippy::disallowed_methods, reason = "this is the supervisor")]
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        drop(tokio::spawn(self.tasks.track_future(async move {
            tokio::select! {
                () = task => {}
                () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => {
                    tracing::debug!(task = name, "task did not end in time and was dropped");
                }
            }
        })));
    }

    /// Tells all tasks to stop and waits for them, at most for the grace.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        drop(tokio::time::timeout(GRACE + Duration::from_millis(500), self.tasks.wait()).await);
    }
}

/// Time that tasks have to end.
const GRACE: Duration = Duration::from_secs(2);

//! The operator role: reconciles the agent's kinds into workloads.
//!
//! From the ground up: `object` (kinds, owners, names, comparison), `cluster` (requests and what refusals mean), `world` (watches,
//! the index of what they have shown, the queue of what is due), `reconcile` (a round, observing, the one place for writes,
//! status), then a folder for each kind, and `lead`, which starts their rounds. The operator touches environments' namespaces and,
//! in the agent's own, the status of our kinds; it reads Secrets only by name and never writes outside.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use cluster::Cluster;
use context::Pulse;
use lead::End;
use world::watch::Source;

pub mod clock;
pub mod cluster;
mod context;
pub mod environment;
#[cfg(test)]
mod expansion_tests;
#[cfg(test)]
mod fixture;
pub mod installation;
mod lead;
pub mod object;
pub mod reconcile;
pub mod release;
pub mod task_run;
pub mod world;

pub use context::OperatorContext;

/// Runs the role until `stop` is cancelled: waits for leadership, works while it lasts. Failures are retried inside. Cancel safe:
/// every write is complete by itself.
pub async fn run<S: Source>(context: OperatorContext<S>, stop: CancellationToken) {
    let cluster = Cluster::new(Arc::clone(&context.api), context.leadership.clone(), &context.metrics);
    let mut leadership = context.leadership.clone();
    let pulse = Pulse::new(&context.health);
    // Standing by is ready: another process works.
    pulse.check.ready();
    loop {
        let epoch = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            epoch = pulse.during(leadership.acquired()) => epoch,
        };
        tracing::info!(transitions = epoch.transitions, "the operator leads");
        if epoch.transitions > 1 {
            cluster.leadership_acquired();
        }
        let term = stop.child_token();
        let mut watched = context.leadership.clone();
        let end = tokio::select! {
            biased;
            () = watched.lost(&epoch) => End::Over,
            end = lead::lead(&context, &cluster, &pulse, &term) => end,
        };
        term.cancel();
        match end {
            End::Over if stop.is_cancelled() => return,
            End::Over => tracing::warn!("the operator does not lead any more"),
            End::Renamed => tracing::info!("the data plane has a new id; starting over with its labels"),
        }
    }
}

//! The operator role: reconciles the agent's kinds into workloads.
//!
//! A release goes through `resolve`, `build`, `check`, `apply`, `switch`, `prune`, `report`, one file a stage; `release` is the
//! driver, `decide` the pure part of it. The operator touches environments' namespaces and, in the agent's own, the status of
//! our kinds; it reads Secrets only by name and never writes outside.

use std::time::Duration;

use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::admin::{Check, Health, Heart};
use crate::elector::Leadership;
use crate::settings::Settings;
use crate::telemetry::{LevelHandle, Metrics};
use cluster::Cluster;
use lead::End;

pub mod apply;
pub mod autoscaler;
pub mod build;
pub mod check;
pub mod cluster;
pub mod cluster_words;
pub mod compare;
pub mod confined;
pub mod dataplane;
pub mod decide;
pub mod environment;
#[cfg(test)]
mod expansion_tests;
#[cfg(test)]
mod fixture;
pub mod index;
mod lead;
pub mod modified;
mod names;
pub mod object;
pub mod observe;
pub mod progress;
pub mod prune;
pub mod queue;
pub mod release;
pub mod rendering;
pub mod report;
pub mod resolve;
#[cfg(test)]
mod shape;
pub mod shared;
pub mod switch;
pub mod taskrun;
mod tracked;
pub mod unanswered;
pub mod unreadable;
pub mod validated;
pub mod view;
pub mod watch;
pub mod write;

/// What the operator works with.
#[derive(Clone)]
pub struct OperatorContext {
    /// The API server, as the operator's account.
    pub client: Client,
    /// Namespace, names, identity of this process.
    pub settings: Settings,
    /// The Lease `<fullname>-operator`; `check()` comes before every write.
    pub leadership: Leadership,
    /// Where its metrics are registered.
    pub metrics: Metrics,
    /// Where it says whether it can work (`check`) and that it makes progress (`heart`).
    pub health: Health,
    /// The log level: follows `DataPlane.spec.logLevel` (each role watches for its own process).
    pub level: LevelHandle,
}

/// Why the role ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {}

/// Runs the role until `stop` is cancelled: waits for leadership, works while it lasts.
///
/// # Errors
/// Only what a restart may mend; anything else is retried inside.
pub async fn run(context: OperatorContext, stop: CancellationToken) -> Result<(), OperatorError> {
    let cluster = Cluster::new(context.client.clone(), context.leadership.clone(), &context.metrics);
    let mut leadership = context.leadership.clone();
    let pulse = Pulse { heart: context.health.heart("operator", PULSE_LIMIT), check: context.health.check("operator") };
    // Standing by is ready: another process works.
    pulse.check.ready();
    loop {
        let epoch = tokio::select! {
            epoch = pulse.during(leadership.acquired()) => epoch,
            () = stop.cancelled() => return Ok(()),
        };
        tracing::info!(transitions = epoch.transitions, "the operator leads");
        if epoch.transitions > 1 {
            cluster.took_over();
        }
        let term = stop.child_token();
        let mut watched = context.leadership.clone();
        let end = tokio::select! {
            end = lead::lead(&context, &cluster, &pulse, &term) => end,
            () = watched.lost(&epoch) => End::Over,
        };
        term.cancel();
        match end {
            End::Over if stop.is_cancelled() => return Ok(()),
            End::Over => tracing::warn!("the operator does not lead any more"),
            End::Renamed => tracing::info!("the data plane has a new id; starting over with its labels"),
        }
    }
}

/// Longest that the operator's loop may take for one turn.
const PULSE_LIMIT: Duration = Duration::from_secs(60);

/// How often it shows that it goes round.
const BEAT: Duration = Duration::from_secs(10);

/// What the operator says of itself to probes.
struct Pulse {
    heart: Heart,
    check: Check,
}

impl Pulse {
    /// Waits for `work` and beats meanwhile: waiting for the outside is no standstill.
    async fn during<F: Future>(&self, work: F) -> F::Output {
        let mut beat = tokio::time::interval(BEAT);
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = beat.tick() => self.heart.beat(),
            }
        }
    }
}

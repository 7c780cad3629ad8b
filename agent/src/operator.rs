//! The operator role: reconciles the agent's kinds into workloads.
//!
//! From the ground up: `object` (kinds, names, comparison), `cluster` (requests and what refusals mean), `world` (watches, what they have
//! shown, what is due), `reconcile` (looking, the one door for writes, status), then a folder for each kind, and `lead`, which starts their
//! rounds. The operator touches environments' namespaces and, in the agent's own, the status of our kinds; it reads Secrets only by name
//! and never writes outside.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::admin::{Check, Health, Heart};
use crate::elector::Leadership;
use crate::settings::Settings;
use crate::telemetry::{LevelHandle, Metrics};
use clock::Clock;
use cluster::{Api, Cluster};
use lead::End;
use world::watch::Source;

pub mod clock;
pub mod cluster;
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

/// What the operator works with. Wherever it waits for several things at once they have an order, so that in a simulation the same
/// events always lead to the same requests.
#[derive(Clone)]
pub struct OperatorContext<S> {
    /// The API server, as the operator's account.
    pub api: Arc<dyn Api>,
    /// The same, for watches.
    pub source: S,
    /// The time of day.
    pub clock: Clock,
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

/// Runs the role until `stop` is cancelled: waits for leadership, works while it lasts. What fails is tried again inside. Cancel safe:
/// every write stands for itself.
pub async fn run<S: Source>(context: OperatorContext<S>, stop: CancellationToken) {
    let cluster = Cluster::new(Arc::clone(&context.api), context.leadership.clone(), &context.metrics);
    let mut leadership = context.leadership.clone();
    let pulse = Pulse { heart: context.health.heart("operator", PULSE_LIMIT), check: context.health.check("operator") };
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
            cluster.took_over();
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
                biased;
                done = &mut work => return done,
                _ = beat.tick() => self.heart.beat(),
            }
        }
    }
}

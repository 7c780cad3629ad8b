//! What the role is started with, and how it reports to probes.

use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::cluster::Api;
use crate::admin::{Check, Health, Heart};
use crate::elector::Leadership;
use crate::settings::Settings;
use crate::telemetry::{LevelHandle, Metrics};

/// What the operator works with. Wherever it waits for several things at once, they are polled in a fixed order, so that in a
/// simulation the same events always lead to the same requests.
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
    /// Where it reports readiness (`check`) and liveness (`heart`).
    pub health: Health,
    /// The log level: follows `DataPlane.spec.logLevel` (each role watches for its own process).
    pub level: LevelHandle,
}

/// Longest that the operator's loop may take for one turn.
const PULSE_LIMIT: Duration = Duration::from_secs(60);

/// How often it shows that it goes round.
pub(super) const BEAT: Duration = Duration::from_secs(10);

/// The operator's readiness and liveness.
pub(super) struct Pulse {
    pub(super) heart: Heart,
    pub(super) check: Check,
}

impl Pulse {
    pub(super) fn new(health: &Health) -> Self {
        Self { heart: health.heart("operator", PULSE_LIMIT), check: health.check("operator") }
    }

    /// Waits for `work` and beats meanwhile: waiting for something outside this process is not a hang.
    pub(super) async fn during<F: Future>(&self, work: F) -> F::Output {
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

//! The operator role: reconciles the agent's kinds into workloads.
//!
//! A release goes through `resolve`, `build`, `check`, `apply`, `switch`, `prune`, `report`, one file a stage; `release` is the
//! driver, `decide` the pure part of it. The operator touches environments' namespaces and, in the agent's own, the status of
//! our kinds; it reads Secrets only by name and never writes outside.

use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::admin::Health;
use crate::elector::Leadership;
use crate::settings::Settings;
use crate::telemetry::{LevelHandle, Metrics};

pub mod build;
pub mod compare;
pub mod decide;
pub mod environment;
#[cfg(test)]
mod fixture;
pub mod object;
pub mod progress;
pub mod prune;
pub mod quantity;
pub mod rendering;
pub mod report;
pub mod switch;
pub mod validated;
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
    let OperatorContext { .. } = context;
    stop.cancelled().await;
    Ok(())
}

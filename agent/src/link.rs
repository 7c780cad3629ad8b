//! The link role: keeps the connection to the control plane, turns documents into custom resources and their status into
//! reports, and serves log streams.

use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::admin::Health;
use crate::elector::Leadership;
use crate::settings::{LinkSettings, Settings};
use crate::telemetry::{LevelHandle, Metrics};

pub mod intake;
pub mod logs;
pub mod reporter;
pub mod store;

/// What the link works with.
#[derive(Clone)]
pub struct LinkContext {
    /// The API server, as the link's account.
    pub client: Client,
    /// Namespace, names, identity of this process.
    pub settings: Settings,
    /// Where the control plane is and how it is trusted.
    pub link: LinkSettings,
    /// The Lease `<fullname>-link`; `check()` comes before every write.
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
pub enum LinkError {}

/// Runs the role until `stop` is cancelled: waits for leadership, keeps the link while it lasts.
///
/// # Errors
/// Only what a restart may mend; anything else is retried inside.
pub async fn run(context: LinkContext, stop: CancellationToken) -> Result<(), LinkError> {
    let LinkContext { .. } = context;
    stop.cancelled().await;
    Ok(())
}

//! The link role: keeps the connection to the control plane, turns documents into custom resources and their status into
//! reports, and serves log streams.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::admin::Health;
use crate::client::Clients;
use crate::elector::Leadership;
use crate::settings::{LinkSettings, Settings};
use crate::telemetry::{LevelHandle, Metrics};

pub mod cache;
pub mod dial;
pub mod enrol;
pub mod identity;
pub mod intake;
pub mod lanes;
pub mod logs;
pub mod metrics;
pub mod reporter;
mod shell;
pub mod status;
pub mod store;

/// What the link works with.
#[derive(Clone)]
pub struct LinkContext {
    /// The API server, as the link's account.
    pub clients: Clients,
    /// Namespace, names, identity of this process.
    pub settings: Settings,
    /// Where the control plane is and how it is trusted.
    pub link: LinkSettings,
    /// The Lease `<fullname>-link`; `check()` comes before every write.
    pub leadership: Leadership,
    /// Where its metrics are registered.
    pub metrics: Metrics,
    /// Where it reports readiness (`check`) and liveness (`heart`).
    pub health: Health,
    /// The log level: follows `DataPlane.spec.logLevel` (each role watches for its own process).
    pub level: LevelHandle,
}

/// The loop goes round every five seconds; a minute without is a hang.
const HEART: std::time::Duration = std::time::Duration::from_secs(60);

/// Runs the role until `stop` is cancelled: waits for leadership, keeps the link while it lasts. Failures are retried inside.
/// Cancel safe: every write is complete by itself.
pub async fn run(context: LinkContext, stop: CancellationToken) {
    let LinkContext { clients: Clients { shared, apart }, settings, link, leadership, metrics, health, level } =
        context;
    let logs = logs::LogContext {
        client: apart,
        namespace: settings.namespace.clone(),
        metrics: logs::LogMetrics::new(&metrics),
        starts: Arc::default(),
        last_lines: logs::LastLines::default(),
    };
    let parts = shell::Parts {
        logs: Some(logs),
        store: store::KubeStore::new(shared, settings.namespace.clone()),
        dialer: dial::Dialer::new(link.ca_bundle_file.clone()).pinned(link.pins.clone()),
        metrics: metrics::LinkMetrics::register(&metrics),
        check: health.check("link"),
        heart: health.heart("link", HEART),
        settings,
        link,
        leadership,
        level,
    };
    shell::run(&parts, &stop).await;
}

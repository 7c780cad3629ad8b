//! The link at work: one loop per leadership over the pure parts.
//!
//! While this process leads, a [`term::Term`] watches the link's tables, keeps the session and the identity, and hands documents
//! to workers. Its loop only picks an event and gives it to one handler; nothing in it waits. Every queue is bounded: documents
//! by the session's window, frames to write by a short channel, everything else by the number of resources.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::dial::Dialer;
use super::enrol::Keeper;
use super::logs::LogContext;
use super::metrics::LinkMetrics;
use super::store::Store;
use crate::admin::{Check, Heart};
use crate::elector::Leadership;
use crate::settings::{LinkSettings, Settings};
use crate::telemetry::LevelHandle;

mod connection;
mod event;
mod files;
mod log_requests;
mod loss;
mod session;
mod status_writer;
mod streams;
mod term;
mod work;

/// How often the loop goes round at least.
const TICK: Duration = Duration::from_secs(5);

/// What the shell is made of.
#[derive(Clone)]
pub(super) struct Parts<S> {
    pub(super) store: S,
    pub(super) settings: Settings,
    pub(super) link: LinkSettings,
    pub(super) dialer: Dialer,
    pub(super) leadership: Leadership,
    pub(super) metrics: LinkMetrics,
    pub(super) check: Check,
    pub(super) heart: Heart,
    pub(super) level: LevelHandle,
    /// None where there is no API server to read logs from: in tests.
    pub(super) logs: Option<LogContext>,
}

impl<S: Store> Parts<S> {
    fn keeper(&self) -> Keeper<S> {
        let secret = format!("{}-identity", self.settings.fullname);
        Keeper::new(self.store.clone(), self.leadership.clone(), self.dialer.clone(), &self.link, secret)
    }
}

/// Works whenever this process leads, until `stop`.
pub(super) async fn run<S: Store>(parts: &Parts<S>, stop: &CancellationToken) {
    let mut leadership = parts.leadership.clone();
    loop {
        parts.heart.beat();
        // A process that stands by is ready.
        parts.check.ready();
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            epoch = leadership.acquired() => term::Term::new(parts, epoch).run(stop).await,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

#[cfg(test)]
mod tests;

//! The link's status: what it should say, and when that is written and logged.
//!
//! A change that is reversed within two seconds is neither written nor logged: most sessions come back at once, and both roles
//! start together.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::link::status::{self, Connected, LinkStatus};

/// Reason while the operator has not yet written what hello needs.
pub(super) const WAITING: &str = "WaitingForOperator";
/// A change that may pass is written after this time.
const QUIET: Duration = Duration::from_secs(2);
/// Wait before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct StatusWriter {
    wanted: LinkStatus,
    due: Option<Instant>,
    running: bool,
    logged: Option<Connected>,
    logged_proposed: Vec<String>,
}

impl StatusWriter {
    pub(super) fn new() -> Self {
        let version = Some(env!("CARGO_PKG_VERSION").to_owned());
        Self {
            wanted: LinkStatus { version, ..LinkStatus::default() },
            due: None,
            running: false,
            logged: None,
            logged_proposed: Vec::new(),
        }
    }

    /// The condition as it shall stand.
    pub(super) const fn connected(&self) -> Option<&Connected> {
        self.wanted.connected.as_ref()
    }

    /// Whether there is a session and why not.
    pub(super) fn set_connected(&mut self, yes: bool, reason: &'static str, message: String) {
        let connected = Connected { yes, reason, message };
        if self.wanted.connected.as_ref() == Some(&connected) {
            return;
        }
        let was_connected = self.wanted.connected.as_ref().is_some_and(|old| old.yes);
        self.wanted.connected = Some(connected);
        let may_pass = reason == WAITING || (!yes && was_connected);
        self.write(if may_pass { QUIET } else { Duration::ZERO });
    }

    /// What the control plane hands out and this installation does not trust: fingerprints.
    pub(super) fn set_proposed(&mut self, fingerprints: Vec<String>) {
        if self.wanted.proposed.as_ref() != Some(&fingerprints) {
            self.wanted.proposed = Some(fingerprints);
            self.write(Duration::ZERO);
        }
    }

    pub(super) fn set_id(&mut self, id: String) {
        self.wanted.id = Some(id);
    }

    /// The status has no id: what is known is written again, if somebody has made the object anew.
    pub(super) fn lost(&mut self) {
        if self.wanted.id.is_some() {
            self.write(Duration::ZERO);
        }
    }

    pub(super) fn set_store(&mut self, store_id: String) {
        self.wanted.store_id = Some(store_id);
        self.write(Duration::ZERO);
    }

    /// Schedules a write of the status, after this time at the latest.
    pub(super) fn write(&mut self, after: Duration) {
        let due = Instant::now() + after;
        self.due = Some(self.due.map_or(due, |at| at.min(due)));
    }

    /// When [`Self::start`] has something to do. Never while a write is under way.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.due.filter(|_| !self.running)
    }

    /// What to write now, if it is time. `ended` must follow.
    pub(super) fn start(&mut self) -> Option<LinkStatus> {
        if self.wake().is_none_or(|at| at > Instant::now()) {
            return None;
        }
        self.due = None;
        self.running = true;
        self.log();
        Some(self.wanted.clone())
    }

    pub(super) fn ended(&mut self, failed: bool) {
        self.running = false;
        if failed {
            self.write(RETRY);
        }
    }

    /// One line for each change that is written.
    fn log(&mut self) {
        let proposed = self.wanted.proposed.clone().unwrap_or_default();
        if std::mem::replace(&mut self.logged_proposed, proposed.clone()) != proposed && !proposed.is_empty() {
            warn!(why = status::proposal(&proposed), "the control plane hands out a CA that is not trusted here");
        }
        let Some(connected) = &self.wanted.connected else { return };
        if self.logged.replace(connected.clone()).as_ref() == Some(connected) {
            return;
        }
        let Connected { yes, reason, message } = connected;
        if *yes {
            info!(reason, "connected to the control plane");
        } else {
            warn!(reason, why = message, "not connected to the control plane");
        }
    }
}

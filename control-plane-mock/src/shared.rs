//! What every part of a running control plane holds: settings, store, authority, and who is connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::Config;
use crate::faults::Faults;
use crate::gateway::ca::Authority;
use crate::gateway::hub::Hub;
use crate::record::Record;
use crate::store::Store;
use crate::supervisor::Supervisor;

/// What all parts of a running control plane share.
#[derive(Debug)]
pub struct Shared {
    /// Settings.
    pub config: Config,
    /// The store.
    pub store: Store,
    /// The certificate authority.
    pub authority: Authority,
    /// Everything received.
    pub record: Record,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// Who is connected.
    pub hub: Arc<Hub>,
    /// Owner of all tasks.
    pub supervisor: Supervisor,
    /// Id of the store; a restore makes a new one.
    pub store_id: String,
    /// `host:port` by which agents reach this gateway.
    pub public_address: String,
    /// Secret by which the gateways of this store authenticate to each other.
    pub gateway_secret: String,
    /// Data planes that may come back all at once.
    pub enrolled: AtomicU64,
}

impl Shared {
    /// Over which time the agents of this store shall come back when all lose their link at once.
    #[must_use]
    pub fn reconnect_spread_ms(&self) -> u64 {
        let enrolled = self.enrolled.load(Ordering::Relaxed);
        let all = enrolled.saturating_mul(1_000) / u64::from(self.config.reconnects_per_second.max(1));
        all.max(u64::try_from(self.config.reconnect_spread.as_millis()).unwrap_or(0))
    }
}

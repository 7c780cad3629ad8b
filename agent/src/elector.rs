//! Leader election: one process per role works, the others stand by.
//!
//! The elector owns one Lease. It reads it, and writes it with a precondition on its resource version, so that holder and
//! transitions change together or not at all. What the rest of the agent sees is [`Leadership`]: a state that can be waited
//! on, and [`Leadership::check`], which comes before every write.

use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

mod candidate;
mod run;

pub use candidate::{LEASE_DURATION, POLL_INTERVAL, RENEW_DEADLINE, RENEW_INTERVAL};
pub use run::{Elector, ElectorMetrics};

/// Orders the leaders of one role: a new leader of the same Lease has higher transitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Uid of the Lease object. Another uid is another lineage.
    pub lease: String,
    /// `spec.leaseTransitions` of the same.
    pub transitions: i64,
}

/// What this process is at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Somebody else leads, or nobody does yet.
    Standby {
        /// Identity in the Lease, if there is one.
        holder: Option<String>,
    },
    /// This process leads and may write.
    Leading(Epoch),
    /// The Lease could not be renewed in time and nobody else was seen to hold it: nothing may be written. It becomes
    /// `Leading` with the same epoch if the Lease turns out untouched, `Standby` otherwise.
    Unconfirmed(Epoch),
}

/// Why a write must not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotLeading {
    /// Somebody else holds the Lease.
    #[error("another process holds the lease")]
    Standby,
    /// Renewal is overdue.
    #[error(
        "the lease could not be renewed in time, so another process may hold it; nothing is written until it is renewed"
    )]
    Unconfirmed,
}

/// A [`State`] with the time until which it holds without renewal.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) state: State,
    pub(crate) renewed: Renewed,
}

/// When the last successful renewal was *started*, by two clocks: the monotonic one stops while a machine is suspended, the
/// other one may be set. Overdue by either is overdue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renewed {
    pub(crate) monotonic: Instant,
    pub(crate) wall: SystemTime,
}

impl Renewed {
    pub(crate) fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// The far future keeps a state from turning into `Unconfirmed`.
    fn far() -> Self {
        let far = Duration::from_secs(365 * 24 * 3600);
        Self { monotonic: Instant::now() + far, wall: SystemTime::now() + far }
    }

    /// Whether no write may start any more.
    pub(crate) fn overdue(&self) -> bool {
        self.monotonic.elapsed().max(self.wall.elapsed().unwrap_or_default()) >= RENEW_DEADLINE
    }
}

/// Handle on the outcome of an election. Cheap to clone; each clone tracks for itself which changes it has seen.
#[derive(Debug, Clone)]
pub struct Leadership {
    pub(crate) published: watch::Receiver<Published>,
}

impl Leadership {
    /// What this process is now.
    #[must_use]
    pub fn state(&self) -> State {
        let published = self.published.borrow();
        match &published.state {
            State::Leading(epoch) if published.renewed.overdue() => State::Unconfirmed(epoch.clone()),
            State::Leading(_) | State::Standby { .. } | State::Unconfirmed(_) => published.state.clone(),
        }
    }

    /// Waits for the next change of state and returns it. Never returns after the elector has ended.
    ///
    /// Cancel safe: a change that was not returned is returned by the next call.
    pub async fn changed(&mut self) -> State {
        if self.published.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.published.borrow_and_update();
        self.state()
    }

    /// Waits until this process leads. Returns at once if it does. Cancel safe.
    pub async fn acquired(&mut self) -> Epoch {
        loop {
            self.published.borrow_and_update();
            if let State::Leading(epoch) = self.state() {
                return epoch;
            }
            self.changed().await;
        }
    }

    /// Waits until this process does not lead under `epoch` any more: another holder was seen or it was released. An
    /// unconfirmed lease is not lost. Cancel safe.
    pub async fn lost(&mut self, epoch: &Epoch) {
        loop {
            self.published.borrow_and_update();
            match self.state() {
                State::Leading(now) | State::Unconfirmed(now) if now == *epoch => {}
                State::Leading(_) | State::Unconfirmed(_) | State::Standby { .. } => return,
            }
            self.changed().await;
        }
    }

    /// To be called before each write: the epoch under which it may happen.
    ///
    /// # Errors
    /// This process does not lead, or does not know any more whether it does.
    pub fn check(&self) -> Result<Epoch, NotLeading> {
        match self.state() {
            State::Leading(epoch) => Ok(epoch),
            State::Unconfirmed(_) => Err(NotLeading::Unconfirmed),
            State::Standby { .. } => Err(NotLeading::Standby),
        }
    }

    /// A leadership that never changes, for tests and for tools that run alone.
    #[must_use]
    pub fn fixed(state: State) -> Self {
        Self::channel(state).1
    }

    /// A leadership that a [`Publisher`] decides, for simulations: it does not run out by time alone.
    #[must_use]
    pub fn channel(state: State) -> (Publisher, Self) {
        let (sender, published) = watch::channel(Published { state, renewed: Renewed::far() });
        (Publisher(sender), Self { published })
    }
}

/// Sets the state of a leadership, in place of an elector.
#[derive(Debug)]
pub struct Publisher(watch::Sender<Published>);

impl Publisher {
    /// Publishes a new state.
    pub fn publish(&self, state: State) {
        self.0.send_replace(Published { state, renewed: Renewed::far() });
    }
}

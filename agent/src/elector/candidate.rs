//! The decision of an election, without clock and network: what was read from the Lease, and when, to what to write.
//!
//! Made as client-go's leader election is: a Lease expires when it was *seen* unchanged for its duration, by the observer's
//! own monotonic clock; times inside the Lease are for people. Safety: a leader counts its renewal from before it sent it and
//! starts no write after [`RENEW_DEADLINE`]; a follower counts from when it saw that renewal, which is later, and waits
//! [`LEASE_DURATION`], which is longer.
//!
//! A Lease that somebody deleted is created again at once, but its holder leads only once it has lasted for [`LEASE_DURATION`]: by
//! then every process that led under an earlier Lease has stopped writing. That holds however often the Lease was deleted
//! meanwhile, and whether or not anybody saw it. Not noticed: a Lease that another program created again without holder looks like
//! the first one to a process that saw none before it.

use std::time::Duration;

use super::{Epoch, State};

/// How long a Lease lasts after it was seen to change. With [`POLL_INTERVAL`] a crashed leader is replaced within 13 s.
pub const LEASE_DURATION: Duration = Duration::from_secs(12);

/// No write starts later than this after the last renewal.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(8);

/// A leader renews this often.
pub const RENEW_INTERVAL: Duration = Duration::from_secs(2);

/// A follower looks this often, so that a released Lease is taken within 2 s.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Longest duration accepted from a Lease: a value that another program wrote must not lock everybody out.
const LONGEST_DURATION: Duration = Duration::from_secs(60);

/// A point in time on a monotonic clock of this process.
pub(crate) type Tick = Duration;

/// What a Lease says, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) uid: String,
    /// None or empty: free.
    pub(crate) holder: Option<String>,
    pub(crate) transitions: i64,
    /// Only compared, never read as a time.
    pub(crate) renewed: Option<String>,
    /// As the holder wrote it.
    pub(crate) duration: Option<Duration>,
}

/// What to do about a Lease that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Write this process as holder, with these transitions, if the Lease is still as read.
    Write {
        transitions: i64,
        /// Whether the holder changes; false for a mere renewal.
        acquired: bool,
    },
    /// Somebody else holds it. Look again then, or at the next poll.
    Wait { expires: Tick },
}

/// How a process leaves the Lease when it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// The Lease is not its own, as far as it knows.
    Nothing,
    /// A free Lease: who takes it leads at once.
    Free,
    /// Held for this long: until then another process may still lead under an earlier Lease.
    HeldFor(Duration),
}

/// One process that wants to lead.
#[derive(Debug)]
pub(crate) struct Candidate {
    identity: String,
    observed: Option<(Seen, Tick)>,
    /// Uid of the Lease that was seen last.
    known: Option<String>,
    /// Does not lead before this: until then another process may still lead under an earlier Lease.
    leads_from: Tick,
    held: Option<Held>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    epoch: Epoch,
    renewed: Tick,
}

impl Candidate {
    /// `identity` must be unique per process: a restarted one is somebody else.
    pub(crate) fn new(identity: String) -> Self {
        Self { identity, observed: None, known: None, leads_from: Tick::ZERO, held: None }
    }

    /// The Lease was read. If somebody else holds it, this process stops leading at once, before anything is written.
    pub(crate) fn observe(&mut self, seen: Seen, now: Tick) -> Decision {
        let since = match self.observed.take() {
            Some((before, at)) if before == seen => at,
            Some(_) | None => now,
        };
        self.observed = Some((seen.clone(), since));
        self.meet(&seen, now);

        let Seen { uid, holder, transitions, renewed: _, duration } = seen;
        let mine = holder.as_deref() == Some(self.identity.as_str());
        let epoch = Epoch { lease: uid, transitions };
        if self.held.as_ref().is_some_and(|held| !mine || held.epoch != epoch) {
            self.held = None;
        }
        if mine {
            return Decision::Write { transitions, acquired: false };
        }
        let free = holder.as_deref().is_none_or(str::is_empty);
        let expires = since + duration.unwrap_or(LEASE_DURATION).min(LONGEST_DURATION);
        if free || now >= expires {
            return Decision::Write { transitions: transitions.saturating_add(1), acquired: true };
        }
        Decision::Wait { expires }
    }

    /// There is no Lease: somebody deleted it.
    pub(crate) fn missing(&mut self) -> Decision {
        (self.held, self.observed) = (None, None);
        Decision::Write { transitions: 1, acquired: true }
    }

    /// The write that [`Self::observe`] or [`Self::missing`] asked for was stored. `started` is when the attempt began, before
    /// anything was sent.
    pub(crate) fn written(&mut self, stored: Seen, started: Tick, now: Tick) {
        self.meet(&stored, now);
        self.held = Some(Held {
            epoch: Epoch { lease: stored.uid.clone(), transitions: stored.transitions },
            renewed: started,
        });
        self.observed = Some((stored, started));
    }

    /// Waits for leaders of an earlier Lease where there may be one: this Lease has another uid than the last one seen, or it names
    /// this process although it saw none before, so that this process must have created it.
    fn meet(&mut self, seen: &Seen, now: Tick) {
        let mine = seen.holder.as_deref() == Some(self.identity.as_str());
        let another = self.known.as_ref().map_or(mine, |known| *known != seen.uid);
        if another {
            self.leads_from = now + LEASE_DURATION;
        }
        self.known = Some(seen.uid.clone());
    }

    /// What is to be written when this process stops.
    pub(crate) fn farewell(&self, now: Tick) -> Farewell {
        match &self.held {
            None => Farewell::Nothing,
            Some(_) if now >= self.leads_from => Farewell::Free,
            Some(_) => Farewell::HeldFor(self.leads_from - now),
        }
    }

    /// The Lease was given back.
    pub(crate) fn released(&mut self) {
        (self.held, self.observed) = (None, None);
    }

    /// What this process is at `now`.
    pub(crate) fn state(&self, now: Tick) -> State {
        match &self.held {
            Some(held) if now >= self.leads_from => {
                let confirmed = now.saturating_sub(held.renewed) < RENEW_DEADLINE;
                let state = if confirmed { State::Leading } else { State::Unconfirmed };
                state(held.epoch.clone())
            }
            Some(_) | None => State::Standby {
                holder: self
                    .observed
                    .as_ref()
                    .and_then(|(seen, _)| seen.holder.clone())
                    .filter(|name| !name.is_empty()),
            },
        }
    }

    /// When [`Self::state`] next changes by time alone.
    pub(crate) fn changes(&self, now: Tick) -> Option<Tick> {
        let held = self.held.as_ref()?;
        [self.leads_from, held.renewed + RENEW_DEADLINE].into_iter().filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests;

//! The loop around a [`Candidate`]: reads and writes one Lease object, and publishes what this process is.
//!
//! It touches that Lease only. One that somebody deleted is made again by PUT: unlike a POST, the right to that can be limited to a
//! name. Every call has a time limit, and the deadline of a held Lease is kept also while a call hangs.
//!
//! The Lease is also how a restore of the API server from a backup is noticed: its version goes back. Then nothing that this
//! process remembers holds any more and its watches may stay silent for ever, so the process ends and starts anew.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::candidate::{Candidate, Decision, Farewell, LEASE_DURATION, POLL_INTERVAL, RENEW_INTERVAL, Seen, Tick};
use super::{Leadership, Published, Renewed, State};
#[cfg(feature = "failpoints")]
use crate::failpoints::{Act, Edge, reach};
use crate::telemetry::{self, Metrics};

/// Longest time that one attempt (a read and a write) may take.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);

/// Longest time that giving the Lease back may take.
const RELEASE_LIMIT: Duration = Duration::from_secs(3);

/// Takes part in one election until it is stopped.
pub struct Elector {
    leases: Api<Lease>,
    name: String,
    identity: String,
    candidate: Candidate,
    /// Origin of the candidate's ticks.
    start: Instant,
    /// Highest version of the Lease that was seen.
    newest: u64,
    /// Start of the last renewal that was stored.
    renewed: Renewed,
    publish: watch::Sender<Published>,
    metrics: ElectorMetrics,
    role: Role,
}

/// Metrics of all electors of one process.
#[derive(Debug, Clone)]
pub struct ElectorMetrics {
    leader: Family<Role, Gauge>,
    failures: Family<Role, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Role {
    role: &'static str,
}

impl ElectorMetrics {
    /// Registers them; once per process.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let (leader, failures) = (Family::default(), Family::default());
        metrics.register(|registry| {
            registry.register("leader", "Whether this process leads its role", leader.clone());
            registry.register("lease_failures", "Attempts to read or write the Lease that failed", failures.clone());
        });
        Self { leader, failures }
    }
}

/// The API server knows less than it did: it was restored from a backup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the API server has gone back in time (version {now} of the Lease after {before}): it was restored from a backup, so this process starts anew"
)]
pub struct Rewound {
    before: u64,
    now: u64,
}

/// Why an attempt changed nothing.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("stopped")]
    Stopped,
    #[error("the API server did not answer within {} s", ATTEMPT_LIMIT.as_secs())]
    Timeout,
    #[error("the Lease has no uid or resource version")]
    Malformed,
    #[error(transparent)]
    Rewound(#[from] Rewound),
    #[error("somebody else wrote the Lease at the same time")]
    Conflict,
    #[error("the API server refused or could not be reached")]
    Api(#[source] kube::Error),
}

impl From<kube::Error> for AttemptError {
    fn from(error: kube::Error) -> Self {
        let code = if let kube::Error::Api(status) = &error { status.code } else { 0 };
        match code {
            409 => Self::Conflict,
            _ => Self::Api(error),
        }
    }
}

impl Elector {
    /// An elector for the Lease `name` in `namespace`, and the handle on its outcome. `role` labels its metrics.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        role: &'static str,
        identity: &str,
        metrics: &ElectorMetrics,
    ) -> (Self, Leadership) {
        let renewed = Renewed::now();
        let (publish, published) = watch::channel(Published { state: State::Standby { holder: None }, renewed });
        let elector = Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            candidate: Candidate::new(identity.to_owned()),
            start: renewed.monotonic,
            newest: 0,
            renewed,
            publish,
            metrics: metrics.clone(),
            role: Role { role },
        };
        (elector, Leadership { published })
    }

    /// Takes part until `stop` is cancelled, then gives the Lease back. If it is too new to lead under, it stays held for the time
    /// that it must last. Cancel `stop` only when nothing writes any more.
    ///
    /// # Errors
    /// The API server was restored from a backup: the process must start anew.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Rewound> {
        let outcome = self.take_part(&stop).await;
        self.release().await;
        outcome
    }

    async fn take_part(&mut self, stop: &CancellationToken) -> Result<(), Rewound> {
        let mut failing = false;
        loop {
            let started = Instant::now();
            let pause = match self.attempt(stop).await {
                Ok(pause) => {
                    if failing {
                        info!(lease = %self.name, "the lease can be read and written again");
                    }
                    failing = false;
                    pause
                }
                Err(AttemptError::Stopped) => return Ok(()),
                Err(AttemptError::Rewound(rewound)) => return Err(rewound),
                Err(AttemptError::Conflict) => {
                    debug!(lease = %self.name, "somebody else wrote the lease");
                    POLL_INTERVAL
                }
                Err(error) => {
                    self.metrics.failures.get_or_create(&self.role).inc();
                    if !failing {
                        warn!(lease = %self.name, error = %telemetry::chain(&error), "the lease cannot be read or written; trying on");
                    }
                    failing = true;
                    POLL_INTERVAL
                }
            };
            self.publish();
            if let Err(AttemptError::Stopped) = self.within(stop, started + pause, std::future::pending::<()>()).await {
                return Ok(());
            }
        }
    }

    /// Reads the Lease, decides, writes it if that was the decision. Returns the time from its start to the next attempt.
    async fn attempt(&mut self, stop: &CancellationToken) -> Result<Duration, AttemptError> {
        let (leases, name) = (self.leases.clone(), self.name.clone());
        let begin = Renewed::now();
        let (started, until) = (begin.monotonic - self.start, begin.monotonic + ATTEMPT_LIMIT);
        let lease = self.within(stop, until, leases.get_opt(&name)).await??;
        let decision = match &lease {
            Some(lease) => {
                self.not_older(lease)?;
                self.candidate.observe(seen(lease)?, self.tick())
            }
            None => self.candidate.missing(),
        };
        let (transitions, acquired) = match decision {
            Decision::Wait { expires } => {
                return Ok(expires.saturating_sub(started).clamp(Duration::from_millis(10), POLL_INTERVAL));
            }
            Decision::Write { transitions, acquired } => (transitions, acquired),
        };
        self.publish();
        if lease.is_none() {
            warn!(lease = %name, "somebody deleted the lease; it is made again, and nobody leads until it has lasted for its duration");
        }
        let lease = self.as_holder(lease.unwrap_or_else(|| self.made_again()), transitions, acquired)?;
        #[cfg(feature = "failpoints")]
        let point = Some(if acquired { Act::Acquire } else { Act::Renew });
        #[cfg(feature = "failpoints")]
        reach(Edge::Before, point);
        let stored = self.within(stop, until, leases.replace(&name, &PostParams::default(), &lease)).await??;
        #[cfg(feature = "failpoints")]
        reach(Edge::After, point);
        self.not_older(&stored)?;
        self.candidate.written(seen(&stored)?, started, self.tick());
        self.renewed = begin;
        Ok(RENEW_INTERVAL)
    }

    /// Waits for `work`, at most until `until`; publishes what changes by time alone meanwhile.
    async fn within<T>(
        &mut self,
        stop: &CancellationToken,
        until: Instant,
        work: impl Future<Output = T>,
    ) -> Result<T, AttemptError> {
        let mut work = std::pin::pin!(work);
        loop {
            let now = self.tick();
            let change = self.candidate.changes(now).map(|at| self.start + at);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(AttemptError::Stopped),
                done = &mut work => return Ok(done),
                () = sleep_until(until) => return Err(AttemptError::Timeout),
                () = sleep_until(change.unwrap_or(until)), if change.is_some() => self.publish(),
            }
        }
    }

    /// Resource versions of one API server only grow (ordered numbers since 1.35, and in fact before; a version that is not a
    /// number is not judged).
    fn not_older(&mut self, lease: &Lease) -> Result<(), Rewound> {
        let version = lease.metadata.resource_version.as_deref().and_then(|version| version.parse().ok());
        let Some(now) = version else { return Ok(()) };
        if now < self.newest {
            return Err(Rewound { before: self.newest, now });
        }
        self.newest = now;
        Ok(())
    }

    fn made_again(&self) -> Lease {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        Lease { metadata, spec: None }
    }

    /// The Lease as it shall be stored. Its resource version stays: that is the precondition.
    fn as_holder(&self, mut lease: Lease, transitions: i64, acquired: bool) -> Result<Lease, AttemptError> {
        let now = MicroTime(jiff::Timestamp::now());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds =
            Some(i32::try_from(LEASE_DURATION.as_secs()).map_err(|_| AttemptError::Malformed)?);
        spec.lease_transitions = Some(i32::try_from(transitions).map_err(|_| AttemptError::Malformed)?);
        if acquired {
            spec.acquire_time = Some(now.clone());
        }
        spec.renew_time = Some(now);
        Ok(lease)
    }

    /// Gives the Lease back. Nothing is written under it from the moment this starts.
    async fn release(mut self) {
        let farewell = self.candidate.farewell(self.tick());
        self.candidate.released();
        self.publish();
        let left = match farewell {
            Farewell::Nothing => return,
            Farewell::Free => None,
            Farewell::HeldFor(left) => Some(left),
        };
        match timeout(RELEASE_LIMIT, self.give_back(left)).await.unwrap_or(Err(AttemptError::Timeout)) {
            Ok(()) => info!(lease = %self.name, for_ms = left.map(|left| left.as_millis()), "lease released"),
            Err(error) => {
                warn!(lease = %self.name, error = %telemetry::chain(&error), "the lease could not be released; it expires by itself");
            }
        }
    }

    /// Frees the Lease, or holds it for the time that is `left`, and no longer.
    async fn give_back(&self, left: Option<Duration>) -> Result<(), AttemptError> {
        loop {
            let mut lease = self.leases.get(&self.name).await?;
            let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity))
            else {
                return Ok(());
            };
            match left {
                None => spec.holder_identity = None,
                // In whole seconds, rounded up.
                Some(left) => spec.lease_duration_seconds = i32::try_from(left.as_secs() + 1).ok(),
            }
            spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
            #[cfg(feature = "failpoints")]
            reach(Edge::Before, Some(Act::Release));
            let released = self.leases.replace(&self.name, &PostParams::default(), &lease).await;
            #[cfg(feature = "failpoints")]
            reach(Edge::After, Some(Act::Release));
            match released.map_err(AttemptError::from) {
                // A renewal that was under way came in between.
                Err(AttemptError::Conflict) => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(()),
            }
        }
    }

    fn publish(&self) {
        let state = self.candidate.state(self.tick());
        let renewed = self.renewed;
        self.metrics.leader.get_or_create(&self.role).set(i64::from(matches!(state, State::Leading(_))));
        self.publish.send_if_modified(|published| {
            // Handles report an overdue Lease as unconfirmed by themselves, so they are also notified when a renewal ends that.
            let changed = published.state != state || published.renewed.overdue() != renewed.overdue();
            if changed {
                match &state {
                    State::Leading(epoch) => info!(lease = %self.name, transitions = epoch.transitions, "leading"),
                    State::Unconfirmed(_) => {
                        warn!(lease = %self.name, "renewal of the lease is overdue; writing nothing")
                    }
                    State::Standby { holder } => info!(lease = %self.name, holder, "standing by"),
                }
            }
            *published = Published { state, renewed };
            changed
        });
    }

    fn tick(&self) -> Tick {
        self.start.elapsed()
    }
}

fn seen(lease: &Lease) -> Result<Seen, AttemptError> {
    let (Some(uid), Some(_)) = (&lease.metadata.uid, &lease.metadata.resource_version) else {
        return Err(AttemptError::Malformed);
    };
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    Ok(Seen {
        uid: uid.clone(),
        holder: spec.and_then(|spec| spec.holder_identity.clone()),
        transitions: spec.and_then(|spec| spec.lease_transitions).map_or(0, i64::from),
        renewed: spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0.to_string()),
        duration: seconds.map(Duration::from_secs),
    })
}

#[cfg(test)]
mod tests;

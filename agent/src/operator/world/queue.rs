//! Which resource is due: one at a time per resource, many in parallel.
//!
//! Resources with work in progress go before new ones ([`lines`]). A resource that failed waits longer each time; an event of the
//! resource itself (a change of its spec) does not wait. The queue holds every resource at most once, so the number of resources
//! bounds it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::mutant::{self, Mutant};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::operator::object::owner::{Owner, OwnerKind};
use priority::{Line, Lines};

mod priority;

/// One of our resources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The installation.
    DataPlane,
    /// By name.
    Environment(String),
    /// By name.
    Release(String),
    /// By name.
    TaskRun(String),
}

impl From<Owner<'_>> for Key {
    fn from(owner: Owner<'_>) -> Self {
        let name = owner.name.to_owned();
        match owner.kind {
            OwnerKind::TaskRun => Self::TaskRun(name),
            OwnerKind::Release => Self::Release(name),
            OwnerKind::Environment => Self::Environment(name),
        }
    }
}

/// Why a resource is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The desired state changed: due at once, whatever failed before.
    Wanted,
    /// Something of it in the cluster changed: after a failure it still waits out its delay.
    Observed,
}

/// First wait after a failure.
pub const FIRST_WAIT: Duration = Duration::from_millis(500);

/// First wait after a conflict, when something merely changed meanwhile.
pub const CONFLICT_WAIT: Duration = Duration::from_millis(25);

/// Longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct State {
    ready: Lines,
    running: HashSet<Key>,
    /// Resources that became due during their own round, and why.
    again: HashMap<Key, Cause>,
    timers: BTreeSet<(Instant, Key)>,
    due: HashMap<Key, Instant>,
    failures: HashMap<Key, u32>,
}

#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

impl Queue {
    /// Makes `key` due.
    pub fn add(&self, key: Key, cause: Cause) {
        let mut state = self.lock();
        if state.running.contains(&key) {
            if mutant::is(Mutant::CauseLost) {
                return;
            }
            let again = state.again.entry(key).or_insert(cause);
            if cause == Cause::Wanted {
                *again = cause;
            }
            return;
        }
        let line = match cause {
            Cause::Observed if state.failures.contains_key(&key) && state.due.contains_key(&key) => return,
            Cause::Observed => Line::Begun,
            Cause::Wanted => {
                state.failures.remove(&key);
                Line::Fresh
            }
        };
        state.enqueue(key, line);
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for the next due resource; it counts as running until [`Queue::done`]. Cancel safe.
    pub async fn next(&self) -> Key {
        loop {
            let wait = {
                let mut state = self.lock();
                state.fire(Instant::now());
                if let Some(key) = state.ready.pop() {
                    state.running.insert(key.clone());
                    return key;
                }
                state.timers.first().map(|(at, _)| *at)
            };
            match wait {
                Some(at) => tokio::select! {
                    biased;
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// The round of `key` succeeded. `wake`: when to look again without an event.
    pub fn done(&self, key: Key, wake: Option<Duration>) {
        let mut state = self.lock();
        state.failures.remove(&key);
        state.running.remove(&key);
        if state.again.remove(&key).is_some() {
            state.enqueue(key, Line::Begun);
        } else if let Some(wake) = wake {
            state.schedule(key, Instant::now() + wake);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The round of `key` failed; it is tried again after `first`, then after twice as long each time. Returns that delay: zero if
    /// its desired state changed meanwhile.
    pub fn failed(&self, key: Key, first: Duration) -> Duration {
        let mut state = self.lock();
        state.running.remove(&key);
        if state.again.remove(&key) == Some(Cause::Wanted) {
            state.failures.remove(&key);
            state.enqueue(key, Line::Fresh);
            drop(state);
            self.changed.notify_one();
            return Duration::ZERO;
        }
        let failures = state.failures.entry(key.clone()).or_default();
        *failures = failures.saturating_add(1);
        let wait = first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(LONGEST_WAIT);
        state.schedule(key, Instant::now() + wait);
        drop(state);
        self.changed.notify_one();
        wait
    }

    /// Resources that wait or are worked on.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.lock();
        state.ready.len() + state.running.len()
    }

    /// Whether nothing is due or being worked on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enqueue(&mut self, key: Key, line: Line) {
        if let Some(at) = self.due.remove(&key) {
            self.timers.remove(&(at, key.clone()));
        }
        self.ready.push(key, line);
    }

    fn schedule(&mut self, key: Key, at: Instant) {
        if self.ready.contains(&key) {
            return;
        }
        if let Some(before) = self.due.insert(key.clone(), at) {
            self.timers.remove(&(before, key.clone()));
        }
        self.timers.insert((at, key));
    }

    fn fire(&mut self, now: Instant) {
        while let Some((at, key)) = self.timers.first().cloned() {
            if at > now {
                return;
            }
            self.timers.remove(&(at, key.clone()));
            self.due.remove(&key);
            self.ready.push(key, Line::Begun);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> Key {
        Key::Release("web".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn one_resource_is_worked_on_once_at_a_time() {
        let queue = Queue::default();
        queue.add(web(), Cause::Observed);
        queue.add(web(), Cause::Observed);
        assert_eq!(queue.next().await, web());
        queue.add(web(), Cause::Observed);
        assert!(tokio::time::timeout(Duration::from_secs(5), queue.next()).await.is_err(), "it is being worked on");
        queue.done(web(), None);
        assert_eq!(queue.next().await, web(), "what came meanwhile is not lost");
        queue.done(web(), None);
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_each_time_and_events_of_the_cluster_do_not_hurry_them() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add(web(), Cause::Wanted);
        for expected in [500, 1000, 2000] {
            queue.next().await;
            assert_eq!(queue.failed(web(), FIRST_WAIT).as_millis(), expected);
            queue.add(web(), Cause::Observed);
        }
        queue.next().await;
        assert_eq!(start.elapsed().as_millis(), 3500);
        queue.failed(web(), FIRST_WAIT);
        queue.add(web(), Cause::Wanted);
        queue.next().await;
        assert_eq!(start.elapsed().as_millis(), 3500, "a new wish does not wait");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wanted_during_a_round_that_fails_does_not_wait_for_the_failure() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add(web(), Cause::Observed);
        for (meanwhile, waited) in [
            (vec![Cause::Observed], 500),
            (vec![Cause::Wanted], 500),
            (vec![Cause::Wanted, Cause::Observed], 500),
            (vec![], 1500),
        ] {
            queue.next().await;
            for cause in &meanwhile {
                queue.add(web(), *cause);
            }
            queue.failed(web(), FIRST_WAIT);
            queue.next().await;
            assert_eq!(start.elapsed().as_millis(), waited, "{meanwhile:?}");
            queue.failed(web(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_up_comes_without_an_event_and_an_event_comes_before_it() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add(web(), Cause::Observed);
        queue.next().await;
        queue.done(web(), Some(Duration::from_secs(7)));
        queue.next().await;
        assert_eq!(start.elapsed().as_secs(), 7);
        queue.done(web(), Some(Duration::from_secs(7)));
        queue.add(web(), Cause::Observed);
        queue.next().await;
        assert_eq!(start.elapsed().as_secs(), 7);
        queue.done(web(), None);
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err(), "the timer is gone");
    }
}

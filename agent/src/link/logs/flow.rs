//! Credit of one bulk connection: what may be sent of each stream and of all together, and what may be on its way.
//!
//! The receiver gives credit for bytes of data frames; gaps and ends are few and small. Beside it, all frames that have not
//! arrived stay within the window of the [`Restraint`]. A sender waits here, not in a queue, so a stream whose receiver is slow
//! stops reading its own source and holds nobody up.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::restraint::Restraint;

/// Number that stands for the connection.
const CONNECTION: u32 = 0;

/// The connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bulk connection is over")]
pub(super) struct Gone;

/// Accounts of one connection and the queue in front of it.
#[derive(Debug)]
pub(super) struct Flow {
    state: Mutex<State>,
    changed: Notify,
    queue: mpsc::Sender<Vec<u8>>,
}

#[derive(Debug)]
struct State {
    accounts: HashMap<u32, Account>,
    restraint: Restraint,
    /// Bytes of frames that were queued, and of those that have arrived at the receiver.
    queued: u64,
    arrived: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Account {
    sent: u64,
    limit: u64,
}

impl Account {
    fn has_room(&self, length: u64) -> bool {
        self.sent.saturating_add(length) <= self.limit
    }
}

impl Flow {
    pub(super) fn new(queue: mpsc::Sender<Vec<u8>>) -> Self {
        let state = State { accounts: HashMap::new(), restraint: Restraint::new(), queued: 0, arrived: 0 };
        Self { state: Mutex::new(state), changed: Notify::new(), queue }
    }

    /// Opens the account of a stream.
    pub(super) fn open(&self, stream: u32, credit: u64) {
        self.lock().accounts.insert(stream, Account { sent: 0, limit: credit });
    }

    /// Closes it; senders that wait for its credit get an error.
    pub(super) fn close(&self, stream: u32) {
        self.lock().accounts.remove(&stream);
        self.changed.notify_waiters();
    }

    /// The receiver allows bytes up to `limit`. It never takes credit back.
    pub(super) fn credit(&self, stream: u32, limit: u64) {
        {
            let accounts = &mut self.lock().accounts;
            // Credit of the connection may come before anything was sent; that of a closed stream means nothing.
            let account = if stream == CONNECTION {
                Some(accounts.entry(stream).or_default())
            } else {
                accounts.get_mut(&stream)
            };
            if let Some(account) = account {
                account.limit = account.limit.max(limit);
            }
        }
        self.changed.notify_waiters();
    }

    /// Queues `length` bytes of data as soon as there is credit; `frame` makes the frame for its offset.
    ///
    /// # Errors
    /// The connection or the stream is over. Cancel safe: nothing is counted unless it is queued.
    pub(super) async fn data(&self, stream: u32, length: u64, frame: impl FnOnce(u64) -> Vec<u8>) -> Result<(), Gone> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.has_room(stream, length)? {
                let place = self.queue.reserve().await.map_err(|_| Gone)?;
                // Another source of the stream may have taken the room meanwhile. Counting and queueing is one step, so
                // that offsets go out in order.
                let mut state = self.lock();
                if let Some(offset) = state.take(stream, length) {
                    let frame = frame(offset);
                    state.queued += frame.len() as u64;
                    place.send(frame);
                    return Ok(());
                }
                continue;
            }
            changed.await;
        }
    }

    /// Queues a frame that needs no credit.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) async fn note(&self, stream: u32, frame: impl FnOnce(u64) -> Vec<u8>) -> Result<(), Gone> {
        let place = self.queue.reserve().await.map_err(|_| Gone)?;
        let mut state = self.lock();
        let frame = frame(state.accounts.get(&stream).map_or(0, |account| account.sent));
        state.queued += frame.len() as u64;
        place.send(frame);
        Ok(())
    }

    /// The first `bytes` of all frames have arrived.
    pub(super) fn arrived(&self, bytes: u64) {
        {
            let mut state = self.lock();
            state.arrived = state.arrived.max(bytes.min(state.queued));
        }
        self.changed.notify_waiters();
    }

    /// The control connection's round trip was measured.
    pub(super) fn round_trip(&self, measured: Duration) {
        self.lock().restraint.round_trip(Instant::now(), measured);
        self.changed.notify_waiters();
    }

    fn has_room(&self, stream: u32, length: u64) -> Result<bool, Gone> {
        let state = self.lock();
        let own = state.accounts.get(&stream).ok_or(Gone)?;
        let all = state.accounts.get(&CONNECTION);
        Ok(state.path_has_room() && own.has_room(length) && all.is_some_and(|all| all.has_room(length)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn path_has_room(&self) -> bool {
        self.queued.saturating_sub(self.arrived) < self.restraint.window()
    }

    fn take(&mut self, stream: u32, length: u64) -> Option<u64> {
        let path_has_room = self.path_has_room();
        let own = *self.accounts.get(&stream)?;
        let all = self.accounts.get_mut(&CONNECTION)?;
        if !path_has_room || !own.has_room(length) || !all.has_room(length) {
            return None;
        }
        all.sent += length;
        self.accounts.get_mut(&stream)?.sent += length;
        Some(own.sent)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn sent(flow: &Flow, stream: u32, length: u64) -> bool {
        flow.data(stream, length, |offset| offset.to_be_bytes().to_vec()).now_or_never().is_some()
    }

    #[tokio::test]
    async fn nothing_is_sent_beyond_the_credit_of_stream_and_connection() {
        let (queue, mut frames) = mpsc::channel(16);
        let flow = Flow::new(queue);
        flow.open(1, 100);
        assert!(!sent(&flow, 1, 10), "the connection has no credit yet");
        flow.credit(0, 150);
        assert!(sent(&flow, 1, 60));
        assert!(!sent(&flow, 1, 60), "beyond the stream's credit");
        assert!(sent(&flow, 1, 40));
        flow.credit(1, 1000);
        assert!(!sent(&flow, 1, 60), "beyond the connection's credit");
        flow.credit(0, 100);
        assert!(!sent(&flow, 1, 60), "a late smaller credit changes nothing");
        assert!(sent(&flow, 1, 50));
        let offsets: Vec<u64> = std::iter::from_fn(|| frames.try_recv().ok())
            .map(|frame| u64::from_be_bytes(frame.try_into().unwrap()))
            .collect();
        assert_eq!(offsets, [0, 60, 100]);
    }

    #[tokio::test]
    async fn what_has_not_arrived_stays_within_the_window_whatever_the_credit() {
        let (queue, mut frames) = mpsc::channel(16);
        let flow = Flow::new(queue);
        flow.open(1, 1 << 40);
        flow.credit(0, 1 << 40);
        let mut fill = || {
            let mut bytes = 0;
            while flow.data(1, 10, |_| vec![0; 1024]).now_or_never().is_some() {
                bytes += frames.try_recv().unwrap().len() as u64;
            }
            bytes
        };
        assert_eq!(fill(), 64 * 1024, "what is allowed before a round trip is known");
        flow.arrived(16 * 1024);
        assert_eq!(fill(), 16 * 1024);
        flow.round_trip(Duration::from_millis(1));
        assert_eq!(fill(), 8 * 1024, "a wider window");
        for _ in 0..10 {
            flow.round_trip(Duration::from_secs(1));
        }
        flow.arrived(72 * 1024);
        assert_eq!(fill(), 0, "a narrower one");
        let (result, ()) = tokio::join!(flow.data(1, 10, |_| vec![7]), async { flow.arrived(1 << 40) });
        assert_eq!(result, Ok(()));
    }

    #[tokio::test]
    async fn who_waits_for_credit_is_woken_by_it_and_a_closed_stream_ends_the_wait() {
        let (queue, mut frames) = mpsc::channel(16);
        let flow = Flow::new(queue);
        flow.open(1, 0);
        flow.credit(0, 100);
        let (result, ()) = tokio::join!(flow.data(1, 10, |_| vec![7]), async { flow.credit(1, 10) });
        assert_eq!((result, frames.recv().await), (Ok(()), Some(vec![7])));
        flow.close(1);
        assert_eq!(flow.data(1, 1, |_| vec![]).await, Err(Gone));
    }
}

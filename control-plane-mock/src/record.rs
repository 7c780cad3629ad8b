//! Everything that came in, in order, for tests and for curious people.
//!
//! Bounded: the oldest entries are dropped first, which shows in the numbers of the others. Bulk data is recorded by its length only,
//! enrolment tokens not at all.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

/// One thing that was received.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Number, from 1.
    pub seq: u64,
    /// When, RFC 3339.
    pub at: String,
    /// `Enrol`, `Renew`, `Connect`, `Disconnect`, `Message`, `Sent`, `Pong`, `Bulk`, `Refused`.
    pub what: String,
    /// Data plane, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_plane: Option<String>,
    /// What was received.
    pub data: Value,
}

/// The record. Shared by all connections.
#[derive(Debug)]
pub struct Record {
    entries: Mutex<(u64, VecDeque<Entry>)>,
    changed: watch::Sender<u64>,
    limit: usize,
}

impl Record {
    /// Keeps at most `limit` entries.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { entries: Mutex::new((0, VecDeque::new())), changed: watch::Sender::new(0), limit }
    }

    /// Adds an entry.
    pub fn add(&self, what: &str, data_plane: Option<&str>, data: Value) {
        if self.limit == 0 {
            return;
        }
        let mut guard = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        guard.0 += 1;
        let seq = guard.0;
        let entry = Entry {
            seq,
            // Finer than the store's times: latencies are read off here.
            at: format!("{:.6}", jiff::Timestamp::now()),
            what: what.to_owned(),
            data_plane: data_plane.map(str::to_owned),
            data,
        };
        guard.1.push_back(entry);
        if guard.1.len() > self.limit {
            guard.1.pop_front();
        }
        drop(guard);
        self.changed.send_replace(seq);
    }

    /// Entries after number `seq` that are still kept.
    #[must_use]
    pub fn after(&self, seq: u64) -> Vec<Entry> {
        let guard = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        guard.1.iter().filter(|entry| entry.seq > seq).cloned().collect()
    }

    /// Waits until an entry satisfies `wanted`, and returns it. Cancel safe. Never returns if none comes: give it a deadline.
    pub async fn wait_for(&self, mut wanted: impl FnMut(&Entry) -> bool) -> Entry {
        let mut changed = self.changed.subscribe();
        let mut seen = 0;
        loop {
            for entry in self.after(seen) {
                seen = entry.seq;
                if wanted(&entry) {
                    return entry;
                }
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

//! Who is connected to this gateway now, and how the rest of the server speaks to them.
//!
//! A link registers when its session opens and leaves when it ends. A wake-up only says "look into the store", so two may merge into one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc, watch};

use crate::gateway::logs::Streams;
use protocol::message::{StreamStart, StreamStop};

/// What the rest of the server asks of a link.
#[derive(Debug)]
pub enum Request {
    /// Start a log stream.
    StreamStart(Box<StreamStart>),
    /// Stop it.
    StreamStop(StreamStop),
}

/// One connected link.
#[derive(Debug, Clone)]
pub struct Handle {
    /// Data plane's id.
    pub data_plane: String,
    /// Session's id.
    pub session: String,
    /// "Look into the store."
    pub wake: Arc<Notify>,
    /// Requests; bounded, since few people follow logs at once.
    pub requests: mpsc::Sender<Request>,
    /// Whether the agent keeps the last lines of pods that were stopped.
    pub last_lines: bool,
    /// Log streams of this session.
    pub streams: Arc<Streams>,
}

/// All connected links.
#[derive(Debug)]
pub struct Hub {
    links: Mutex<HashMap<String, Handle>>,
    joined: watch::Sender<u64>,
    events: watch::Sender<u64>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { links: Mutex::new(HashMap::new()), joined: watch::Sender::new(0), events: watch::Sender::new(0) }
    }
}

impl Hub {
    fn links(&self) -> std::sync::MutexGuard<'_, HashMap<String, Handle>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session opened. An older one of the same data plane is woken, to find itself superseded.
    pub fn join(&self, handle: Handle) {
        if let Some(old) = self.links().insert(handle.data_plane.clone(), handle) {
            old.wake.notify_one();
        }
        self.joined.send_modify(|count| *count += 1);
    }

    /// A session ended.
    pub fn leave(&self, data_plane: &str, session: &str) {
        let mut links = self.links();
        if links.get(data_plane).is_some_and(|handle| handle.session == session) {
            links.remove(data_plane);
        }
        drop(links);
        self.joined.send_modify(|count| *count += 1);
    }

    /// The link of a data plane, if it is here.
    #[must_use]
    pub fn link(&self, data_plane: &str) -> Option<Handle> {
        self.links().get(data_plane).cloned()
    }

    /// How many are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.links().len()
    }

    /// The store changed for these; an empty id stands for events.
    pub fn woken(&self, ids: &[String]) {
        let links = self.links();
        for id in ids {
            if id.is_empty() {
                self.events.send_modify(|count| *count += 1);
            } else if let Some(handle) = links.get(id) {
                handle.wake.notify_one();
            }
        }
    }

    /// Notified whenever an event was noted.
    #[must_use]
    pub fn watch_events(&self) -> watch::Receiver<u64> {
        self.events.subscribe()
    }

    /// Notified whenever a link came or went.
    #[must_use]
    pub fn watch_links(&self) -> watch::Receiver<u64> {
        self.joined.subscribe()
    }
}

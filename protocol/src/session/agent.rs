//! The agent's side of the link, over all connections of one leadership.
//!
//! The owner (the link's shell) passes in what is stored ([`AgentSession::stored`]), what is to be reported
//! ([`AgentSession::report`]) and the answers to documents ([`AgentSession::answer`]); the session keeps the connection alive,
//! compares inventories, holds windows and says when to dial. Nothing is replayed after a reconnect: answers of an older connection
//! are dropped, because the comparison finds out what was stored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::dial::{Dialer, server_given};
use super::{
    Chance, CloseCode, Disconnect, Flight, HELLO_TIMEOUT, Millis, PONG_TIMEOUT, Transmit, Waiting, Wake, close_reason,
    earliest, weight,
};
use crate::inventory::Inventory;
use crate::message::{
    Adopted, AgentMessage, Answer, Document, Drain, Epoch, Forget, Hello, InventoryEntry, InventoryNeedEntries, Joiner,
    RenewRefused, Renewed, StreamStart, StreamStop, Verdict, Welcome, Window,
};
use crate::mutant::{self, Mutant};
use crate::name::{Kind, ResourceKey};
use crate::report::{Fact, State};

mod connecting;
mod outbox;
mod receive;

use outbox::Outbox;

/// What does not change while a process leads.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// Id of the data plane.
    pub data_plane: String,
    /// Version of the agent.
    pub version: String,
    /// Unique per process.
    pub instance: String,
    /// Uid of `kube-system`.
    pub cluster: String,
    /// Schema revisions by kind.
    pub schema: BTreeMap<Kind, u32>,
    /// Minor features.
    pub capabilities: Vec<String>,
    /// What may be unanswered towards this side.
    pub window: Window,
}

/// Names one document or forget of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    connection: i64,
    id: u64,
}

/// Events for the owner.
#[derive(Debug)]
pub enum AgentEvent {
    /// Dial now, then call `handle_connected` or `handle_dial_failed`.
    Dial,
    /// The session is open.
    Welcomed(Box<Welcome>),
    /// The comparison is over.
    Compared {
        /// The control plane holds the session.
        held: bool,
    },
    /// Documents and forgets are deferred until a person at the control plane adopts.
    Held {
        /// Why, a sentence for people.
        reason: String,
    },
    /// Store this id durably: it tells in later sessions whether they are with the same control plane.
    StoreKnown {
        /// The id.
        store_id: String,
    },
    /// Store it, then call `answer`.
    Document {
        /// For the answer.
        ticket: Ticket,
        document: Box<Document>,
    },
    /// Delete it, then call `answer`.
    Forget {
        /// For the answer.
        ticket: Ticket,
        /// What to forget.
        forget: Forget,
    },
    /// The control plane has recorded this fact: remove it where it is kept, if it stands there unchanged.
    FactAcknowledged {
        key: ResourceKey,
        /// As it was sent.
        fact: Fact,
    },
    /// New certificate.
    Renewed(Renewed),
    /// No new certificate.
    RenewRefused(RenewRefused),
    /// The control plane does not take the present certificate: renew by HTTPS, then call `credentials_changed`.
    RenewNeeded,
    /// Start a log stream.
    StreamStart(StreamStart),
    /// Stop it.
    StreamStop(StreamStop),
    /// A message of an unknown type was left aside.
    Unsupported { message_type: String },
    /// The connection is over. `Dial` follows at the time that `poll_timeout` says.
    Lost {
        /// How it ended.
        cause: Disconnect,
        /// What is wrong, a sentence for people.
        reason: String,
        /// Delay until the next attempt, in milliseconds.
        dial_after: Millis,
    },
    /// Another session has taken over. If the lease is still held, call `start` again.
    Superseded,
}

#[derive(Debug)]
enum Phase {
    /// Not started, stopped, or superseded.
    Idle,
    /// Waits to dial.
    Waiting { at: Millis },
    /// The owner is dialling.
    Dialling,
    /// A connection stands.
    Connected(Box<Connection>),
}

#[derive(Debug)]
struct Connection {
    since: Millis,
    welcomed: Option<Millis>,
    joiner: Joiner,
    unanswered: BTreeMap<u64, u64>,
    window: Flight,
    next_ping: Millis,
    /// Oldest ping since which nothing was heard.
    pinged: Option<Millis>,
    /// Ping whose pong has not come.
    probed: Option<Millis>,
    drain_at: Option<Millis>,
    held: bool,
    counter: i64,
    asked: Asked,
    /// A certificate request is unanswered.
    renewing: bool,
}

/// What the control plane asks of the inventory and has not got. Asked for again it is still one answer, made when it can be
/// written.
#[derive(Debug, Default)]
struct Asked {
    digests: bool,
    buckets: BTreeSet<u8>,
}

#[derive(Debug)]
pub struct AgentSession {
    settings: AgentSettings,
    chance: Chance,
    dialer: Dialer,
    phase: Phase,
    connection: i64,
    transmit: Waiting,
    events: VecDeque<AgentEvent>,
    inventory: Inventory,
    task_runs: BTreeMap<ResourceKey, InventoryEntry>,
    local: BTreeSet<ResourceKey>,
    floor: i64,
    store_id: Option<String>,
    outbox: Outbox,
    round_trip: Option<Millis>,
    probing: bool,
}

impl AgentSession {
    /// A session that does nothing until `start`. `seed` spreads delays; it differs between processes.
    #[must_use]
    pub fn new(settings: AgentSettings, seed: u64) -> Self {
        Self {
            settings,
            chance: Chance::new(seed),
            dialer: Dialer::new(),
            phase: Phase::Idle,
            connection: 0,
            transmit: Waiting::default(),
            events: VecDeque::new(),
            inventory: Inventory::default(),
            task_runs: BTreeMap::new(),
            local: BTreeSet::new(),
            floor: 0,
            store_id: None,
            outbox: Outbox::default(),
            round_trip: None,
            probing: false,
        }
    }

    // What the owner knows.

    /// A document is stored, as seen in a consistent list, a watch or an own write.
    pub fn stored(&mut self, entry: InventoryEntry) {
        self.local.remove(&entry.key);
        if entry.key.kind == Kind::TaskRun {
            self.task_runs.insert(entry.key.clone(), entry);
        } else {
            self.inventory.insert(entry);
        }
    }

    /// A resource without a document is there.
    pub fn stored_local(&mut self, key: ResourceKey) {
        self.inventory.remove(&key);
        self.task_runs.remove(&key);
        self.local.insert(key);
    }

    /// A resource is gone from the API server. Its state is reported as gone.
    pub fn removed(&mut self, key: &ResourceKey) {
        self.inventory.remove(key);
        self.task_runs.remove(key);
        self.local.remove(key);
        self.outbox.report(key, None, &[]);
    }

    /// Highest generation that was really deleted, from the status of the DataPlane.
    pub fn set_floor(&mut self, floor: i64) {
        self.floor = self.floor.max(floor);
    }

    /// Store id kept from earlier sessions, from the status of the DataPlane.
    pub fn set_store_id(&mut self, store_id: Option<String>) {
        self.store_id = store_id;
    }

    /// State and unacknowledged facts of one resource as they are now. Called on every change; unchanged ones cost nothing.
    pub fn report(&mut self, key: &ResourceKey, state: State, facts: &[Fact]) {
        self.outbox.report(key, Some(state), facts);
    }

    /// What became of a document or a forget. Dropped if its connection is over.
    pub fn answer(&mut self, ticket: Ticket, verdict: Verdict) {
        let Phase::Connected(connection) = &mut self.phase else { return };
        if ticket.connection != self.connection && !mutant::is(Mutant::AnswerOfAnOlderConnection) {
            return;
        }
        let Some(bytes) = connection.unanswered.remove(&ticket.id) else { return };
        connection.window.remove(bytes);
        self.send(AgentMessage::Answer(Answer { to: ticket.id, verdict }));
    }

    /// Sends a message that needs no bookkeeping: a certificate request, the end of a stream, a listing. False without an open
    /// session; the message is dropped then.
    pub fn send_now(&mut self, message: AgentMessage) -> bool {
        let open = self.is_open();
        if open {
            if let (Phase::Connected(connection), AgentMessage::Renew(_)) = (&mut self.phase, &message) {
                connection.renewing = true;
            }
            self.send(message);
        }
        open
    }

    // What comes out.

    /// The next frame to write. Reports are taken from the newest state at this moment, so call it when the connection can
    /// take a frame, not earlier.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        if self.transmit.is_empty() && self.is_open() {
            if let Some(answer) = self.inventory_answer() {
                self.send(answer);
            } else if let Some(report) = self.outbox.next() {
                self.transmit.extend(super::frames(&report));
            }
        }
        self.transmit.pop()
    }

    /// The next event for the owner.
    pub fn poll_event(&mut self) -> Option<AgentEvent> {
        self.events.pop_front()
    }

    /// When `handle_timeout` must be called at the latest, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Millis, Wake)> {
        match &self.phase {
            Phase::Idle | Phase::Dialling => None,
            Phase::Waiting { at } => Some((*at, Wake::Dial)),
            Phase::Connected(connection) => earliest(&[
                (connection.welcomed.is_none().then_some(connection.since + HELLO_TIMEOUT), Wake::Hello),
                (
                    connection
                        .pinged
                        .map(|pinged| pinged + PONG_TIMEOUT)
                        .filter(|_| !mutant::is(Mutant::SilenceIgnored)),
                    Wake::Silence,
                ),
                (Some(connection.next_ping), Wake::Ping),
                (connection.drain_at, Wake::Drain),
            ]),
        }
    }

    /// Whether welcome has come and the connection stands.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(&self.phase, Phase::Connected(connection) if connection.welcomed.is_some())
    }

    /// Time between the last ping and its pong.
    #[must_use]
    pub const fn round_trip(&self) -> Option<Millis> {
        self.round_trip
    }

    /// Documents and forgets that wait for an answer; states and facts that wait to be sent or acknowledged. For metrics.
    #[must_use]
    pub fn depths(&self) -> (usize, usize) {
        let unanswered = match &self.phase {
            Phase::Connected(connection) => connection.unanswered.len(),
            Phase::Idle | Phase::Waiting { .. } | Phase::Dialling => 0,
        };
        (unanswered, self.outbox.pending())
    }

    /// Bytes of frames that wait to be written; about [`MAX_WAITING`](super::MAX_WAITING) at most. For metrics.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.transmit.bytes()
    }

    fn highest(&self) -> i64 {
        let task_runs = self.task_runs.values().map(|entry| entry.generation).max().unwrap_or(0);
        self.inventory.highest().max(task_runs)
    }

    fn send(&mut self, message: AgentMessage) {
        self.transmit.extend(super::frames(&super::text(&message)));
    }

    /// Closes the connection from this side; then all goes as after a lost one.
    fn close(&mut self, now: Millis, code: CloseCode, reason: &str) {
        self.handle_disconnected(now, Disconnect::Local, reason);
        self.transmit.end(Some(Transmit::Close { code, reason: close_reason(reason) }));
    }

    fn drained(&mut self, now: Millis) {
        self.transmit.end(Some(Transmit::Close { code: CloseCode::Drained, reason: String::new() }));
        self.outbox.disconnected();
        self.phase = Phase::Waiting { at: now };
        let reason = "the gateway asked to move".to_owned();
        self.events.push_back(AgentEvent::Lost {
            cause: Disconnect::Closed(CloseCode::Drained),
            reason,
            dial_after: 0,
        });
    }
}

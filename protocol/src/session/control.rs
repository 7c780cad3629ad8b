//! The control plane's side of one control connection.
//!
//! The owner (a gateway) judges hello, gives its desired state when the inventory has come, offers documents and records
//! answers and reports; the session compares, holds windows and notices silence. It remembers nothing beyond its connection:
//! what is desired, what was refused and what was reported is the owner's to keep.
//!
//! Order of a session: [`ControlEvent::Hello`] → `welcome` or `close` → [`ControlEvent::InventoryReceived`] → `compare` →
//! [`ControlEvent::Compared`] → `offer` … and `finish_comparison`. Offers made earlier wait until then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::value::RawValue;

use super::{
    Chance, CloseCode, Disconnect, Flight, HELLO_TIMEOUT, Millis, SILENCE_TIMEOUT, Transmit, Waiting, Wake,
    close_reason, earliest,
};
use crate::document::Provenance;
use crate::inventory::{Difference, Inventory};
use crate::message::{
    Adopted, ControlMessage, Drain, FactAck, FactReport, Hello, InventoryDone, InventoryEntry, Joiner, Renew, StateAck,
    StateReport, StreamEnded, Verdict, Welcome,
};
use crate::mutant::{self, Mutant};
use crate::name::ResourceKey;

mod queue;
mod receive;

use queue::Queue;

/// Why a connection without a hello ends.
const NO_HELLO: &str = "no hello in time";

/// What a gateway sets for a connection.
#[derive(Debug, Clone, Copy)]
pub struct ControlSettings {
    /// Silence after which the connection is closed, in milliseconds.
    pub silence: Millis,
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self { silence: SILENCE_TIMEOUT }
    }
}

/// What the owner wants the data plane to do with one resource. A later offer for the same resource takes the place of one
/// that is not sent yet.
#[derive(Debug, Clone)]
pub struct Offer {
    pub key: ResourceKey,
    pub generation: i64,
    /// A document, or its forgetting.
    pub delivery: Delivery,
}

/// What is delivered.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// A whole document.
    Document {
        /// Hash of resource and body.
        hash: String,
        /// The spec as JSON, as it was hashed.
        body: Box<RawValue>,
        /// Who asked.
        provenance: Option<Provenance>,
    },
    /// Really delete what is absent or ended.
    Forget,
}

/// Events for the owner.
#[derive(Debug)]
pub enum ControlEvent {
    /// Judge it (identity, epoch, cluster, version), then call `welcome` or `close`.
    Hello(Box<Hello>),
    /// Read the desired state now and call `compare` with it.
    InventoryReceived {
        /// TaskRuns of documents that are stored there.
        task_runs: Vec<InventoryEntry>,
        /// Resources without a document there.
        local: Vec<ResourceKey>,
        /// The two lists were cut.
        cut: bool,
    },
    /// What differs, by resource. Offer what is to change, then call `finish_comparison`.
    Compared {
        /// Empty if both sides have the same.
        differences: Vec<Difference>,
    },
    /// A document or forget was answered. Record it.
    Answered {
        key: ResourceKey,
        /// Generation that was offered.
        generation: i64,
        /// Hash that was offered; none for a forget.
        hash: Option<String>,
        /// The answer.
        verdict: Verdict,
    },
    /// The retry time of a deferred one is over: offer what is desired now.
    RetryDue { key: ResourceKey },
    /// Record it durably, then call `acknowledge_state`.
    State(StateReport),
    /// Record it once by id, durably, then call `acknowledge_fact`.
    Fact(FactReport),
    /// Sign it, then `send_now` the answer.
    Renew(Renew),
    /// A stream could not start or has ended.
    StreamEnded(StreamEnded),
    /// A message of an unknown type was left aside.
    Unsupported { message_type: String },
    /// The connection is over.
    Ended {
        cause: Disconnect,
        /// A sentence for people.
        reason: String,
        /// Documents and forgets that were sent and not answered (with generation), oldest first: they may have arrived or not,
        /// and the oldest may be why.
        unanswered: Vec<(ResourceKey, i64)>,
    },
}

#[derive(Debug)]
enum Phase {
    Hello,
    Judging,
    Inventory,
    Comparing(Box<Comparison>),
    Open,
    Ended,
}

#[derive(Debug)]
struct Comparison {
    root: String,
    desired: Option<Inventory>,
    missing: BTreeSet<u8>,
    differences: Vec<Difference>,
    compared: bool,
}

#[derive(Debug)]
pub struct ControlSession {
    settings: ControlSettings,
    chance: Chance,
    phase: Phase,
    since: Millis,
    heard: Millis,
    joiner: Joiner,
    transmit: Waiting,
    events: VecDeque<ControlEvent>,
    queue: Queue,
    reports: Flight,
    unacknowledged: BTreeMap<(ResourceKey, String), u64>,
    retries: Vec<(Millis, ResourceKey)>,
    held: bool,
}

impl ControlSession {
    /// The upgrade is done. `seed` spreads retries.
    #[must_use]
    pub fn new(settings: ControlSettings, now: Millis, seed: u64) -> Self {
        Self {
            settings,
            chance: Chance::new(seed),
            phase: Phase::Hello,
            since: now,
            heard: now,
            joiner: Joiner::default(),
            transmit: Waiting::default(),
            events: VecDeque::new(),
            queue: Queue::default(),
            reports: Flight::new(crate::message::Window { messages: 0, bytes: 0 }),
            unacknowledged: BTreeMap::new(),
            retries: Vec::new(),
            held: false,
        }
    }

    // What the owner decides.

    /// Accepts hello. The session is held if the agent knew another store or has higher generations than `welcome.counter`.
    /// Returns whether it is held.
    pub fn welcome(&mut self, hello: &Hello, welcome: Welcome) -> bool {
        if !matches!(self.phase, Phase::Judging) {
            return self.held;
        }
        self.held = hello.store_id.as_ref().is_some_and(|known| *known != welcome.store_id)
            || welcome.counter < hello.floor.max(hello.highest);
        self.reports = Flight::new(welcome.window);
        self.queue.opened(hello.window);
        self.send(&ControlMessage::Welcome(Box::new(welcome)));
        self.phase = Phase::Inventory;
        self.held
    }

    /// The desired state of this data plane: the last issued generation of every resource, absent ones until forgotten,
    /// TaskRuns left out.
    pub fn compare(&mut self, mut desired: Inventory) {
        let Phase::Comparing(comparison) = &mut self.phase else { return };
        if comparison.desired.is_some() || comparison.compared {
            return;
        }
        if desired.root() == comparison.root {
            comparison.compared = true;
            self.events.push_back(ControlEvent::Compared { differences: Vec::new() });
            return;
        }
        comparison.desired = Some(desired);
        self.send(&ControlMessage::InventoryNeedBuckets);
    }

    /// Ends the comparison and lets offers flow. `held`: the inventory holds what this control plane never issued.
    pub fn finish_comparison(&mut self, held: bool) {
        if matches!(&self.phase, Phase::Comparing(comparison) if comparison.compared) {
            self.held |= held;
            self.send(&ControlMessage::InventoryDone(InventoryDone { held: self.held }));
            self.phase = Phase::Open;
        }
    }

    /// A person has adopted this data plane; the counter was raised above all generations seen.
    pub fn adopt(&mut self, adopted: Adopted) {
        if self.is_welcomed() {
            self.held = false;
            self.send(&ControlMessage::Adopted(adopted));
        }
    }

    /// Sends it when the window has room and nothing of the same resource is unanswered.
    pub fn offer(&mut self, offer: Offer) {
        self.queue.offer(offer);
    }

    /// A state was recorded.
    pub fn acknowledge_state(&mut self, key: ResourceKey, digest: String) {
        if self.acknowledged(&key, &digest) {
            self.send(&ControlMessage::StateAck(StateAck { key, digest }));
        }
    }

    /// A fact was recorded, now or before.
    pub fn acknowledge_fact(&mut self, key: ResourceKey, id: String) {
        if self.acknowledged(&key, &id) {
            self.send(&ControlMessage::FactAck(FactAck { key, id }));
        }
    }

    /// Asks the agent to dial again after some time: `ControlMessage::Drain`.
    pub fn drain(&mut self, after_ms: u64) {
        self.send_now(&ControlMessage::Drain(Drain { after_ms }));
    }

    /// Sends a message that needs no bookkeeping: a certificate, streams, listings. False without an open session.
    pub fn send_now(&mut self, message: &ControlMessage) -> bool {
        let welcomed = self.is_welcomed();
        if welcomed {
            self.send(message);
        }
        welcomed
    }

    /// Closes, for a reason of the owner: refused hello, revoked, superseded, going away.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        self.transmit.end(Some(Transmit::Close { code, reason: close_reason(reason) }));
        self.ended(Disconnect::Local, reason);
    }

    // What happened.

    /// Something was received that is no text frame. Pings are answered by the WebSocket layer.
    pub const fn handle_alive(&mut self, now: Millis) {
        self.heard = now;
    }

    /// The connection ended.
    pub fn handle_disconnected(&mut self, cause: Disconnect, reason: &str) {
        if !matches!(self.phase, Phase::Ended) {
            self.transmit.end(None);
            self.ended(cause, reason);
        }
    }

    /// The time that `poll_timeout` named has come; harmless at any other time.
    pub fn handle_timeout(&mut self, now: Millis) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        if self.is_overdue(now) {
            return self.close(CloseCode::Timeout, NO_HELLO);
        }
        if self.heard + self.settings.silence <= now {
            return self.close(CloseCode::Timeout, "nothing was heard for too long");
        }
        let (due, later) = std::mem::take(&mut self.retries).into_iter().partition(|(at, _)| *at <= now);
        self.retries = later;
        let due: Vec<(Millis, ResourceKey)> = due;
        self.events.extend(due.into_iter().map(|(_, key)| ControlEvent::RetryDue { key }));
    }

    // What comes out.

    /// The next frame to write.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        if self.transmit.is_empty()
            && matches!(self.phase, Phase::Open)
            && (!self.held || mutant::is(Mutant::HeldIgnored))
            && let Some(text) = self.queue.next()
        {
            self.transmit.extend(super::frames(&text));
        }
        self.transmit.pop()
    }

    /// The next event for the owner.
    pub fn poll_event(&mut self) -> Option<ControlEvent> {
        self.events.pop_front()
    }

    /// When `handle_timeout` must be called at the latest, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Millis, Wake)> {
        if matches!(self.phase, Phase::Ended) {
            return None;
        }
        earliest(&[
            (matches!(self.phase, Phase::Hello).then_some(self.since + HELLO_TIMEOUT), Wake::Hello),
            (Some(self.heard + self.settings.silence), Wake::Silence),
            (self.retries.iter().map(|(at, _)| *at).min(), Wake::Retry),
        ])
    }

    /// Whether offers flow.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether the session waits for a person.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.held
    }

    /// Offers that wait, and that are unanswered. For metrics.
    #[must_use]
    pub fn depths(&self) -> (usize, usize) {
        self.queue.depths()
    }

    /// Bytes of frames that wait to be written; about [`MAX_WAITING`](super::MAX_WAITING) at most. For metrics.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.transmit.bytes()
    }

    /// Whether hello has not come in time.
    const fn is_overdue(&self, now: Millis) -> bool {
        matches!(self.phase, Phase::Hello) && self.since + HELLO_TIMEOUT <= now
    }

    const fn is_welcomed(&self) -> bool {
        matches!(self.phase, Phase::Inventory | Phase::Comparing(_) | Phase::Open)
    }

    fn acknowledged(&mut self, key: &ResourceKey, token: &str) -> bool {
        let bytes = self.unacknowledged.remove(&(key.clone(), token.to_owned()));
        if let Some(bytes) = bytes {
            self.reports.remove(bytes);
        }
        bytes.is_some()
    }

    fn send(&mut self, message: &ControlMessage) {
        self.transmit.extend(super::frames(&super::text(message)));
    }

    fn ended(&mut self, cause: Disconnect, reason: &str) {
        self.phase = Phase::Ended;
        let unanswered = self.queue.take_unanswered();
        self.events.push_back(ControlEvent::Ended { cause, reason: reason.to_owned(), unanswered });
    }
}

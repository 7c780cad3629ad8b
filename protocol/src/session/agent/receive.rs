//! What an agent does with each message of the control plane.

use std::collections::BTreeMap;

use super::connecting::NO_WELCOME;
use super::{
    Adopted, AgentEvent, AgentMessage, AgentSession, CloseCode, Document, Drain, Forget, InventoryEntry,
    InventoryNeedEntries, Millis, Phase, ResourceKey, Ticket, Verdict, Welcome, server_given, weight,
};
use crate::message::{
    self, ControlMessage, DeferReason, InventoryBuckets, InventoryEntries, MAX_MESSAGE, Unsupported, decode_control,
};
use crate::mutant::{self, Mutant};

/// How long a held document waits before it is sent again.
const HELD_RETRY_MS: u64 = 60_000;

/// TaskRuns and local resources named in one inventory message; about half of the longest message.
const MAX_LISTED: usize = 2_000;

impl AgentSession {
    /// A text frame was received.
    pub fn handle_text(&mut self, now: Millis, frame: &str) {
        self.handle_alive();
        let Phase::Connected(connection) = &mut self.phase else { return };
        // The timer may come after a frame that was already there.
        if connection.is_overdue(now) {
            return self.close(now, CloseCode::Timeout, NO_WELCOME);
        }
        let text = match connection.joiner.push(frame) {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err(error) => return self.close(now, CloseCode::TooLarge, &error.to_string()),
        };
        match decode_control(&text) {
            Ok(message) => self.receive(now, message, weight(&text)),
            Err(message::DecodeError::UnknownType { message_type }) => {
                self.send(AgentMessage::Unsupported(Unsupported { message_type: message_type.clone() }));
                self.events.push_back(AgentEvent::Unsupported { message_type });
            }
            Err(error) => self.close(now, CloseCode::Protocol, &error.to_string()),
        }
        if self.transmit.is_over_bound() {
            self.close(
                now,
                CloseCode::WindowExceeded,
                "too many answers wait: the control plane sends and does not read",
            );
        }
    }

    fn receive(&mut self, now: Millis, message: ControlMessage, bytes: u64) {
        let open = self.is_open();
        match message {
            ControlMessage::Welcome(welcome) if !open => self.welcomed(now, welcome),
            ControlMessage::Welcome(_) => self.close(now, CloseCode::Protocol, "a second welcome"),
            _ if !open => self.close(now, CloseCode::Protocol, "a message before welcome"),
            ControlMessage::Document(document) => self.document(now, document, bytes),
            ControlMessage::Forget(forget) => self.forget(now, forget, bytes),
            ControlMessage::InventoryNeedBuckets => {
                if let Phase::Connected(connection) = &mut self.phase {
                    connection.asked.digests = true;
                }
            }
            ControlMessage::InventoryNeedEntries(InventoryNeedEntries { buckets }) => {
                if let Phase::Connected(connection) = &mut self.phase {
                    connection.asked.buckets.extend(buckets);
                }
            }
            ControlMessage::InventoryDone(done) => {
                if done.held {
                    self.hold("the control plane holds the session until a person there adopts this data plane");
                }
                self.events.push_back(AgentEvent::Compared { held: done.held });
            }
            ControlMessage::Adopted(adopted) => self.adopted(now, adopted),
            ControlMessage::StateAck(ack) => self.outbox.state_acknowledged(&ack),
            ControlMessage::FactAck(ack) => {
                if let Some(fact) = self.outbox.fact_acknowledged(&ack) {
                    self.events.push_back(AgentEvent::FactAcknowledged { key: ack.key, fact });
                }
            }
            ControlMessage::Renewed(renewed) => {
                if self.renewal_ends() {
                    self.events.push_back(AgentEvent::Renewed(renewed));
                }
            }
            ControlMessage::RenewRefused(refused) => {
                if self.renewal_ends() {
                    self.events.push_back(AgentEvent::RenewRefused(refused));
                }
            }
            ControlMessage::Drain(Drain { after_ms }) => {
                let after = server_given(after_ms, &mut self.chance);
                if let Phase::Connected(connection) = &mut self.phase {
                    connection.drain_at.get_or_insert(now + after);
                }
            }
            ControlMessage::StreamStart(start) => self.events.push_back(AgentEvent::StreamStart(start)),
            ControlMessage::StreamStop(stop) => self.events.push_back(AgentEvent::StreamStop(stop)),
            ControlMessage::Unsupported(Unsupported { message_type }) => {
                self.events.push_back(AgentEvent::Unsupported { message_type });
            }
        }
    }

    fn welcomed(&mut self, now: Millis, welcome: Box<Welcome>) {
        let highest = self.highest();
        let Phase::Connected(connection) = &mut self.phase else { return };
        connection.welcomed = Some(now);
        connection.counter = welcome.counter;
        self.dialer.welcomed(welcome.reconnect_spread_ms);
        self.outbox.opened(welcome.window, &welcome.store_id);

        let held = if self.store_id.as_ref().is_some_and(|known| *known != welcome.store_id) {
            Some("the control plane's store is another one than before".to_owned())
        } else if welcome.counter < self.floor.max(highest) {
            let seen = self.floor.max(highest);
            Some(format!("the control plane counts to generation {}, here is {seen}", welcome.counter))
        } else {
            None
        };
        if held.is_none() && self.store_id.is_none() {
            self.store_id = Some(welcome.store_id.clone());
            self.events.push_back(AgentEvent::StoreKnown { store_id: welcome.store_id.clone() });
        }
        self.events.push_back(AgentEvent::Welcomed(welcome));
        if let Some(reason) = held {
            self.hold(&reason);
        }
        let inventory = self.inventory_message();
        self.send(AgentMessage::Inventory(inventory));
    }

    fn inventory_message(&mut self) -> message::Inventory {
        message::Inventory {
            root: self.inventory.root(),
            count: self.inventory.count(),
            task_runs: self.task_runs.values().take(MAX_LISTED).cloned().collect(),
            local: self.local.iter().take(MAX_LISTED).cloned().collect(),
            cut: self.task_runs.len() > MAX_LISTED || self.local.len() > MAX_LISTED,
        }
    }

    fn hold(&mut self, reason: &str) {
        let Phase::Connected(connection) = &mut self.phase else { return };
        if !connection.held {
            connection.held = true;
            self.events.push_back(AgentEvent::Held { reason: reason.to_owned() });
        }
    }

    fn adopted(&mut self, now: Millis, adopted: Adopted) {
        let seen = self.floor.max(self.highest());
        let Phase::Connected(connection) = &mut self.phase else { return };
        connection.counter = connection.counter.max(adopted.counter);
        // A document of the lost store may have been stored since hello: close, so that the control plane sees its generation in
        // the next hello and counts on from there.
        if connection.counter < seen {
            let reason = format!("adopted up to generation {}, but {seen} is stored here by now", adopted.counter);
            return self.close(now, CloseCode::Normal, &reason);
        }
        connection.held = false;
        self.store_id = Some(adopted.store_id.clone());
        self.events.push_back(AgentEvent::StoreKnown { store_id: adopted.store_id });
    }

    fn document(&mut self, now: Millis, document: Document, bytes: u64) {
        if let Some(ticket) = self.admit(now, document.id, bytes) {
            if mutant::is(Mutant::AcceptedOnReceipt) {
                self.answer(ticket, Verdict::Accepted { stored_hash: None, modified: Vec::new() });
            }
            self.events.push_back(AgentEvent::Document { ticket, document: Box::new(document) });
        }
    }

    fn forget(&mut self, now: Millis, forget: Forget, bytes: u64) {
        if let Some(ticket) = self.admit(now, forget.id, bytes) {
            self.events.push_back(AgentEvent::Forget { ticket, forget });
        }
    }

    /// Takes a document or forget into the window. None if the connection was closed or the session is held.
    fn admit(&mut self, now: Millis, id: u64, bytes: u64) -> Option<Ticket> {
        let Phase::Connected(connection) = &mut self.phase else { return None };
        if !connection.window.fits(bytes) {
            self.close(now, CloseCode::WindowExceeded, "more unanswered documents than hello allows");
            return None;
        }
        if connection.unanswered.insert(id, bytes).is_some() {
            self.close(now, CloseCode::Protocol, "a document id was used twice");
            return None;
        }
        connection.window.add(bytes);
        let ticket = Ticket { connection: self.connection, id };
        if connection.held && !mutant::is(Mutant::HeldIgnored) {
            let message = "held until a person at the control plane adopts this data plane".to_owned();
            let reason = DeferReason::Held;
            self.answer(ticket, Verdict::Deferred { reason, message, retry_after_ms: HELD_RETRY_MS });
            return None;
        }
        Some(ticket)
    }

    /// Whether a certificate request was unanswered until now. An answer to none is left aside: each costs writes in the cluster.
    fn renewal_ends(&mut self) -> bool {
        let Phase::Connected(connection) = &mut self.phase else { return false };
        std::mem::take(&mut connection.renewing)
    }

    /// The next message of the inventory that the control plane waits for: digests, or whole buckets, as many as surely fit.
    pub(super) fn inventory_answer(&mut self) -> Option<AgentMessage> {
        let Phase::Connected(connection) = &mut self.phase else { return None };
        let asked = &mut connection.asked;
        if std::mem::take(&mut asked.digests) {
            return Some(AgentMessage::InventoryBuckets(InventoryBuckets { digests: self.inventory.digests() }));
        }
        let mut buckets = BTreeMap::new();
        let mut length = 0;
        while let Some(number) = asked.buckets.first().copied() {
            let entries = self.inventory.entries(number);
            length += entries.iter().map(entry_length).sum::<usize>();
            if length > MAX_MESSAGE / 2 && !buckets.is_empty() {
                break;
            }
            asked.buckets.remove(&number);
            buckets.insert(number, entries);
        }
        (!buckets.is_empty()).then_some(AgentMessage::InventoryEntries(InventoryEntries { buckets }))
    }
}

/// An upper bound of one entry's JSON, in bytes.
fn entry_length(entry: &InventoryEntry) -> usize {
    let InventoryEntry { key: ResourceKey { kind: _, name }, generation: _, hash, state: _ } = entry;
    name.len() + hash.len() + 128
}

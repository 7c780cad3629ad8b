//! What a control plane does with each message of the agent.

use std::collections::BTreeSet;

use super::{
    CloseCode, Comparison, ControlEvent, ControlMessage, ControlSession, Millis, NO_HELLO, Phase, ResourceKey, Verdict,
};
use crate::message::{
    AgentMessage, Answer, DecodeError, Inventory, InventoryBuckets, InventoryEntries, InventoryNeedEntries,
    Unsupported, decode_agent,
};
use crate::session::dial::server_given;
use crate::session::weight;

impl ControlSession {
    /// A text frame was received.
    pub fn handle_text(&mut self, now: Millis, frame: &str) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        // The timer may come after a frame that was already there.
        if self.is_overdue(now) {
            return self.close(CloseCode::Timeout, NO_HELLO);
        }
        self.heard = now;
        let text = match self.joiner.push(frame) {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err(error) => return self.close(CloseCode::TooLarge, &error.to_string()),
        };
        match decode_agent(&text) {
            Ok(message) => self.receive(now, message, weight(&text)),
            Err(DecodeError::UnknownType { message_type }) => {
                self.send_now(&ControlMessage::Unsupported(Unsupported { message_type: message_type.clone() }));
                self.events.push_back(ControlEvent::Unsupported { message_type });
            }
            Err(error) => self.close(CloseCode::Protocol, &error.to_string()),
        }
        if self.transmit.is_over_bound() {
            self.close(CloseCode::WindowExceeded, "too many answers wait: the agent sends and does not read");
        }
    }

    fn receive(&mut self, now: Millis, message: AgentMessage, bytes: u64) {
        let welcomed = self.is_welcomed();
        match message {
            AgentMessage::Hello(hello) if matches!(self.phase, Phase::Hello) => {
                self.phase = Phase::Judging;
                self.events.push_back(ControlEvent::Hello(hello));
            }
            AgentMessage::Hello(_) => self.close(CloseCode::Protocol, "a second hello"),
            _ if !welcomed => self.close(CloseCode::Protocol, "a message before welcome"),
            AgentMessage::Inventory(inventory) => self.inventory(inventory),
            AgentMessage::InventoryBuckets(buckets) => self.buckets(&buckets),
            AgentMessage::InventoryEntries(entries) => self.entries(entries),
            AgentMessage::Answer(answer) => self.answer(now, answer),
            AgentMessage::State(report) => {
                if self.count(report.key.clone(), report.digest.clone(), bytes) {
                    self.events.push_back(ControlEvent::State(report));
                }
            }
            AgentMessage::Fact(report) => {
                if self.count(report.key.clone(), report.fact.id.clone(), bytes) {
                    self.events.push_back(ControlEvent::Fact(report));
                }
            }
            AgentMessage::Renew(renew) => self.events.push_back(ControlEvent::Renew(renew)),
            AgentMessage::StreamEnded(ended) => self.events.push_back(ControlEvent::StreamEnded(ended)),
            AgentMessage::Unsupported(Unsupported { message_type }) => {
                self.events.push_back(ControlEvent::Unsupported { message_type });
            }
        }
    }

    /// Takes a report into the window; false if the connection was closed.
    fn count(&mut self, key: ResourceKey, token: String, bytes: u64) -> bool {
        if !self.reports.fits(bytes) {
            self.close(CloseCode::WindowExceeded, "more unacknowledged reports than welcome allows");
            return false;
        }
        if self.unacknowledged.insert((key, token), bytes).is_some() {
            self.close(CloseCode::Protocol, "a report was sent twice without an acknowledgement between");
            return false;
        }
        self.reports.add(bytes);
        true
    }

    fn answer(&mut self, now: Millis, answer: Answer) {
        let Some(sent) = self.queue.answered(answer.to) else {
            return self.close(CloseCode::Protocol, "an answer to nothing");
        };
        if let Verdict::Deferred { retry_after_ms, .. } = &answer.verdict {
            let at = now + server_given(*retry_after_ms, &mut self.chance);
            self.retries.retain(|(_, key)| *key != sent.key);
            self.retries.push((at, sent.key.clone()));
        }
        let (key, generation, hash) = (sent.key, sent.generation, sent.hash);
        self.events.push_back(ControlEvent::Answered { key, generation, hash, verdict: answer.verdict });
    }

    fn inventory(&mut self, inventory: Inventory) {
        if !matches!(self.phase, Phase::Inventory) {
            return self.close(CloseCode::Protocol, "an inventory that was not asked for");
        }
        let Inventory { root, count: _, task_runs, local, cut } = inventory;
        self.phase = Phase::Comparing(Box::new(Comparison {
            root,
            desired: None,
            missing: BTreeSet::new(),
            differences: Vec::new(),
            compared: false,
        }));
        self.events.push_back(ControlEvent::InventoryReceived { task_runs, local, cut });
    }

    fn buckets(&mut self, buckets: &InventoryBuckets) {
        let Phase::Comparing(comparison) = &mut self.phase else {
            return self.close(CloseCode::Protocol, "buckets that were not asked for");
        };
        let (Some(desired), true) = (&mut comparison.desired, comparison.missing.is_empty()) else {
            return self.close(CloseCode::Protocol, "buckets that were not asked for");
        };
        if buckets.digests.len() != 256 {
            return self.close(CloseCode::Protocol, "an inventory has 256 buckets");
        }
        let numbers = desired.differing(&buckets.digests);
        comparison.missing = numbers.iter().copied().collect();
        if numbers.is_empty() {
            return self.compared();
        }
        self.send(&ControlMessage::InventoryNeedEntries(InventoryNeedEntries { buckets: numbers }));
    }

    fn entries(&mut self, entries: InventoryEntries) {
        let Phase::Comparing(comparison) = &mut self.phase else {
            return self.close(CloseCode::Protocol, "entries that were not asked for");
        };
        for (number, stored) in entries.buckets {
            let (true, Some(desired)) = (comparison.missing.remove(&number), &comparison.desired) else {
                return self.close(CloseCode::Protocol, "entries that were not asked for");
            };
            comparison.differences.extend(desired.differences(number, &stored));
        }
        if comparison.missing.is_empty() {
            self.compared();
        }
    }

    fn compared(&mut self) {
        let Phase::Comparing(comparison) = &mut self.phase else { return };
        comparison.compared = true;
        comparison.desired = None;
        let differences = std::mem::take(&mut comparison.differences);
        self.events.push_back(ControlEvent::Compared { differences });
    }
}

//! Reports that wait: the latest state of each resource, and every fact until it is acknowledged.
//!
//! A state in flight is followed by the newest one only after its acknowledgement, so that a slow link carries the latest
//! and not the history. Facts go first. What was acknowledged is not sent again, also not on the next connection to the
//! same store; a store that is another one learns everything anew.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::{Flight, text, weight};
use crate::message::{AgentMessage, FactAck, FactReport, StateAck, StateReport, Window};
use crate::mutant::{self, Mutant};
use crate::name::ResourceKey;
use crate::report::{Fact, State, digest};

#[derive(Debug)]
pub(super) struct Outbox {
    states: BTreeMap<ResourceKey, StateSlot>,
    facts: BTreeMap<ResourceKey, Vec<FactSlot>>,
    /// States whose newest digest is neither acknowledged nor in flight.
    due_states: BTreeSet<ResourceKey>,
    /// Facts not in flight, oldest first. May name some that are gone.
    due_facts: VecDeque<(ResourceKey, String)>,
    flight: Flight,
    store_id: Option<String>,
}

#[derive(Debug)]
struct StateSlot {
    state: Option<State>,
    digest: String,
    acknowledged: Option<String>,
    /// Digest and bytes in flight.
    sent: Option<(String, u64)>,
}

#[derive(Debug)]
struct FactSlot {
    fact: Fact,
    /// It is in the status. A fact that left the status stays here while in flight, since the other side counts it too.
    present: bool,
    acknowledged: bool,
    /// The fact and bytes in flight.
    sent: Option<(Fact, u64)>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            states: BTreeMap::new(),
            facts: BTreeMap::new(),
            due_states: BTreeSet::new(),
            due_facts: VecDeque::new(),
            flight: Flight::new(Window { messages: 0, bytes: 0 }),
            store_id: None,
        }
    }
}

impl Outbox {
    /// The newest state (none: the resource is gone) and all facts that its status holds.
    pub(super) fn report(&mut self, key: &ResourceKey, state: Option<State>, facts: &[Fact]) {
        let newest = facts.len().saturating_sub(1);
        let kept = if mutant::is(Mutant::FactsCoalesced) { facts.get(newest..).unwrap_or_default() } else { facts };
        self.report_facts(key, kept);
        // A report comes more often than the state changes, and a comparison is cheaper than a digest.
        if self.states.get(key).is_some_and(|slot| slot.state == state) {
            return;
        }
        let digest = digest(state.as_ref());
        match self.states.get_mut(key) {
            Some(slot) if slot.digest == digest => return,
            Some(slot) => (slot.state, slot.digest) = (state, digest),
            // A resource that was never reported and is gone is no news.
            None if state.is_none() => return,
            None => {
                let slot = StateSlot { state, digest, acknowledged: None, sent: None };
                self.states.insert(key.clone(), slot);
            }
        }
        self.settle_state(key);
    }

    fn report_facts(&mut self, key: &ResourceKey, facts: &[Fact]) {
        let mut old = self.facts.remove(key).unwrap_or_default();
        let mut slots = Vec::with_capacity(facts.len());
        for fact in facts {
            let known = old.iter().position(|slot| slot.fact.id == fact.id).map(|at| old.swap_remove(at));
            let slot = match known {
                Some(slot) if slot.fact == *fact => FactSlot { present: true, ..slot },
                // It was merged with a later one: the new count is sent under the same id.
                Some(slot) => {
                    if slot.sent.is_none() {
                        self.due_facts.push_back((key.clone(), fact.id.clone()));
                    }
                    FactSlot { fact: fact.clone(), present: true, acknowledged: false, sent: slot.sent }
                }
                None => {
                    self.due_facts.push_back((key.clone(), fact.id.clone()));
                    FactSlot { fact: fact.clone(), present: true, acknowledged: false, sent: None }
                }
            };
            slots.push(slot);
        }
        slots
            .extend(old.into_iter().filter(|slot| slot.sent.is_some()).map(|slot| FactSlot { present: false, ..slot }));
        if !slots.is_empty() {
            self.facts.insert(key.clone(), slots);
        }
    }

    /// A session is open. Acknowledgements of another store count for nothing.
    pub(super) fn opened(&mut self, window: Window, store_id: &str) {
        self.flight = Flight::new(window);
        if self.store_id.as_deref() != Some(store_id) {
            self.store_id = Some(store_id.to_owned());
            self.states.values_mut().for_each(|slot| slot.acknowledged = None);
            self.facts.values_mut().flatten().for_each(|slot| slot.acknowledged = false);
        }
        self.due_states = self.states.keys().cloned().collect();
        for key in self.states.keys().cloned().collect::<Vec<_>>() {
            self.settle_state(&key);
        }
        self.due_facts = self
            .facts
            .iter()
            .flat_map(|(key, slots)| slots.iter().map(move |slot| (key, slot)))
            .filter(|(_, slot)| !slot.acknowledged)
            .map(|(key, slot)| (key.clone(), slot.fact.id.clone()))
            .collect();
    }

    /// The connection ended: in-flight reports may not have arrived, so they are sent again.
    pub(super) fn disconnected(&mut self) {
        if mutant::is(Mutant::StateInFlightIsAcknowledged) {
            let sent = self.states.values_mut().filter(|slot| slot.sent.is_some());
            sent.for_each(|slot| slot.acknowledged = Some(slot.digest.clone()));
        }
        self.states.values_mut().for_each(|slot| slot.sent = None);
        for slots in self.facts.values_mut() {
            slots.retain(|slot| slot.present);
            if mutant::is(Mutant::FactInFlightIsAcknowledged) {
                slots.iter_mut().filter(|slot| slot.sent.is_some()).for_each(|slot| slot.acknowledged = true);
            }
            slots.iter_mut().for_each(|slot| slot.sent = None);
        }
        self.facts.retain(|_, slots| !slots.is_empty());
        self.flight = Flight::new(Window { messages: 0, bytes: 0 });
    }

    pub(super) fn state_acknowledged(&mut self, ack: &StateAck) {
        let Some(slot) = self.states.get_mut(&ack.key) else { return };
        let Some((digest, bytes)) = slot.sent.take_if(|(digest, _)| *digest == ack.digest) else { return };
        self.flight.remove(bytes);
        slot.acknowledged = Some(digest);
        if slot.state.is_none() && slot.acknowledged.as_ref() == Some(&slot.digest) {
            self.states.remove(&ack.key);
        }
        self.settle_state(&ack.key);
    }

    /// The fact as it was sent, if it was in flight.
    pub(super) fn fact_acknowledged(&mut self, ack: &FactAck) -> Option<Fact> {
        let slots = self.facts.get_mut(&ack.key)?;
        let slot = slots.iter_mut().find(|slot| slot.fact.id == ack.id)?;
        let (fact, bytes) = slot.sent.take()?;
        self.flight.remove(bytes);
        if !slot.present {
            slots.retain(|slot| slot.present || slot.sent.is_some());
        } else if fact == slot.fact {
            slot.acknowledged = true;
        } else {
            self.due_facts.push_back((ack.key.clone(), ack.id.clone()));
        }
        Some(fact)
    }

    /// The text of the next report, if there is one and the window has room. It is in flight from now on.
    pub(super) fn next(&mut self) -> Option<String> {
        self.next_fact().or_else(|| self.next_state())
    }

    fn next_fact(&mut self) -> Option<String> {
        while let Some((key, id)) = self.due_facts.front() {
            let slot = self.facts.get_mut(key).and_then(|slots| {
                slots.iter_mut().find(|slot| slot.fact.id == *id && slot.sent.is_none() && !slot.acknowledged)
            });
            let Some(slot) = slot else {
                self.due_facts.pop_front();
                continue;
            };
            let message = text(&AgentMessage::Fact(FactReport { key: key.clone(), fact: slot.fact.clone() }));
            if !self.flight.fits(weight(&message)) && !mutant::is(Mutant::ReportWindowIgnored) {
                return None;
            }
            self.flight.add(weight(&message));
            slot.sent = Some((slot.fact.clone(), weight(&message)));
            self.due_facts.pop_front();
            return Some(message);
        }
        None
    }

    fn next_state(&mut self) -> Option<String> {
        let key = self.due_states.first()?.clone();
        let slot = self.states.get_mut(&key)?;
        let report = StateReport { key: key.clone(), digest: slot.digest.clone(), state: slot.state.clone() };
        let message = text(&AgentMessage::State(report));
        if !self.flight.fits(weight(&message)) && !mutant::is(Mutant::ReportWindowIgnored) {
            return None;
        }
        self.flight.add(weight(&message));
        slot.sent = Some((slot.digest.clone(), weight(&message)));
        self.due_states.remove(&key);
        Some(message)
    }

    /// States and facts that are not acknowledged.
    pub(super) fn pending(&self) -> usize {
        let states = self.states.values().filter(|slot| slot.acknowledged.as_ref() != Some(&slot.digest)).count();
        states + self.facts.values().flatten().filter(|slot| !slot.acknowledged).count()
    }

    fn settle_state(&mut self, key: &ResourceKey) {
        let due = self
            .states
            .get(key)
            .is_some_and(|slot| slot.sent.is_none() && slot.acknowledged.as_ref() != Some(&slot.digest));
        if due {
            self.due_states.insert(key.clone());
        } else {
            self.due_states.remove(key);
        }
    }
}

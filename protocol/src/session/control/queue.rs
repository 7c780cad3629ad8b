//! Offers that wait and that are unanswered: one per resource in flight, the newest one waiting behind it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Delivery, Offer};
use crate::message::{ControlMessage, Document, Forget, Window};
use crate::mutant::{self, Mutant};
use crate::name::ResourceKey;
use crate::session::{Flight, text, weight};

#[derive(Debug)]
pub(super) struct Queue {
    waiting: BTreeMap<ResourceKey, Offer>,
    /// Resources that wait and have nothing in flight, in the order of their offers.
    ready: VecDeque<ResourceKey>,
    flight: BTreeMap<u64, Sent>,
    busy: BTreeSet<ResourceKey>,
    window: Flight,
    last_id: u64,
}

/// An offer that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) key: ResourceKey,
    pub(super) generation: i64,
    pub(super) hash: Option<String>,
    bytes: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            ready: VecDeque::new(),
            flight: BTreeMap::new(),
            busy: BTreeSet::new(),
            window: Flight::new(Window { messages: 0, bytes: 0 }),
            last_id: 0,
        }
    }
}

impl Queue {
    pub(super) const fn opened(&mut self, window: Window) {
        self.window = Flight::new(window);
    }

    pub(super) fn offer(&mut self, offer: Offer) {
        let key = offer.key.clone();
        // An offer that is older than the waiting one is dropped; of one generation the document comes before the forget.
        let is_older = |waiting: &Offer| {
            waiting.generation > offer.generation
                || (waiting.generation == offer.generation && matches!(waiting.delivery, Delivery::Forget))
        };
        if self.waiting.get(&key).is_some_and(is_older) {
            return;
        }
        let new = self.waiting.insert(key.clone(), offer).is_none();
        if new && (!self.busy.contains(&key) || mutant::is(Mutant::TwoOfOneResource)) {
            self.ready.push_back(key);
        }
    }

    /// The text of the next offer, if there is one and the window has room. It is in flight from now on.
    pub(super) fn next(&mut self) -> Option<String> {
        let key = self.ready.front()?;
        let offer = self.waiting.get(key)?;
        let text = text(&message(self.last_id + 1, offer));
        if !self.window.fits(weight(&text)) && !mutant::is(Mutant::OfferWindowIgnored) {
            return None;
        }
        let key = self.ready.pop_front()?;
        let offer = self.waiting.remove(&key)?;
        self.last_id += 1;
        self.window.add(weight(&text));
        let hash = match offer.delivery {
            Delivery::Document { hash, .. } => Some(hash),
            Delivery::Forget => None,
        };
        let sent = Sent { key: offer.key, generation: offer.generation, hash, bytes: weight(&text) };
        self.flight.insert(self.last_id, sent);
        self.busy.insert(key);
        Some(text)
    }

    pub(super) fn answered(&mut self, id: u64) -> Option<Sent> {
        let sent = self.flight.remove(&id)?;
        self.window.remove(sent.bytes);
        self.busy.remove(&sent.key);
        if self.waiting.contains_key(&sent.key) {
            self.ready.push_back(sent.key.clone());
        }
        Some(sent)
    }

    pub(super) fn take_unanswered(&mut self) -> Vec<(ResourceKey, i64)> {
        std::mem::take(&mut self.flight).into_values().map(|sent| (sent.key, sent.generation)).collect()
    }

    pub(super) fn depths(&self) -> (usize, usize) {
        (self.waiting.len(), self.flight.len())
    }
}

fn message(id: u64, offer: &Offer) -> ControlMessage {
    let Offer { key, generation, delivery } = offer.clone();
    match delivery {
        Delivery::Document { hash, body, provenance } => {
            let (kind, name) = (key.kind.as_str().to_owned(), key.name);
            ControlMessage::Document(Document { id, kind, name, generation, hash, provenance, body })
        }
        Delivery::Forget => ControlMessage::Forget(Forget { id, key, generation }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::name::Kind;

    fn offer(generation: i64, delivery: Delivery) -> Offer {
        Offer { key: ResourceKey { kind: Kind::Release, name: "web".to_owned() }, generation, delivery }
    }

    fn document(generation: i64) -> Offer {
        let body = RawValue::from_string("{}".to_owned()).unwrap();
        offer(generation, Delivery::Document { hash: String::new(), body, provenance: None })
    }

    #[test]
    fn what_waits_gives_way_to_newer_generations_and_a_forget_not_to_its_document() {
        let mut queue = Queue::default();
        queue.opened(Window { messages: 4, bytes: 100_000 });
        queue.offer(document(1));
        assert!(queue.next().unwrap().contains(r#""generation":1"#));
        queue.offer(document(3));
        queue.offer(document(2));
        queue.offer(offer(3, Delivery::Forget));
        queue.offer(document(3));
        assert_eq!(queue.next(), None, "the resource has something unanswered");
        queue.answered(1).unwrap();
        let next = queue.next().unwrap();
        assert!(next.contains("forget") && next.contains(r#""generation":3"#), "{next}");
    }
}

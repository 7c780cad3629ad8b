//! A control plane's store, as small as it can be and still keep its promises: desired state, answers, facts, states.

use std::collections::{BTreeMap, BTreeSet};

use protocol::inventory::{Difference, Inventory};
use protocol::message::{InventoryEntry, Verdict};
use protocol::name::{Kind, ResourceKey};
use protocol::report::{Fact, FactKind, State};
use protocol::session::{Delivery, Offer};
use protocol::spec::Desired;
use protocol::{ContentHash, Tree};
use serde_json::value::RawValue;

/// What was issued last for one resource.
#[derive(Debug, Clone)]
pub(super) struct Issued {
    pub(super) generation: i64,
    pub(super) hash: String,
    pub(super) body: String,
    pub(super) state: Desired,
    pub(super) refused: bool,
}

/// Durable: outlives gateways.
#[derive(Debug, Default)]
pub(super) struct Plane {
    pub(super) counter: i64,
    pub(super) issued: BTreeMap<ResourceKey, Issued>,
    /// Everything that was ever issued, for repeated deliveries.
    pub(super) history: Vec<(ResourceKey, Issued)>,
    pub(super) accepted: BTreeSet<(ResourceKey, i64)>,
    pub(super) facts: BTreeMap<String, (ResourceKey, Fact)>,
    pub(super) states: BTreeMap<ResourceKey, State>,
    /// Forgets that were issued: only these may delete a resource.
    pub(super) forgets: BTreeSet<(ResourceKey, i64)>,
    /// Resources that are forgotten for good.
    pub(super) forgotten: BTreeMap<ResourceKey, i64>,
}

impl Plane {
    /// Draws a generation for a new desired body.
    pub(super) fn issue(&mut self, name: &str, body: String, state: Desired) -> ResourceKey {
        self.counter += 1;
        let key = ResourceKey { kind: Kind::Release, name: name.to_owned() };
        let tree = Tree::parse(body.as_bytes()).unwrap_or(Tree::Null);
        let hash = ContentHash::of_document("Release", name, &tree).to_string();
        let issued = Issued { generation: self.counter, hash, body, state, refused: false };
        self.issued.insert(key.clone(), issued.clone());
        self.history.push((key.clone(), issued));
        key
    }

    pub(super) fn inventory(&self) -> Inventory {
        self.issued
            .iter()
            .map(|(key, issued)| InventoryEntry {
                key: key.clone(),
                generation: issued.generation,
                hash: issued.hash.clone(),
                state: issued.state,
            })
            .collect()
    }

    /// What the inventories say: what does not differ is stored, what differs is to be sent. True: held.
    pub(super) fn compared(&mut self, differences: &[Difference]) -> (Vec<Offer>, bool) {
        let mut offers = Vec::new();
        for (key, issued) in &self.issued {
            if differences.iter().any(|difference| difference.key == *key) {
                if !issued.refused {
                    offers.push(offer(key, issued));
                }
            } else {
                self.accepted.insert((key.clone(), issued.generation));
            }
        }
        let keys: Vec<_> = self.issued.keys().cloned().collect();
        offers.extend(keys.iter().filter_map(|key| self.forget(key)));
        offers.extend(differences.iter().filter_map(|difference| self.forget_again(&difference.key)));
        let held = differences.iter().any(|difference| {
            let stored = difference.stored.as_ref().map_or(0, |entry| entry.generation);
            let known = difference.desired.as_ref().map_or(0, |entry| entry.generation);
            let forgotten = self.forgotten.get(&difference.key).copied().unwrap_or(0);
            stored > known.max(forgotten)
        });
        (offers, held)
    }

    pub(super) fn offer(&self, key: &ResourceKey) -> Option<Offer> {
        self.issued.get(key).filter(|issued| !issued.refused).map(|issued| offer(key, issued))
    }

    /// The forget of a resource whose removal is recorded.
    pub(super) fn forget(&mut self, key: &ResourceKey) -> Option<Offer> {
        let issued = self.issued.get(key)?;
        let generation = issued.generation;
        let deleted = |(of, fact): &(ResourceKey, Fact)| {
            of == key && fact.kind == FactKind::Deleted && fact.generation == generation
        };
        if issued.state != Desired::Absent || !self.facts.values().any(deleted) {
            return None;
        }
        self.forgets.insert((key.clone(), generation));
        Some(Offer { key: key.clone(), generation, delivery: Delivery::Forget })
    }

    /// A forgotten resource was seen again: a create that was under way when it was forgotten may have landed after it. The same
    /// forget does no harm if it was only an old report, and tells if it was not.
    pub(super) fn forget_again(&mut self, key: &ResourceKey) -> Option<Offer> {
        let generation = *self.forgotten.get(key).filter(|_| !self.issued.contains_key(key))?;
        Some(Offer { key: key.clone(), generation, delivery: Delivery::Forget })
    }

    /// Records an answer. What is to be offered next, if anything.
    pub(super) fn answered(
        &mut self,
        key: &ResourceKey,
        generation: i64,
        forget: bool,
        verdict: &Verdict,
    ) -> Option<Offer> {
        match verdict {
            Verdict::Accepted { .. } | Verdict::Already => {
                self.accepted.insert((key.clone(), generation));
                None
            }
            Verdict::Forgotten { .. } => {
                if self.issued.get(key).is_some_and(|issued| issued.generation == generation) {
                    self.issued.remove(key);
                }
                self.forgotten.insert(key.clone(), generation);
                None
            }
            // It is there again, at another generation or Present: it has to be removed once more.
            Verdict::Refused { .. } if forget && !self.issued.contains_key(key) => {
                let key = self.issue(&key.name, r#"{"state":"Absent"}"#.to_owned(), Desired::Absent);
                self.offer(&key)
            }
            Verdict::Refused { .. } => {
                if let Some(issued) = self.issued.get_mut(key)
                    && issued.generation == generation
                    && !forget
                {
                    issued.refused = true;
                }
                None
            }
            // What is still wanted is wanted under a new generation.
            Verdict::Stale { .. } | Verdict::Conflict { .. } => {
                let issued = self.issued.get(key).filter(|issued| issued.generation == generation && !forget)?.clone();
                let key = self.issue(&key.name, issued.body, issued.state);
                self.offer(&key)
            }
            Verdict::Deferred { .. } => None,
        }
    }
}

pub(super) fn offer(key: &ResourceKey, issued: &Issued) -> Offer {
    Offer {
        key: key.clone(),
        generation: issued.generation,
        delivery: Delivery::Document {
            hash: issued.hash.clone(),
            body: RawValue::from_string(issued.body.clone()).unwrap_or_else(|_| RawValue::NULL.to_owned()),
            provenance: None,
            trace: None,
        },
    }
}

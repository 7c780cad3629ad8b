//! A control plane's store, as small as it can be and still keep its promises: desired state, answers, facts, states, who
//! speaks for the data plane, and what a person has to decide after a restore.

use std::collections::{BTreeMap, BTreeSet};

use protocol::inventory::{Difference, Inventory};
use protocol::message::{Adopted, Epoch, Hello, InventoryEntry, Verdict};
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
    /// This or an earlier generation was accepted: a run is never sent a second time.
    pub(super) was_accepted: bool,
}

/// Durable: outlives gateways.
#[derive(Debug, Clone, Default)]
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
    /// Forgotten ones that are there again.
    returned: BTreeSet<ResourceKey>,
    /// Runs whose state has said that they have ended.
    ended: BTreeSet<ResourceKey>,
    /// Runs whose end will never be known.
    pub(super) unknown: BTreeSet<ResourceKey>,
    /// The session that counts, and its connection.
    pub(super) session: Option<(Epoch, u64)>,
    /// Waits for a person.
    pub(super) held: bool,
    /// How often it was restored from a copy.
    pub(super) stores: u64,
    /// What the store had issued that was lost: it may still arrive.
    lost: Vec<(ResourceKey, Issued)>,
    /// Facts that a lost store had acknowledged: they are told once, and it was told.
    pub(super) told_to_the_lost: Vec<(ResourceKey, Fact)>,
    /// Counter at the last restore.
    restored_at: i64,
    adopted_store: Option<String>,
    adopted_below: i64,
    /// Highest generation that the data plane has shown.
    seen: i64,
    hello_store: Option<String>,
    /// Highest generation that the comparison under way knows of.
    compared_upto: i64,
}

impl Plane {
    /// Draws a generation for a new desired body.
    pub(super) fn issue(&mut self, key: &ResourceKey, body: String, state: Desired) {
        self.counter += 1;
        let tree = Tree::parse(body.as_bytes()).unwrap_or(Tree::Null);
        let hash = ContentHash::of_document(key.kind.as_str(), &key.name, &tree).to_string();
        let was_accepted = self.issued.get(key).is_some_and(|issued| issued.was_accepted);
        let issued = Issued { generation: self.counter, hash, body, state, refused: false, was_accepted };
        self.issued.insert(key.clone(), issued.clone());
        self.history.push((key.clone(), issued));
    }

    // Sessions.

    pub(super) fn store_id(&self) -> String {
        format!("store-{}", self.stores)
    }

    /// A session opens. Held until a person adopts if the data plane knows more than this store.
    pub(super) fn opened(&mut self, hello: &Hello, wire: u64) {
        self.session = Some((hello.epoch.clone(), wire));
        self.seen = self.seen.max(hello.floor).max(hello.highest);
        self.hello_store.clone_from(&hello.store_id);
        let other = hello.store_id.as_ref().is_some_and(|known| *known != self.store_id());
        let adopted = self.adopted_store.is_some() && self.adopted_store == hello.store_id;
        self.held = (other && !adopted) || self.counter < hello.floor.max(hello.highest);
    }

    pub(super) fn restored(&mut self, stores: u64, lost: Self) {
        self.stores = stores;
        self.lost = lost.history;
        self.told_to_the_lost = lost.told_to_the_lost;
        self.told_to_the_lost.extend(lost.facts.into_values());
        self.session = None;
        self.history.clear();
        self.restored_at = self.counter;
        self.seen = 0;
    }

    /// Whether this generation of a resource comes from this store, and not from the one that it is a copy of.
    pub(super) fn drew_since_its_restore(&self, id: &super::api::Id, generation: i64) -> bool {
        let drawn = |(key, issued): &(ResourceKey, Issued)| {
            issued.generation == generation && key.name == id.name && key.kind.as_str() == id.kind
        };
        self.history.iter().any(drawn) && !self.lost.iter().any(drawn)
    }

    /// A person accepts what the data plane holds: what is wanted is asked for anew, above all that was seen.
    pub(super) fn adopt(&mut self) -> Option<Adopted> {
        if !self.held {
            return None;
        }
        self.held = false;
        self.counter = self.counter.max(self.seen);
        self.adopted_below = self.counter;
        self.adopted_store.clone_from(&self.hello_store);
        let wanted: Vec<_> = self.issued.iter().map(|(key, issued)| (key.clone(), issued.clone())).collect();
        for (key, issued) in wanted {
            // A run that was asked for before the copy was made may have run since: a person may ask for another.
            if key.kind == Kind::TaskRun && issued.generation <= self.restored_at && !issued.was_accepted {
                self.run_lost(&key);
            } else if key.kind != Kind::TaskRun || !issued.was_accepted {
                self.issue(&key, issued.body, issued.state);
            }
        }
        Some(self.adoption())
    }

    pub(super) fn adoption(&self) -> Adopted {
        Adopted { store_id: self.store_id(), counter: self.counter }
    }

    // Comparison.

    /// All that is wanted but runs, which are settled here.
    pub(super) fn desired(&mut self, task_runs: &[InventoryEntry], cut: bool) -> Inventory {
        self.compared_upto = self.counter;
        self.seen = self.seen.max(task_runs.iter().map(|run| run.generation).max().unwrap_or(0));
        let listed = |key: &ResourceKey| task_runs.iter().any(|run| run.key == *key);
        self.states.retain(|key, _| key.kind != Kind::TaskRun || cut || listed(key));
        for run in task_runs {
            self.seen_again(&run.key);
        }
        let runs: Vec<_> = self.issued.keys().filter(|key| key.kind == Kind::TaskRun).cloned().collect();
        for key in runs {
            let stored = task_runs.iter().find(|run| run.key == key).map(|run| run.generation);
            let Some(issued) = self.issued.get_mut(&key) else { continue };
            if let Some(generation) = stored {
                issued.was_accepted = true;
                // A later generation of a run is its cancellation, which a copy of the store may not know of.
                issued.generation = issued.generation.max(generation);
                self.accepted.insert((key, generation));
            } else if issued.was_accepted && !cut {
                self.run_lost(&key);
            }
        }
        let wanted = self.issued.iter().filter(|(key, _)| key.kind != Kind::TaskRun);
        wanted
            .map(|(key, issued)| InventoryEntry {
                key: key.clone(),
                generation: issued.generation,
                hash: issued.hash.clone(),
                state: issued.state,
            })
            .collect()
    }

    /// A run that was accepted and is not there any more: its end is not known, and it is never sent again.
    fn run_lost(&mut self, key: &ResourceKey) {
        self.states.remove(key);
        if let Some(issued) = self.issued.remove(key) {
            self.forgotten.insert(key.clone(), issued.generation);
            self.unknown.insert(key.clone());
        }
    }

    /// What the comparison shows to be stored as it is wanted.
    pub(super) fn agreed(&self, differences: &[Difference]) -> Vec<(ResourceKey, i64)> {
        let compared = |(key, issued): &(&ResourceKey, &Issued)| {
            key.kind != Kind::TaskRun
                && issued.generation <= self.compared_upto
                && !differences.iter().any(|difference| difference.key == **key)
        };
        self.issued.iter().filter(compared).map(|(key, issued)| (key.clone(), issued.generation)).collect()
    }

    /// What the inventories say: what does not differ is stored, what differs is to be sent. True: held.
    pub(super) fn compared(&mut self, differences: &[Difference]) -> (Vec<Offer>, bool) {
        let agreed = self.agreed(differences);
        // What the data plane does not hold has no state any more.
        for difference in differences.iter().filter(|difference| difference.stored.is_none()) {
            self.states.remove(&difference.key);
        }
        // Nor has what is not wanted and was not named.
        let named = |key: &ResourceKey| differences.iter().any(|difference| difference.key == *key);
        self.states.retain(|key, _| {
            self.issued.contains_key(key) || named(key) || matches!(key.kind, Kind::TaskRun | Kind::DataPlane)
        });
        let mut offers = self.offers();
        let document = |offer: &Offer| matches!(offer.delivery, Delivery::Document { .. });
        offers.retain(|offer| !document(offer) || !agreed.contains(&(offer.key.clone(), offer.generation)));
        self.accepted.extend(agreed);
        offers.extend(differences.iter().filter_map(|difference| self.forget_again(&difference.key)));
        let never_issued = |difference: &Difference| {
            let stored = difference.stored.as_ref().map_or(0, |entry| entry.generation);
            let known = difference.desired.as_ref().map_or(0, |entry| entry.generation);
            let forgotten = self.forgotten.get(&difference.key).copied().unwrap_or(0);
            // Only of what nothing is known here can a person have said that it may stay.
            let adopted = if known.max(forgotten) == 0 { self.adopted_below } else { 0 };
            stored > known.max(forgotten).max(adopted)
        };
        let highest = differences.iter().filter_map(|one| one.stored.as_ref()).map(|entry| entry.generation).max();
        let held = differences.iter().any(never_issued);
        self.seen = self.seen.max(highest.unwrap_or(0));
        (offers, held)
    }

    // Offers.

    /// Everything that is to be sent, when it is not known what arrived.
    pub(super) fn offers(&mut self) -> Vec<Offer> {
        let open = |(key, issued): (&ResourceKey, &Issued)| {
            let known = self.accepted.contains(&(key.clone(), issued.generation)) && key.kind == Kind::TaskRun;
            (!issued.refused && !known).then(|| offer(key, issued))
        };
        let mut offers: Vec<_> = self.issued.iter().filter_map(open).collect();
        let keys: Vec<_> = self.issued.keys().cloned().collect();
        offers.extend(keys.iter().filter_map(|key| self.forget(key)));
        let returned: Vec<_> = self.returned.iter().cloned().collect();
        offers.extend(returned.iter().filter_map(|key| self.forget_again(key)));
        offers
    }

    /// The customer's policy may have changed since it refused this.
    pub(super) fn ask_again(&mut self, key: &ResourceKey, generation: i64) -> Option<Offer> {
        let issued = self.issued.get_mut(key).filter(|issued| issued.generation == generation && issued.refused)?;
        issued.refused = false;
        self.offer(key)
    }

    pub(super) fn offer(&self, key: &ResourceKey) -> Option<Offer> {
        self.issued.get(key).filter(|issued| !issued.refused).map(|issued| offer(key, issued))
    }

    /// The forget of a resource whose removal, or of a run whose end, is recorded.
    pub(super) fn forget(&mut self, key: &ResourceKey) -> Option<Offer> {
        let issued = self.issued.get(key)?;
        let generation = issued.generation;
        let is_end = |(of, fact): &(ResourceKey, Fact)| match key.kind {
            Kind::TaskRun => of == key && fact.kind == FactKind::TaskEnded,
            Kind::Release | Kind::Environment | Kind::DataPlane => {
                of == key && fact.kind == FactKind::Deleted && fact.generation == generation
            }
        };
        let ended = self.facts.values().any(is_end) || self.has_ended(key);
        if (key.kind != Kind::TaskRun && issued.state != Desired::Absent) || !ended {
            return None;
        }
        self.forgets.insert((key.clone(), generation));
        Some(Offer { key: key.clone(), generation, delivery: Delivery::Forget })
    }

    /// Whether the state of a run says its end. The fact of it may have been recorded in a store that is lost.
    pub(super) fn has_ended(&self, key: &ResourceKey) -> bool {
        key.kind == Kind::TaskRun && self.ended.contains(key)
    }

    fn seen_again(&mut self, key: &ResourceKey) {
        if self.forgotten.contains_key(key) && !self.issued.contains_key(key) {
            self.returned.insert(key.clone());
        }
    }

    /// A forgotten resource was seen again: a create that was under way when it was forgotten may have landed after it. The same
    /// forget does no harm if it was only an old report, and tells if it was not.
    pub(super) fn forget_again(&mut self, key: &ResourceKey) -> Option<Offer> {
        let generation = *self.forgotten.get(key).filter(|_| !self.issued.contains_key(key))?;
        self.returned.insert(key.clone());
        self.forgets.insert((key.clone(), generation));
        Some(Offer { key: key.clone(), generation, delivery: Delivery::Forget })
    }

    // What comes back.

    /// Records the newest state. What is to be offered next, if anything.
    pub(super) fn state(&mut self, key: &ResourceKey, state: Option<State>) -> Option<Offer> {
        let Some(state) = state else {
            self.states.remove(key);
            // Gone, and nobody here asked for it: what is wanted is sent again, but for runs.
            return if key.kind == Kind::TaskRun { None } else { self.offer(key) };
        };
        if state.conditions.iter().any(|one| one.condition_type == "Ended" && one.status == "True") {
            self.ended.insert(key.clone());
        }
        self.states.insert(key.clone(), state);
        self.forget(key).or_else(|| self.forget_again(key))
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
                if let Some(issued) = self.issued.get_mut(key) {
                    issued.was_accepted = true;
                }
                // A removal that was done already is forgotten at once.
                self.forget(key)
            }
            Verdict::Forgotten { .. } => {
                if self.issued.get(key).is_some_and(|issued| issued.generation == generation) {
                    self.issued.remove(key);
                }
                self.states.remove(key);
                self.returned.remove(key);
                let forgotten = self.forgotten.entry(key.clone()).or_default();
                *forgotten = generation.max(*forgotten);
                None
            }
            // It is there again, at another generation or Present: it has to be removed once more.
            Verdict::Refused { .. } if forget && !self.issued.contains_key(key) => {
                if key.kind == Kind::TaskRun {
                    return None;
                }
                self.issue(key, r#"{"state":"Absent"}"#.to_owned(), Desired::Absent);
                self.offer(key)
            }
            // It was removed, which is recorded, and is there again in an older state: the API server went back in time.
            Verdict::Refused { .. } if forget && key.kind != Kind::TaskRun => {
                let issued = self.issued.get(key).filter(|issued| issued.generation == generation)?.clone();
                self.issue(key, issued.body, issued.state);
                self.offer(key)
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
                self.issue(key, issued.body, issued.state);
                self.offer(key)
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

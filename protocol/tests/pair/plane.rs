//! What the control plane of the pair says and wants.

use super::*;

impl Pair {
    pub(crate) fn welcome(&self) -> Welcome {
        Welcome {
            session: "session".to_owned(),
            store_id: self.store_id.clone(),
            counter: self.counter,
            capabilities: Vec::new(),
            window: WINDOW,
            bulk: "wss://localhost/v1/bulk".to_owned(),
            reconnect_spread_ms: 1_000,
            time: "2026-01-01T00:00:00Z".to_owned(),
        }
    }

    pub(crate) fn entry(&self, name: &str) -> InventoryEntry {
        let (generation, body) = &self.desired[name];
        InventoryEntry { key: key(name), generation: *generation, hash: hash(name, body), state: Desired::Present }
    }

    pub(super) fn offer(&self, name: &str) -> Offer {
        let (generation, body) = &self.desired[name];
        Offer {
            key: key(name),
            generation: *generation,
            delivery: Delivery::Document {
                hash: hash(name, body),
                body: RawValue::from_string(body.clone()).unwrap(),
                provenance: None,
            },
        }
    }

    /// Every generation that is stored is known to be accepted, every fact arrived, every state is the newest one.
    pub(crate) fn converged(&self) -> bool {
        let names: Vec<_> = self.desired.keys().filter(|name| !name.starts_with("bad")).collect();
        names.iter().all(|name| self.stored.get(*name).map(|entry| entry.generation) == Some(self.desired[*name].0))
            && names.iter().all(|name| self.accepted.get(*name).is_some_and(|set| set.contains(&self.desired[*name].0)))
            && self.expected_facts.iter().all(|id| self.facts.contains_key(id))
            && self.status.iter().all(|(name, (state, facts))| {
                facts.is_empty() && self.states.get(&key(name)) == Some(&Some(state.clone()))
            })
    }
}

fn hash(name: &str, body: &str) -> String {
    ContentHash::of_document("Release", name, &Tree::parse(body.as_bytes()).unwrap()).to_string()
}

//! Reports custom resources to the control plane, and removes facts from their status once they are acknowledged.
//!
//! Pure. The watch brings objects; [`Report::of`] reads one leniently, because one object that nobody can read must not stop the
//! rest. The session (`protocol`) tracks what is new, in flight or acknowledged, so passing it the same report again costs nothing.
//! [`Removal`] takes acknowledged facts out of a status, on the version that it has read.

use protocol::message::InventoryEntry;
use protocol::mutant::{self, Mutant};
use protocol::name::{Kind, ResourceKey};
use protocol::report::{Condition, Fact, State};
use serde::Deserialize as _;
use serde_json::Value;

use super::intake::{Meaning, Stored, body, body_hash, classify};
use super::store::{Call, Reply, Settled, Step};
use crate::api::CallError;

/// Reads per removal; more means that somebody else writes all the time.
const MAX_LOOKS: u8 = 6;

/// What the control plane learns of one resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub key: ResourceKey,
    /// For the inventory; none for local resources.
    pub entry: Option<InventoryEntry>,
    /// Latest state.
    pub state: State,
    /// Facts that wait for acknowledgement, oldest first.
    pub facts: Vec<Fact>,
}

impl Report {
    /// Reads an object as the watch brought it; `stored` is the same object as the intake sees it.
    #[must_use]
    pub fn of(key: &ResourceKey, object: &Value, stored: &Stored) -> Self {
        let status = object.get("status").unwrap_or(&Value::Null);
        let facts = status.get("facts").and_then(Value::as_array).into_iter().flatten();
        // A fact that cannot be read stays where it is: a later version may.
        let facts = facts.filter_map(|fact| Fact::deserialize(fact).ok()).collect();
        let entry = stored.document.as_ref().map(|stamp| InventoryEntry {
            key: key.clone(),
            generation: stamp.generation,
            hash: stamp.hash.clone(),
            state: stored.desired,
        });
        let mut state = state(status);
        state.stored_hash = stored.document.as_ref().and_then(|stamp| {
            let hash = body_hash(key, &body(object.get("spec")?))?.to_string();
            (hash != stamp.hash).then_some(hash)
        });
        Self { key: key.clone(), entry, state, facts }
    }
}

/// Name of the resource in an object of `kind`.
#[must_use]
pub fn key_of(kind: Kind, object: &Value) -> Option<ResourceKey> {
    let name = object.get("metadata")?.get("name")?.as_str()?.to_owned();
    Some(ResourceKey { kind, name })
}

/// The reported state is a part of the status. For a status that cannot be read, a condition says so.
fn state(status: &Value) -> State {
    if status.is_null() {
        return State::default();
    }
    State::deserialize(status).unwrap_or_else(|_| State {
        observed_generation: status.get("observedGeneration").and_then(Value::as_i64),
        conditions: vec![Condition {
            condition_type: "Ready".to_owned(),
            status: "Unknown".to_owned(),
            reason: "Unreadable".to_owned(),
            message:
                "the status in the cluster is not of a form that this agent knows; a newer operator may have written it"
                    .to_owned(),
            observed_generation: None,
            // A constant: when it began is not known, and a report that is made again must stay equal.
            last_transition_time: "1970-01-01T00:00:00Z".to_owned(),
        }],
        ..State::default()
    })
}

/// Takes acknowledged facts out of the status of one resource.
#[derive(Debug)]
pub struct Removal {
    key: ResourceKey,
    acknowledged: Vec<Fact>,
    looks: u8,
    writing: bool,
}

impl Removal {
    /// Begins; `acknowledged` are facts as they were sent.
    #[must_use]
    pub fn begin(key: ResourceKey, acknowledged: Vec<Fact>) -> (Self, Step<Settled>) {
        let mut removal = Self { key, acknowledged, looks: 0, writing: false };
        let next = removal.look();
        (removal, next)
    }

    /// Which resource, and what was to be removed.
    #[must_use]
    pub fn into_parts(self) -> (ResourceKey, Vec<Fact>) {
        (self.key, self.acknowledged)
    }

    /// Takes the result of the last call; returns what comes next.
    pub fn resume(&mut self, reply: Reply) -> Step<Settled> {
        match (self.writing, reply) {
            (false, Ok(None)) | (true, Ok(_)) => Step::Done(Settled::Done),
            (false, Ok(Some(object))) => self.without_facts(object),
            (true, Err(error)) if retries(&error) => self.look(),
            (true | false, Err(_)) => Step::Done(Settled::Later),
        }
    }

    fn look(&mut self) -> Step<Settled> {
        self.looks += 1;
        self.writing = false;
        if self.looks > MAX_LOOKS {
            return Step::Done(Settled::Later);
        }
        Step::Call(Call::Get { table: self.key.kind.into(), name: self.key.name.clone() })
    }

    fn without_facts(&mut self, mut object: Value) -> Step<Settled> {
        let Some(facts) = object.pointer_mut("/status/facts").and_then(Value::as_array_mut) else {
            return Step::Done(Settled::Done);
        };
        let before = facts.len();
        // A fact that was merged with a later one after it was sent stays: the new count is not recorded yet.
        facts.retain(|stored| {
            Fact::deserialize(stored)
                .map_or(true, |stored| !self.acknowledged.iter().any(|fact| is_same(fact, &stored)))
                && !mutant::is(Mutant::AllFactsRemoved)
                && !mutant::is(Mutant::FactsCoalesced)
        });
        if facts.len() == before {
            return Step::Done(Settled::Done);
        }
        self.writing = true;
        Step::Call(Call::UpdateStatus { table: self.key.kind.into(), name: self.key.name.clone(), body: object })
    }
}

fn is_same(sent: &Fact, stored: &Fact) -> bool {
    sent == stored || (mutant::is(Mutant::MergedFactRemoved) && sent.id == stored.id)
}

fn retries(error: &CallError) -> bool {
    match classify(error) {
        Meaning::ReadAgain => true,
        Meaning::Uncertain(_) | Meaning::Deferred(_) | Meaning::Refused(..) => false,
    }
}

#[cfg(test)]
mod tests {
    use protocol::document::Desired;
    use serde_json::json;

    use super::*;
    use crate::api::ApiStatus;
    use crate::link::store::Table;

    fn key() -> ResourceKey {
        ResourceKey { kind: Kind::Release, name: "web".into() }
    }

    fn report(object: &Value) -> Report {
        Report::of(&key(), object, &Stored::of(Kind::Release, object))
    }

    fn fact(id: &str, count: Option<i64>) -> Value {
        let mut fact =
            json!({ "id": id, "kind": "Ready", "generation": 7, "at": "t", "reason": "Ready", "message": "m" });
        if let Some(count) = count {
            fact["count"] = json!(count);
        }
        fact
    }

    #[test]
    fn a_status_becomes_state_facts_and_inventory() {
        let spec = json!({ "state": "Absent" });
        let hash = body_hash(&key(), &spec).unwrap().to_string();
        let object = json!({
            "metadata": { "name": "web" },
            "spec": { "state": "Absent", "document": { "generation": 7, "hash": hash } },
            "status": {
                "observedGeneration": 7, "namespace": "dp-x", "replicas": { "desired": 1, "updated": 1, "ready": 0 },
                "objects": [{}], "lastFact": 3, "facts": [fact("a", None), { "kind": "OfALaterVersion" }],
            },
        });
        let Report { key: _, entry, state, facts } = report(&object);
        let expected = InventoryEntry { key: key(), generation: 7, hash, state: Desired::Absent };
        assert_eq!(entry, Some(expected));
        assert_eq!(state.namespace.as_deref(), Some("dp-x"));
        assert_eq!(state.replicas.map(|replicas| replicas.desired), Some(1));
        assert_eq!(state.stored_hash, None);
        assert_eq!(facts.iter().map(|fact| fact.id.as_str()).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn an_edit_in_the_cluster_shows_as_another_stored_hash() {
        let object = json!({ "spec": { "state": "Present", "document": { "generation": 7, "hash": "0".repeat(64) } } });
        let expected = body_hash(&key(), &json!({ "state": "Present" })).unwrap().to_string();
        assert_eq!(report(&object).state.stored_hash, Some(expected));
    }

    #[test]
    fn a_local_resource_has_a_state_and_no_place_in_the_inventory() {
        let Report { entry, state, .. } = report(&json!({ "spec": {}, "status": { "namespace": "n" } }));
        assert_eq!((entry, state.namespace.as_deref(), state.stored_hash), (None, Some("n"), None));
    }

    #[test]
    fn a_status_that_cannot_be_read_says_so() {
        let state = report(&json!({ "status": { "replicas": "many", "observedGeneration": 4 } })).state;
        assert_eq!(state.observed_generation, Some(4));
        assert_eq!(state.conditions[0].reason, "Unreadable");
    }

    fn stored(facts: &[Value]) -> Value {
        json!({
            "metadata": { "name": "web", "uid": "u", "resourceVersion": "5" },
            "spec": { "state": "Present" },
            "status": { "namespace": "n", "facts": facts },
        })
    }

    fn typed(fact: Value) -> Fact {
        serde_json::from_value(fact).unwrap()
    }

    #[test]
    fn only_what_was_acknowledged_as_it_stands_is_removed() {
        let (mut removal, next) = Removal::begin(key(), vec![typed(fact("a", None)), typed(fact("m", Some(1)))]);
        assert_eq!(next, Step::Call(Call::Get { table: Table::Document(Kind::Release), name: "web".into() }));
        let object = stored(&[fact("a", None), fact("m", Some(2)), fact("b", None), json!({ "kind": "Later" })]);
        let Step::Call(Call::UpdateStatus { body, .. }) = removal.resume(Ok(Some(object))) else { panic!() };
        assert_eq!(body["status"]["facts"], json!([fact("m", Some(2)), fact("b", None), { "kind": "Later" }]));
        assert_eq!(body["status"]["namespace"], "n");
        assert_eq!(body["metadata"]["resourceVersion"], "5");
        assert_eq!(removal.resume(Ok(Some(body))), Step::Done(Settled::Done));
    }

    #[test]
    fn a_removal_that_finds_nothing_to_do_writes_nothing() {
        for object in [None, Some(stored(&[])), Some(stored(&[fact("b", None)])), Some(json!({}))] {
            let (mut removal, _) = Removal::begin(key(), vec![typed(fact("a", None))]);
            assert_eq!(removal.resume(Ok(object)), Step::Done(Settled::Done));
        }
    }

    #[test]
    fn a_removal_reads_again_after_a_conflict_and_gives_up_in_the_end() {
        let (mut removal, mut next) = Removal::begin(key(), vec![typed(fact("a", None))]);
        let mut calls = 0;
        while let Step::Call(call) = next {
            calls += 1;
            assert!(calls < 100, "does not end");
            let conflict = ApiStatus { code: 409, ..ApiStatus::default() };
            let reply =
                if call.writes() { Err(CallError::Refused(conflict)) } else { Ok(Some(stored(&[fact("a", None)]))) };
            next = removal.resume(reply);
        }
        assert_eq!(next, Step::Done(Settled::Later));
        assert!(calls > 4);
        assert_eq!(removal.into_parts().1.len(), 1);
    }

    #[test]
    fn a_removal_without_an_api_server_is_tried_later() {
        let (mut removal, _) = Removal::begin(key(), vec![typed(fact("a", None))]);
        assert_eq!(removal.resume(Err(CallError::NoAnswer("x".into()))), Step::Done(Settled::Later));
    }
}

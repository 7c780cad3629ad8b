//! Changes to a stored document in the cluster: an edit by a person, or a webhook's mutation at admission.
//!
//! Pure. What is stored is what runs, until the next generation; so a change is shown in a condition as long as it lasts, and
//! reported once as a fact. Edits that the control plane has not acknowledged yet become one fact with a count: a controller that
//! fights over a spec must not fill the status, nor hold up the documents that would end the fight.

use kube::ResourceExt;
use protocol::document::DocumentStamp;
use protocol::mutant::{self, Mutant};
use protocol::name::ResourceKey;
use protocol::report::{Fact, FactKind};
use protocol::{ContentHash, Tree};
use serde::Serialize;

use crate::kinds::conditions::{self, Conditions, NewFact, Reason};
use crate::kinds::fields;

/// Condition that is set while the stored spec differs from the document as sent.
pub const MODIFIED: &str = "Modified";

/// How a stored document differs from what came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modified {
    generation: i64,
    hash: String,
    fields: Vec<String>,
}

impl Modified {
    /// Compares the stored `body` with the hash of the document that came; `note` is what the link noted of its fields. None for local
    /// objects.
    #[must_use]
    pub fn of<B: Serialize>(
        key: &ResourceKey,
        stamp: Option<&DocumentStamp>,
        note: Option<&str>,
        body: &B,
    ) -> Option<Self> {
        let stamp = stamp?;
        let body = Tree::parse(&serde_json::to_vec(body).ok()?).ok()?;
        let hash = ContentHash::of_document(key.kind.as_str(), &key.name, &body).to_string();
        if hash == stamp.hash {
            return None;
        }
        let fields = fields::changed(note, &stamp.hash, &body);
        Some(Self { generation: stamp.generation, hash, fields })
    }

    fn why(&self) -> Reason {
        let what = match self.fields.as_slice() {
            [] => "the spec is".to_owned(),
            [field] => format!("spec.{field} is"),
            [fields @ .., last] => format!("spec.{} and spec.{last} are", fields.join(", spec.")),
        };
        // The hash makes the message of each change different, and by the message it is known whether the change was reported.
        let hash: String = self.hash.chars().take(8).collect();
        Reason::new(
            "ChangedInCluster",
            format!(
                "{what} not as generation {} came: somebody or a webhook in the cluster changed it (stored hash {hash}…); it runs \
                 as stored until the next generation",
                self.generation
            ),
        )
    }
}

/// What the link noted of the fields of a document.
pub fn note(object: &impl ResourceExt) -> Option<&str> {
    object.annotations().get(fields::FIELDS).map(String::as_str)
}

/// The facts of one resource.
#[derive(Debug)]
pub struct Ledger<'a> {
    /// Uid of the resource.
    pub uid: &'a str,
    /// Facts that are not acknowledged.
    pub facts: &'a mut Vec<Fact>,
    /// Number of the last fact.
    pub last: &'a mut Option<i64>,
}

/// Sets the condition, and appends a fact unless this very change was reported before.
pub fn tell(modified: Option<&Modified>, conditions: &mut Conditions<'_>, ledger: Ledger<'_>) {
    let Some(modified) = modified else { return };
    let why = modified.why();
    let said = conditions.is_set(MODIFIED, &why);
    conditions.set(MODIFIED, true, &why);
    if (said && !mutant::is(Mutant::ChangeToldAgain)) || mutant::is(Mutant::ChangeNotTold) {
        return;
    }
    let Ledger { uid, facts, last } = ledger;
    let (generation, now) = (modified.generation, conditions.now());
    let open = facts.iter_mut().find(|fact| fact.kind == FactKind::Modified && fact.generation == generation);
    match open {
        Some(fact) => {
            fact.count = Some(fact.count.unwrap_or(1).saturating_add(1));
            fact.at = conditions::timestamp(now);
            fact.message = why.message;
        }
        None => {
            let fact = NewFact { kind: FactKind::Modified, what: why, exit_code: None };
            conditions::append(facts, last, uid, generation, fact, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use protocol::document::EnvironmentSpec;
    use protocol::name::Kind;
    use protocol::report::Condition;
    use serde_json::{Value, json};

    use super::*;

    fn key() -> ResourceKey {
        ResourceKey { kind: Kind::Environment, name: "e".to_owned() }
    }

    fn came(generation: i64, body: &Value) -> DocumentStamp {
        let hash = ContentHash::of_document("Environment", "e", &Tree::of(body).unwrap()).to_string();
        DocumentStamp { generation, hash, provenance: None }
    }

    fn message(came: &Value, note: bool, stored: &Value) -> Option<String> {
        let stamp = super::tests::came(7, came);
        let note = note.then(|| fields::note(&stamp.hash, &Tree::of(came).unwrap()));
        let modified = Modified::of(&key(), Some(&stamp), note.as_deref(), stored)?;
        Some(modified.why().message)
    }

    #[test]
    fn the_sentence_names_what_was_changed_if_that_is_known() {
        let came = json!({ "state": "Present", "image": "a", "scaling": { "replicas": 1 } });
        assert_eq!(message(&came, true, &came), None);
        for (stored, expected) in [
            (
                json!({ "state": "Present", "image": "b", "scaling": { "replicas": 1 } }),
                "spec.image is not as generation 7",
            ),
            (json!({ "state": "Present" }), "spec.image and spec.scaling are not as"),
            (json!({ "state": "Absent" }), "spec.image, spec.scaling and spec.state are not as"),
        ] {
            let said = message(&came, true, &stored).unwrap();
            assert!(said.starts_with(expected), "{said}");
        }
        let said = message(&came, false, &json!({})).unwrap();
        assert!(said.starts_with("the spec is not as generation 7 came"), "{said}");
    }

    #[test]
    fn a_local_object_is_nobodys_document() {
        assert_eq!(Modified::of(&key(), None, None, &json!({})), None);
    }

    #[test]
    fn a_typed_body_has_the_hash_of_the_document_as_it_came() {
        let body = json!({
            "state": "Present", "organization": "o", "project": "p", "environment": "dev", "quota": { "pods": 3 }, "egress": false,
        });
        let typed: EnvironmentSpec = serde_json::from_value(body.clone()).unwrap();
        assert_eq!(Modified::of(&key(), Some(&came(1, &body)), None, &typed), None);
    }

    /// The part of a status that is kept from one round to the next.
    #[derive(Default)]
    struct Status {
        conditions: Vec<Condition>,
        facts: Vec<Fact>,
        last: Option<i64>,
    }

    impl Status {
        fn look(&mut self, stamp: &DocumentStamp, stored: &Value) {
            let previous = std::mem::take(&mut self.conditions);
            let mut conditions = Conditions::new(&previous, stamp.generation, Timestamp::UNIX_EPOCH);
            let ledger = Ledger { uid: "u", facts: &mut self.facts, last: &mut self.last };
            let modified = Modified::of(&key(), Some(stamp), None, stored);
            tell(modified.as_ref(), &mut conditions, ledger);
            self.conditions = conditions.finish();
        }

        fn told(&self) -> Vec<(&str, Option<i64>)> {
            self.facts.iter().map(|fact| (fact.id.as_str(), fact.count)).collect()
        }
    }

    #[test]
    fn each_change_is_told_once_and_merged_with_what_is_not_acknowledged() {
        let mut status = Status::default();
        let came = came(7, &json!({ "replicas": 1 }));
        for replicas in [1, 2, 2, 3, 3, 2] {
            status.look(&came, &json!({ "replicas": replicas }));
        }
        assert_eq!(status.told(), [("u/7/Modified/1", Some(3))]);
        status.facts.clear();
        status.look(&came, &json!({ "replicas": 2 }));
        assert_eq!(status.told(), []);
        status.look(&came, &json!({ "replicas": 4 }));
        assert_eq!(status.told(), [("u/7/Modified/2", None)]);
    }

    #[test]
    fn a_change_that_was_taken_back_is_told_again_when_it_comes_again() {
        let mut status = Status::default();
        let came = came(7, &json!({ "replicas": 1 }));
        for replicas in [2, 1, 2] {
            status.look(&came, &json!({ "replicas": replicas }));
        }
        assert_eq!(status.told(), [("u/7/Modified/1", Some(2))]);
        status.look(&came, &json!({ "replicas": 1 }));
        assert_eq!(status.conditions, []);
    }

    #[test]
    fn the_same_change_of_another_generation_is_another_fact() {
        let mut status = Status::default();
        for generation in [7, 8] {
            status.look(&came(generation, &json!({ "replicas": 1 })), &json!({ "replicas": 2 }));
        }
        assert_eq!(status.told(), [("u/7/Modified/1", None), ("u/8/Modified/2", None)]);
    }
}

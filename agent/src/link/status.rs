//! What the link writes into the status of `DataPlane/default`: id, version, store, the conditions `Connected` and `CaProposed`.
//!
//! The operator writes other fields of the same status, so a write starts from what was just read and fails if that is not the
//! newest. Nothing is written that stands there already: status changes on transitions only.

use protocol::name::Kind;
use protocol::report::Condition;
use serde_json::{Value, json};

use super::intake::{Meaning, classify};
use super::store::{Call, DEFAULT, Reply, Settled, Step, Table};

/// Whether there is a session.
pub const CONNECTED: &str = "Connected";
/// The control plane hands out a CA that a person has not accepted; stands only as long as that is so.
pub const CA_PROPOSED: &str = "CaProposed";
/// Certificates of a handed-out bundle that are named; nobody announces more at once.
const NAMED: usize = 4;

/// What shall stand in the status. A part that is not known yet is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// Id from enrolment.
    pub id: Option<String>,
    /// Version of this agent.
    pub version: Option<String>,
    /// Store of the control plane.
    pub store_id: Option<String>,
    /// The condition [`CONNECTED`].
    pub connected: Option<Connected>,
    /// The condition [`CA_PROPOSED`]: fingerprints of certificates that are not trusted here.
    pub proposed: Option<Vec<String>>,
}

/// Whether there is a session, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// A session is open.
    pub yes: bool,
    /// One word in PascalCase.
    pub reason: &'static str,
    /// A sentence for people; the same as long as the cause is the same.
    pub message: String,
}

/// What a person shall do about a CA that is handed out and not trusted.
#[must_use]
pub fn proposal(fingerprints: &[String]) -> String {
    let named: Vec<&str> = fingerprints.iter().take(NAMED).map(String::as_str).collect();
    format!(
        "the control plane hands out a CA that this installation does not trust, SHA-256 {}; if its operators announced that one, \
         trust both with `helm upgrade --reuse-values --set-file controlPlane.caBundle=FILE`, and the new one alone once they say \
         that the old one is gone; if not, ask them",
        named.join(", ")
    )
}

/// `object` with `wanted` in it; none if it stands there already. `now` is RFC 3339.
#[must_use]
pub fn merged(object: &Value, wanted: &LinkStatus, now: &str) -> Option<Value> {
    let LinkStatus { id, version, store_id, connected, proposed } = wanted;
    let mut merged = object.clone();
    let status = merged.as_object_mut()?.entry("status").or_insert_with(|| json!({}));
    if !status.is_object() {
        *status = json!({});
    }
    let status = status.as_object_mut()?;
    for (field, value) in [("id", id), ("version", version), ("storeId", store_id)] {
        // The id is set once, since labels of the operator's objects carry it. With an identity of another data plane it stays: the
        // API server would refuse a changed id and the rest of the status with it.
        if let Some(value) = value
            && (field != "id" || !status.contains_key(field))
        {
            status.insert(field.to_owned(), json!(value));
        }
    }
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    if let Some(conditions) = conditions.as_array_mut() {
        if let Some(Connected { yes, reason, message }) = connected {
            put(conditions, CONNECTED, Some((if *yes { "True" } else { "False" }, reason, message.clone())), now);
        }
        if let Some(fingerprints) = proposed {
            let stands = (!fingerprints.is_empty()).then(|| ("True", "UnknownAuthority", proposal(fingerprints)));
            put(conditions, CA_PROPOSED, stands, now);
        }
    }
    (merged != *object).then_some(merged)
}

/// Puts status, reason and message of one condition in its place, or takes it out.
fn put(conditions: &mut Vec<Value>, kind: &str, wanted: Option<(&str, &str, String)>, now: &str) {
    let known = conditions.iter().position(|one| one.get("type").and_then(Value::as_str) == Some(kind));
    let old: Option<Condition> = known.map(|at| conditions.remove(at)).and_then(|old| serde_json::from_value(old).ok());
    let Some((status, reason, message)) = wanted else { return };
    let since = old.filter(|old| old.status == status).map_or_else(|| now.to_owned(), |old| old.last_transition_time);
    conditions.push(json!(Condition {
        condition_type: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: None,
        last_transition_time: since,
    }));
    conditions.sort_by_key(|one| one.get("type").and_then(Value::as_str).unwrap_or_default().to_owned());
}

/// One write of the status, from reading to the end.
#[derive(Debug)]
pub struct StatusJob {
    wanted: LinkStatus,
    now: String,
    looks: u8,
    writing: bool,
}

impl StatusJob {
    /// Begins.
    #[must_use]
    pub fn begin(wanted: LinkStatus, now: String) -> (Self, Step<Settled>) {
        let mut job = Self { wanted, now, looks: 0, writing: false };
        let next = job.look();
        (job, next)
    }

    /// Takes the result of the last call; returns what comes next.
    pub fn resume(&mut self, reply: Reply) -> Step<Settled> {
        match (self.writing, reply) {
            (true, Ok(_)) => Step::Done(Settled::Done),
            (false, Ok(Some(object))) => match merged(&object, &self.wanted, &self.now) {
                None => Step::Done(Settled::Done),
                Some(body) => {
                    self.writing = true;
                    Step::Call(Call::UpdateStatus {
                        table: Table::Document(Kind::DataPlane),
                        name: DEFAULT.to_owned(),
                        body,
                    })
                }
            },
            (false, Ok(None)) => Step::Done(Settled::Later),
            (true, Err(error)) if classify(&error) == Meaning::ReadAgain => self.look(),
            (true | false, Err(_)) => Step::Done(Settled::Later),
        }
    }

    fn look(&mut self) -> Step<Settled> {
        self.looks += 1;
        self.writing = false;
        if self.looks > 6 {
            return Step::Done(Settled::Later);
        }
        Step::Call(Call::Get { table: Table::Document(Kind::DataPlane), name: DEFAULT.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(yes: bool, reason: &'static str) -> LinkStatus {
        LinkStatus {
            id: Some("dp-1".into()),
            version: None,
            store_id: None,
            connected: Some(Connected { yes, reason, message: "m".into() }),
            proposed: None,
        }
    }

    #[test]
    fn a_proposed_ca_stands_beside_the_connection_until_it_is_trusted() {
        let connected = merged(&json!({}), &wanted(true, "Connected"), "t1").unwrap();
        let proposes = |fingerprints: &[&str]| LinkStatus {
            proposed: Some(fingerprints.iter().map(|one| (*one).to_owned()).collect()),
            ..wanted(true, "Connected")
        };
        let told = merged(&connected, &proposes(&["AB:CD"]), "t2").unwrap();
        let condition = &told["status"]["conditions"][0];
        assert_eq!((condition["type"].as_str(), condition["status"].as_str()), (Some("CaProposed"), Some("True")));
        let message = condition["message"].as_str().unwrap();
        assert!(message.contains("AB:CD") && message.contains("--set-file controlPlane.caBundle="), "{message}");
        assert_eq!(merged(&told, &proposes(&["AB:CD"]), "t3"), None);
        assert_eq!(merged(&told, &wanted(true, "Connected"), "t3"), None, "not known now");
        assert_eq!(merged(&told, &proposes(&[]), "t3"), Some(connected));
        let many: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        assert!(proposal(&many).len() < 1000);
    }

    #[test]
    fn only_what_is_new_is_written_and_the_rest_is_left_alone() {
        let object = json!({
            "metadata": { "resourceVersion": "1" },
            "status": {
                "cluster": "c", "storeId": "s",
                "conditions": [{ "type": "OperatorReady", "status": "True", "reason": "r", "message": "m", "lastTransitionTime": "t0" }],
            },
        });
        let first = merged(&object, &wanted(false, "Unreachable"), "t1").unwrap();
        assert_eq!(first["status"]["cluster"], "c");
        assert_eq!(first["status"]["storeId"], "s");
        assert_eq!(first["status"]["id"], "dp-1");
        assert_eq!(first["status"]["conditions"][0]["type"], "Connected");
        assert_eq!(first["status"]["conditions"][1]["type"], "OperatorReady");

        assert_eq!(merged(&first, &wanted(false, "Unreachable"), "t2"), None, "nothing new");
        let second = merged(&first, &wanted(false, "TokenExpired"), "t3").unwrap();
        assert_eq!(second["status"]["conditions"][0]["lastTransitionTime"], "t1", "still not connected");
        let third = merged(&second, &wanted(true, "Connected"), "t4").unwrap();
        assert_eq!(third["status"]["conditions"][0]["lastTransitionTime"], "t4");
        let anothers = LinkStatus { id: Some("dp-2".into()), ..wanted(true, "Connected") };
        assert_eq!(merged(&third, &anothers, "t5"), None, "an id is given once");
    }

    #[test]
    fn a_status_of_any_shape_is_mended() {
        for object in [json!({}), json!({ "status": 3 }), json!({ "status": { "conditions": "x" } })] {
            let merged = merged(&object, &wanted(true, "Connected"), "t").unwrap();
            assert_eq!(merged["status"]["conditions"][0]["status"], "True", "{object}");
        }
    }
}

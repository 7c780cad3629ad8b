//! Documents, stored objects, and a job that is taken through its steps.

use super::*;

pub(super) const BODY: &str = r#"{"state":"Present","environment":"shop-dev","owner":{"component":"web","track":"v1.0"},"type":"Service","image":"r.example/web@sha256:0000000000000000000000000000000000000000000000000000000000000000"}"#;
pub(super) const ABSENT: &str = r#"{"state":"Absent"}"#;

pub(super) fn hash(kind: Kind, name: &str, body: &str) -> String {
    let tree = protocol::Tree::parse(body.as_bytes()).unwrap();
    protocol::ContentHash::of_document(kind.as_str(), name, &tree).to_string()
}

pub(super) fn document(kind: Kind, name: &str, generation: i64, body: &str) -> Document {
    Document {
        id: 1,
        kind: kind.as_str().into(),
        name: name.into(),
        generation,
        hash: hash(kind, name, body),
        provenance: None,
        body: RawValue::from_string(body.into()).unwrap(),
    }
}

pub(super) fn view() -> View {
    let policy = DataPlanePolicySpec {
        registries: vec![Registry { prefix: "r.example/".into(), pull_secret: None }],
        ..DataPlanePolicySpec::default()
    };
    View { floor: 5, policy: Arc::new(Policy::Given(Box::new(policy))), about: About::default() }
}

/// A stored Release as the API server returns it.
pub(super) fn stored(kind: Kind, name: &str, generation: i64, body: &str) -> Value {
    let mut spec: Value = serde_json::from_str(body).unwrap();
    spec["document"] = json!({ "generation": generation, "hash": hash(kind, name, body) });
    json!({
        "metadata": {
            "name": name, "uid": "u-1", "resourceVersion": "70", "managedFields": [{}],
            "annotations": { "pdp-agent.dev/paused-until": "2030-01-01T00:00:00Z" },
        },
        "spec": spec,
    })
}

pub(super) fn release(generation: i64) -> Value {
    stored(Kind::Release, "web", generation, BODY)
}

pub(super) fn start(document: &Document, view: View, known: &Known) -> (Job, Next) {
    Job::document(Request::read(document).unwrap(), view, known)
}

pub(super) fn read_then_decide(document: &Document, view: View, stored: Option<Value>) -> (Job, Next) {
    let (mut job, next) = start(document, view, &Known::Unknown);
    assert!(matches!(next, Next::Call(Call::Get { .. })), "{next:?}");
    let next = job.resume(Ok(stored));
    (job, next)
}

pub(super) fn answer(next: Next) -> Verdict {
    match next {
        Next::Done(verdict) => verdict,
        Next::Call(call) => panic!("no answer but {call:?}"),
    }
}

/// The answer in one or two words.
pub(super) fn word(next: &Next) -> String {
    match next {
        Next::Call(Call::Get { .. }) => "get".into(),
        Next::Call(Call::Create { .. }) => "create".into(),
        Next::Call(Call::Update { .. }) => "update".into(),
        Next::Call(Call::UpdateStatus { .. }) => "floor".into(),
        Next::Call(Call::Delete { .. }) => "delete".into(),
        Next::Done(Verdict::Accepted { stored_hash: None, .. }) => "accepted".into(),
        Next::Done(Verdict::Accepted { .. }) => "accepted changed".into(),
        Next::Done(Verdict::Already) => "already".into(),
        Next::Done(Verdict::Stale { generation, .. }) => format!("stale {generation:?}"),
        Next::Done(Verdict::Conflict { .. }) => "conflict".into(),
        Next::Done(Verdict::Deferred { reason, .. }) => format!("deferred {reason:?}"),
        Next::Done(Verdict::Refused { class, .. }) => format!("refused {class:?}"),
        Next::Done(Verdict::Forgotten { floor }) => format!("forgotten {floor}"),
    }
}

pub(super) fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[field] = value;
    object
}

pub(super) fn without_document(mut object: Value) -> Value {
    object["spec"].as_object_mut().unwrap().remove("document");
    object
}

//! Every answer of the intake, as tables over what is stored and what the API server says.

use protocol::Tree;
use protocol::message::Document;
use protocol::name::Kind;
use serde_json::value::RawValue;

use super::*;
use crate::api::{ApiCause, ApiStatus};
use crate::kinds::{DataPlanePolicySpec, Registry, fields};

mod stages;

use stages::*;

#[test]
fn what_is_stored_decides() {
    let other = BODY.replace("v1.0", "v2.0");
    let facts: Vec<_> = (0..PENDING_FACTS).map(|n| json!({ "id": n })).collect();
    for (what, stored, expected) in [
        ("nothing", None, "create"),
        ("an older generation", Some(release(6)), "update"),
        ("the same", Some(release(7)), "already"),
        ("the same generation with another hash", Some(stored(Kind::Release, "web", 7, &other)), "conflict"),
        ("a newer generation", Some(release(8)), "stale Some(8)"),
        ("a local object", Some(without_document(release(6))), "refused Invalid"),
        (
            "an object that is going away",
            Some(with(release(6), "/metadata/deletionTimestamp", json!("2030-01-01T00:00:00Z"))),
            "deferred Busy",
        ),
        (
            "one with too many facts",
            Some(with(release(6), "/status", json!({ "facts": facts }))),
            "deferred FactsPending",
        ),
        ("an absent one", Some(stored(Kind::Release, "web", 6, ABSENT)), "update"),
    ] {
        let (_, next) = read_then_decide(&document(Kind::Release, "web", 7, BODY), view(), stored);
        assert_eq!(word(&next), expected, "{what}");
    }
}

#[test]
fn an_unknown_resource_at_or_below_the_floor_is_stale() {
    for (generation, expected) in [(4, "stale None"), (5, "stale None"), (6, "create")] {
        let (_, next) = read_then_decide(&document(Kind::Release, "web", generation, BODY), view(), None);
        assert_eq!(word(&next), expected, "generation {generation}");
    }
    let (_, next) = read_then_decide(&document(Kind::Release, "web", 4, BODY), view(), None);
    assert_eq!(answer(next), Verdict::Stale { generation: None, hash: None, floor: 5 });
}

#[test]
fn a_watched_object_is_written_on_at_once_and_refused_on_only_after_reading() {
    for (what, known, expected) in [
        ("nothing", None, "create"),
        ("older", Some(release(6)), "update"),
        ("same", Some(release(7)), "already"),
        ("newer", Some(release(8)), "get"),
        ("local", Some(without_document(release(6))), "get"),
    ] {
        let known = known.map(|object| Arc::new(Stored::of(Kind::Release, &object)));
        let (_, next) = start(&document(Kind::Release, "web", 7, BODY), view(), &Known::Watched(known));
        assert_eq!(word(&next), expected, "{what}");
    }
}

#[test]
fn a_write_carries_the_document_its_stamp_and_the_preconditions() {
    let (_, next) = read_then_decide(&document(Kind::Release, "web", 7, BODY), view(), Some(release(6)));
    let Next::Call(Call::Update { table, name, body }) = next else { panic!("{next:?}") };
    assert_eq!((table, name.as_str()), (Table::Document(Kind::Release), "web"));
    assert_eq!(body["metadata"]["uid"], "u-1");
    assert_eq!(body["metadata"]["resourceVersion"], "70");
    assert_eq!(body["metadata"]["annotations"]["pdp-agent.dev/paused-until"], "2030-01-01T00:00:00Z");
    assert!(body["metadata"].get("managedFields").is_none());
    let sent = serde_json::from_str::<Value>(BODY).unwrap();
    let note = fields::note(&hash(Kind::Release, "web", BODY), &Tree::of(&sent).unwrap());
    assert!(note.contains("\"image\""), "{note}");
    assert_eq!(body["metadata"]["annotations"][fields::FIELDS], note);
    assert_eq!(body["spec"]["document"], json!({ "generation": 7, "hash": hash(Kind::Release, "web", BODY) }));
    assert_eq!(super::body(&body["spec"]), sent);

    let (_, next) = read_then_decide(&document(Kind::Release, "web", 7, BODY), view(), None);
    let Next::Call(Call::Create { body, .. }) = next else { panic!("{next:?}") };
    assert_eq!(body["metadata"], json!({ "name": "web", "annotations": { fields::FIELDS: note } }));
    assert_eq!(body["apiVersion"], "pdp-agent.dev/v1alpha1");
}

#[test]
fn an_absent_document_replaces_the_whole_body_and_needs_no_permission() {
    let mut view = view();
    view.policy = Arc::new(Policy::Given(Box::default()));
    let (_, next) = read_then_decide(&document(Kind::Release, "web", 7, ABSENT), view, Some(release(6)));
    let Next::Call(Call::Update { body, .. }) = next else { panic!("{next:?}") };
    assert_eq!(super::body(&body["spec"]), json!({ "state": "Absent" }));
}

#[test]
fn missing_policy_and_forbidden_speak_before_anything_is_written() {
    let missing = Arc::new(Policy::Missing { why: "none".into() });
    let empty = Arc::new(Policy::Given(Box::default()));
    for (what, policy, stored, expected) in [
        ("no policy", &missing, None, "deferred NoPolicy"),
        ("no policy, but stored already", &missing, Some(release(7)), "already"),
        ("registry not allowed", &empty, None, "refused Policy"),
        ("registry not allowed any more, but stored already", &empty, Some(release(7)), "already"),
    ] {
        let view = View { policy: Arc::clone(policy), ..view() };
        let (mut job, mut next) = start(&document(Kind::Release, "web", 7, BODY), view, &Known::Unknown);
        if matches!(next, Next::Call(_)) {
            next = job.resume(Ok(stored));
        }
        assert_eq!(word(&next), expected, "{what}");
    }
}

#[test]
fn what_the_cluster_changed_on_the_way_is_reported() {
    let (mut job, _) = read_then_decide(&document(Kind::Release, "web", 7, BODY), view(), None);
    let verdict = answer(job.resume(Ok(Some(release(7)))));
    assert_eq!(verdict, Verdict::Accepted { stored_hash: None, modified: vec![] });

    let (mut job, _) = read_then_decide(&document(Kind::Release, "web", 7, BODY), view(), None);
    let changed = with(release(7), "/spec/scaling", json!({ "replicas": 3 }));
    let expected_hash = hash(Kind::Release, "web", &super::body(&changed["spec"]).to_string());
    let verdict = answer(job.resume(Ok(Some(changed))));
    assert_eq!(verdict, Verdict::Accepted { stored_hash: Some(expected_hash), modified: vec!["/scaling".into()] });
}

fn error(code: u16, reason: &str) -> CallError {
    CallError::Refused(ApiStatus { code, reason: reason.into(), ..ApiStatus::default() })
}

fn lost() -> CallError {
    CallError::NoAnswer("connection reset".into())
}

#[test]
fn a_failed_write_ends_in_one_answer() {
    // What is stored before, how the write fails, what is read then, and where it ends.
    for (what, before, failure, after, expected) in [
        ("somebody else created it", None, error(409, "AlreadyExists"), Ok(Some(release(6))), "update"),
        ("another leader created the same", None, error(409, "AlreadyExists"), Ok(Some(release(7))), "already"),
        ("somebody else changed it", Some(release(6)), error(409, "Conflict"), Ok(Some(release(6))), "update"),
        ("a newer one came first", Some(release(6)), error(409, "Conflict"), Ok(Some(release(9))), "stale Some(9)"),
        ("it was deleted", Some(release(6)), error(404, "NotFound"), Ok(None), "create"),
        ("the answer was lost after the write", None, lost(), Ok(Some(release(7))), "accepted"),
        ("the answer was lost before the write", None, lost(), Ok(None), "deferred ApiServerUnavailable"),
        ("a time-out after the write", Some(release(6)), error(504, "Timeout"), Ok(Some(release(7))), "accepted"),
        (
            "a time-out before the write",
            Some(release(6)),
            error(504, "Timeout"),
            Ok(Some(release(6))),
            "deferred ApiServerUnavailable",
        ),
        ("the answer was lost and so was the next", None, lost(), Err(lost()), "deferred ApiServerUnavailable"),
        ("lost, and the server asks to slow down", None, lost(), Err(error(429, "")), "deferred ApiServerUnavailable"),
    ] {
        let (mut job, next) = read_then_decide(&document(Kind::Release, "web", 7, BODY), view(), before);
        assert!(matches!(next, Next::Call(Call::Create { .. } | Call::Update { .. })), "{what}: {next:?}");
        let next = job.resume(Err(failure));
        assert_eq!(word(&next), "get", "{what}");
        assert_eq!(word(&job.resume(after)), expected, "{what}");
    }
}

#[test]
fn a_refusal_of_the_api_server_is_the_answer() {
    let (mut job, _) = read_then_decide(&document(Kind::Release, "web", 7, BODY), view(), None);
    let causes = vec![
        ApiCause { field: "spec.image".into(), message: "first".into() },
        ApiCause { field: "spec.env[1]".into(), message: "second".into() },
    ];
    let status = ApiStatus { code: 422, reason: "Invalid".into(), causes, ..ApiStatus::default() };
    let Verdict::Refused { class, reasons } = answer(job.resume(Err(CallError::Refused(status)))) else { panic!() };
    assert_eq!(class, RefusalClass::Invalid);
    let fields: Vec<_> = reasons.iter().map(|reason| reason.field.as_str()).collect();
    assert_eq!(fields, ["/image", "/env/1"]);
}

#[test]
fn endless_conflicts_end_as_busy() {
    let (mut job, mut next) = read_then_decide(&document(Kind::Release, "web", 7, BODY), view(), Some(release(6)));
    let mut calls = 0;
    while let Next::Call(call) = next {
        calls += 1;
        assert!(calls < 100, "does not end");
        next = job.resume(if call.writes() { Err(error(409, "Conflict")) } else { Ok(Some(release(6))) });
    }
    assert_eq!(word(&next), "deferred Busy");
}

#[test]
fn a_document_that_cannot_be_stored_is_refused_before_reading() {
    let good = document(Kind::Release, "web", 7, BODY);
    for (what, document, expected) in [
        ("unknown kind", Document { kind: "Gadget".into(), ..good.clone() }, RefusalClass::Invalid),
        ("bad name", Document { name: "Web!".into(), ..good.clone() }, RefusalClass::Invalid),
        ("no generation", Document { generation: 0, ..good.clone() }, RefusalClass::Invalid),
        ("wrong hash", Document { hash: "0".repeat(64), ..good }, RefusalClass::HashMismatch),
        (
            "unknown field",
            document(Kind::Release, "web", 7, &BODY.replace("\"image\"", "\"colour\":\"red\",\"image\"")),
            RefusalClass::UnknownField,
        ),
        ("image by tag", document(Kind::Release, "web", 7, &BODY.replace("@sha256:", ":v")), RefusalClass::Invalid),
    ] {
        match Request::read(&document) {
            Err(Verdict::Refused { class, .. }) => assert_eq!(class, expected, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn the_installation_object_of_the_chart_takes_documents_and_is_never_created_or_forgotten() {
    let body = r#"{"displayName":"here"}"#;
    let of_the_chart = json!({ "metadata": { "name": "default", "uid": "u", "resourceVersion": "1" }, "spec": {} });
    let settings = document(Kind::DataPlane, "default", 7, body);
    assert_eq!(word(&read_then_decide(&settings, view(), Some(of_the_chart)).1), "update");
    assert_eq!(word(&read_then_decide(&settings, view(), None).1), "deferred Busy");
    let key = ResourceKey { kind: Kind::DataPlane, name: "default".into() };
    let (_, next) = Job::forget(key, 7, 0);
    assert_eq!(word(&next), "refused Invalid");
}

#[test]
fn a_stored_run_can_only_be_cancelled() {
    let before = r#"{"release":"job","args":["a"]}"#;
    for (what, after, expected) in [
        ("cancel", r#"{"release":"job","args":["a"],"cancel":true}"#, "update"),
        ("other arguments", r#"{"release":"job","args":["b"]}"#, "refused Invalid"),
        ("cancel with other arguments", r#"{"release":"job","args":["b"],"cancel":true}"#, "refused Invalid"),
        ("another release", r#"{"release":"other","args":["a"]}"#, "refused Invalid"),
        ("nothing new", before, "update"),
    ] {
        let stored = stored(Kind::TaskRun, "run", 6, before);
        let (_, next) = read_then_decide(&document(Kind::TaskRun, "run", 7, after), view(), Some(stored));
        assert_eq!(word(&next), expected, "{what}");
    }
    let cancelled = stored(Kind::TaskRun, "run", 6, r#"{"release":"job","cancel":true}"#);
    let (_, next) =
        read_then_decide(&document(Kind::TaskRun, "run", 7, r#"{"release":"job"}"#), view(), Some(cancelled));
    assert_eq!(word(&next), "refused Invalid", "a cancelled run is not taken up again");
}

fn forget(kind: Kind, name: &str, generation: i64) -> (Job, Next) {
    Job::forget(ResourceKey { kind, name: name.into() }, generation, 0)
}

fn removed(generation: i64) -> Value {
    let condition =
        json!({ "type": "Ready", "status": "False", "reason": "Deleted", "observedGeneration": generation });
    let status = json!({ "observedGeneration": generation, "conditions": [condition] });
    with(stored(Kind::Release, "web", generation, ABSENT), "/status", status)
}

fn data_plane(floor: Option<i64>) -> Value {
    let status = floor.map_or(json!({}), |floor| json!({ "floor": floor, "id": "dp-1" }));
    json!({ "metadata": { "name": "default", "uid": "d", "resourceVersion": "9" }, "spec": {}, "status": status })
}

#[test]
fn forget_asks_what_is_stored() {
    let ended = |result: bool| {
        let run = stored(Kind::TaskRun, "run", 7, r#"{"release":"job"}"#);
        if result { with(run, "/status", json!({ "result": "Succeeded" })) } else { run }
    };
    for (what, kind, stored, expected) in [
        ("removed", Kind::Release, Some(removed(7)), "get"),
        ("gone", Kind::Release, None, "get"),
        ("still present", Kind::Release, Some(release(7)), "refused Invalid"),
        ("newer", Kind::Release, Some(removed(8)), "stale Some(8)"),
        ("older", Kind::Release, Some(removed(6)), "refused Invalid"),
        ("local", Kind::Release, Some(without_document(removed(7))), "refused Invalid"),
        (
            "not yet acted on",
            Kind::Release,
            Some(with(removed(7), "/status/conditions/0/observedGeneration", json!(6))),
            "deferred FactsPending",
        ),
        (
            "objects left",
            Kind::Release,
            Some(with(removed(7), "/status/conditions/0/reason", json!("Removing"))),
            "deferred FactsPending",
        ),
        ("facts left", Kind::Release, Some(with(removed(7), "/status/facts", json!([{}]))), "deferred FactsPending"),
        ("a run that goes on", Kind::TaskRun, Some(ended(false)), "deferred FactsPending"),
        ("a run that ended", Kind::TaskRun, Some(ended(true)), "get"),
    ] {
        let name = if kind == Kind::TaskRun { "run" } else { "web" };
        let (mut job, next) = forget(kind, name, 7);
        assert_eq!(word(&next), "get", "{what}");
        assert_eq!(word(&job.resume(Ok(stored))), expected, "{what}");
    }
}

#[test]
fn forget_raises_the_floor_before_it_deletes() {
    let (mut job, _) = forget(Kind::Release, "web", 7);
    let next = job.resume(Ok(Some(removed(7))));
    assert_eq!(next, Next::Call(Call::Get { table: Table::Document(Kind::DataPlane), name: "default".into() }));
    let Next::Call(Call::UpdateStatus { body, .. }) = job.resume(Ok(Some(data_plane(Some(3))))) else { panic!() };
    assert_eq!(body["status"], json!({ "floor": 7, "id": "dp-1" }));
    assert_eq!(body["metadata"]["resourceVersion"], "9");
    let next = job.resume(Ok(Some(data_plane(Some(7)))));
    let delete = Call::Delete {
        table: Table::Document(Kind::Release),
        name: "web".into(),
        uid: "u-1".into(),
        resource_version: "70".into(),
    };
    assert_eq!(next, Next::Call(delete));
    assert_eq!(word(&job.resume(Ok(None))), "forgotten 7");
}

#[test]
fn forget_never_lowers_the_floor_and_raises_it_for_what_is_gone() {
    for (floor, expected) in [(Some(9), "forgotten 9"), (Some(7), "forgotten 7"), (None, "floor")] {
        let (mut job, _) = forget(Kind::Release, "web", 7);
        assert_eq!(word(&job.resume(Ok(None))), "get");
        assert_eq!(word(&job.resume(Ok(Some(data_plane(floor))))), expected);
    }
}

#[test]
fn a_forget_that_is_disturbed_starts_over() {
    for failure in [error(409, "Conflict"), lost(), error(404, "NotFound")] {
        let (mut job, _) = forget(Kind::Release, "web", 7);
        job.resume(Ok(Some(removed(7))));
        assert_eq!(word(&job.resume(Ok(Some(data_plane(Some(7)))))), "delete");
        assert_eq!(word(&job.resume(Err(failure))), "get");
        assert_eq!(word(&job.resume(Ok(None))), "get");
        assert_eq!(word(&job.resume(Ok(Some(data_plane(Some(7)))))), "forgotten 7");
    }
}

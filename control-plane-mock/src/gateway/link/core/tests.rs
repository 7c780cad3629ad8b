//! Orders of events that a connection can hardly be made to show.

use control_plane_model::Action;
use protocol::document::{Desired, Provenance};
use protocol::message::{DeferReason, Epoch, FactReport, InventoryEntry, StateReport, Window};
use protocol::report::{Fact, FactKind, digest};
use serde_json::json;

use super::*;
use crate::desired::documents::Belongs;
use crate::desired::reports;
use crate::domain::scope::Scope;
use crate::domain::{SCHEMA, task_runs};
use crate::store;
use protocol::message::Verdict;
use protocol::session::Disconnect;

const OPEN: SessionState = SessionState { open: true, held: false, paused: false };

const CATALOG: &str = "
INSERT INTO organization (id, handle, created) VALUES (1, 'shop', '');
INSERT INTO data_plane (id, organization, handle, created, key) VALUES ('dp', 1, 'dp', '', 'key');
INSERT INTO project (id, organization, handle, created) VALUES (1, 1, 'shop', '');
INSERT INTO environment (id, project, handle, position, settings, created) VALUES (1, 1, 'dev', 1, '{}', '');
INSERT INTO environment_data_plane VALUES (1, 'dp');
INSERT INTO component (id, project, handle, type, created) VALUES (1, 1, 'job', 'ManualTask', '');
INSERT INTO release (id, component, track, number, content, created) VALUES (1, 1, 'v1', 1, '{}', '');
INSERT INTO deployment (environment, component, track, release, configuration, action, created)
  VALUES (1, 1, 'v1', 1, '{}', 'Deploy', '');
";

#[test]
fn a_forget_is_offered_though_its_document_is_unanswered() {
    let (c, mut core, key) = forgetting();
    let accepted = Verdict::Accepted { stored_hash: None, modified: Vec::new() };
    assert!(offers(&mut core, &c, answer(&key, false, accepted)).is_empty());
    assert!(offers(&mut core, &c, Happened::StoreChanged).is_empty(), "the forget is on its way");
    let deferred = answer(&key, true, deferred());
    assert!(offers(&mut core, &c, deferred).is_empty());
    assert_eq!(offers(&mut core, &c, told(ControlEvent::RetryDue { key })), ["Forget 1"]);
}

#[test]
fn a_document_that_is_tried_again_does_not_take_the_place_of_its_forget() {
    let (c, mut core, key) = forgetting();
    core.handle(&c, answer(&key, false, deferred()), OPEN).unwrap();
    assert!(offers(&mut core, &c, told(ControlEvent::RetryDue { key })).is_empty());
}

#[test]
fn a_run_that_was_put_off_and_whose_end_is_told_is_forgotten() {
    let (c, mut core) = opened();
    let key = run(&c);
    assert_eq!(offers(&mut core, &c, Happened::StoreChanged), ["Document 1"]);
    core.handle(&c, answer(&key, false, deferred()), OPEN).unwrap();
    core.handle(&c, fact(&key, FactKind::TaskEnded, "Succeeded"), OPEN).unwrap();
    assert_eq!(offers(&mut core, &c, Happened::StoreChanged), ["Forget 1"]);
}

#[test]
fn a_run_whose_job_was_lost_is_forgotten() {
    let (c, mut core) = opened();
    let key = run(&c);
    core.handle(&c, fact(&key, FactKind::TaskEnded, "JobLost"), OPEN).unwrap();
    assert_eq!(offers(&mut core, &c, Happened::StoreChanged), ["Forget 1"]);
}

#[test]
fn a_run_that_is_listed_was_accepted_though_the_store_knows_of_a_refusal() {
    let (c, mut core) = opened();
    let key = run(&c);
    let class = protocol::message::RefusalClass::Policy;
    core.handle(&c, answer(&key, false, Verdict::Refused { class, reasons: Vec::new() }), OPEN).unwrap();
    let hash = documents::find(&c, "dp", &key).unwrap().unwrap().hash;
    let listed = InventoryEntry { key: key.clone(), generation: 1, hash, state: Desired::Present };
    let inventory = ControlEvent::InventoryReceived { task_runs: vec![listed], local: Vec::new(), cut: false };
    core.handle(&c, told(inventory), SessionState { open: false, ..OPEN }).unwrap();
    assert!(documents::find(&c, "dp", &key).unwrap().unwrap().accepted);
}

/// A control plane that was put back to a copy waits for a run that the lost store still has forgotten.
#[test]
fn a_run_that_is_gone_while_its_end_is_unknown_is_not_waited_for() {
    let result = |c: &Connection| -> Option<String> {
        c.query_row("SELECT result FROM task_run", [], |row| row.get(0)).unwrap()
    };
    let accepted = || Verdict::Accepted { stored_hash: None, modified: Vec::new() };

    let (c, mut core) = opened();
    let key = run(&c);
    core.handle(&c, answer(&key, false, accepted()), OPEN).unwrap();
    core.handle(&c, gone(&key), SessionState { held: true, ..OPEN }).unwrap();
    assert_eq!(result(&c).as_deref(), Some("Unknown"));
    assert!(documents::find(&c, "dp", &key).unwrap().is_none(), "it would be sent again");

    let (c, mut core) = opened();
    let key = run(&c);
    core.handle(&c, answer(&key, false, accepted()), OPEN).unwrap();
    core.handle(&c, fact(&key, FactKind::TaskEnded, "Succeeded"), OPEN).unwrap();
    core.handle(&c, gone(&key), OPEN).unwrap();
    assert_eq!(result(&c).as_deref(), Some("Succeeded"), "its forget is only not answered yet");
}

fn gone(key: &ResourceKey) -> Happened {
    told(ControlEvent::State(StateReport { key: key.clone(), digest: digest(None), state: None }))
}

/// Somebody deletes it while the inventory that lists it is on its way.
#[test]
fn what_goes_between_its_inventory_and_the_end_of_the_comparison_is_sent_again() {
    let (c, mut core) = opened();
    let key = ResourceKey { kind: Kind::Release, name: "web".to_owned() };
    let (present, nobody) = (json!({ "state": "Present" }), Provenance::default());
    documents::put(&c, "dp", &key, Desired::Present, &present, &nobody, &Belongs::default()).unwrap();
    core.handle(&c, answer(&key, false, Verdict::Accepted { stored_hash: None, modified: Vec::new() }), OPEN).unwrap();
    let comparing = SessionState { open: false, ..OPEN };
    let inventory = ControlEvent::InventoryReceived { task_runs: Vec::new(), local: Vec::new(), cut: false };
    core.handle(&c, told(inventory), comparing).unwrap();
    core.handle(&c, gone(&key), comparing).unwrap();
    let compared = told(ControlEvent::Compared { differences: Vec::new() });
    assert_eq!(offers(&mut core, &c, compared), ["Document 1"]);
}

/// A removed release that is to be forgotten before its document was answered.
fn forgetting() -> (Connection, Core, ResourceKey) {
    let (c, mut core) = opened();
    let key = ResourceKey { kind: Kind::Release, name: "web".to_owned() };
    let (absent, nobody) = (json!({ "state": "Absent" }), Provenance::default());
    documents::put(&c, "dp", &key, Desired::Absent, &absent, &nobody, &Belongs::default()).unwrap();
    assert_eq!(offers(&mut core, &c, Happened::StoreChanged), ["Document 1"]);
    core.handle(&c, fact(&key, FactKind::Deleted, "Deleted"), OPEN).unwrap();
    assert_eq!(offers(&mut core, &c, Happened::StoreChanged), ["Forget 1"]);
    (c, core, key)
}

#[test]
fn a_merged_fact_grows_under_its_id_and_never_shrinks() {
    let (c, mut core) = opened();
    let key = ResourceKey { kind: Kind::Release, name: "web".to_owned() };
    let counts = [None, Some(3), Some(2), Some(3), None].map(|count| {
        core.handle(&c, counted(&key, FactKind::Modified, "ChangedInCluster", count), OPEN).unwrap();
        let facts = reports::facts(&c, "dp", &key, 1).unwrap();
        assert_eq!(facts.len(), 1);
        facts[0].count
    });
    assert_eq!(counts, [None, Some(3), Some(3), Some(3), Some(3)]);
    let events: i64 = c.query_row("SELECT count(*) FROM event WHERE what = 'Fact'", [], |row| row.get(0)).unwrap();
    assert_eq!(events, 2, "once when it came and once when it grew");
}

/// The end of a silent link is noticed fifteen seconds after anything was heard.
#[test]
fn a_data_plane_was_seen_last_when_anything_came_from_it() {
    let (c, _) = opened();
    let seen = || crate::domain::data_planes::data_planes(&c, 1, None).unwrap().remove(0).last_seen;
    let opened = seen();
    let heard = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(2);
    sessions::close(&c, "dp", "another", heard, "the link was lost").unwrap();
    assert_eq!(seen(), opened, "not the current session");
    sessions::close(&c, "dp", "session", heard, "the link was lost").unwrap();
    assert_eq!(seen(), Some(store::stamp(heard)));
}

/// Cuts of the network are no fault of the document that happens to be under way. Twelve in a row are: something on the way may not let it
/// through, and what waits behind it would never come.
#[test]
fn three_cuts_of_the_network_set_no_document_aside() {
    let (c, mut core) = opened();
    let key = run(&c);
    for connection in 2..=13 {
        assert!(!documents::find(&c, "dp", &key).unwrap().unwrap().quarantined, "after {} cuts", connection - 2);
        core = lost(&c, core, &key, Disconnect::Cut, "link", connection);
    }
    assert!(documents::find(&c, "dp", &key).unwrap().unwrap().quarantined);
}

#[test]
fn a_document_is_set_aside_that_the_agent_ends_three_connections_over_or_dies_of_three_times() {
    for cause in [Disconnect::Cut, Disconnect::Closed(CloseCode::Protocol)] {
        let (c, mut core) = opened();
        let key = run(&c);
        for (connection, process) in (2..).zip(["second", "third", "fourth"]) {
            assert!(!documents::find(&c, "dp", &key).unwrap().unwrap().quarantined, "{cause:?} {process}");
            core = lost(&c, core, &key, cause, process, connection);
        }
        assert!(documents::find(&c, "dp", &key).unwrap().unwrap().quarantined, "{cause:?}");
    }
}

#[test]
fn an_answer_clears_a_document_of_what_ended_before() {
    let (c, mut core) = opened();
    let key = run(&c);
    for connection in 2..=8 {
        core = lost(&c, core, &key, Disconnect::Cut, &format!("process {}", connection / 2), connection);
        core.handle(&c, answer(&key, false, deferred()), OPEN).unwrap();
        assert!(!documents::find(&c, "dp", &key).unwrap().unwrap().quarantined);
    }
}

/// The connection ends with a document unanswered, and a process comes with the next one.
fn lost(c: &Connection, mut core: Core, key: &ResourceKey, cause: Disconnect, instance: &str, connection: i64) -> Core {
    let unanswered = vec![(key.clone(), 1)];
    core.handle(c, told(ControlEvent::Ended { cause, reason: String::new(), unanswered }), OPEN).unwrap();
    opens(c, instance, connection)
}

fn opened() -> (Connection, Core) {
    let mut c = Connection::open_in_memory().unwrap();
    store::prepare(&mut c, SCHEMA).unwrap();
    c.execute_batch(CATALOG).unwrap();
    let core = opens(&c, "link", 1);
    (c, core)
}

fn opens(c: &Connection, instance: &str, connection: i64) -> Core {
    let hello = Hello {
        data_plane: "dp".to_owned(),
        version: "0".to_owned(),
        instance: instance.to_owned(),
        epoch: Epoch { lease: "lease".to_owned(), transitions: 1, connection },
        cluster: "cluster".to_owned(),
        schema: Kind::ALL.into_iter().map(|kind| (kind, 1)).collect(),
        capabilities: Vec::new(),
        floor: 0,
        highest: 0,
        store_id: None,
        window: Window { messages: 8, bytes: 1_000_000 },
    };
    let identity = Identity { data_plane: "dp", key: "key", generation: 0 };
    match Core::open(c, identity, &hello, "session", "gateway", "store").unwrap() {
        Opening::Current { core, .. } => *core,
        refused @ Opening::Refused { .. } => panic!("{refused:?}"),
    }
}

fn run(c: &Connection) -> ResourceKey {
    let shop = || "shop".to_owned();
    let place = Scope {
        organization: 1,
        organization_name: shop(),
        project: 1,
        project_name: shop(),
        actor: "somebody".to_owned(),
    };
    let ask = Action { environment: "dev".to_owned(), track: None, to: None, args: None, reason: None };
    let run = task_runs::run_task(c, &place, "job", &ask).unwrap();
    ResourceKey { kind: Kind::TaskRun, name: run.name }
}

fn told(event: ControlEvent) -> Happened {
    Happened::Events(vec![event])
}

fn fact(key: &ResourceKey, kind: FactKind, reason: &str) -> Happened {
    counted(key, kind, reason, None)
}

fn counted(key: &ResourceKey, kind: FactKind, reason: &str, count: Option<i64>) -> Happened {
    let fact = Fact {
        id: "uid/1/fact/1".to_owned(),
        kind,
        generation: 1,
        at: "2026-01-01T00:00:00Z".to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        exit_code: None,
        count,
    };
    told(ControlEvent::Fact(FactReport { key: key.clone(), fact }))
}

fn answer(key: &ResourceKey, forget: bool, verdict: Verdict) -> Happened {
    let hash = (!forget).then(String::new);
    told(ControlEvent::Answered { key: key.clone(), generation: 1, hash, verdict })
}

fn deferred() -> Verdict {
    Verdict::Deferred { reason: DeferReason::Busy, message: String::new(), retry_after_ms: 1_000 }
}

fn offers(core: &mut Core, c: &Connection, input: Happened) -> Vec<String> {
    let say = core.handle(c, input, OPEN).unwrap();
    let words = |say: Say| match say {
        Say::Offer(Offer { generation, delivery: protocol::session::Delivery::Forget, .. }) => {
            Some(format!("Forget {generation}"))
        }
        Say::Offer(Offer { generation, .. }) => Some(format!("Document {generation}")),
        Say::Compare(_)
        | Say::FinishComparison { .. }
        | Say::Adopt(_)
        | Say::AcknowledgeState { .. }
        | Say::AcknowledgeFact { .. }
        | Say::Close { .. } => None,
    };
    say.into_iter().filter_map(words).collect()
}

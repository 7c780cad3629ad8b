//! The side of the agents: enrolment, documents, answers, reports, fencing, restore. Over real TLS and WebSocket on loopback.

mod common;

use std::time::Duration;

use common::*;
use control_plane_mock::Config;
use control_plane_mock::faults::{Fault, Scripted};
use protocol::message::{DeferReason, Reason, RefusalClass, Verdict};
use protocol::name::Kind;
use protocol::report::FactKind;
use protocol::session::{CloseCode, Disconnect};
use rcgen::KeyPair;
use serde_json::{Value, json};

fn deploy(component: &Value, environment: &str) -> Value {
    json!({ "environment": environment, "file": component })
}

#[tokio::test]
async fn a_document_is_accepted_and_its_state_comes_back() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let deployed = api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    assert_eq!(deployed["newRelease"], true);
    let waiting = api.status("web", "dev").await;
    assert_eq!(waiting["phase"], "Waiting");

    let mut agent = Start::new(&plane, &identity).run(World::default());
    let status = api.phase("web", "dev", "Ready").await;
    assert_eq!(status["generation"], deployed["generations"]["home"]);
    assert_eq!(status["facts"][0]["kind"], "Ready");
    let documents =
        agent.until("documents", |world| (world.documents.len() == 3).then(|| world.documents.clone())).await;
    let release = documents.iter().find(|document| document.kind == "Release").unwrap();
    let tree = protocol::Tree::parse(release.body.get().as_bytes()).unwrap();
    assert_eq!(release.hash, protocol::ContentHash::of_document("Release", &release.name, &tree).to_string());
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn nothing_is_sent_again_after_a_reconnect_and_a_lost_answer_is_found_out() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    let fault =
        Scripted { fault: Fault::DropIncoming { message: Some("answer".into()) }, data_plane: None, times: Some(3) };
    plane.faults().add(fault);
    let mut agent = Start::new(&plane, &identity).run(World { reports: false, ..World::default() });
    agent.until("three documents", |world| (world.documents.len() == 3).then_some(())).await;
    assert_eq!(api.status("web", "dev").await["answer"], Value::Null);
    agent.tell.send(Tell::Cut).await.unwrap();
    let status = until("the answer", || async {
        let status = api.status("web", "dev").await;
        (!status["answer"].is_null()).then_some(status)
    })
    .await;
    assert_eq!(status["answer"]["answer"], "already");
    assert_eq!(agent.world.lock().unwrap().documents.len(), 3);
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn what_somebody_deletes_in_the_cluster_is_sent_again() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    api.phase("web", "dev", "Ready").await;
    let release =
        agent.until("the release", |world| world.stored.keys().find(|key| key.kind == Kind::Release).cloned()).await;
    let sent = |world: &World| world.documents.iter().filter(|document| document.name == release.name).count();
    agent.tell.send(Tell::Vanish(release.clone())).await.unwrap();
    agent.until("the document again", |world| (sent(world) == 2).then_some(())).await;
    let generations = agent
        .until("the object again", |world| {
            let documents = world.documents.iter().filter(|document| document.name == release.name);
            world
                .stored
                .contains_key(&release)
                .then(|| documents.map(|document| document.generation).collect::<Vec<_>>())
        })
        .await;
    assert_eq!(generations[0], generations[1], "the same wish");
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_refusal_is_told_and_not_asked_again_until_a_person_does() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let refuse: Box<dyn FnMut(&protocol::message::Document) -> Verdict + Send> = Box::new(|document| {
        if document.kind != "Release" {
            return Verdict::Accepted { stored_hash: None, modified: Vec::new() };
        }
        let reason = Reason { field: "/image".into(), message: "registry registry.test is not allowed".into() };
        Verdict::Refused { class: RefusalClass::Policy, reasons: vec![reason] }
    });
    let mut agent = Start::new(&plane, &identity).run(World { answer: refuse, ..World::default() });
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    let status = api.phase("web", "dev", "Refused").await;
    assert!(status["message"].as_str().unwrap().contains("/image: registry registry.test is not allowed"), "{status}");
    agent.tell.send(Tell::Cut).await.unwrap();
    agent
        .until("a second session", |world| (world.held == Some(false) && !world.closes.is_empty()).then_some(()))
        .await;
    let releases = |world: &World| world.documents.iter().filter(|document| document.kind == "Release").count();
    // The next document that arrives shows that the refused one was not sent before it.
    api.post(&format!("{SHOP}/environments"), json!({ "name": "test" })).await;
    agent
        .until("the next document", |world| world.documents.iter().any(|d| d.name.contains("test")).then_some(()))
        .await;
    assert_eq!(releases(&agent.world.lock().unwrap()), 1);
    let again = api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    assert_eq!(again["unchanged"], true);
    agent.until("a second try", |world| (releases(world) == 2).then_some(())).await;
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_deferred_document_is_sent_again_in_time() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut tries = 0;
    let answer: Box<dyn FnMut(&protocol::message::Document) -> Verdict + Send> = Box::new(move |document| {
        tries += usize::from(document.kind == "Release");
        if document.kind == "Release" && tries < 3 {
            let message = "the API server is busy".to_owned();
            return Verdict::Deferred { reason: DeferReason::ApiServerUnavailable, message, retry_after_ms: 20 };
        }
        Verdict::Accepted { stored_hash: None, modified: Vec::new() }
    });
    let agent = Start::new(&plane, &identity).run(World { answer, ..World::default() });
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    api.phase("web", "dev", "Ready").await;
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn what_is_undeployed_is_forgotten_and_comes_back_under_a_higher_generation() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    let first = api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    api.phase("web", "dev", "Ready").await;
    api.post(&format!("{SHOP}/components/web/undeploy"), json!({ "environment": "dev" })).await;
    agent
        .until("the forget", |world| {
            (world.floor > 0 && !world.stored.keys().any(|key| key.kind == Kind::Release)).then_some(())
        })
        .await;
    until("the status to be empty", || async { api.status("web", "dev").await.is_null().then_some(()) }).await;
    let second = api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    assert!(second["generations"]["home"].as_i64() > first["generations"]["home"].as_i64());
    api.phase("web", "dev", "Ready").await;
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_forget_whose_answer_was_lost_is_found_out() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    api.phase("web", "dev", "Ready").await;
    plane.faults().add(Scripted { fault: Fault::Pause, data_plane: None, times: None });
    api.post(&format!("{SHOP}/components/web/undeploy"), json!({ "environment": "dev" })).await;
    agent.world.lock().unwrap().cut_on_forget = true;
    plane.faults().clear();
    agent.until("the forget", |world| (world.floor > 0 && world.sessions > 1).then_some(())).await;
    until("the status to be empty", || async { api.status("web", "dev").await.is_null().then_some(()) }).await;
    let absent = agent.world.lock().unwrap().documents.iter().filter(|d| d.body.get().contains("Absent")).count();
    assert_eq!(absent, 1, "it is not sent again");
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn what_comes_back_after_it_was_forgotten_holds_nothing_and_is_removed_again() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    api.phase("web", "dev", "Ready").await;
    let of_release = |world: &World| world.stored.values().find(|entry| entry.key.kind == Kind::Release).cloned();
    let first = agent.until("the release", of_release).await;
    api.post(&format!("{SHOP}/components/web/undeploy"), json!({ "environment": "dev" })).await;
    agent.until("the forget", |world| (world.floor > 0 && of_release(world).is_none()).then_some(())).await;
    until("the status to be empty", || async { api.status("web", "dev").await.is_null().then_some(()) }).await;

    // The create of the first document was under way all the time.
    agent.tell.send(Tell::Stored(first.clone())).await.unwrap();
    agent.tell.send(Tell::Cut).await.unwrap();
    agent.until("the second session", |world| (world.sessions > 1).then_some(())).await;
    let floor = agent.until("the removal", |world| of_release(world).is_none().then_some(world.floor)).await;
    {
        let world = agent.world.lock().unwrap();
        assert_eq!(world.held, Some(false));
        let removals = world.documents.iter().filter(|document| document.body.get().contains("Absent"));
        assert_eq!(removals.clone().count(), 2, "one that was asked for, one for what came back");
        assert_eq!(removals.map(|document| document.generation).max(), Some(floor));
    }
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_state_of_what_was_forgotten_makes_it_be_forgotten_again() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    api.phase("web", "dev", "Ready").await;
    let of_release = |world: &World| world.stored.values().find(|entry| entry.key.kind == Kind::Release).cloned();
    let first = agent.until("the release", of_release).await;
    api.post(&format!("{SHOP}/components/web/undeploy"), json!({ "environment": "dev" })).await;
    until("the status to be empty", || async { api.status("web", "dev").await.is_null().then_some(()) }).await;
    agent.until("the forget", |world| (world.floor > 0 && of_release(world).is_none()).then_some(())).await;

    agent.tell.send(Tell::Stored(first.clone())).await.unwrap();
    agent.tell.send(Tell::Report(first.key.clone(), ready(first.generation), Vec::new())).await.unwrap();
    agent.until("its return", |world| of_release(world).map(drop)).await;
    agent.until("the removal", |world| of_release(world).is_none().then_some(())).await;
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_token_binds_to_its_first_key() {
    let plane = control_plane().await;
    let token = Api::of(&plane).furnish().await;
    let (first, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    assert_eq!(post_enrol(&plane, &token, &first).await.0, 200);
    assert_eq!(post_enrol(&plane, &token, &first).await.0, 200);
    let (status, body) = post_enrol(&plane, &token, &other).await;
    assert_eq!((status, body["code"].as_str()), (409, Some("TokenUsed")));
    let (status, body) = post_enrol(&plane, "pdpe_unknown", &other).await;
    assert_eq!((status, body["code"].as_str()), (401, Some("TokenUnknown")));
    assert!(!body.to_string().contains("pdpe_unknown"));
    let told = Api::of(&plane).get("/api/v1/organizations/acme/data-planes/home").await["message"].to_string();
    assert!(told.contains("an enrolment was refused at") && told.contains("used by another key"), "{told}");
    plane.shutdown().await;
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let plane = start(Config { token_lifetime: Duration::ZERO, ..Config::default() }).await;
    let token = Api::of(&plane).furnish().await;
    let key = KeyPair::generate().unwrap();
    until("the token to expire", || async {
        let (status, body) = post_enrol(&plane, &token, &key).await;
        (status == 401 && body["code"] == "TokenExpired").then_some(())
    })
    .await;
    let told = Api::of(&plane).get("/api/v1/organizations/acme/data-planes/home").await;
    assert!(told["message"].to_string().contains("has expired; make a new one"), "{told}");
    plane.shutdown().await;
}

#[tokio::test]
async fn a_key_renews_itself_also_after_its_certificate_and_never_after_revocation() {
    let plane = start(Config { certificate_lifetime: Duration::from_secs(3), ..Config::default() }).await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let key = KeyPair::from_pem(&identity.key).unwrap();
    let mut agent = Start::new(&plane, &identity).run(World::default());
    agent
        .until("the certificate's end", |world| {
            world.closes.contains(&Disconnect::Closed(CloseCode::CertificateExpired)).then_some(())
        })
        .await;
    agent.stop().await;
    assert_eq!(post_renew(&plane, &identity, &key, &key).await.0, 200);
    let (status, body) = post_renew(&plane, &identity, &KeyPair::generate().unwrap(), &key).await;
    assert_eq!((status, body["code"].as_str()), (401, Some("BadProof")));
    api.post("/api/v1/organizations/acme/data-planes/home/revoke", json!({})).await;
    let (status, body) = post_renew(&plane, &identity, &key, &key).await;
    assert_eq!((status, body["code"].as_str()), (403, Some("DataPlaneRevoked")));
    plane.shutdown().await;
}

#[tokio::test]
async fn a_renewed_key_takes_over_with_its_first_session_and_not_before() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let old = enrol(&plane, &api.furnish().await).await;
    let (old_key, new_key) = (KeyPair::from_pem(&old.key).unwrap(), KeyPair::generate().unwrap());
    let mut first = Start::new(&plane, &old).run(World::default());
    first.until("a session", |world| world.held).await;
    first.stop().await;
    // The answer is lost, so the old key asks again.
    assert_eq!(post_renew(&plane, &old, &old_key, &new_key).await.0, 200);
    let (status, body) = post_renew(&plane, &old, &old_key, &new_key).await;
    assert_eq!(status, 200);
    let certificate = body["certificate"].as_str().unwrap().to_owned();
    let new = Identity { key: new_key.serialize_pem(), certificate, data_plane: old.data_plane.clone() };
    let mut second = Start { transitions: 2, ..Start::new(&plane, &new) }.run(World::default());
    second.until("a session with the new key", |world| world.held).await;
    second.stop().await;
    assert_eq!(post_renew(&plane, &old, &old_key, &old_key).await.1["code"], "BadProof");
    plane.shutdown().await;
}

#[tokio::test]
async fn revocation_closes_the_link() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    agent.until("a session", |world| world.held).await;
    api.post("/api/v1/organizations/acme/data-planes/home/revoke", json!({})).await;
    agent
        .until("the close", |world| world.closes.contains(&Disconnect::Closed(CloseCode::Revoked)).then_some(()))
        .await;
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn the_same_identity_from_another_cluster_is_refused_and_alarmed() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    agent.until("a session", |world| world.held).await;
    agent.stop().await;
    let mut thief = Start { cluster: "cluster-2".into(), ..Start::new(&plane, &identity) }.run(World::default());
    thief
        .until("the close", |world| world.closes.contains(&Disconnect::Closed(CloseCode::ForeignCluster)).then_some(()))
        .await;
    let shown = api.get("/api/v1/organizations/acme/data-planes/home").await;
    assert!(shown["message"].as_str().unwrap().contains("another cluster"), "{shown}");
    thief.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_higher_epoch_takes_over_and_another_lease_waits() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut first = Start::new(&plane, &identity).run(World::default());
    first.until("a session", |world| world.held).await;
    let mut stranger = Start { lease: "lease-2".into(), ..Start::new(&plane, &identity) }.run(World::default());
    let superseded = |world: &World| world.closes.contains(&Disconnect::Closed(CloseCode::Superseded)).then_some(());
    stranger.until("the other lease to be refused", superseded).await;
    let mut second = Start { transitions: 2, ..Start::new(&plane, &identity) }.run(World::default());
    second.until("a session", |world| world.held).await;
    first.until("the first to be superseded", superseded).await;
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    second.until("the document", |world| world.documents.iter().any(|d| d.kind == "Release").then_some(())).await;
    for agent in [first, stranger, second] {
        agent.stop().await;
    }
    plane.shutdown().await;
}

#[tokio::test]
async fn a_restored_store_is_held_until_a_person_adopts() {
    let folder = tempfile::tempdir().unwrap();
    let (file, backup) = (folder.path().join("store"), folder.path().join("backup"));
    let config = Config { store: Some(file.clone()), ..Config::default() };
    let plane = start(config.clone()).await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    api.phase("web", "dev", "Ready").await;
    rusqlite::Connection::open(&file).unwrap().execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    api.post(&format!("{SHOP}/components/late/deployments"), deploy(&component("late"), "dev")).await;
    api.phase("late", "dev", "Ready").await;
    agent.until("the store's id", |world| world.store_id.clone()).await;
    agent.stop().await;
    plane.shutdown().await;
    let left = std::mem::take(&mut *agent.world.lock().unwrap());

    // The same store id, an older counter: what the data plane holds was never issued here.
    let plane = start(Config { store: Some(backup), ..config }).await;
    let api = Api::of(&plane);
    let kept =
        World { stored: left.stored.clone(), floor: left.floor, store_id: left.store_id.clone(), ..World::default() };
    let mut agent = Start { transitions: 2, ..Start::new(&plane, &identity) }.run(kept);
    agent.until("a comparison", |world| world.held.filter(|held| *held)).await;
    let shown = api.get("/api/v1/organizations/acme/data-planes/home").await;
    assert_eq!(shown["status"], "Held", "{shown}");
    api.post(&format!("{SHOP}/components/web/restart"), json!({ "environment": "dev" })).await;
    assert_eq!(api.status("web", "dev").await["phase"], "Waiting");
    api.post("/api/v1/organizations/acme/data-planes/home/adopt", json!({})).await;
    api.phase("web", "dev", "Ready").await;
    let late = agent.world.lock().unwrap().stored.keys().any(|key| key.name.contains("late"));
    assert!(late, "what the restored control plane does not know stays");
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn an_empty_control_plane_deletes_nothing() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let entry = protocol::message::InventoryEntry {
        key: protocol::name::ResourceKey { kind: Kind::Release, name: "old".into() },
        generation: 40,
        hash: "00".into(),
        state: protocol::spec::Desired::Present,
    };
    let stored = [(entry.key.clone(), entry)].into();
    let mut agent = Start::new(&plane, &identity).run(World { stored, ..World::default() });
    agent.until("a held comparison", |world| world.held.filter(|held| *held)).await;
    assert_eq!(agent.world.lock().unwrap().stored.len(), 1);
    assert!(agent.world.lock().unwrap().documents.is_empty());
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_fact_is_recorded_once_and_acknowledged_when_acks_are_not_withheld() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    plane.faults().add(Scripted { fault: Fault::WithholdAcks, data_plane: None, times: None });
    let agent = Start::new(&plane, &identity).run(World::default());
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    api.phase("web", "dev", "Ready").await;
    plane.faults().clear();
    let before = plane.record().after(0).len() as u64;
    agent.tell.send(Tell::Cut).await.unwrap();
    let sent = |what: &'static str| {
        plane.record().wait_for(move |entry| entry.seq > before && entry.what == "Sent" && entry.data["type"] == what)
    };
    soon("the acknowledgement", sent("factAck")).await;
    assert_eq!(api.status("web", "dev").await["facts"].as_array().unwrap().len(), 1);
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_task_run_is_sent_once_and_its_end_recorded() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    let mut task = component("job");
    task["type"] = "ManualTask".into();
    task.as_object_mut().unwrap().remove("endpoints");
    api.post(&format!("{SHOP}/components/job/deployments"), deploy(&task, "dev")).await;
    api.phase("job", "dev", "Ready").await;
    let run =
        api.post(&format!("{SHOP}/components/job/runs"), json!({ "environment": "dev", "args": ["--fast"] })).await;
    let ended = until("the end of the run", || async {
        let runs = api.get(&format!("{SHOP}/components/job/runs?id={}", run["id"].as_str().unwrap())).await;
        (runs[0]["result"] == "Succeeded").then(|| runs[0].clone())
    })
    .await;
    assert_eq!((ended["exitCode"].as_i64(), ended["release"].as_i64()), (Some(0), Some(1)));
    agent.until("the forget", |world| (!world.stored.keys().any(|key| key.kind == Kind::TaskRun)).then_some(())).await;
    let sent = agent.world.lock().unwrap().documents.iter().filter(|document| document.kind == "TaskRun").count();
    assert_eq!(sent, 1);
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_task_run_that_vanished_is_unknown_and_never_sent_again() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World { reports: false, ..World::default() });
    let mut task = component("job");
    task["type"] = "ManualTask".into();
    task.as_object_mut().unwrap().remove("endpoints");
    api.post(&format!("{SHOP}/components/job/deployments"), deploy(&task, "dev")).await;
    api.post(&format!("{SHOP}/components/job/runs"), json!({ "environment": "dev" })).await;
    agent.until("the run", |world| world.documents.iter().any(|d| d.kind == "TaskRun").then_some(())).await;
    until("its answer", || async {
        let runs = api.get(&format!("{SHOP}/components/job/runs")).await;
        runs[0]["message"].as_str().is_some_and(|message| message.contains("accepted")).then_some(())
    })
    .await;
    agent.stop().await;
    let mut stored = agent.world.lock().unwrap().stored.clone();
    stored.retain(|key, _| key.kind != Kind::TaskRun);
    let mut agent = Start { transitions: 2, ..Start::new(&plane, &identity) }.run(World { stored, ..World::default() });
    until("the result", || async {
        let runs = api.get(&format!("{SHOP}/components/job/runs")).await;
        (runs[0]["result"] == "Unknown").then_some(())
    })
    .await;
    agent.until("a comparison", |world| world.held).await;
    assert!(agent.world.lock().unwrap().documents.iter().all(|document| document.kind != "TaskRun"));
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn deleting_an_environment_removes_what_is_in_it_first() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    api.phase("web", "dev", "Ready").await;
    let (status, body) = api.call("DELETE", &format!("{SHOP}/environments/dev"), Value::Null).await;
    assert_eq!(status, 200, "{body}");
    until("the environment to be gone", || async {
        let all = api.get(&format!("{SHOP}/environments")).await;
        (all.as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    agent.until("all to be forgotten", |world| (world.stored.len() == 1).then_some(())).await;
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_document_that_ends_three_connections_is_set_aside() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    agent.until("the environments", |world| (world.documents.len() == 2).then_some(())).await;
    let tell = agent.tell.clone();
    agent.world.lock().unwrap().answer = Box::new(move |document| {
        if document.kind == "Release" {
            tell.try_send(Tell::Cut).unwrap();
            return Verdict::Deferred { reason: DeferReason::Busy, message: String::new(), retry_after_ms: 60_000 };
        }
        Verdict::Accepted { stored_hash: None, modified: Vec::new() }
    });
    // The answer that leaves before the cut is lost on the way.
    plane.faults().add(Scripted {
        fault: Fault::DropIncoming { message: Some("answer".into()) },
        data_plane: None,
        times: None,
    });
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    let status = api.phase("web", "dev", "Refused").await;
    assert!(status["message"].as_str().unwrap().contains("three times"), "{status}");
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn logs_arrive_whole_within_the_credit() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let lines: Vec<String> = (0..3000).map(|number| format!("line {number} {}", "x".repeat(200))).collect();
    let agent = Start::new(&plane, &identity).run(World { logs: lines.clone(), ..World::default() });
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    api.phase("web", "dev", "Ready").await;
    let path = format!("{SHOP}/components/web/logs?environment=dev&format=ndjson");
    let text = soon("the log", api.text(&path)).await;
    let got: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(got.len(), 3001);
    assert!(got.iter().zip(&lines).all(|(line, expected)| line["line"] == expected.as_str()));
    assert!(got[3000]["line"].as_str().unwrap().starts_with("ContainerEnded"));
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_followed_log_goes_on_behind_its_last_line_after_cuts() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let lines: Vec<String> = (0..6000).map(|number| format!("line {number} {}", "x".repeat(2000))).collect();
    let mut agent = Start::new(&plane, &identity).run(World { logs: lines.clone(), ..World::default() });
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    api.phase("web", "dev", "Ready").await;
    let mut reader = api.open(&format!("{SHOP}/components/web/logs?environment=dev&follow=true")).await;
    let (mut text, mut cuts, mut next_cut) = (String::new(), 0, 500_000);
    while let Some(chunk) = soon("more of the log", reader.chunk()).await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        if text.len() > next_cut && cuts < 4 {
            agent.tell.send(Tell::Cut).await.unwrap();
            (cuts, next_cut) = (cuts + 1, text.len() + 500_000);
            agent.until("the next session", |world| (world.sessions > cuts).then_some(())).await;
        }
    }
    let got: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let notes = got.iter().filter(|line| line["note"] == "Interrupted").count();
    let got: Vec<&str> =
        got.iter().filter(|line| line["note"].is_null()).map(|line| line["line"].as_str().unwrap()).collect();
    assert!(got == lines, "{} lines of {}", got.len(), lines.len());
    assert!(cuts == 4 && notes > 0, "{cuts} cuts, {notes} notes");
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_certificate_is_renewed_over_the_link() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    agent.until("a session", |world| world.held).await;
    for (csr, answer) in [(csr(&KeyPair::generate().unwrap()), "renewed"), ("nonsense".to_owned(), "renewRefused")] {
        let renew = protocol::message::AgentMessage::Renew(protocol::message::Renew { csr });
        agent.tell.send(Tell::Message(Box::new(renew))).await.unwrap();
        soon(answer, plane.record().wait_for(|entry| entry.what == "Sent" && entry.data["type"] == answer)).await;
    }
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn tokens_and_keys_are_in_no_record_and_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let plane = start(Config { store: Some(file.clone()), ..Config::default() }).await;
    let api = Api::of(&plane);
    let token = api.furnish().await;
    let identity = enrol(&plane, &token).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    agent.until("a session", |world| world.held).await;
    agent.stop().await;
    let record = serde_json::to_string(&plane.record().after(0)).unwrap();
    let admin = plane.admin_token().to_owned();
    plane.shutdown().await;
    let store = std::fs::read(&file).unwrap();
    for secret in [token.as_str(), admin.as_str(), identity.key.lines().nth(1).unwrap()] {
        assert!(!record.contains(secret));
        assert!(!store.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn each_scripted_fault_of_a_running_link_happens() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    agent.until("a session", |world| world.held).await;
    let script = |fault: Fault| {
        plane.faults().add(Scripted { fault, data_plane: Some(identity.data_plane.clone()), times: Some(1) })
    };
    let releases = |world: &World| world.documents.iter().filter(|document| document.kind == "Release").count();

    plane.faults().add(Scripted { fault: Fault::Pause, data_plane: None, times: None });
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    let next = plane.record().after(0).last().unwrap().seq;
    script(Fault::Drain { millis: 0 });
    soon(
        "the drain",
        plane.record().wait_for(|entry| entry.seq > next && entry.what == "Sent" && entry.data["type"] == "drain"),
    )
    .await;
    soon("the agent to move", plane.record().wait_for(|entry| entry.seq > next && entry.what == "Connect")).await;
    assert_eq!(releases(&agent.world.lock().unwrap()), 0, "paused");
    plane.faults().clear();
    agent.until("the paused document", |world| (releases(world) == 1).then_some(())).await;

    let next = plane.record().after(0).last().unwrap().seq;
    script(Fault::Kill);
    agent.until("a lost connection", |world| world.closes.contains(&Disconnect::Cut).then_some(())).await;
    soon("the next session", plane.record().wait_for(|entry| entry.seq > next && entry.what == "Connect")).await;

    script(Fault::DelayOutgoing { millis: 20 });
    api.post(&format!("{SHOP}/components/late/deployments"), deploy(&component("late"), "dev")).await;
    agent.until("the delayed document", |world| (releases(world) == 2).then_some(())).await;

    plane.faults().add(Scripted { fault: Fault::Stall, data_plane: None, times: None });
    api.post(&format!("{SHOP}/components/more/deployments"), deploy(&component("more"), "dev")).await;
    agent.until("a document during the stall", |world| (releases(world) == 3).then_some(())).await;
    assert_eq!(api.status("more", "dev").await["answer"], Value::Null, "its answer is not read");
    plane.faults().clear();
    api.phase("more", "dev", "Ready").await;
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn an_enrolment_whose_answer_is_lost_is_asked_again_with_the_same_key() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let token = api.furnish().await;
    plane.faults().add(Scripted { fault: Fault::LoseEnrolmentAnswer, data_plane: None, times: Some(1) });
    let key = KeyPair::generate().unwrap();
    assert!(try_enrol(&plane, &token, &key).await.is_err());
    assert_eq!(post_enrol(&plane, &token, &key).await.0, 200);
    plane.faults().add(Scripted { fault: Fault::RefuseEnrolment { status: 503 }, data_plane: None, times: Some(1) });
    assert_eq!(post_enrol(&plane, &token, &key).await.0, 503);
    plane.shutdown().await;
}

#[tokio::test]
async fn upgrades_are_refused_as_scripted_and_without_a_certificate() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let (status, body) = api.call("GET", "/v1/link", Value::Null).await;
    assert_eq!((status, body["code"].as_str()), (401, Some("Unauthenticated")));
    let fault = Fault::RefuseUpgrade { status: 503, retry_after: Some(0) };
    plane.faults().add(Scripted { fault, data_plane: None, times: Some(1) });
    let mut agent = Start::new(&plane, &identity).run(World::default());
    agent.until("a session after the refusal", |world| world.held).await;
    assert!(plane.faults().list().is_empty());
    plane.faults().add(Scripted { fault: Fault::Close { code: 4010 }, data_plane: None, times: Some(1) });
    agent
        .until("the scripted close", |world| {
            world.closes.contains(&Disconnect::Closed(CloseCode::Overloaded)).then_some(())
        })
        .await;
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_failed_release_says_why() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World { reports: false, ..World::default() });
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    let key = agent
        .until("the release", |world| world.stored.values().find(|entry| entry.key.kind == Kind::Release).cloned())
        .await;
    let mut state = ready(key.generation);
    state.conditions = vec![condition("Ready", "False", "CrashLoop", "exit code 3", key.generation)];
    let mut failed = fact(FactKind::Failed, key.generation, 1);
    failed.message = "the container ends with exit code 3".into();
    agent.tell.send(Tell::Report(key.key.clone(), state, vec![failed])).await.unwrap();
    let status = api.phase("web", "dev", "Failed").await;
    assert!(status["message"].as_str().unwrap().contains("exit code 3"), "{status}");
    agent.stop().await;
    plane.shutdown().await;
}

//! The whole link over real TLS and WebSocket on loopback: the control-plane mock at one end, an API server in memory at the
//! other. What only a cluster can show is in the end-to-end tests.

use control_plane_mock::Config;
use control_plane_mock::faults::Fault;
use protocol::name::Kind;
use serde_json::{Value, json};
use support::*;

use super::*;
use crate::api::ApiStatus;
use crate::elector::{Epoch, State};
use crate::link::store::memory::Fault as StoreFault;
use crate::link::store::{DEFAULT, Table};

mod authority;
mod descriptors;
mod rejected;
mod rotation;
mod status;
mod support;
mod trickle;

#[tokio::test]
async fn a_token_becomes_a_session_and_a_document_becomes_a_state() {
    let (plane, api, agent) = pair(Config::default()).await;
    let running = agent.run();
    agent.until_connected().await;
    until("the promoted certificate", async || agent.secret("active.crt")).await;
    assert_eq!((agent.secret("pending.key"), agent.secret("pending.crt")), (None, None));
    let id = agent.store.get(Table::Document(Kind::DataPlane), DEFAULT).unwrap()["status"]["id"].clone();
    assert!(id.is_string(), "{id}");

    let deployed = api.deploy("web").await;
    let release = agent.release("web").await;
    assert_eq!(release["spec"]["document"]["generation"], deployed["generations"]["home"]);
    agent.make_ready(&release);
    let status = api.phase("web", "Ready").await;
    assert_eq!(status["facts"][0]["kind"], "Ready");
    let name = release["metadata"]["name"].as_str().unwrap().to_owned();
    until("the acknowledged fact to leave", async || {
        let release = agent.store.get(Table::Document(Kind::Release), &name)?;
        release["status"]["facts"].as_array().is_none_or(Vec::is_empty).then_some(())
    })
    .await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn what_was_accepted_is_not_sent_again_to_the_next_leader() {
    let (plane, api, agent) = pair(Config::default()).await;
    let running = agent.run();
    api.deploy("web").await;
    let release = agent.release("web").await;
    agent.make_ready(&release);
    api.phase("web", "Ready").await;
    running.stop().await;

    let writes = agent.store.writes(Table::Document(Kind::Release));
    agent.leadership.send_replace(leading(2));
    let running = agent.run();
    api.deploy("second").await;
    let second = agent.release("second").await;
    agent.make_ready(&second);
    api.phase("second", "Ready").await;
    // Two writes for the second release: its create, and later the removal of its fact. None for the first.
    assert!(agent.store.writes(Table::Document(Kind::Release)) <= writes + 2);
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_lost_answer_of_the_api_server_is_found_out() {
    let (plane, api, agent) = pair(Config::default()).await;
    agent.store.fail_next_write(Table::Document(Kind::Release), StoreFault::LoseAnswer);
    let running = agent.run();
    api.deploy("web").await;
    let release = agent.release("web").await;
    agent.make_ready(&release);
    let status = api.phase("web", "Ready").await;
    assert_eq!(status["answer"]["answer"], "accepted", "{status}");
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn the_words_of_a_customers_policy_reach_the_developer() {
    let (plane, api, agent) = pair(Config::default()).await;
    let message = "releases \"web\" is forbidden: ValidatingAdmissionPolicy 'freeze' with binding 'freeze' denied request: frozen until Monday";
    let status = ApiStatus { code: 422, reason: "Invalid".into(), message: message.into(), ..ApiStatus::default() };
    agent.store.fail_next_write(Table::Document(Kind::Release), StoreFault::Answer(status));
    let running = agent.run();
    api.deploy("web").await;
    let status = api.phase("web", "Refused").await;
    assert!(status["message"].as_str().unwrap().contains("frozen until Monday"), "{status}");
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_process_that_does_not_lead_writes_nothing() {
    let (plane, api, agent) = pair(Config::default()).await;
    let running = agent.run();
    agent.until_connected().await;
    let mut unconfirmed = leading(1);
    unconfirmed.state = State::Unconfirmed(Epoch { lease: "lease-1".into(), transitions: 1 });
    agent.leadership.send_replace(unconfirmed);
    api.deploy("web").await;
    until("the deferral", async || {
        let all = api.call("GET", &format!("{SHOP}/status?component=web&environment=dev"), Value::Null).await;
        (all[0]["answer"]["answer"] == "deferred").then_some(())
    })
    .await;
    assert_eq!(agent.store.writes(Table::Document(Kind::Release)), 0);
    agent.leadership.send_replace(leading(1));
    agent.release("web").await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn an_enrolment_whose_answer_was_lost_is_asked_for_again_with_the_same_key() {
    let (plane, _api, agent) = pair(Config::default()).await;
    plane.faults().add(fault(Fault::LoseEnrolmentAnswer, 1));
    let running = agent.run();
    let key = until("the key", async || agent.secret("pending.key")).await;
    agent.until_connected().await;
    assert_eq!(until("promotion", async || agent.secret("active.key")).await, key);
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_session_outlives_its_certificates() {
    let lifetime = Duration::from_secs(6);
    let (plane, api, agent) = pair(Config { certificate_lifetime: lifetime, ..Config::default() }).await;
    let running = agent.run();
    agent.until_connected().await;
    let first = until("promotion", async || agent.secret("active.crt")).await;
    until("a renewed certificate in use", async || agent.secret("active.crt").filter(|now| *now != first)).await;
    api.deploy("web").await;
    agent.release("web").await;
    running.stop().await;

    // The link is down for longer than the certificate lives: the key proves itself, nobody has to act.
    let old = agent.secret("active.crt");
    tokio::time::sleep(lifetime).await;
    agent.leadership.send_replace(leading(2));
    let running = agent.run();
    until("a new certificate", async || (agent.secret("active.crt") != old).then_some(())).await;
    api.deploy("second").await;
    agent.release("second").await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn every_way_to_fail_says_so_and_ends_by_itself_once_mended() {
    let (plane, api, agent) = pair(Config::default()).await;
    let good_token = std::fs::read_to_string(&agent.token).unwrap();
    let good_bundle = std::fs::read_to_string(&agent.bundle).unwrap();
    let other = control_plane(Config::default()).await;

    std::fs::write(&agent.bundle, other.ca()).unwrap();
    std::fs::remove_file(&agent.token).unwrap();
    let running = agent.run();
    agent.until_reason("TokenMissing").await;
    std::fs::write(&agent.token, "pdpe_nonsense").unwrap();
    let message = agent.until_reason("UntrustedCertificate").await;
    assert!(message.contains("controlPlane.caBundle"), "{message}");
    std::fs::write(&agent.bundle, "nonsense").unwrap();
    agent.until_reason("BadCaBundle").await;
    std::fs::write(&agent.bundle, good_bundle).unwrap();
    let message = agent.until_reason("TokenUnknown").await;
    assert!(!message.contains("pdpe_nonsense"), "{message}");
    std::fs::write(&agent.token, good_token).unwrap();
    agent.until_connected().await;

    api.post(&format!("{HOME}/revoke"), Value::Null).await;
    agent.until_reason("AccessRevoked").await;
    running.stop().await;
    plane.shutdown().await;
    other.shutdown().await;
}

#[tokio::test]
async fn a_revoked_agent_that_starts_with_a_new_token_enrols_with_it() {
    let (plane, api, agent) = pair(Config::default()).await;
    let running = agent.run();
    agent.until_connected().await;
    api.post(&format!("{HOME}/revoke"), Value::Null).await;
    agent.until_reason("AccessRevoked").await;
    running.stop().await;
    let other = api.post("/api/v1/organizations/acme/data-planes", json!({ "name": "other" })).await;
    std::fs::write(&agent.token, other["token"].as_str().unwrap()).unwrap();
    agent.leadership.send_replace(leading(2));
    let running = agent.run();
    agent.until_reason("OtherDataPlane").await;
    let enrolment = api.post(&format!("{HOME}/enrolment"), Value::Null).await;
    std::fs::write(&agent.token, enrolment["token"].as_str().unwrap()).unwrap();
    agent.until_connected().await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_used_token_is_told_apart() {
    let (plane, _api, agent) = pair(Config::default()).await;
    let running = agent.run();
    agent.until_connected().await;
    running.stop().await;
    let again = Agent::new(&plane, std::fs::read_to_string(&agent.token).unwrap().trim());
    let running = again.run();
    let message = again.until_reason("TokenUsed").await;
    assert!(!message.is_empty());
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn an_expired_token_is_told_apart() {
    let (plane, _api, agent) = pair(Config { token_lifetime: Duration::ZERO, ..Config::default() }).await;
    let token = std::fs::read_to_string(&agent.token).unwrap();
    // The control plane counts in seconds: while it looks at another token, the second in which this one was made ends.
    std::fs::write(&agent.token, "pdpe_other").unwrap();
    let running = agent.run();
    agent.until_reason("TokenUnknown").await;
    let second = jiff::Timestamp::now().as_second();
    until("the next second", async || (jiff::Timestamp::now().as_second() > second).then_some(())).await;
    std::fs::write(&agent.token, token).unwrap();
    agent.until_reason("TokenExpired").await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn the_same_identity_from_another_cluster_is_refused() {
    let (plane, _api, agent) = pair(Config::default()).await;
    let running = agent.run();
    agent.until_connected().await;
    running.stop().await;
    agent
        .store
        .edit(Table::Document(Kind::DataPlane), DEFAULT, |object| object["status"]["cluster"] = json!("cluster-2"));
    agent.leadership.send_replace(leading(2));
    let running = agent.run();
    agent.until_reason("ForeignCluster").await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_control_plane_that_is_down_at_start_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { store: Some(folder.path().join("store")), ..Config::default() };
    let (plane, _api, agent) = pair(config.clone()).await;
    let listen = plane.address();
    plane.shutdown().await;
    let running = agent.run();
    let message = agent.until_reason("Unreachable").await;
    assert!(message.contains("is the control plane up"), "{message}");
    let plane = control_plane(Config { listen, ..config }).await;
    agent.until_connected().await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn every_answer_to_the_upgrade_has_its_reason() {
    let (plane, _api, agent) = pair(Config::default()).await;
    for (status, reason) in [(503, "Busy"), (404, "NotFound"), (302, "UnexpectedAnswer")] {
        plane.faults().clear();
        plane.faults().add(fault(Fault::RefuseUpgrade { status, retry_after: Some(0) }, 1000));
        let running = agent.run();
        agent.until_reason(reason).await;
        running.stop().await;
    }
    plane.faults().clear();
    let running = agent.run();
    agent.until_connected().await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_cut_link_comes_back_and_carries_on() {
    let (plane, api, agent) = pair(Config::default()).await;
    let running = agent.run();
    agent.until_connected().await;
    plane.faults().add(fault(Fault::Kill, 1));
    plane.faults().add(fault(Fault::Drain { millis: 1 }, 1));
    api.deploy("web").await;
    let release = agent.release("web").await;
    agent.make_ready(&release);
    api.phase("web", "Ready").await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_frame_of_which_no_message_can_be_made_ends_the_connection_and_says_why() {
    let (plane, api, agent) = pair(Config::default()).await;
    let running = agent.run();
    for (before, (binary, bytes, why)) in
        [(true, 1, "carries text only"), (false, 33 * 1024, "32768 are allowed")].into_iter().enumerate()
    {
        // The frame is for this session, and not for the one that it ended before.
        until("the next session", async || (sessions(&plane) > before).then_some(())).await;
        agent.until_connected().await;
        plane.faults().add(fault(Fault::SendFrame { binary, bytes }, 1));
        until(why, async || {
            let events = api.call("GET", "/api/v1/organizations/acme/events?after=0", Value::Null).await;
            events.to_string().contains(why).then_some(())
        })
        .await;
    }
    agent.until_connected().await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_control_plane_that_sends_and_does_not_read_is_left_before_the_flood_ends() {
    let (plane, _api, agent) = pair(Config::default()).await;
    let running = agent.run();
    agent.until_connected().await;
    let message = r#"{"type":"dance"}"#.to_owned();
    plane.faults().add(fault(Fault::Flood { message, times: 10_000_000 }, 1));
    until("the next session", async || (sessions(&plane) == 2).then_some(())).await;
    agent.until_connected().await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn undeploying_ends_with_a_floor_and_nothing_stored() {
    let (plane, api, agent) = pair(Config::default()).await;
    let running = agent.run();
    let deployed = api.deploy("web").await;
    let release = agent.release("web").await;
    agent.make_ready(&release);
    api.phase("web", "Ready").await;
    api.post(&format!("{SHOP}/components/web/undeploy"), json!({ "environment": "dev" })).await;
    let name = release["metadata"]["name"].as_str().unwrap().to_owned();
    let absent = until("the absent document", async || {
        agent.store.get(Table::Document(Kind::Release), &name).filter(|one| one["spec"]["state"] == "Absent")
    })
    .await;
    let generation = absent["spec"]["document"]["generation"].clone();
    agent.store.edit(Table::Document(Kind::Release), &name, |object| {
        object["status"] = json!({
            "observedGeneration": generation,
            "conditions": [{ "type": "Ready", "status": "False", "reason": "Deleted", "message": "m",
                "observedGeneration": generation, "lastTransitionTime": "2030-01-01T00:00:00Z" }],
            "facts": [{ "id": "u/2/Deleted/2", "kind": "Deleted", "generation": generation, "at": "2030-01-01T00:00:00Z",
                "reason": "Removed", "message": "m" }],
        });
    });
    until("the object to be forgotten", async || {
        agent.store.get(Table::Document(Kind::Release), &name).is_none().then_some(())
    })
    .await;
    let floor = agent.store.get(Table::Document(Kind::DataPlane), DEFAULT).unwrap()["status"]["floor"].clone();
    assert_eq!(floor, generation);
    assert_ne!(floor, deployed["generations"]["home"]);
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn nothing_is_written_while_nothing_happens() {
    let (plane, api, agent) = pair(Config::default()).await;
    let running = agent.run();
    api.deploy("web").await;
    let release = agent.release("web").await;
    agent.make_ready(&release);
    api.phase("web", "Ready").await;
    let tables = [
        Table::Document(Kind::DataPlane),
        Table::Document(Kind::Release),
        Table::Document(Kind::Environment),
        Table::Secret,
    ];
    let counts = || tables.map(|table| agent.store.writes(table));
    let mut before = counts();
    // Wait until nothing changes: two looks, a tick apart, are the same.
    until("quiet", async || {
        tokio::time::sleep(TICK + Duration::from_secs(1)).await;
        let now = counts();
        std::mem::replace(&mut before, now).eq(&now).then_some(())
    })
    .await;
    assert!(agent.folder.path().exists());
    running.stop().await;
    plane.shutdown().await;
}

//! Enrolment, renewal, revocation: who may speak for a data plane.

use control_plane_mock::ControlPlane;
use protocol::message::{AgentMessage, Renew};

use super::*;

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

/// A new key, certified over the open link of `agent`.
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a broken expectation is a failed test")]
async fn rotated(plane: &ControlPlane, agent: &Agent, old: &Identity) -> Identity {
    let key = KeyPair::generate().unwrap();
    let before = plane.record().after(0).len();
    let renew = AgentMessage::Renew(Renew { csr: csr(&key) });
    agent.tell.send(Tell::Message(Box::new(renew))).await.unwrap();
    let answer = until("a certificate", || async {
        let record = plane.record().after(0);
        record.into_iter().skip(before).find(|entry| entry.what == "Sent" && entry.data["type"] == "renewed")
    })
    .await;
    let certificate = answer.data["certificate"].as_str().unwrap().to_owned();
    Identity { key: key.serialize_pem(), certificate, data_plane: old.data_plane.clone() }
}

async fn session_of(plane: &ControlPlane, identity: &Identity, transitions: i64) -> Agent {
    let mut agent = Start { transitions, ..Start::new(plane, identity) }.run(World::default());
    agent.until("a session", |world| world.held).await;
    agent
}

const HOME: &str = "/api/v1/organizations/acme/data-planes/home";

#[tokio::test]
async fn a_renewed_key_takes_over_with_its_first_session_and_not_before() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let old = enrol(&plane, &api.furnish().await).await;
    let first = session_of(&plane, &old, 1).await;
    let new = rotated(&plane, &first, &old).await;
    first.stop().await;
    // The new one has not been used: either may ask again.
    for identity in [&old, &new] {
        let key = KeyPair::from_pem(&identity.key).unwrap();
        assert_eq!(post_renew(&plane, identity, &key, &key).await.0, 200);
    }
    let second = session_of(&plane, &new, 2).await;
    assert_eq!(api.get(HOME).await["status"], "Connected");
    second.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn who_reads_a_key_once_gets_no_certificate_for_a_key_of_his_own() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let agent = session_of(&plane, &identity, 1).await;
    let (stolen, own) = (KeyPair::from_pem(&identity.key).unwrap(), KeyPair::generate().unwrap());
    let (status, body) = post_renew(&plane, &identity, &stolen, &own).await;
    assert_eq!((status, body["code"].as_str()), (401, Some("BadProof")), "{body}");
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_replaced_key_locks_the_identity_until_a_person_makes_a_token() {
    for by_session in [true, false] {
        let plane = control_plane().await;
        let api = Api::of(&plane);
        let old = enrol(&plane, &api.furnish().await).await;
        let first = session_of(&plane, &old, 1).await;
        let new = rotated(&plane, &first, &old).await;
        first.stop().await;
        let mut owner = session_of(&plane, &new, 2).await;

        let (old_key, new_key) = (KeyPair::from_pem(&old.key).unwrap(), KeyPair::from_pem(&new.key).unwrap());
        if by_session {
            let mut thief = Start { lease: "lease-2".into(), ..Start::new(&plane, &old) }.run(World::default());
            let revoked = |world: &World| world.closes.contains(&Disconnect::Closed(CloseCode::Revoked)).then_some(());
            thief.until("the refusal", revoked).await;
            thief.stop().await;
        } else {
            let (status, body) = post_renew(&plane, &old, &old_key, &old_key).await;
            assert_eq!((status, body["code"].as_str()), (403, Some("IdentityLocked")), "{body}");
        }
        // The owner's link ends, and says why.
        let closed = |world: &World| world.closes.contains(&Disconnect::Closed(CloseCode::Revoked)).then_some(());
        owner.until("the end of the owner's session", closed).await;
        owner.stop().await;
        let (status, body) = post_renew(&plane, &new, &new_key, &new_key).await;
        assert_eq!((status, body["code"].as_str()), (403, Some("IdentityLocked")), "{body}");
        let shown = api.get(HOME).await;
        assert_eq!(shown["status"], "Locked", "{shown}");
        for told in [shown["message"].as_str().unwrap(), body["message"].as_str().unwrap()] {
            assert!(told.contains("that has been replaced") && told.contains("find out who has it"), "{told}");
            assert!(told.contains("pdpctl create enrolment"), "{told}");
        }

        let enrolment = api.post(&format!("{HOME}/enrolment"), json!({})).await;
        assert_ne!(enrolment["dataPlane"]["status"], "Locked", "{enrolment}");
        let anew = enrol(&plane, enrolment["token"].as_str().unwrap()).await;
        // Neither of the former keys is of any use, nor can it lock again.
        for (identity, key) in [(&old, &old_key), (&new, &new_key)] {
            assert_eq!(post_renew(&plane, identity, key, key).await.1["code"], "BadProof");
        }
        let owner = session_of(&plane, &anew, 3).await;
        assert_eq!(api.get(HOME).await["status"], "Connected");
        owner.stop().await;
        plane.shutdown().await;
    }
}

#[tokio::test]
async fn a_control_plane_restored_from_before_a_rotation_follows_the_newer_key() {
    for by_session in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (file, copy) = (folder.path().join("store"), folder.path().join("copy"));
        let config = Config { store: Some(file.clone()), ..Config::default() };
        let plane = start(config.clone()).await;
        let old = enrol(&plane, &Api::of(&plane).furnish().await).await;
        let first = session_of(&plane, &old, 1).await;
        first.stop().await;
        plane.shutdown().await;
        let store = rusqlite::Connection::open(&file).unwrap();
        store.execute("VACUUM INTO ?1", [copy.to_str()]).unwrap();
        drop(store);

        let plane = start(config.clone()).await;
        let first = session_of(&plane, &old, 2).await;
        let new = rotated(&plane, &first, &old).await;
        first.stop().await;
        session_of(&plane, &new, 3).await.stop().await;
        plane.shutdown().await;

        let plane = start(Config { store: Some(copy), ..config }).await;
        if !by_session {
            let key = KeyPair::from_pem(&new.key).unwrap();
            assert_eq!(post_renew(&plane, &new, &key, &key).await.0, 200);
        }
        let agent = session_of(&plane, &new, 4).await;
        let shown = Api::of(&plane).get(HOME).await;
        assert_eq!((shown["status"].as_str(), &shown["message"]), (Some("Connected"), &Value::Null), "{shown}");
        agent.stop().await;
        plane.shutdown().await;
    }
}

#[tokio::test]
async fn two_processes_that_use_an_identity_in_turn_raise_an_alarm_and_new_leaders_do_not() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let come = async |instance: &str, lease: &str, transitions: i64| {
        let start =
            Start { instance: instance.into(), lease: lease.into(), transitions, ..Start::new(&plane, &identity) };
        let mut agent = start.run(World::default());
        agent.until("a session", |world| world.held).await;
        agent.stop().await;
        until("the end of the session", || async {
            let shown = api.get(HOME).await;
            (shown["status"] == "Disconnected").then_some(())
        })
        .await;
        api.get(HOME).await["message"].to_string()
    };
    // Leaders change, one comes back, one is started anew, the Lease is made anew.
    for (instance, lease, transitions) in
        [("a", "lease-1", 1), ("b", "lease-1", 2), ("a", "lease-1", 3), ("c", "lease-1", 4), ("d", "lease-9", 1)]
    {
        let told = come(instance, lease, transitions).await;
        assert!(!told.contains("in turn"), "{instance}: {told}");
    }
    let told = come("thief", "lease-5", 1).await;
    assert!(!told.contains("in turn"), "it may be a new Lease: {told}");
    let told = come("d", "lease-9", 1).await;
    assert!(told.contains("in turn: d and thief") && told.contains("revoke it and enrol it again"), "{told}");
    api.post(&format!("{HOME}/adopt"), json!({})).await;
    assert_eq!(api.get(HOME).await["status"], "Disconnected");
    // Or it claims the leadership that it has read somewhere.
    let start = Start { instance: "thief".into(), lease: "lease-9".into(), ..Start::new(&plane, &identity) };
    let thief = start.run(World::default());
    until("the alarm", || async {
        api.get(HOME).await["message"].to_string().contains("in turn: d and thief").then_some(())
    })
    .await;
    thief.stop().await;
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

//! Enrolment, renewal, revocation: who may speak for a data plane.

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

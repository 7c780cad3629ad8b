//! Documents and their answers.

use super::*;

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
async fn a_refusal_is_told_and_not_asked_again_until_a_person_does() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let refuse: Box<dyn FnMut(&protocol::message::Document) -> Verdict + Send> = Box::new(|document| {
        if document.kind != "Release" {
            return Verdict::Accepted { stored_hash: None, modified: Vec::new() };
        }
        let reason = FieldError { field: "/image".into(), message: "registry registry.test is not allowed".into() };
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

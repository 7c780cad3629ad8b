//! What leaves: by a wish, by forgetting, or because somebody deleted it in the cluster.

use super::*;

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
async fn what_an_older_api_server_brings_back_before_it_was_forgotten_is_removed_again() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    api.phase("web", "dev", "Ready").await;
    let of_release = |world: &World| world.stored.values().find(|entry| entry.key.kind == Kind::Release).cloned();
    let present = agent.until("the release", of_release).await;
    // Its removal is recorded; before it is forgotten the cluster's store is an older copy of itself.
    agent.world.lock().unwrap().older_on_forget = Some(present.clone());
    api.post(&format!("{SHOP}/components/web/undeploy"), json!({ "environment": "dev" })).await;
    agent.until("the older state", |world| world.older_on_forget.is_none().then_some(())).await;
    agent.until("the removal", |world| (of_release(world).is_none()).then_some(())).await;
    until("the status to be empty", || async { api.status("web", "dev").await.is_null().then_some(()) }).await;
    let removals = agent.world.lock().unwrap().documents.iter().filter(|d| d.body.get().contains("Absent")).count();
    assert_eq!(removals, 2, "the one that was asked for, and again under a new generation");
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

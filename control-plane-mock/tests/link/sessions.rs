//! Which session is the current one, and what the comparison of a new one finds.

use super::*;

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
        state: protocol::document::Desired::Present,
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
async fn a_document_of_which_three_processes_died_is_set_aside() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    agent.until("the environments", |world| (world.documents.len() == 2).then_some(())).await;
    agent.stop().await;
    let stored = agent.world.lock().unwrap().stored.clone();
    let world = || World { stored: stored.clone(), ..World::default() };
    // The answer that leaves before the death is lost on the way.
    plane.faults().add(Scripted {
        fault: Fault::DropIncoming { message: Some("answer".into()) },
        data_plane: None,
        times: None,
    });
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    for process in 2..=4 {
        let start =
            Start { instance: format!("process-{process}"), transitions: process, ..Start::new(&plane, &identity) };
        let mut agent = start.run(world());
        let tell = agent.tell.clone();
        agent.world.lock().unwrap().answer = Box::new(move |document| {
            if document.kind == "Release" {
                tell.try_send(Tell::Die).unwrap();
            }
            Verdict::Deferred { reason: DeferReason::Busy, message: String::new(), retry_after_ms: 60_000 }
        });
        agent.until("the release", |world| world.documents.iter().find(|one| one.kind == "Release").map(drop)).await;
        agent.stop().await;
    }
    let start = Start { instance: "process-5".into(), transitions: 5, ..Start::new(&plane, &identity) };
    let agent = start.run(world());
    let status = api.phase("web", "dev", "Refused").await;
    assert!(status["message"].as_str().unwrap().contains("again and again"), "{status}");
    agent.stop().await;
    plane.shutdown().await;
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
async fn the_end_of_a_link_is_shown_with_its_reason_and_since_when_nothing_came() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    agent.until("a session", |world| world.held).await;
    let milliseconds = |time: jiff::Timestamp| format!("{time:.3}");
    let asked = milliseconds(jiff::Timestamp::now());
    plane.faults().add(Scripted { fault: Fault::Ping, data_plane: None, times: Some(1) });
    soon("its answer", plane.record().wait_for(|entry| entry.what == "Pong")).await;
    let answered = jiff::Timestamp::now();
    let quiet = jiff::SignedDuration::from_millis(50);
    until("nothing to come for a while", || async {
        (answered.duration_until(jiff::Timestamp::now()) > quiet).then_some(())
    })
    .await;
    // It does not come back.
    let refuse = Fault::RefuseUpgrade { status: 503, retry_after: None };
    plane.faults().add(Scripted { fault: refuse, data_plane: None, times: None });
    agent.tell.send(Tell::Cut).await.unwrap();
    let shown = until("the end", || async {
        let shown = api.get("/api/v1/organizations/acme/data-planes/home").await;
        (shown["status"] == "Disconnected").then_some(shown)
    })
    .await;
    let message = shown["message"].as_str().unwrap();
    assert!(message.len() > "the link was lost: ".len() && message.starts_with("the link was lost: "), "{message}");
    let seen = shown["lastSeen"].as_str().unwrap();
    assert!(seen >= asked.as_str() && seen <= milliseconds(answered).as_str(), "{asked}, {seen}, {answered}");
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn agents_are_let_in_one_after_the_other_and_each_gives_its_place_back() {
    let plane = start(Config { concurrent_handshakes: 1, ..Config::default() }).await;
    let api = Api::of(&plane);
    let mut tokens = vec![api.furnish().await];
    for number in 0..7 {
        let path = "/api/v1/organizations/acme/data-planes";
        let made = api.post(path, json!({ "name": format!("more-{number}") })).await;
        tokens.push(made["token"].as_str().unwrap().to_owned());
    }
    let mut agents = Vec::new();
    for token in &tokens {
        let identity = enrol(&plane, token).await;
        agents.push(Start::new(&plane, &identity).run(World::default()));
    }
    for agent in &mut agents {
        agent.until("a session", |world| world.held).await;
    }
    assert_eq!(plane.connected(), 8);
    for agent in agents {
        agent.stop().await;
    }
    plane.shutdown().await;
}

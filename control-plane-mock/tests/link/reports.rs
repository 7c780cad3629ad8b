//! What comes back: facts, runs, logs, and how they are shown.

use super::*;

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
async fn a_task_run_that_was_put_off_is_sent_again_by_the_next_session() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let hour = Duration::from_secs(3_600).as_millis().try_into().unwrap();
    let mut put_off = false;
    let answer: Box<dyn FnMut(&protocol::message::Document) -> Verdict + Send> = Box::new(move |document| {
        if document.kind == "TaskRun" && !std::mem::replace(&mut put_off, true) {
            let message = "rights are missing".to_owned();
            return Verdict::Deferred { reason: DeferReason::ApiServerUnavailable, message, retry_after_ms: hour };
        }
        Verdict::Accepted { stored_hash: None, modified: Vec::new() }
    });
    let agent = Start::new(&plane, &identity).run(World { answer, ..World::default() });
    let mut task = component("job");
    task["type"] = "ManualTask".into();
    task.as_object_mut().unwrap().remove("endpoints");
    api.post(&format!("{SHOP}/components/job/deployments"), deploy(&task, "dev")).await;
    api.post(&format!("{SHOP}/components/job/runs"), json!({ "environment": "dev" })).await;
    until("the answer", || async {
        let runs = api.get(&format!("{SHOP}/components/job/runs")).await;
        runs[0]["message"].as_str().is_some_and(|message| message.contains("rights")).then_some(())
    })
    .await;
    agent.tell.send(Tell::Cut).await.unwrap();
    until("the end of the run", || async {
        let runs = api.get(&format!("{SHOP}/components/job/runs")).await;
        (runs[0]["result"] == "Succeeded").then_some(())
    })
    .await;
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
async fn a_log_is_waited_for_while_the_agent_dials_again() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let run = |transitions: i64| {
        let world = World { logs: vec!["a line".to_owned()], ..World::default() };
        Start { transitions, ..Start::new(&plane, &identity) }.run(world)
    };
    let mut agent = run(1);
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    api.phase("web", "dev", "Ready").await;
    for (follow, transitions) in [(false, 2), (true, 3)] {
        agent.stop().await;
        until("the session to be over", || async { (plane.connected() == 0).then_some(()) }).await;
        let mut reader =
            api.open(&format!("{SHOP}/components/web/logs?environment=dev&format=ndjson&follow={follow}")).await;
        let mut text = String::new();
        if follow {
            let chunk = soon("the note", reader.chunk()).await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(&chunk).unwrap());
            assert!(text.contains("Waiting"), "{text}");
        }
        agent = run(transitions);
        while let Some(chunk) = soon("the log", reader.chunk()).await.unwrap() {
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        assert!(text.contains("a line") && text.contains("ContainerEnded"), "{text}");
    }
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

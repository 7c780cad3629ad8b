//! Two server processes over one store: a request to one reaches the agents of the other, and no session counts twice.

use std::path::Path;
use std::process::Stdio;

use control_plane_mock::ControlPlane;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::*;

fn gateway(store: &Path, name: &str) -> Config {
    Config { store: Some(store.to_owned()), gateway: name.into(), ..Config::default() }
}

#[expect(clippy::unwrap_used, reason = "the lint knows only functions marked as tests")]
async fn two() -> (tempfile::TempDir, ControlPlane, ControlPlane) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.db");
    // At once, on an empty file: both make what is missing.
    let (first, second) = tokio::join!(start(gateway(&store, "first")), start(gateway(&store, "second")));
    (folder, first, second)
}

#[tokio::test]
async fn a_deployment_through_one_gateway_reaches_an_agent_at_the_other_at_once() {
    let (_folder, first, second) = two().await;
    assert_eq!(first.ca(), second.ca(), "one authority");
    let api = Api::of(&first);
    let identity = enrol(&first, &api.furnish().await).await;
    let mut agent = Start::new(&second, &identity).run(World::default());
    agent.until("a session", |world| world.held).await;
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    let release = |world: &World| world.documents.iter().any(|document| document.kind == "Release").then_some(());
    agent.until("the document", release).await;
    api.phase("web", "dev", "Ready").await;
    assert_eq!((first.connected(), second.connected()), (0, 1));
    // Access taken away at one ends the link at the other.
    api.post("/api/v1/organizations/acme/data-planes/home/revoke", json!({})).await;
    let revoked = |world: &World| world.closes.contains(&Disconnect::Closed(CloseCode::Revoked)).then_some(());
    agent.until("the link to be closed", revoked).await;
    agent.stop().await;
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test]
async fn an_agent_that_moves_to_another_gateway_leaves_no_session_behind() {
    let (_folder, first, second) = two().await;
    let api = Api::of(&first);
    let identity = enrol(&first, &api.furnish().await).await;
    let mut before = Start::new(&first, &identity).run(World::default());
    before.until("a session", |world| world.held).await;
    let mut after = Start { transitions: 2, ..Start::new(&second, &identity) }.run(World::default());
    after.until("a session", |world| world.held).await;
    let superseded = |world: &World| world.closes.contains(&Disconnect::Closed(CloseCode::Superseded)).then_some(());
    before.until("the older one to be superseded", superseded).await;
    until("the first gateway to let it go", || async { (first.connected() == 0).then_some(()) }).await;
    let shown = api.get("/api/v1/organizations/acme/data-planes/home").await;
    assert_eq!(shown["status"], "Connected", "the newer session is not ended by the older one's end: {shown}");
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    after.until("the document", |world| world.documents.iter().any(|d| d.kind == "Release").then_some(())).await;
    let bulk = second.record().after(0).into_iter().find(|entry| entry.data["type"] == "welcome").unwrap();
    let bulk = bulk.data["bulk"].as_str().unwrap().to_owned();
    assert!(bulk.starts_with(&format!("wss://{}/v1/bulk?", second.address())), "{bulk}");
    for agent in [before, after] {
        agent.stop().await;
    }
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test]
async fn logs_are_read_through_the_gateway_that_does_not_hold_the_session_and_go_on_after_a_cut() {
    let (_folder, first, second) = two().await;
    let api = Api::of(&first);
    let identity = enrol(&first, &api.furnish().await).await;
    let lines: Vec<String> = (0..3_000).map(|number| format!("line {number} {}", "x".repeat(2_000))).collect();
    let world = || World { logs: lines.clone(), ..World::default() };
    let agent = Start::new(&second, &identity).run(world());
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&component("web"), "dev")).await;
    api.phase("web", "dev", "Ready").await;
    let path = format!("{SHOP}/components/web/logs?environment=dev&format=ndjson");
    let text = soon("the log", api.text(&path)).await;
    let read = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["note"].is_null()).map(|line| line["line"].as_str().unwrap().to_owned()).collect()
    };
    assert!(read(&text) == lines, "none lost, none doubled, in order");

    let mut reader = api.open(&format!("{path}&follow=true")).await;
    let (mut text, mut cut) = (String::new(), false);
    while let Some(chunk) = soon("more of the log", reader.chunk()).await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        if !cut && text.len() > 100_000 {
            agent.tell.send(Tell::Cut).await.unwrap();
            cut = true;
        }
    }
    assert!(cut && read(&text) == lines, "{} lines of {}", read(&text).len(), lines.len());
    agent.stop().await;
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test]
async fn only_a_gateway_of_the_same_store_may_ask_for_a_stream() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let wish = json!({ "wish": { "data_plane": "dp-1", "data_plane_name": "home", "key": { "kind": "Release", "name": "web" },
        "follow": false, "tail": null, "since_seconds": null, "previous": false }, "cursors": {} });
    let (status, body) = api.call("POST", "/v1/gateway/logs", wish).await;
    assert_eq!(status, 401, "an administrator is no gateway: {body}");
    plane.shutdown().await;
}

#[tokio::test]
async fn no_two_processes_are_the_same_gateway_and_each_token_stays_valid() {
    let (folder, first, second) = two().await;
    let store = folder.path().join("store.db");
    let error = ControlPlane::start(gateway(&store, "first")).await.unwrap_err().to_string();
    assert!(error.contains("another --gateway"), "{error}");
    let error = ControlPlane::start(gateway(&store, "../first")).await.unwrap_err().to_string();
    assert!(error.contains("no name"), "{error}");
    let token = first.admin_token().to_owned();
    first.shutdown().await;
    let first = start(gateway(&store, "first")).await;
    Api::with_token(&second, second.admin_token()).get("/api/v1/organizations").await;
    Api::with_token(&first, second.admin_token()).get("/api/v1/organizations").await;
    let (status, _) = Api::with_token(&second, &token).call("GET", "/api/v1/organizations", Value::Null).await;
    assert_eq!(status, 401, "the former token of the first is not known any more");
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test]
async fn a_gateway_that_is_killed_leaves_no_live_session() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.db");
    let first = start(gateway(&store, "first")).await;
    let api = Api::of(&first);
    let identity = enrol(&first, &api.furnish().await).await;
    let mut process = tokio::process::Command::new(env!("CARGO_BIN_EXE_control-plane-mock"))
        .args(["serve", "--listen", "127.0.0.1:0", "--gateway", "second", "--store"])
        .arg(&store)
        .arg("--output")
        .arg(folder.path().join("second"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
    let address = soon("its address", async {
        loop {
            let line = said.next_line().await.unwrap().unwrap();
            if let Some(address) = line.strip_prefix("address ") {
                return address.trim().parse().unwrap();
            }
        }
    })
    .await;
    let mut agent = Start { address, ..Start::new(&first, &identity) }.run(World::default());
    agent.until("a session", |world| world.held).await;
    let shown = || api.get("/api/v1/organizations/acme/data-planes/home");
    assert_eq!(shown().await["status"], "Connected");
    process.kill().await.unwrap();
    let lost = until("the session to be ended", || async {
        let shown = shown().await;
        (shown["status"] == "Disconnected").then_some(shown)
    })
    .await;
    assert_eq!(lost["message"], "its gateway is gone");
    agent.stop().await;
    // Another lease would have to wait while the old session counted as alive.
    let mut other = Start { lease: "lease-2".into(), ..Start::new(&first, &identity) }.run(World::default());
    other.until("a session", |world| world.held).await;
    other.stop().await;
    first.shutdown().await;
}

#[tokio::test]
async fn two_gateways_that_write_all_the_time_both_get_their_turn() {
    let (_folder, first, second) = two().await;
    let names = |api: Api, prefix: &'static str| async move {
        for number in 0..100 {
            api.post("/api/v1/organizations", json!({ "name": format!("{prefix}-{number}") })).await;
        }
    };
    soon("all writes", async { tokio::join!(names(Api::of(&first), "one"), names(Api::of(&second), "two")) }).await;
    let all = Api::of(&second).get("/api/v1/organizations").await;
    assert_eq!(all.as_array().unwrap().len(), 200);
    first.shutdown().await;
    second.shutdown().await;
}

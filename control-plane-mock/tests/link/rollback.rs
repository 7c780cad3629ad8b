//! Going back: to what served in that environment, never to what failed there.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "the lints know only functions marked as tests")]

use super::*;

/// Deploys `web` with a colour, and waits for how its release ends.
async fn colour(api: &Api, colour: &str, phase: &str) {
    let mut file = component("web");
    file["environments"] = json!({ "dev": { "env": [{ "name": "COLOUR", "value": colour }] } });
    file["args"] = json!([colour]);
    api.post(&format!("{SHOP}/components/web/deployments"), deploy(&file, "dev")).await;
    api.phase("web", "dev", phase).await;
}

/// Refuses each release with one of these arguments, and stores the others.
fn without(refused: &'static [&'static str]) -> World {
    let answer = move |document: &protocol::message::Document| {
        if refused.iter().any(|word| document.body.get().contains(word)) {
            let reasons = vec![FieldError { field: "/args".into(), message: "no".into() }];
            return Verdict::Refused { class: RefusalClass::Policy, reasons };
        }
        Verdict::Accepted { stored_hash: None, modified: Vec::new() }
    };
    World { answer: Box::new(answer), ..World::default() }
}

async fn environment_of_web(plane: &control_plane_mock::ControlPlane) -> Value {
    let sql = "SELECT body FROM document WHERE kind = 'Release'";
    let text = plane.store().run(move |c| Ok(c.query_row(sql, [], |row| row.get::<_, String>(0))?)).await.unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["env"].clone()
}

#[tokio::test]
async fn a_rollback_binds_an_earlier_release_and_its_configuration() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let agent = Start::new(&plane, &identity).run(World::default());
    for word in ["blue", "green", "red"] {
        colour(&api, word, "Ready").await;
    }
    let path = format!("{SHOP}/components/web/rollback");
    let back = api.post(&path, json!({ "environment": "dev" })).await;
    assert_eq!((&back["release"], &back["note"]), (&json!(2), &Value::Null));
    assert_eq!(environment_of_web(&plane).await[0]["value"], "green");
    let back = api.post(&path, json!({ "environment": "dev", "to": 1 })).await;
    assert_eq!(back["release"], 1);
    api.phase("web", "dev", "Ready").await;
    let (status, problem) = api.call("POST", &path, json!({ "environment": "dev", "to": 9 })).await;
    assert_eq!(status, 409);
    assert!(problem["message"].as_str().unwrap().contains("release 9 of web was never deployed to dev"), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("3 (Ready), 2 (Ready), 1 (Ready)"), "{problem}");
    let history = api.get(&format!("{SHOP}/components/web/deployments?environment=dev")).await;
    let of = |key: &str| history.as_array().unwrap().iter().map(|entry| entry[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("action"), ["Rollback", "Rollback", "Deploy", "Deploy", "Deploy"]);
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_rollback_skips_what_did_not_serve_and_says_so() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let agent = Start::new(&plane, &identity).run(without(&["black", "white"]));
    let path = format!("{SHOP}/components/web/rollback");
    colour(&api, "black", "Refused").await;
    colour(&api, "white", "Refused").await;
    let (status, problem) = api.call("POST", &path, json!({ "environment": "dev" })).await;
    assert_eq!(status, 409);
    assert!(problem["message"].as_str().unwrap().contains("no earlier release of web that served in dev"), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("1 (Refused); name one with --to"), "{problem}");
    colour(&api, "blue", "Ready").await;
    colour(&api, "black", "Refused").await;
    colour(&api, "green", "Ready").await;
    let back = api.post(&path, json!({ "environment": "dev" })).await;
    assert_eq!(back["release"], 3);
    assert_eq!(back["note"], "Skipped, since it did not serve here: 4 (Refused).");
    let history = api.get(&format!("{SHOP}/components/web/deployments?environment=dev")).await;
    let outcomes: Vec<_> = history.as_array().unwrap().iter().skip(1).map(|entry| entry["outcome"].clone()).collect();
    assert_eq!(outcomes, ["Ready", "Refused", "Ready", "Refused", "Refused"]);
    let releases = api.get(&format!("{SHOP}/components/web/releases")).await;
    assert_eq!(releases[1]["outcomes"], json!({ "dev": "Refused" }));
    let again = api.post(&path, json!({ "environment": "dev", "to": 4 })).await;
    assert_eq!(again["note"], "Release 4 ended as Refused when it was deployed here last.");
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_release_that_served_and_died_is_no_way_back() {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let agent = Start::new(&plane, &identity).run(World::default());
    for word in ["blue", "green"] {
        colour(&api, word, "Ready").await;
    }
    let generation = api.status("web", "dev").await["generation"].as_i64().unwrap();
    let key = agent.world.lock().unwrap().stored.keys().find(|key| key.kind == Kind::Release).unwrap().clone();
    let conditions = vec![
        condition("Ready", "False", "Failed", "", generation),
        condition("Failed", "True", "OutOfMemory", "it used too much", generation),
        condition("RolledBack", "True", "RolloutFailed", "went back", generation),
    ];
    let state = protocol::report::State { conditions, ..ready(generation) };
    agent.tell.send(Tell::Report(key, state, Vec::new())).await.unwrap();
    api.phase("web", "dev", "RolledBack").await;
    colour(&api, "red", "Ready").await;
    let back = api.post(&format!("{SHOP}/components/web/rollback"), json!({ "environment": "dev" })).await;
    assert_eq!(back["release"], 1);
    assert_eq!(back["note"], "Skipped, since it did not serve here: 2 (RolledBack).");
    agent.stop().await;
    plane.shutdown().await;
}

//! The side of people: what may be made, what is refused and how, promotion, rollback, isolation, restarts of the server.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "the lints know only functions marked as tests")]

mod common;

use common::*;
use control_plane_mock::Config;
use serde_json::{Value, json};

async fn furnished() -> (control_plane_mock::ControlPlane, Api) {
    let plane = control_plane().await;
    let api = Api::of(&plane);
    api.furnish().await;
    (plane, api)
}

async fn refused(api: &Api, path: &str, body: Value) -> (u16, Value) {
    let (status, problem) = api.call("POST", path, body).await;
    assert!(status >= 400, "{path} was taken: {problem}");
    assert!(problem["message"].is_string() && problem["code"].is_string(), "{problem}");
    (status, problem)
}

#[tokio::test]
async fn releases_are_numbered_by_track_and_made_only_when_something_changed() {
    let (plane, api) = furnished().await;
    let path = format!("{SHOP}/components/web/deployments");
    let mut file = component("web");
    let deploy = |file: &Value, environment: &str| json!({ "environment": environment, "file": file });
    let first = api.post(&path, deploy(&file, "dev")).await;
    assert_eq!((first["release"].as_i64(), first["newRelease"].as_bool()), (Some(1), Some(true)));
    let same = api.post(&path, deploy(&file, "dev")).await;
    assert_eq!((same["release"].as_i64(), same["unchanged"].as_bool()), (Some(1), Some(true)));
    file["env"] = json!([{ "name": "COLOUR", "value": "blue" }]);
    let second = api.post(&path, deploy(&file, "dev")).await;
    assert_eq!((second["release"].as_i64(), second["newRelease"].as_bool()), (Some(2), Some(true)));
    assert!(second["generations"]["home"].as_i64() > first["generations"]["home"].as_i64());
    file["track"] = "v2.0".into();
    assert_eq!(api.post(&path, deploy(&file, "dev")).await["release"], 1);
    let releases = api.get(&format!("{SHOP}/components/web/releases")).await;
    assert_eq!(releases.as_array().unwrap().len(), 3);
    plane.shutdown().await;
}

#[tokio::test]
async fn a_promotion_binds_the_same_release_with_the_next_environments_configuration() {
    let (plane, api) = furnished().await;
    let path = format!("{SHOP}/components/web/deployments");
    let mut file = component("web");
    file["env"] = json!([{ "name": "COLOUR", "value": "blue" }]);
    file["environments"] =
        json!({ "prod": { "env": [{ "name": "COLOUR", "value": "green" }], "scaling": { "replicas": 3 } } });
    api.post(&path, json!({ "environment": "dev", "file": file })).await;
    let promoted = api.post(&path, json!({ "environment": "prod", "release": 1 })).await;
    assert_eq!((promoted["action"].as_str(), promoted["release"].as_i64()), (Some("Promote"), Some(1)));
    let body = body(&plane, "prod").await;
    assert_eq!(body["env"], json!([{ "name": "COLOUR", "value": "green" }]));
    assert_eq!(body["scaling"]["replicas"], 3);
    let releases = api.get(&format!("{SHOP}/components/web/releases?full=true")).await;
    assert_eq!(releases[0]["deployedTo"], json!(["dev", "prod"]));
    assert_eq!(releases[0]["content"]["environments"], Value::Null);
    plane.shutdown().await;
}

/// Body of the Release document of `web` in an environment.
async fn body(plane: &control_plane_mock::ControlPlane, environment: &str) -> Value {
    let environment = environment.to_owned();
    let sql = "SELECT body FROM document x JOIN environment e ON e.id = x.environment WHERE x.kind = 'Release' AND e.handle = ?1";
    let text =
        plane.store().run(move |c| Ok(c.query_row(sql, [environment], |row| row.get::<_, String>(0))?)).await.unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_restart_changes_the_restart_token_alone_and_later_deployments_keep_it() {
    let (plane, api) = furnished().await;
    let path = format!("{SHOP}/components/web/deployments");
    api.post(&path, json!({ "environment": "dev", "file": component("web") })).await;
    let before = body(&plane, "dev").await;
    api.post(&format!("{SHOP}/components/web/restart"), json!({ "environment": "dev" })).await;
    let mut after = body(&plane, "dev").await;
    let token = after.as_object_mut().unwrap().remove("restartToken").unwrap();
    assert_eq!(before, after);
    let same = api.post(&path, json!({ "environment": "dev", "file": component("web") })).await;
    assert_eq!(same["unchanged"], true);
    assert_eq!(body(&plane, "dev").await["restartToken"], token);
    plane.shutdown().await;
}

#[tokio::test]
async fn declared_variables_without_a_value_block_and_are_all_named() {
    let (plane, api) = furnished().await;
    let mut file = component("web");
    file["env"] = json!([{ "name": "A" }, { "name": "B" }, { "name": "C", "value": "1" }]);
    file["environments"] = json!({ "dev": { "env": [{ "name": "A", "value": "x" }] } });
    let wish = json!({ "environment": "dev", "file": file });
    let (status, problem) = refused(&api, &format!("{SHOP}/components/web/deployments"), wish).await;
    assert_eq!(status, 422);
    assert!(problem["message"].as_str().unwrap().ends_with(": env B"), "{problem}");
    // Nothing of the refused wish is kept.
    let (status, _) = api.call("GET", &format!("{SHOP}/components/web/releases"), Value::Null).await;
    assert_eq!(status, 404);
    plane.shutdown().await;
}

#[tokio::test]
async fn every_refusal_names_the_field_and_the_way_out() {
    let (plane, api) = furnished().await;
    let deployments = format!("{SHOP}/components/web/deployments");
    let components = format!("{SHOP}/components");
    let mut tagged = component("web");
    tagged["image"] = "registry.test/app:1.2".into();
    let mut typo = component("web");
    typo["enpoints"] = json!([]);
    for (path, body, status, field, hint) in [
        ("/api/v1/organizations", json!({ "name": "Acme Corp" }), 422, "name", "web-shop"),
        ("/api/v1/organizations", json!({ "name": "acme" }), 409, "name", ""),
        ("/api/v1/organizations/acme/projects", json!({ "name": "shop" }), 409, "name", ""),
        (components.as_str(), json!({ "name": "x", "type": "Cron" }), 422, "type", "Worker"),
        (deployments.as_str(), json!({ "environment": "dev", "file": tagged }), 422, "/image", "crane digest"),
        (deployments.as_str(), json!({ "environment": "dev", "file": typo }), 422, "/enpoints", "`endpoints`"),
        (
            deployments.as_str(),
            json!({ "environment": "qa", "file": component("web") }),
            404,
            "environment",
            "dev, prod",
        ),
        (deployments.as_str(), json!({ "environment": "dev" }), 422, "file", "-f component.yaml"),
    ] {
        let (found, problem) = refused(&api, path, body).await;
        assert_eq!(found, status, "{problem}");
        assert_eq!(problem["field"], field, "{problem}");
        assert!(problem["hint"].as_str().unwrap_or_default().contains(hint), "{problem}");
    }
    for track in ["v1", "1.0", "v1.0.1", "v1.x", "v10000.0", "V1.0"] {
        let mut file = component("web");
        file["track"] = track.into();
        let (status, problem) = refused(&api, &deployments, json!({ "environment": "dev", "file": file })).await;
        assert_eq!((status, &problem["field"]), (422, &"/track".into()), "{track}: {problem}");
    }
    let (status, problem) = refused(&api, "/api/v1/organizations", json!({ "name": "x", "colour": "red" })).await;
    assert_eq!(status, 422);
    assert!(problem["message"].as_str().unwrap().contains("unknown field `colour`"), "{problem}");
    plane.shutdown().await;
}

#[tokio::test]
async fn a_value_of_a_wrong_type_is_not_repeated() {
    let (plane, api) = furnished().await;
    let mut file = component("web");
    file["env"] = json!([{ "name": "KEY", "secretRef": "s3cr3t-value" }]);
    let wish = json!({ "environment": "dev", "file": file });
    let (_, problem) = refused(&api, &format!("{SHOP}/components/web/deployments"), wish).await;
    assert!(!problem.to_string().contains("s3cr3t"), "{problem}");
    let (_, problem) = refused(&api, "/api/v1/organizations", json!("s3cr3t-value")).await;
    assert!(!problem.to_string().contains("s3cr3t"), "{problem}");
    plane.shutdown().await;
}

#[tokio::test]
async fn nothing_crosses_an_organization() {
    let (plane, api) = furnished().await;
    api.post("/api/v1/organizations", json!({ "name": "rival" })).await;
    let token = api.post("/api/v1/organizations/rival/tokens", json!({ "name": "eve" })).await;
    let eve = Api::with_token(&plane, token["token"].as_str().unwrap());
    assert_eq!(eve.get("/api/v1/organizations").await.as_array().unwrap().len(), 1);
    for (method, path) in [
        ("GET", "/api/v1/organizations/acme/projects".to_owned()),
        ("GET", "/api/v1/organizations/acme/data-planes".to_owned()),
        ("POST", "/api/v1/organizations/acme/data-planes/home/token".to_owned()),
        ("POST", "/api/v1/organizations/acme/data-planes/home/revoke".to_owned()),
        ("GET", format!("{SHOP}/status")),
        ("GET", "/api/v1/organizations/acme/events?after=0".to_owned()),
        ("DELETE", format!("{SHOP}/environments/dev")),
    ] {
        let (status, problem) = eve.call(method, &path, if method == "POST" { json!({}) } else { Value::Null }).await;
        assert_eq!((status, problem["code"].as_str()), (404, Some("NotFound")), "{path}: {problem}");
    }
    eve.post("/api/v1/organizations/rival/projects", json!({ "name": "shop" })).await;
    // A data plane of another organization cannot be named either.
    let wish = json!({ "name": "dev", "dataPlanes": ["home"] });
    let (status, _) = eve.call("POST", "/api/v1/organizations/rival/projects/shop/environments", wish).await;
    assert_eq!(status, 404);
    for path in ["/api/v1/admin/record", "/api/v1/admin/faults", "/api/v1/admin/state"] {
        assert_eq!(eve.call("GET", path, Value::Null).await.0, 403);
    }
    assert_eq!(Api::with_token(&plane, "guess").call("GET", "/api/v1/organizations", Value::Null).await.0, 401);
    plane.shutdown().await;
}

#[tokio::test]
async fn access_tokens_are_listed_without_themselves_end_and_can_be_deleted() {
    let (plane, api) = furnished().await;
    let tokens = "/api/v1/organizations/acme/tokens";
    let made = api.post(tokens, json!({ "name": "ci", "expiresInSeconds": 3600 })).await;
    let secret = made["token"].as_str().unwrap();
    let ci = Api::with_token(&plane, secret);
    ci.get("/api/v1/organizations").await;
    let listed = api.get(tokens).await;
    assert_eq!((listed[0]["name"].as_str(), &listed[0]["expires"]), (Some("ci"), &made["expires"]));
    assert!(listed[0]["lastUsed"].is_string() && !listed.to_string().contains(secret), "{listed}");
    assert_eq!(api.get(&format!("{tokens}/ci")).await, listed[0]);
    let default = api.post(tokens, json!({ "name": "person" })).await;
    let end: jiff::Timestamp = default["expires"].as_str().unwrap().parse().unwrap();
    assert_eq!(end.duration_since(jiff::Timestamp::now()).as_hours().div_euclid(24), 89);
    for (wish, code) in [
        (json!({ "name": "ci" }), 409),
        (json!({ "name": "long", "expiresInSeconds": 400 * 86_400 }), 422),
        (json!({ "name": "none", "expiresInSeconds": 0 }), 422),
        (json!({ "name": "a/b" }), 422),
    ] {
        assert_eq!(api.call("POST", tokens, wish.clone()).await.0, code, "{wish}");
    }
    for (method, path) in [("GET", tokens.to_owned()), ("DELETE", format!("{tokens}/ci"))] {
        assert_eq!(ci.call(method, &path, Value::Null).await.0, 403, "only the administrator: {method}");
    }
    assert_eq!(api.call("DELETE", &format!("{tokens}/ci"), Value::Null).await.0, 200);
    assert_eq!(api.call("DELETE", &format!("{tokens}/ci"), Value::Null).await.0, 404);
    assert_eq!(ci.call("GET", "/api/v1/organizations", Value::Null).await.0, 401);

    plane.store().run(|c| Ok(c.execute("UPDATE access_token SET expires = '2026-01-01'", [])?)).await.unwrap();
    let person = Api::with_token(&plane, default["token"].as_str().unwrap());
    let (status, problem) = person.call("GET", "/api/v1/organizations", Value::Null).await;
    assert_eq!(status, 401);
    assert!(problem["message"].as_str().unwrap().contains("this token ended at 2026-01-01"), "{problem}");
    plane.shutdown().await;
}

#[tokio::test]
async fn a_restart_of_the_server_keeps_everything_and_counters_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { store: Some(folder.path().join("store")), ..Config::default() };
    let plane = start(config.clone()).await;
    let api = Api::of(&plane);
    let identity = enrol(&plane, &api.furnish().await).await;
    let path = format!("{SHOP}/components/web/deployments");
    let before = api.post(&path, json!({ "environment": "dev", "file": component("web") })).await;
    let (ca, token) = (plane.ca().to_owned(), plane.admin_token().to_owned());
    plane.shutdown().await;
    let plane = control_plane_mock::ControlPlane::start_with_token(config, Some(token.clone())).await.unwrap();
    assert_eq!((plane.ca(), plane.admin_token()), (ca.as_str(), token.as_str()));
    let api = Api::of(&plane);
    let after = api.post(&path, json!({ "environment": "prod", "release": 1 })).await;
    assert!(after["generations"]["home"].as_i64() > before["generations"]["home"].as_i64());
    let agent = Start::new(&plane, &identity).run(World::default());
    api.phase("web", "prod", "Ready").await;
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn events_are_waited_for() {
    let (plane, api) = furnished().await;
    let now = api.get("/api/v1/organizations/acme/events").await[0]["seq"].as_i64().unwrap();
    let path = format!("/api/v1/organizations/acme/events?after={now}&wait=20");
    let wish = json!({ "environment": "dev", "file": component("web") });
    let deployments = format!("{SHOP}/components/web/deployments");
    let (events, _) = soon("an event", futures::future::join(api.get(&path), api.post(&deployments, wish))).await;
    assert_eq!((events[0]["what"].as_str(), events[0]["kind"].as_str()), (Some("Document"), Some("Release")));
    plane.shutdown().await;
}

#[tokio::test]
async fn one_environment_on_two_data_planes_gives_each_its_own_documents() {
    let (plane, api) = furnished().await;
    api.post("/api/v1/organizations/acme/data-planes", json!({ "name": "away" })).await;
    let (status, problem) = refused(&api, &format!("{SHOP}/environments"), json!({ "name": "both" })).await;
    assert_eq!(status, 422);
    assert!(problem["hint"].as_str().unwrap().contains("--data-plane"), "{problem}");
    api.post(&format!("{SHOP}/environments"), json!({ "name": "both", "dataPlanes": ["home", "away"] })).await;
    let wish = json!({ "environment": "both", "file": component("web") });
    let deployed = api.post(&format!("{SHOP}/components/web/deployments"), wish).await;
    assert_eq!(deployed["generations"].as_object().unwrap().len(), 2);
    let status = api.get(&format!("{SHOP}/status?component=web")).await;
    let planes: Vec<&str> =
        status.as_array().unwrap().iter().map(|status| status["dataPlane"].as_str().unwrap()).collect();
    assert_eq!(planes, ["away", "home"]);
    plane.shutdown().await;
}

#[tokio::test]
async fn the_openapi_document_is_served() {
    let plane = control_plane().await;
    let document = Api::of(&plane).get("/openapi.json").await;
    assert!(document["paths"]["/api/v1/organizations"]["post"].is_object());
    plane.shutdown().await;
}

#[tokio::test]
async fn settings_of_an_environment_are_replaced_later_and_sent_as_a_new_generation() {
    let (plane, api) = furnished().await;
    let store = plane.store();
    let document = async || {
        let sql = "SELECT x.generation, x.body FROM document x JOIN environment e ON e.id = x.environment
                   WHERE x.kind = 'Environment' AND e.handle = 'dev'";
        let row = store
            .run(move |c| Ok(c.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?))
            .await
            .unwrap();
        (row.0, serde_json::from_str::<Value>(&row.1).unwrap())
    };
    let path = format!("{SHOP}/environments/dev/settings");
    let (first, _) = document().await;
    let set = async |settings: Value| api.call("PUT", &path, settings).await;
    let (status, shown) = set(json!({ "egress": true, "quota": { "pods": 30, "memory": "8Gi" } })).await;
    assert_eq!((status, &shown["quota"]["pods"]), (200, &json!(30)));
    let (second, body) = document().await;
    assert!(second > first);
    assert_eq!((&body["egress"], &body["quota"]["memory"]), (&json!(true), &json!("8Gi")));
    set(json!({ "egress": true, "quota": { "pods": 30, "memory": "8Gi" } })).await;
    assert_eq!(document().await.0, second, "the same settings are sent again");
    assert_eq!(set(json!({})).await.0, 200);
    assert_eq!(document().await.1["quota"], Value::Null, "what is left out is taken away");

    for (settings, field, words) in [
        (json!({ "quota": { "memory": "128m" } }), "/quota/memory", "parts of a byte"),
        (json!({ "quota": { "cpu": "much" } }), "/quota/cpu", "not an amount of Kubernetes"),
        (json!({ "quota": { "pods": -1 } }), "/quota/pods", "must be from 0"),
    ] {
        let (status, problem) = set(settings.clone()).await;
        assert_eq!((status, problem["field"].as_str()), (422, Some(field)), "{problem}");
        assert!(problem["message"].as_str().unwrap().contains(words), "{problem}");
        let mut new = settings;
        new["name"] = json!("other");
        assert_eq!(refused(&api, &format!("{SHOP}/environments"), new).await.1["field"], field);
    }
    assert_eq!(set(json!({ "quotas": {} })).await.0, 422);
    assert_eq!(api.call("PUT", &path.replace("dev", "none"), json!({})).await.0, 404);
    api.call("DELETE", &format!("{SHOP}/environments/dev"), Value::Null).await;
    let (status, problem) = set(json!({})).await;
    assert!(status == 409 && problem["message"].as_str().unwrap().contains("is being deleted"), "{problem}");
    plane.shutdown().await;
}

#[tokio::test]
async fn a_name_for_people_that_would_steer_a_terminal_is_stored_nowhere() {
    let (plane, api) = furnished().await;
    for hostile in ["a\u{1b}[2J", "a\u{202e}b", "\u{2066}"] {
        let named = json!({ "name": "new", "displayName": hostile });
        let mut file = component("new");
        file["displayName"] = hostile.into();
        for (method, path, body, field) in [
            ("POST", "/api/v1/organizations".to_owned(), named.clone(), "displayName"),
            ("POST", "/api/v1/organizations/acme/projects".to_owned(), named.clone(), "displayName"),
            ("POST", "/api/v1/organizations/acme/data-planes".to_owned(), named.clone(), "displayName"),
            (
                "PUT",
                "/api/v1/organizations/acme/data-planes/home/settings".to_owned(),
                json!({ "displayName": hostile }),
                "displayName",
            ),
            (
                "POST",
                format!("{SHOP}/components"),
                json!({ "name": "new", "type": "Worker", "displayName": hostile }),
                "displayName",
            ),
            ("POST", format!("{SHOP}/components/new/releases"), file, "/displayName"),
        ] {
            let (status, problem) = api.call(method, &path, body).await;
            assert_eq!((status, problem["field"].as_str()), (422, Some(field)), "{path}: {problem}");
        }
    }
    plane.shutdown().await;
}

//! Commands against the real server, over TLS; the data plane is a fake one.

use std::collections::BTreeMap;

use control_plane_mock::ControlPlane;
use pdpctl::Width;
use protocol::message::{FieldError, RefusalClass, Verdict};
use serde_json::Value;

use crate::common::*;
use crate::shell::{Outcome, Shell};

const SERVICE: &str = "../../config/samples/httpbin.yaml";
const TASK: &str = "../../config/samples/task.yaml";

/// A developer with a home folder.
struct Developer {
    home: tempfile::TempDir,
    secret: String,
}

impl Developer {
    /// Has the control plane's CA and token as files.
    fn of(plane: &ControlPlane) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("ca.crt"), plane.ca()).unwrap();
        std::fs::write(home.path().join("token"), plane.admin_token()).unwrap();
        Self { home, secret: plane.admin_token().to_owned() }
    }

    async fn login(&self, plane: &ControlPlane) -> Outcome {
        let home = self.home.path().display();
        let url = format!("https://localhost:{}", plane.address().port());
        self.run(&format!("login {url} --token-file {home}/token --ca-file {home}/ca.crt --name here")).await
    }

    async fn run(&self, line: &str) -> Outcome {
        let shell = Shell {
            vars: BTreeMap::from([("HOME".to_owned(), self.home.path().display().to_string())]),
            out_width: Width::Columns(100),
            err_width: Width::Unlimited,
            answer: None,
            now: jiff::Timestamp::now,
            secret: self.secret.clone(),
        };
        soon(line, shell.run(line)).await
    }

    /// Runs what must succeed; gives what it printed.
    async fn ok(&self, line: &str) -> String {
        let outcome = self.run(line).await;
        assert_eq!(outcome.code, 0, "{line}: {}", outcome.err);
        outcome.out
    }

    async fn json(&self, line: &str) -> Value {
        let out = self.ok(&format!("{line} -o json")).await;
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{line}: {error}: {out}"))
    }
}

/// Logs in and makes organization, data plane, project, environments; enrols a fake agent.
async fn furnished(plane: &ControlPlane, developer: &Developer) -> Identity {
    let login = developer.login(plane).await;
    assert_eq!(login.code, 0, "{}", login.err);
    developer.ok("create organization acme").await;
    developer.ok("context set --organization acme").await;
    let enrolment = developer.json("create data-plane home").await;
    developer.ok("create project shop").await;
    developer.ok("context set --project shop").await;
    developer.ok("create environment dev").await;
    developer.ok("create environment prod --data-plane home --quota-pods 20").await;
    enrol(plane, enrolment["token"].as_str().unwrap()).await
}

#[tokio::test]
async fn a_component_lives_from_deployment_to_deletion() {
    let plane = control_plane().await;
    let developer = Developer::of(&plane);
    let identity = furnished(&plane, &developer).await;
    let logs = vec!["GET /".to_owned(), "GET /status/200".to_owned()];
    let agent = Start::new(&plane, &identity).run(World { logs, ..World::default() });

    let deploy = format!("deploy -f {SERVICE} --set image={IMAGE} --environment dev --wait");
    let said = developer.ok(&deploy).await;
    assert!(said.starts_with("Deploying httpbin v1.0/1 to dev: ready after"), "{said}");
    let again = developer.ok(&deploy).await;
    assert!(again.contains("httpbin v1.0/1 to dev"), "{again}");
    let second = developer.json(&format!("{deploy} --set env.GREETING=hi")).await;
    assert_eq!((&second["release"], &second["resources"][0]["phase"]), (&2.into(), &"Ready".into()));
    developer.ok("deploy httpbin --release 1 -e prod --wait").await;

    let status = developer.ok("status").await;
    assert!(status.contains("dev") && status.contains("v1.0/2") && status.contains("Ready"), "{status}");
    assert_eq!(developer.json("status httpbin -e prod").await[0]["release"], 1);
    assert_eq!(developer.ok("logs httpbin -e dev").await, "app-1 GET /\napp-1 GET /status/200\n");
    developer.ok("restart httpbin -e dev --wait").await;
    let back = developer.ok("rollback httpbin -e dev --wait").await;
    assert!(back.contains("back to v1.0/1: ready"), "{back}");
    let history = developer.json("history httpbin -e dev").await;
    let actions: Vec<&str> = history.as_array().unwrap().iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["Rollback", "Restart", "Deploy", "Deploy"]);
    assert!(developer.ok("events --tail 500").await.contains("release/"));

    assert_eq!(developer.run("delete component httpbin").await.code, 1);
    developer.ok("undeploy httpbin -e dev --wait").await;
    developer.ok("delete environment prod --wait").await;
    assert_eq!(developer.ok("get envs -o name").await, "environment/dev\n");
    developer.ok("delete environment dev --wait").await;
    developer.ok("delete component httpbin").await;
    developer.ok("delete project shop").await;
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_quota_is_changed_after_creation_and_what_is_not_named_stays() {
    let plane = control_plane().await;
    let developer = Developer::of(&plane);
    let identity = furnished(&plane, &developer).await;
    let mut agent = Start::new(&plane, &identity).run(World::default());
    let said = developer.ok("update environment prod --quota-pods 30 --quota-memory 8Gi").await;
    assert_eq!(said, "environment/prod updated. See: pdpctl status --environment prod\n");
    let update = "update env prod --egress=false";
    assert_eq!(developer.json(update).await["quota"], serde_json::json!({ "pods": 30, "memory": "8Gi" }));
    assert!(developer.ok(update).await.starts_with("environment/prod unchanged."));
    let reached = |wanted: Value| {
        move |world: &World| {
            let bodies = world.documents.iter().filter(|document| document.kind == "Environment");
            let mut bodies = bodies.map(|document| serde_json::from_str::<Value>(document.body.get()).unwrap());
            bodies.next_back().filter(|body| body["environment"] == "prod" && body["quota"] == wanted).map(drop)
        }
    };
    agent.until("the new quota", reached(serde_json::json!({ "pods": 30, "memory": "8Gi" }))).await;
    assert!(developer.ok("get env prod").await.contains("8Gi, 30 pods"));
    developer.ok("update environment prod --no-quota --quota-cpu 4").await;
    agent.until("another quota", reached(serde_json::json!({ "cpu": "4" }))).await;
    let refused = developer.run("update environment prod --quota-memory 128m").await;
    assert!(
        refused.code == 2 && refused.err.contains("parts of a byte (at /quota/memory)\nhint:  "),
        "{}",
        refused.err
    );
    let nothing = developer.run("update environment prod").await;
    assert!(nothing.code == 2 && nothing.err.contains("--quota-pods"), "{}", nothing.err);
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_task_runs_and_its_result_is_the_exit_code() {
    let plane = control_plane().await;
    let developer = Developer::of(&plane);
    let identity = furnished(&plane, &developer).await;
    let agent = Start::new(&plane, &identity).run(World::default());
    developer.ok(&format!("deploy -f {TASK} --set image={IMAGE} -e dev --wait")).await;
    let said = developer.ok("run hello-task -e dev --wait -- echo hi").await;
    assert!(said.contains("Succeeded"), "{said}");
    let runs = developer.json("get runs hello-task").await;
    assert_eq!((&runs[0]["result"], &runs[0]["exitCode"]), (&"Succeeded".into(), &0.into()));
    let short = runs[0]["id"].as_str().unwrap().get(..8).unwrap();
    assert_eq!(developer.json(&format!("get run hello-task {short}")).await["id"], runs[0]["id"]);
    let ended = developer.run(&format!("cancel hello-task {short}")).await;
    assert!(ended.code == 1 && ended.err.contains("has ended"), "{}", ended.err);
    let many = developer.run(&format!("run hello-task -e dev --{}", " x".repeat(65))).await;
    assert!(many.code == 2 && many.err.contains("has 65 items, 64 are allowed (at /args)"), "{}", many.err);
    let service = developer.run("run nothing -e dev").await;
    assert!(service.code == 1 && service.err.contains("component nothing does not exist"), "{}", service.err);
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_refusal_of_the_data_plane_ends_the_waiting_with_its_words() {
    let plane = control_plane().await;
    let developer = Developer::of(&plane);
    let identity = furnished(&plane, &developer).await;
    let refuse: Box<dyn FnMut(&protocol::message::Document) -> Verdict + Send> = Box::new(|document| {
        if document.kind != "Release" {
            return Verdict::Accepted { stored_hash: None, modified: Vec::new() };
        }
        let reason = FieldError { field: "/image".into(), message: "registry registry.test is not allowed".into() };
        Verdict::Refused { class: RefusalClass::Policy, reasons: vec![reason] }
    });
    let agent = Start::new(&plane, &identity).run(World { answer: refuse, ..World::default() });
    let outcome = developer.run(&format!("deploy -f {SERVICE} --set image={IMAGE} -e dev --wait")).await;
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.err.contains(
            "Refused on home\n       the customer's policy forbids it: /image: registry registry.test is not allowed"
        ),
        "{}",
        outcome.err
    );
    agent.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn without_a_data_plane_it_times_out_and_says_why() {
    let plane = control_plane().await;
    let developer = Developer::of(&plane);
    furnished(&plane, &developer).await;
    let outcome = developer.run(&format!("deploy -f {SERVICE} --set image={IMAGE} -e dev --wait --timeout 1s")).await;
    assert_eq!(outcome.code, 3);
    assert!(outcome.err.contains("home: Waiting: the data plane has never connected"), "{}", outcome.err);
    let outcome = developer.run(&format!("deploy -f {SERVICE} --set image={IMAGE} -e staging")).await;
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.err.contains("environment staging does not exist (at environment)\nhint:  this project has: dev, prod"),
        "{}",
        outcome.err
    );
    plane.shutdown().await;
}

#[tokio::test]
async fn releases_are_made_listed_and_deleted_unless_they_were_deployed() {
    let plane = control_plane().await;
    let developer = Developer::of(&plane);
    furnished(&plane, &developer).await;
    developer.ok(&format!("create release -f {SERVICE} --set image={IMAGE}")).await;
    developer.ok(&format!("deploy -f {SERVICE} --set image={IMAGE} --set env.HTTPBIN_ENV_GREETING=hi -e dev")).await;
    assert_eq!(developer.ok("get rel httpbin -o name").await, "release/v1.0/2\nrelease/v1.0/1\n");
    assert_eq!(developer.json("get release httpbin 2").await["content"]["env"][0]["value"], "hi");
    let kept = developer.run("delete release httpbin 2").await;
    assert!(kept.code == 1 && kept.err.contains("history and rollback need it"), "{}", kept.err);
    developer.ok("delete release httpbin 1").await;
    assert_eq!(developer.ok("get rel httpbin -o name").await, "release/v1.0/2\n");
    plane.shutdown().await;
}

#[tokio::test]
async fn wrong_ca_wrong_name_and_wrong_token_are_told_apart() {
    let (plane, other) = (control_plane().await, control_plane().await);
    let developer = Developer::of(&plane);
    let home = developer.home.path();
    let url = format!("https://localhost:{}", plane.address().port());
    let login = |ca: &str, token: &str, url: &str| {
        format!("login {url} --token-file {0}/{token} --ca-file {0}/{ca}", home.display())
    };

    std::fs::write(home.join("other.crt"), other.ca()).unwrap();
    let outcome = developer.run(&login("other.crt", "token", &url)).await;
    assert_eq!(outcome.code, 4);
    assert!(outcome.err.contains("its certificate was not issued by the CA of this context"), "{}", outcome.err);

    let outcome = developer.run(&login("ca.crt", "token", &url.replace("localhost", "127.0.0.2"))).await;
    assert_eq!(outcome.code, 4);
    assert!(outcome.err.contains("not for the name 127.0.0.2") || outcome.err.contains("refused"), "{}", outcome.err);

    std::fs::write(home.join("wrong"), "not-the-token").unwrap();
    let outcome = developer.run(&login("ca.crt", "wrong", &url)).await;
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.contains("this token is not known here\nhint:"), "{}", outcome.err);
    assert!(!home.join(".config/pdpctl/config.yaml").exists(), "a login that failed was kept");
    plane.shutdown().await;
    other.shutdown().await;
}

#[tokio::test]
async fn names_are_completed_as_they_are_at_the_control_plane() {
    let plane = control_plane().await;
    let developer = Developer::of(&plane);
    furnished(&plane, &developer).await;
    developer.ok("create component httpbin").await;
    let complete = async |words: &[&str]| {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_pdpctl"))
            .env_clear()
            .env("HOME", developer.home.path())
            .envs([("COMPLETE", "bash"), ("_CLAP_IFS", " ")])
            .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string())
            .arg("--")
            .args(words)
            .output();
        String::from_utf8(soon("completion", output).await.unwrap().stdout).unwrap()
    };
    assert_eq!(complete(&["pdpctl", "restart", "httpbin", "-e", ""]).await, "dev prod");
    assert!(complete(&["pdpctl", "logs", "ht"]).await.starts_with("httpbin"));
    assert_eq!(complete(&["pdpctl", "context", "use", "h"]).await, "here");
    let elsewhere = ["pdpctl", "get", "env", "--project", "none", "--organization", "none", ""];
    assert!(!complete(&elsewhere).await.contains("dev"));
    plane.shutdown().await;
}

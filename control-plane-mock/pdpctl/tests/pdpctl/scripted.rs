//! Commands against a control plane that answers what is written down here.

use std::os::unix::fs::PermissionsExt as _;

use pdpctl::Width;
use serde_json::{Value, json};

use crate::fake::{Fake, run, run_on_a_terminal};

pub(crate) const PROJECT: &str = "/organizations/acme/projects/shop";
const COMPONENT: &str = include_str!("../../../../config/samples/httpbin.yaml");
pub(crate) const DIGEST: &str =
    "registry.test/httpbin@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn problem(code: &str, message: &str, hint: &str) -> Value {
    json!({ "code": code, "message": message, "hint": hint })
}

fn deployment() -> Value {
    json!({ "id": 5, "component": "httpbin", "environment": "dev", "track": "v1.0", "release": 3, "action": "Deploy",
            "created": "2026-11-21T11:59:00Z", "generations": { "eu-1": 7 }, "newRelease": true, "unchanged": false })
}

pub(crate) fn release(phase: &str, message: &str) -> Value {
    json!({ "dataPlane": "eu-1", "connected": true, "kind": "Release", "name": "acme-shop-httpbin", "component": "httpbin",
            "track": "v1.0", "environment": "dev", "release": 3, "desired": "Present", "generation": 7,
            "phase": phase, "message": message, "facts": [] })
}

fn status_path() -> String {
    format!("GET {PROJECT}/status?environment=dev")
}

async fn deploying(phases: &[(&str, &str)]) -> (Fake, String) {
    let fake = Fake::start().await;
    fake.reply(&format!("POST {PROJECT}/components/httpbin/deployments"), [(200, deployment())]);
    fake.reply(&status_path(), phases.iter().map(|(phase, message)| (200, json!([release(phase, message)]))));
    let file = fake.file("component.yaml", COMPONENT);
    let line = format!("deploy -f {file} --set image={DIGEST} --environment dev --wait");
    (fake, line)
}

#[tokio::test]
async fn deploy_waits_until_the_release_is_ready() {
    let (fake, line) =
        deploying(&[("Waiting", "sent"), ("Progressing", "Rollout: 0/1"), ("Ready", "1/1 pods ready")]).await;
    let outcome = fake.run(&line).await;
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(outcome.out.starts_with("Deploying httpbin v1.0/3 to dev: ready after"), "{}", outcome.out);
    let said: Vec<&str> =
        outcome.err.lines().map(|line| line.trim_start_matches(|c: char| !c.is_alphabetic())).collect();
    assert_eq!(
        said,
        [
            "Deploying httpbin v1.0/3 to dev",
            "s  eu-1  Waiting  sent",
            "s  eu-1  Progressing  Rollout: 0/1",
            "s  eu-1  Ready  1/1 pods ready"
        ]
    );
    let asked = &fake.asked()[0];
    assert_eq!(asked.token.as_deref(), Some("canary-token"));
    assert_eq!(asked.body["file"]["image"], DIGEST);
}

#[tokio::test]
async fn each_bad_end_has_exit_code_1_and_its_words() {
    for phase in ["Failed", "Refused", "RolledBack"] {
        let (fake, line) = deploying(&[("Progressing", ""), (phase, "ImagePull: no such image")]).await;
        let outcome = fake.run(&line).await;
        assert_eq!(outcome.code, 1);
        let words = format!(
            "error: Deploying httpbin v1.0/3 to dev: {phase} on eu-1\n       ImagePull: no such image\nhint:  "
        );
        assert!(outcome.err.contains(&words), "{}", outcome.err);
    }
}

#[tokio::test]
async fn time_out_has_exit_code_3_and_says_why_it_waits() {
    let (fake, line) = deploying(&[("Waiting", "the data plane has never connected; install its agent")]).await;
    let outcome = fake.run(&format!("{line} --timeout 1s")).await;
    assert_eq!(outcome.code, 3);
    assert!(
        outcome.err.contains("not done after 1s\n       eu-1: Waiting: the data plane has never connected"),
        "{}",
        outcome.err
    );
}

#[tokio::test]
async fn scripts_get_deployment_and_resources_as_json() {
    let (fake, line) = deploying(&[("Ready", "1/1 pods ready")]).await;
    let outcome = fake.run(&format!("{line} -o json")).await;
    let value: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!((&value["id"], &value["resources"][0]["phase"]), (&json!(5), &json!("Ready")));
}

#[tokio::test]
async fn a_file_that_breaks_rules_has_exit_code_2_and_sends_nothing() {
    let fake = Fake::start().await;
    let file = fake.file("component.yaml", &COMPONENT.replace("endpoints:", "endpionts:"));
    let outcome = fake.run(&format!("deploy -f {file} --environment dev")).await;
    assert_eq!(outcome.code, 2);
    let home = file.trim_end_matches("component.yaml");
    insta::assert_snapshot!(outcome.err.replace(home, ""));
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn an_image_by_tag_is_refused_with_the_way_to_its_digest() {
    let fake = Fake::start().await;
    let file = fake.file("component.yaml", COMPONENT);
    let outcome = fake.run(&format!("deploy -f {file} --set image=registry.test/httpbin:1.2 --environment dev")).await;
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("crane digest registry.test/httpbin:1.2"), "{}", outcome.err);
}

#[tokio::test]
async fn a_refusal_shows_field_and_hint() {
    let fake = Fake::start().await;
    let mut refusal = problem("NotFound", "environment staging does not exist", "this project has: dev, prod");
    refusal["field"] = json!("environment");
    fake.reply(&format!("POST {PROJECT}/components/httpbin/restart"), [(404, refusal)]);
    let outcome = fake.run("restart httpbin -e staging").await;
    assert_eq!(outcome.code, 1);
    assert_eq!(
        outcome.err,
        "error: environment staging does not exist (at environment)\nhint:  this project has: dev, prod\n"
    );
}

#[tokio::test]
async fn a_control_plane_that_is_away_has_exit_code_4() {
    let fake = Fake::start().await;
    let mut vars = fake.vars();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    vars.insert("PDPCTL_SERVER".into(), format!("http://127.0.0.1:{port}"));
    let outcome = run("get projects", vars, Width::Unlimited).await;
    assert_eq!(outcome.code, 4);
    assert!(
        outcome.err.contains("cannot be reached: the connection is refused\nhint:  is the control plane running"),
        "{}",
        outcome.err
    );
}

#[tokio::test]
async fn a_control_plane_that_comes_back_is_waited_for() {
    let (fake, line) = deploying(&[]).await;
    fake.reply(&status_path(), [(503, json!("proxy")), (200, json!([release("Ready", "1/1 pods ready")]))]);
    let outcome = fake.run(&line).await;
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(outcome.err.contains("control plane  Unreachable"), "{}", outcome.err);
}

#[tokio::test]
async fn login_keeps_a_context_that_only_its_owner_reads() {
    let fake = Fake::start().await;
    fake.reply("GET /version", [(200, json!({ "version": "0.1.0" }))]);
    fake.reply("GET /organizations", [(200, json!([{ "name": "acme", "created": "" }]))]);
    fake.reply("GET /organizations/acme/projects", [(200, json!([]))]);
    let token = fake.file("token", "canary-token\n");
    let mut vars = fake.vars();
    vars.retain(|name, _| name == "HOME");
    let outcome =
        run(&format!("login {} --token-file {token} --name demo", fake.server()), vars.clone(), Width::Unlimited).await;
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let server = fake.server();
    assert_eq!(outcome.out, format!("Logged in to {server} (control plane 0.1.0); context demo, organization acme.\n"));
    let config = fake.path(".config/pdpctl/config.yaml");
    assert_eq!(std::fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&config).unwrap().contains("canary-token"));

    let set = run("context set --project shop", vars.clone(), Width::Unlimited).await;
    assert_eq!(set.out, "Context demo: organization acme, project shop.\n");
    fake.reply(&format!("GET {PROJECT}/components"), [(200, json!([]))]);
    assert_eq!(run("get comp", vars.clone(), Width::Unlimited).await.code, 0);
    let shown = run("context list", vars.clone(), Width::Unlimited).await.out;
    assert_eq!(
        shown.replace(&server, "SERVER").split_whitespace().skip(5).collect::<Vec<_>>(),
        ["*", "demo", "SERVER", "acme", "shop"]
    );

    // What was kept for one server is not shown to another.
    vars.insert("PDPCTL_SERVER".into(), "http://127.0.0.1:9".into());
    let other = run("get comp", vars.clone(), Width::Unlimited).await;
    assert!(other.code == 2 && other.err.contains("there is no token for"), "{}", other.err);
    vars.remove("PDPCTL_SERVER");
    assert_eq!(run("context delete demo", vars.clone(), Width::Unlimited).await.code, 0);
    assert!(!std::fs::read_to_string(&config).unwrap().contains("canary-token"));
}

#[tokio::test]
async fn files_of_windows_are_read_or_told_with_what_to_do() {
    let fake = Fake::start().await;
    fake.reply("GET /version", [(200, json!({ "version": "0.1.0" }))]);
    fake.reply("GET /organizations", [(200, json!([]))]);
    let login = async |token: &[u8], more: &str| {
        let path = fake.path("token");
        std::fs::write(&path, token).unwrap();
        fake.run(&format!("login {} --token-file {} {more}", fake.server(), path.display())).await
    };
    assert_eq!(login("\u{feff}canary-token\r\n".as_bytes(), "").await.code, 0);
    assert_eq!(fake.asked()[0].token.as_deref(), Some("canary-token"));
    let utf16: Vec<u8> = "\u{feff}canary".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let told = login(&utf16, "").await;
    assert!(
        told.code == 2 && told.err.contains("token:1: the file is in UTF-16\n    hint: save it as UTF-8"),
        "{}",
        told.err
    );
    std::fs::write(fake.path("ca.der"), [0x30, 0x82, 0x01, 0xff]).unwrap();
    let told = login(b"canary-token", &format!("--ca-file {}", fake.path("ca.der").display())).await;
    assert!(told.code == 2 && told.err.contains("openssl x509 -inform der"), "{}", told.err);
}

#[tokio::test]
async fn without_a_context_it_says_how_to_log_in() {
    let home = tempfile::tempdir().unwrap();
    let vars = [("HOME".to_owned(), home.path().display().to_string())].into();
    let outcome = run("get projects", vars, Width::Unlimited).await;
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("pdpctl login SERVER --token-file FILE --ca-file FILE"), "{}", outcome.err);
}

#[tokio::test]
async fn a_token_does_not_leave_without_tls() {
    let fake = Fake::start().await;
    let mut vars = fake.vars();
    vars.insert("PDPCTL_SERVER".into(), "http://control-plane.test".into());
    let outcome = run("get projects", vars.clone(), Width::Unlimited).await;
    assert!(outcome.code == 2 && outcome.err.contains("not sent without TLS"), "{}", outcome.err);
    vars.insert("PDPCTL_SERVER".into(), "control-plane.test".into());
    let outcome = run("get projects", vars, Width::Unlimited).await;
    assert!(outcome.code == 2 && outcome.err.contains("--ca-file FILE"), "{}", outcome.err);
}

#[tokio::test]
async fn a_name_cannot_reach_another_route() {
    let fake = Fake::start().await;
    fake.run("get project ../../version").await;
    assert_eq!(fake.whats(), ["GET /organizations/acme/projects/..%2F..%2Fversion"]);
}

#[tokio::test]
async fn an_enrolment_is_the_only_token_that_is_shown() {
    let fake = Fake::start().await;
    let plane = json!({ "name": "eu-1", "id": "dp-1", "created": "", "status": "NotEnrolled", "counter": 0 });
    let enrolment = json!({ "dataPlane": plane, "token": "one-time", "expires": "2026-11-21T13:00:00Z",
                            "command": "helm install pdp-agent --set enrolment.token=one-time", "caBundle": "PEM" });
    fake.reply("POST /organizations/acme/data-planes", [(201, enrolment)]);
    let outcome = fake.run("create data-plane eu-1").await;
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(outcome.out.contains("\nhelm install pdp-agent --set enrolment.token=one-time\n"), "{}", outcome.out);
    let json: Value = serde_json::from_str(&fake.run("create dp eu-1 -o json").await.out).unwrap();
    assert_eq!(json["token"], "one-time");
}

#[tokio::test]
async fn a_run_that_fails_has_exit_code_1_and_names_its_logs() {
    let fake = Fake::start().await;
    let run = |more: Value| {
        let mut run = json!({ "id": "r1", "component": "import", "environment": "dev", "dataPlane": "eu-1", "name": "x", "created": "" });
        run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        (200, run)
    };
    fake.reply(&format!("POST {PROJECT}/components/import/runs"), [run(json!({}))]);
    let ended = run(json!({ "started": "x", "result": "Failed", "exitCode": 3, "message": "Error: exited with 3" }));
    fake.reply(&format!("GET {PROJECT}/components/import/runs/r1"), [run(json!({ "started": "x" })), ended]);
    let outcome = fake.run("run import -e dev --wait -- --all").await;
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.contains("run r1 of import: Failed, exit code 3"), "{}", outcome.err);
    assert!(outcome.err.contains("pdpctl logs import --environment dev --run r1"), "{}", outcome.err);
    assert_eq!(fake.asked()[0].body["args"], json!(["--all"]));
}

#[tokio::test]
async fn logs_are_passed_on_and_gaps_told() {
    let fake = Fake::start().await;
    let line = |line: &str| json!({ "dataPlane": "eu-1", "source": "p-1/main", "line": line }).to_string();
    let gap = json!({ "dataPlane": "eu-1", "line": "p-1/main: lines are missing here (Rotated)", "note": "Gap" });
    let stream = format!("{}\n{gap}\n{}", line("GET /"), line("GET /2"));
    fake.text(&format!("GET {PROJECT}/components/httpbin/logs?environment=dev&format=json&tail=5"), &stream);
    let outcome = fake.run("logs httpbin -e dev --tail 5").await;
    assert_eq!((outcome.code, outcome.out.as_str()), (0, "p-1 GET /\np-1 GET /2\n"));
    assert_eq!(outcome.err, "-- eu-1: p-1/main: lines are missing here (Rotated)\n");
}

#[tokio::test]
async fn lines_of_other_containers_are_shown_when_they_are_asked_for() {
    let fake = Fake::start().await;
    let line = |source: &str, line: &str| json!({ "dataPlane": "eu-1", "source": source, "line": line }).to_string();
    let both = format!("{}\n{}", line("p-1/main", "GET /"), line("p-1/istio-proxy", "upstream"));
    fake.text(&format!("GET {PROJECT}/components/httpbin/logs?environment=dev&format=json"), &both);
    for (flags, shown) in [
        ("", "p-1 GET /\n"),
        ("-c istio-proxy", "p-1/istio-proxy upstream\n"),
        ("--container istio-proxy --no-prefix", "upstream\n"),
        ("--all-containers", "p-1 GET /\np-1/istio-proxy upstream\n"),
    ] {
        assert_eq!(fake.run(&format!("logs httpbin -e dev {flags}")).await.out, shown, "{flags}");
    }
    let none = fake.run("logs httpbin -e dev -c job").await;
    assert!(none.code == 0 && none.err.contains("There are some of: istio-proxy, main"), "{}", none.err);
    assert_eq!(fake.run("logs httpbin -e dev -c job --all-containers").await.code, 2);
}

#[tokio::test]
async fn nothing_that_is_stored_or_refused_can_drive_a_terminal() {
    let fake = Fake::start().await;
    let hostile = "a\u{1b}[2J\u{9b}2J\u{202e}txt\u{2069}";
    let row = json!({ "name": "shop", "displayName": hostile, "created": "2026-11-21T11:57:00Z" });
    fake.reply("GET /organizations/acme/projects", [(200, json!([row]))]);
    let drives = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c) || c == '\u{2069}';
    for form in ["table", "json", "yaml"] {
        let outcome = fake.run(&format!("get projects -o {form}")).await;
        assert!(!outcome.out.contains(drives) && outcome.out.contains("txt"), "{form}: {:?}", outcome.out);
        if form != "table" {
            let read: Value = serde_saphyr::from_str(&outcome.out).unwrap();
            assert_eq!(read[0]["displayName"], hostile, "{form}: {}", outcome.out);
        }
    }
    fake.reply("DELETE /organizations/acme/projects/shop", [(409, problem("Conflict", hostile, hostile))]);
    let refused = fake.run("delete project shop").await;
    assert!(!refused.err.contains(drives) && refused.err.contains("txt"), "{:?}", refused.err);
}

#[tokio::test]
async fn a_hostile_line_cannot_drive_the_terminal_and_is_whole_in_a_pipe() {
    let fake = Fake::start().await;
    let hostile = "a\tb\u{1b}]0;owned\u{7}\u{9b}2J\rforged\u{202e}";
    let record = json!({ "dataPlane": "eu-1", "source": "p-1/main", "line": hostile }).to_string();
    let plain = "plain \u{1b}[2J";
    fake.text(
        &format!("GET {PROJECT}/components/httpbin/logs?environment=dev&format=json"),
        &format!("{record}\n{plain}\n"),
    );
    let piped = fake.run("logs httpbin -e dev").await;
    assert_eq!(piped.out, format!("p-1 {hostile}\n{plain}\n"), "{}", piped.err);
    for form in ["table", "json"] {
        let shown = run(&format!("logs httpbin -e dev -o {form}"), fake.vars(), Width::Columns(80)).await.out;
        let drives = |c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}';
        assert!(!shown.contains(drives) && shown.contains("owned"), "{shown:?}");
    }
    let shown = run("logs httpbin -e dev", fake.vars(), Width::Columns(80)).await.out;
    assert_eq!(shown, "p-1 a\tb\\u001b]0;owned\\u0007\\u009b2J\\u000dforged\\u202e\nplain \\u001b[2J\n");
}

#[tokio::test]
async fn access_is_taken_away_only_when_a_person_agrees() {
    let revoke = "POST /organizations/acme/data-planes/eu-1/revoke";
    for (line, answer, done) in [
        ("revoke eu-1", Some("n\n"), false),
        ("revoke eu-1", Some(""), false),
        ("revoke eu-1", Some("y\n"), true),
        ("revoke eu-1 --yes", Some("n\n"), true),
        ("revoke eu-1", None, true),
    ] {
        let fake = Fake::start().await;
        fake.reply(revoke, [(200, json!({}))]);
        let outcome = match answer {
            Some(answer) => run_on_a_terminal(line, fake.vars(), answer).await,
            None => fake.run(line).await,
        };
        let expected = if done { (0, vec![revoke.to_owned()]) } else { (130, Vec::new()) };
        assert_eq!((outcome.code, fake.whats()), expected, "{line} {answer:?}: {}", outcome.err);
        if !done {
            assert!(outcome.err.contains("Take the access of data plane eu-1 away for good?"), "{}", outcome.err);
            assert!(outcome.err.contains("data plane eu-1 keeps its access"), "{}", outcome.err);
        }
    }
}

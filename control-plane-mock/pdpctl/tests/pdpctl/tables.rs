//! How lists look: in a terminal of 80 and of 160 columns, and in each form of output.

use pdpctl::Width;
use serde_json::{Value, json};

use crate::fake::{Fake, run};
use crate::scripted::{DIGEST, PROJECT, release};

/// What a command prints at 80 and at 160 columns; none of its lines is longer.
async fn in_terminals(fake: &Fake, line: &str) -> String {
    let mut shown = String::new();
    for columns in [80, 160] {
        let outcome = run(line, fake.vars(), Width::Columns(columns)).await;
        assert!(outcome.out.lines().all(|line| line.chars().count() <= columns), "{}", outcome.out);
        shown.push_str(&outcome.out);
        shown.push('\n');
    }
    shown
}

#[tokio::test]
async fn status_fits_80_and_160_columns() {
    let fake = Fake::start().await;
    let mut ready = release("Ready", "2/2 pods ready");
    ready["state"] = json!({ "conditions": [], "replicas": { "desired": 2, "updated": 2, "ready": 2 } });
    let mut stalled = release(
        "Stalled",
        "ImagePull: the registry answers that there is no such image; check the name, and push the image by that digest",
    );
    stalled["environment"] = json!("production");
    stalled["dataPlane"] = json!("us-east-customer");
    stalled["connected"] = json!(false);
    fake.reply(&format!("GET {PROJECT}/status"), [(200, json!([ready, stalled]))]);
    insta::assert_snapshot!(in_terminals(&fake, "status").await);
}

#[tokio::test]
async fn environments_fit_80_and_160_columns() {
    let fake = Fake::start().await;
    let row = |name: &str, planes: Value, quota: Value| {
        json!({ "name": name, "position": 1, "dataPlanes": planes, "egress": true, "quota": quota,
                "created": "2026-11-21T11:57:00Z" })
    };
    let all = [
        row("dev", json!(["eu-1"]), Value::Null),
        row("production", json!(["eu-1", "us-east-customer"]), json!({ "cpu": "16", "memory": "32Gi", "pods": 100 })),
    ];
    fake.reply(&format!("GET {PROJECT}/environments"), [(200, json!(all))]);
    insta::assert_snapshot!(in_terminals(&fake, "get environments").await);
}

#[tokio::test]
async fn lists_have_every_form() {
    let fake = Fake::start().await;
    let image = DIGEST;
    let row = |number: i64, to: Value| {
        json!({ "component": "httpbin", "track": "v1.0", "number": number, "image": image,
        "actor": "admin", "created": "2026-11-21T11:57:00Z", "deployedTo": to })
    };
    fake.reply(
        &format!("GET {PROJECT}/components/httpbin/releases"),
        [(200, json!([row(2, json!(["dev"])), row(1, json!([]))]))],
    );
    let mut shown = String::new();
    for form in ["table", "name", "yaml"] {
        shown.push_str(&fake.run(&format!("get rel httpbin -o {form}")).await.out);
        shown.push('\n');
    }
    insta::assert_snapshot!(shown);
    let json: Value = serde_json::from_str(&fake.run("list releases httpbin -o json").await.out).unwrap();
    assert_eq!(json[1]["number"], 1);
}

#[tokio::test]
async fn what_is_deployed_nowhere_is_said_in_one_line() {
    let fake = Fake::start().await;
    fake.reply(&format!("GET {PROJECT}/status?component=web"), [(200, json!([]))]);
    fake.reply(&format!("GET {PROJECT}/components/web"), [(200, json!({ "name": "web" }))]);
    let outcome = fake.run("status web").await;
    assert_eq!(
        (outcome.code, outcome.err.as_str()),
        (0, "web is deployed nowhere. Deploy it: pdpctl deploy -f component.yaml --environment NAME\n")
    );
}

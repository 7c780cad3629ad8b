//! A control plane that is not to be trusted, or that somebody else has taken over: what it asks for beyond the customer's word, and
//! what it lies about. Each test has an installation of its own, with a policy as a customer with such a control plane would write it.

use anyhow::ensure;
use serde_json::{Value, json};
use tests::guest::Guest;
use tests::installation::{Ended, Place};
use tests::support::canary::{everything_said, leaks};
use tests::support::{LIMIT, agent, component, objects, place};
use tests::testbed::{Sample, wait_until};

#[tokio::test]
async fn a_variable_in_command_or_arguments_brings_no_secret_out() {
    let place = place("expand").await;
    let canary = format!("canary-{}", uuid::Uuid::new_v4());
    let bed = &agent().await.bed;
    bed.vault_put(&format!("{}/db", place.namespace), json!({ "password": canary })).await.unwrap();
    let image = bed.sample(Sample::Probe).unwrap();
    for (name, kind, how) in [
        ("path", "Service", json!({"command": ["/$(DB_PASSWORD)"]})),
        ("words", "Service", json!({"args": ["$(DB_PASSWORD)", "${DB_PASSWORD}", "$$(DB_PASSWORD)"]})),
        ("task", "ManualTask", json!({"command": ["/$(DB_PASSWORD)"]})),
    ] {
        let mut file = json!({
            "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": name, "type": kind, "image": image,
            "env": [{"name": "DB_PASSWORD", "secretRef": {"path": "db", "key": "password"}}],
        });
        for (key, value) in how.as_object().unwrap() {
            file[key] = value.clone();
        }
        if kind == "Service" {
            file["endpoints"] = json!([{"name": "none", "port": 8080, "kind": "TCP"}]);
        }
        let ended = component(&place, &file.to_string()).await;
        assert!(kind == "ManualTask" || ended.code != 0, "it cannot start: {ended:?}");
    }
    let ended = place.cli.ended(&["run", "task", "--environment", "dev", "--wait", "--timeout", "20s"]).await.unwrap();
    assert_ne!(ended.code, 0, "{ended:?}");
    // The process of the pod with arguments got them as they were sent.
    let jobs = objects(&place, "pods").await.unwrap();
    assert!(jobs.len() >= 3, "{jobs:?}");
    let mut said = everything_said(&place).await.unwrap();
    said.push(("what the run said".to_owned(), format!("{ended:?}")));
    assert_eq!(leaks(&said, &canary), [""; 0]);
}

#[tokio::test]
async fn where_the_customer_keeps_what_runs_a_document_gets_nothing_of_a_secret() {
    let rule = json!({
        "organization": "acme", "environment": "dev",
        "secrets": {"images": ["registry.customer.test:5000/samples/probe"], "env": ["DB_PASSWORD"], "files": [],
            "command": "Forbidden", "taskArgs": "Forbidden", "exitCodes": "Class"},
    });
    let guest = guest("oracle", json!([rule]), json!(null)).await;
    let place = environment(&guest, "dev").await;
    let bed = &guest.agent.bed;
    bed.vault_put(&format!("{}/db", place.namespace), json!({ "password": "PROD-t0psecret" })).await.unwrap();
    let probe = bed.sample(Sample::Probe).unwrap();
    let other = bed.sample(Sample::HttpbinOld).unwrap();
    let task = |image: &str, more: Value| {
        let mut file = json!({
            "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": "oracle", "type": "ManualTask", "image": image,
            "env": [{"name": "DB_PASSWORD", "secretRef": {"path": "db", "key": "password"}}],
        });
        for (key, value) in more.as_object().unwrap() {
            file[key] = value.clone();
        }
        file.to_string()
    };
    let shell = "exit $(printf %d \"'$(echo $DB_PASSWORD | cut -c1)\")";
    for (image, more, word) in [
        (&probe, json!({"command": ["sh", "-c", shell]}), "command of its own"),
        (&probe, json!({"args": [shell]}), "args of its own"),
        (&probe, json!({"files": [{"path": "/etc/ld.so.preload", "content": "/x.so"}]}), "file /etc/ld.so.preload"),
        (&other, json!({}), "secrets.images"),
    ] {
        let ended = component(&place, &task(image, more)).await;
        refused(&ended, word);
    }
    let ended = component(&place, &task(&probe, json!({}))).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let ended = place.cli.ended(&["run", "oracle", "--environment", "dev", "--wait", "--", shell]).await.unwrap();
    refused(&ended, "arguments of a run");
    // Without arguments this image ends with code 2, of which nothing is told but that it failed.
    let ended = place.cli.ended(&["run", "oracle", "--environment", "dev", "--wait"]).await.unwrap();
    assert_eq!(ended.code, 1, "{ended:?}");
    let runs = place.cli.json(&["get", "runs", "oracle", "--environment", "dev"]).await.unwrap();
    let failed: Vec<_> = runs.as_array().unwrap().iter().filter(|run| run["result"] == "Failed").collect();
    assert_eq!(failed.len(), 1, "{runs}");
    assert_eq!(failed[0]["exitCode"], Value::Null, "{runs}");
    let facts = guest.agent.control_plane.pdpctl().record(&format!("dataPlane={}", id(&guest).await)).await.unwrap();
    assert!(!facts.iter().any(|entry| entry.to_string().contains("exitCode")), "an exit code was told");
    guest.close().await;
}

#[tokio::test]
async fn what_the_customer_took_back_neither_starts_nor_is_deployed() {
    let dev = json!({"organization": "acme", "environment": "dev"});
    let guest = guest("revoked", json!([dev]), json!(null)).await;
    let place = environment(&guest, "dev").await;
    let image = guest.agent.bed.sample(Sample::Probe).unwrap();
    let file = |name: &str| {
        json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": name, "type": "ManualTask", "image": image,
            "args": ["pass"]})
        .to_string()
    };
    assert_eq!(component(&place, &file("job")).await.code, 0);
    let run = ["run", "job", "--environment", "dev", "--wait", "--timeout", "50s"];
    assert_eq!(place.cli.ended(&run).await.unwrap().code, 0);
    let before = objects(&place, "jobs").await.unwrap().len();
    policy(&guest, json!({"environments": [{"organization": "acme", "environment": "prod"}]})).await;
    known(&place, &file, "does not allow environment dev").await;
    refused(&place.cli.ended(&run).await.unwrap(), "does not allow environment dev");
    refused(&component(&place, &file("other")).await, "does not allow environment dev");
    policy(&guest, json!({"environments": [dev], "registries": [{"prefix": "other.customer.test/"}]})).await;
    known(&place, &file, "no registry").await;
    refused(&place.cli.ended(&run).await.unwrap(), "no registry");
    assert_eq!(objects(&place, "jobs").await.unwrap().len(), before, "something was started");
    guest.close().await;
}

#[tokio::test]
async fn amounts_are_the_customers() {
    let rule = json!({
        "organization": "acme", "environment": "dev", "egress": false, "maxReleases": 3,
        "maxQuota": {"cpu": "2", "memory": "1Gi", "pods": 8},
    });
    let limits = json!({"environments": 1, "releases": 10, "storedBytes": 200_000, "taskRunsPerMinute": 2, "deletionsPerHour": 2});
    let guest = guest("amounts", json!([rule]), limits).await;
    let asked = ["--egress", "--quota-pods", "100000", "--quota-cpu", "125k"];
    let cli = project(&guest, "greedy", &asked).await;
    for word in ["/egress", "/quota/cpu", "/quota/pods"] {
        told(&cli, "Environment", "Refused", word).await;
    }
    let place = environment(&guest, "dev").await;
    let quota = objects(&place, "resourcequotas").await.unwrap();
    // With room for the surge of an update.
    assert_eq!(quota[0]["spec"]["hard"]["pods"], "10", "{quota:?}");
    let second = project(&guest, "second", &[]).await;
    told(&second, "Environment", "Refused", "spec.limits.environments").await;

    let image = guest.agent.bed.sample(Sample::Probe).unwrap();
    let file = |name: &str, more: Value| {
        let mut file = json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": name, "type": "ManualTask",
            "image": image, "args": ["pass"]});
        for (key, value) in more.as_object().unwrap() {
            file[key] = value.clone();
        }
        file.to_string()
    };
    let large = json!({"files": [{"path": "/x", "content": "x".repeat(120_000)}, {"path": "/y", "content": "y".repeat(90_000)}]});
    refused(&component(&place, &file("large", large)).await, "spec.limits.storedBytes");
    for name in ["one", "two", "three"] {
        assert_eq!(component(&place, &file(name, json!({}))).await.code, 0);
    }
    refused(&component(&place, &file("four", json!({}))).await, "maxReleases");

    // Five runs at once: two start, the others wait and say until when.
    for _ in 0..5 {
        place.cli.run(&["run", "one", "--environment", "dev"]).await.unwrap();
    }
    let waiting = || async {
        let runs = guest.kubectl(&["get", "taskruns.pdp-agent.dev", "-o", "json"]).await.map_err(anyhow::Error::msg)?;
        let runs: Value = serde_json::from_str(&runs)?;
        let waits = runs.to_string().matches("\"BudgetSpent\"").count();
        ensure!(waits >= 3 * 2, "{waits} conditions wait: {runs}");
        Ok::<_, anyhow::Error>(())
    };
    wait_until(LIMIT, "three runs to wait for the minute to be over", waiting).await.unwrap();
    wait_until(LIMIT, "the second Job to be there", || async {
        let jobs = objects(&place, "jobs").await?.len();
        ensure!(jobs == 2, "{jobs} Jobs");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();

    // Three removals: the third waits, and what it would remove is there.
    for name in ["one", "two", "three"] {
        place.cli.run(&["undeploy", name, "--environment", "dev"]).await.unwrap();
    }
    wait_until(LIMIT, "the third removal to wait", || async {
        let releases =
            guest.kubectl(&["get", "releases.pdp-agent.dev", "-o", "json"]).await.map_err(anyhow::Error::msg)?;
        ensure!(releases.contains("deletionsPerHour"), "{releases}");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();
    let left = objects(&place, "controllerrevisions").await.unwrap();
    assert!(!left.is_empty(), "it was removed all the same");
    guest.close().await;
}

#[tokio::test]
async fn a_lie_about_the_id_or_the_address_of_bulk_connections_gains_nothing() {
    let shared = agent().await;
    let (mut guest, token) = Guest::new("liar").await;
    let cli = shared.control_plane.pdpctl();
    let own = id(&guest).await;
    for id in ["local", "../x", ""] {
        cli.fault(&json!({"fault": "lieAboutId", "id": id, "dataPlane": own, "times": 1})).await.unwrap();
    }
    guest.install(Some(&token), json!({})).await;
    guest.connects().await;
    let log = guest.kubectl(&["logs", &format!("deploy/{}-link", guest.name), "--tail=-1"]).await.unwrap();
    assert!(log.contains("cannot be the id of one"), "{log}");
    guest.close().await;

    let place = place("scanner").await;
    let image = shared.bed.sample(Sample::Probe).unwrap();
    let text = format!(
        "apiVersion: pdp-agent.dev/v1alpha1\nkind: Component\nname: sleeper\ntype: Service\nimage: {image}\nargs: [sleep]\n"
    );
    component(&place, &text).await;
    let (mut scanned, token) = Guest::new("scanned").await;
    let own = id(&scanned).await;
    let lie = json!({"fault": "lieAboutBulk", "address": "wss://10.96.0.1:443", "dataPlane": own});
    cli.fault(&lie).await.unwrap();
    scanned.install(Some(&token), json!({})).await;
    scanned.connects().await;
    let place = environment(&scanned, "dev").await;
    component(&place, &text).await;
    let ended = place.cli.ended(&["logs", "sleeper", "--environment", "dev"]).await.unwrap();
    let said = format!("{}{}", ended.stdout, ended.stderr);
    for word in ["refused", "timed out", "authority", "certificate", "10.96.0.1"] {
        assert!(!said.to_lowercase().contains(word), "it says what listens there: {said}");
    }
    scanned.close().await;
}

/// Waits until the link, which judges by what its watch has shown, refuses another component with this word.
async fn known(place: &Place, file: &impl Fn(&str) -> String, word: &str) {
    let mut number = 0;
    wait_until(LIMIT, "the new policy to be in effect", || {
        number += 1;
        let text = file(&format!("asked-{number}"));
        async move {
            let ended = component(place, &text).await;
            let said = format!("{}{}", ended.stdout, ended.stderr);
            ensure!(ended.code != 0 && said.contains(word), "{ended:?}");
            Ok::<_, anyhow::Error>(())
        }
    })
    .await
    .unwrap();
}

/// An installation with this policy, connected.
pub(crate) async fn guest(name: &str, environments: Value, limits: Value) -> Guest {
    let (mut guest, token) = Guest::new(name).await;
    guest.install(Some(&token), json!({"policy": {"environments": environments, "limits": limits}})).await;
    guest.connects().await;
    guest
}

/// An environment of a project of its own, on the guest's data plane.
pub(crate) async fn environment(guest: &Guest, environment: &str) -> Place {
    assert_eq!(environment, "dev");
    guest.agent.environment(&format!("{}-p", guest.name)).await.unwrap()
}

/// A project with an environment that is not waited for.
async fn project(guest: &Guest, name: &str, more: &[&str]) -> tests::installation::Pdpctl {
    let project = format!("{}-{name}", guest.name);
    let cli = guest.agent.control_plane.pdpctl().within("acme", &project);
    cli.run(&["create", "project", &project]).await.unwrap();
    let create = ["create", "environment", "dev", "--data-plane", &guest.name];
    cli.run(&[&create, more].concat()).await.unwrap();
    cli
}

/// Waits until the row of this kind is in this phase, with this word in its message.
async fn told(cli: &tests::installation::Pdpctl, kind: &str, phase: &str, word: &str) {
    wait_until(LIMIT, &format!("{kind} to be {phase} for {word}"), || async {
        let status = cli.json(&["status", "--environment", "dev"]).await?;
        let row = status.as_array().and_then(|rows| rows.iter().find(|row| row["kind"] == kind));
        let fits = row.is_some_and(|row| row["phase"] == phase && row.to_string().contains(word));
        ensure!(fits, "{status}");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();
}

fn refused(ended: &Ended, word: &str) {
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, 1, "{said}");
    assert!(said.contains(word), "{word} is not in: {said}");
}

/// Merges into the customer's policy.
pub(crate) async fn policy(guest: &Guest, spec: Value) {
    let patch = json!({ "spec": spec }).to_string();
    guest
        .kubectl(&["patch", "dataplanepolicies.pdp-agent.dev", "default", "--type=merge", "-p", &patch])
        .await
        .unwrap();
}

/// Id of the guest's data plane.
async fn id(guest: &Guest) -> String {
    let cli = guest.agent.control_plane.pdpctl().within("acme", "");
    let plane = cli.json(&["get", "data-plane", &guest.name]).await.unwrap();
    plane["id"].as_str().unwrap().to_owned()
}

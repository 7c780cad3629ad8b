//! A person edits what is stored: that runs until the next generation, and both ends know of it.

use serde_json::{Value, json};
use tests::installation::Place;
use tests::support::{LIMIT, agent, deploy, diagnose, object, objects, place, put_secrets, release};
use tests::testbed::{Sample, wait_until};

#[tokio::test]
async fn an_edited_release_runs_as_it_is_stored_and_is_told_until_the_next_generation() {
    let place = place("edited").await;
    put_secrets(&place, "s").await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    let deployment = objects(&place, "deployments").await.unwrap()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let before = release(&place, "httpbin").await.unwrap();
    assert_eq!((before["state"].get("storedHash"), told(&before)), (None, 0), "{before}");

    for replicas in [2, 3] {
        edit(before["name"].as_str().unwrap(), &json!({ "scaling": { "replicas": replicas } })).await;
        let seen = wait_until(LIMIT, "the edit to run and to be told", || async {
            let now = object(&place, "deployment", &deployment).await.map_err(|error| error.to_string())?;
            let row = release(&place, "httpbin").await.map_err(|error| error.to_string())?;
            let says =
                row["message"].as_str().is_some_and(|message| message.contains("spec.scaling is not as generation"));
            let done =
                row["phase"] == "Ready" && says && told(&row) == replicas - 1 && now["spec"]["replicas"] == replicas;
            if done { Ok(row) } else { Err(format!("{} replicas, {row}", now["spec"]["replicas"])) }
        });
        let row = or_diagnosed(&place, seen.await).await;
        assert!(row["state"]["storedHash"].is_string(), "{row}");
        let kinds: Vec<_> = facts(&row).iter().map(|fact| fact["kind"].clone()).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == "Ready").count(), 1, "an edit has no outcome: {row}");
    }

    assert_eq!(deploy(&place, Sample::HttpbinNew, &[]).await.code, 0);
    let after = release(&place, "httpbin").await.unwrap();
    assert_eq!((after["state"].get("storedHash"), told(&after)), (None, 0), "{after}");
    assert!(!after["message"].as_str().unwrap().contains("spec."), "{after}");
    assert_eq!(object(&place, "deployment", &deployment).await.unwrap()["spec"]["replicas"], 1);
}

async fn edit(name: &str, spec: &Value) {
    let patch = json!({ "spec": spec }).to_string();
    let args = ["patch", "releases.pdp-agent.dev", name, "-n", "pdp-agent", "--type=merge", "-p", &patch];
    agent().await.bed.kubectl(&args).await.unwrap();
}

async fn or_diagnosed<T, E: std::fmt::Display>(place: &Place, seen: Result<T, E>) -> T {
    match seen {
        Ok(seen) => seen,
        Err(error) => panic!("{error}\n{}", diagnose(place).await),
    }
}

fn facts(row: &Value) -> &[Value] {
    row["facts"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// How many edits the facts count.
fn told(row: &Value) -> i64 {
    let edits = facts(row).iter().filter(|fact| fact["kind"] == "Modified");
    edits.map(|fact| fact["count"].as_i64().unwrap_or(1)).sum()
}

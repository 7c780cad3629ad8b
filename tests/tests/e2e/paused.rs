//! A person wins: `pdp-agent.dev/paused-until` stops writes to workloads, visibly; without it the agent goes on.

use serde_json::Value;
use tests::testbed::{Sample, wait_until};

use tests::support::{LIMIT, agent, deploy, object, objects, place, put_secrets, release};

#[tokio::test]
async fn a_paused_release_is_left_as_a_person_made_it_until_the_pause_ends() {
    let place = place("paused").await;
    put_secrets(&place, "s").await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    let bed = &agent().await.bed;
    let name = release(&place, "httpbin").await.unwrap()["name"].as_str().unwrap().to_owned();
    let annotate = |value: &'static str| {
        let name = name.clone();
        async move {
            bed.kubectl(&["annotate", "releases.pdp-agent.dev", &name, "-n", "pdp-agent", "--overwrite", value])
                .await
                .unwrap();
        }
    };
    annotate("pdp-agent.dev/paused-until=2099-01-01T00:00:00Z").await;
    wait_until(LIMIT, "the pause to be visible", || async {
        let row = release(&place, "httpbin").await.map_err(|error| error.to_string())?;
        let conditions = row.pointer("/state/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let paused = conditions.iter().any(|condition| condition["type"] == "Paused" && condition["status"] == "True");
        if paused { Ok(()) } else { Err(row.to_string()) }
    })
    .await
    .unwrap();
    let deployment = objects(&place, "deployments").await.unwrap()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    bed.kubectl(&["scale", "deployment", &deployment, "-n", &place.namespace, "--replicas=0"]).await.unwrap();
    // Another environment's deployment goes through meanwhile: the operator is awake, and leaves this one alone.
    let other = tests::support::place("not-paused").await;
    put_secrets(&other, "s").await;
    assert_eq!(deploy(&other, Sample::HttpbinOld, &[]).await.code, 0);
    assert_eq!(object(&place, "deployment", &deployment).await.unwrap()["spec"]["replicas"], 0);
    annotate("pdp-agent.dev/paused-until-").await;
    wait_until(LIMIT, "the repair after the pause", || async {
        let now = object(&place, "deployment", &deployment).await.map_err(|error| error.to_string())?;
        if now["spec"]["replicas"] == 0 { Err(now["spec"]["replicas"].to_string()) } else { Ok(()) }
    })
    .await
    .unwrap();
}

//! The agent's namespace is deleted, with the key, the policy and every instruction in it.

use serde_json::Value;
use tests::installation::Place;
use tests::support::{LIMIT, agent, ask, deploy, objects, phase, place, put_secrets};
use tests::testbed::{Sample, Testbed, wait_until};

#[tokio::test]
async fn workloads_outlive_the_agents_namespace_and_a_new_installation_takes_them_up_with_a_new_token() {
    let agent = agent().await;
    let place = place("outlives").await;
    put_secrets(&place, "s").await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    let before = uids(&place).await;
    agent.bed.kubectl(&["delete", "namespace", "pdp-agent", "--wait=true"]).await.unwrap();
    let serves = || async {
        let answer = ask(&place, "/version").await.unwrap();
        assert!(answer.contains(Testbed::sample_version(Sample::HttpbinOld)), "{answer}");
        assert_eq!(uids(&place).await, before, "something was replaced");
    };
    serves().await;
    // Installed again as it was: the key is gone, and the agent says what it needs.
    agent.prepare_namespace().await.unwrap();
    agent.helm_install(None).await.unwrap();
    wait_until(LIMIT, "the agent to ask for a token", || async {
        let get = ["get", "dataplanes.pdp-agent.dev", "default", "-n", "pdp-agent", "-o", "json"];
        let plane = agent.bed.kubectl(&get).await.map_err(|error| error.to_string())?;
        let told = plane.contains("TokenMissing") && plane.contains("make one at the control plane");
        if told { Ok(()) } else { Err(plane) }
    })
    .await
    .unwrap();
    serves().await;
    let cli = agent.control_plane.pdpctl().within(&agent.options.organization, "");
    let enrolment = cli.json(&["create", "enrolment", &agent.options.data_plane]).await.unwrap();
    agent.helm_install(enrolment["token"].as_str()).await.unwrap();
    agent.connected(LIMIT).await.unwrap();
    phase(&place, "httpbin", "Ready").await;
    serves().await;
    assert_eq!(deploy(&place, Sample::HttpbinNew, &[]).await.code, 0);
}

/// Of everything that runs there.
async fn uids(place: &Place) -> Vec<String> {
    let mut uids: Vec<String> = Vec::new();
    for kind in ["deployments", "pods", "services", "secrets"] {
        let list = objects(place, kind).await.unwrap();
        uids.extend(
            list.iter().filter_map(|one| one.pointer("/metadata/uid").and_then(Value::as_str)).map(str::to_owned),
        );
    }
    uids.sort_unstable();
    uids
}

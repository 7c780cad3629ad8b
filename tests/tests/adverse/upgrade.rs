//! Another version of the agent takes over what the former one rendered: nothing changes until somebody deploys.

use serde_json::{Value, json};
use tests::installation::{Installation, Place};
use tests::support::{LIMIT, agent, deploy, objects, place, push_failpoints, put_secrets};
use tests::testbed::{Sample, wait_until};

use super::then_mend;

/// Variable that sets the renderer's version in an agent with failpoints, and its value.
const OTHER: (&str, &str) = ("FAILPOINT_RENDERER", "1000");

#[tokio::test]
async fn an_upgrade_to_another_renderer_changes_no_pod_and_new_deployments_use_it() {
    let agent = agent().await;
    let (old, new) = (place("upgrade-old").await, place("upgrade-new").await);
    for place in [&old, &new] {
        put_secrets(place, "s").await;
        assert_eq!(deploy(place, Sample::HttpbinOld, &[]).await.code, 0);
    }
    let before = versions(&old).await;
    let mut upgraded = agent.clone();
    upgraded.options.image = push_failpoints(&agent.bed).await.unwrap();
    upgraded.options.values = json!({ "extraEnv": [{ "name": OTHER.0, "value": OTHER.1 }] }).to_string();
    let body = async {
        install(&upgraded).await;
        assert_eq!(deploy(&new, Sample::HttpbinNew, &[]).await.code, 0);
        assert_eq!(renderers(&new).await, vec![OTHER.1.to_owned()]);
        assert_eq!(renderers(&old).await, vec![String::new()]);
        assert_eq!(versions(&old).await, before, "the upgrade touched what it did not render");
    };
    then_mend(body, install(agent)).await;
    let between = versions(&new).await;
    // The former agent comes back, and works: what the newer one rendered stays as well.
    assert_eq!(deploy(&old, Sample::HttpbinNew, &[]).await.code, 0);
    assert_eq!(versions(&new).await, between, "going back touched what it did not render");
    assert_eq!(renderers(&old).await, vec![String::new()]);
}

/// Upgrades, and waits until no process of the former version is left.
async fn install(agent: &Installation) {
    agent.helm_install(None).await.unwrap();
    let digest = agent.options.image.clone();
    wait_until(LIMIT, "the former agent to be gone", || async {
        let pods = agent.bed.kubectl(&["get", "pods", "-n", &agent.options.namespace, "-o", "json"]).await;
        let pods: Value = serde_json::from_str(&pods.map_err(|error| error.to_string())?).map_err(|e| e.to_string())?;
        let images: Vec<&Value> =
            pods["items"].as_array().into_iter().flatten().map(|pod| &pod["spec"]["containers"][0]["image"]).collect();
        if images.iter().all(|image| **image == digest.as_str()) { Ok(()) } else { Err(format!("{images:?}")) }
    })
    .await
    .unwrap();
    agent.connected(LIMIT).await.unwrap();
}

/// Uid and version of every Deployment (its generation: a controller writes its status) and Service, uid of every pod, once the last rollout is over to its end.
async fn versions(place: &Place) -> Vec<String> {
    wait_until(LIMIT, "the rollout to be over", || async {
        let pods = objects(place, "pods").await.map_err(|error| error.to_string())?.len();
        let deployments = objects(place, "deployments").await.map_err(|error| error.to_string())?;
        let going = deployments.iter().any(|one| one["status"]["terminatingReplicas"].as_i64().unwrap_or(0) > 0);
        if pods == 1 && !going { Ok(()) } else { Err(format!("{pods} pods: {}", json!(deployments))) }
    })
    .await
    .unwrap();
    let mut all = Vec::new();
    for (kind, field) in [("deployments", "generation"), ("services", "resourceVersion"), ("pods", "uid")] {
        for object in objects(place, kind).await.unwrap() {
            let metadata = &object["metadata"];
            all.push(format!("{kind} {} {} {}", metadata["name"], metadata["uid"], metadata[field]));
        }
    }
    all.sort_unstable();
    all
}

/// The renderer's version on the Deployments' pods; empty for that of the image under test.
async fn renderers(place: &Place) -> Vec<String> {
    let deployments = objects(place, "deployments").await.unwrap();
    let by = |one: &Value| one["spec"]["template"]["metadata"]["annotations"]["pdp-agent.dev/rendered-by"].clone();
    deployments.iter().map(|one| by(one).as_str().unwrap_or_default().to_owned()).collect()
}

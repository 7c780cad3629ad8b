//! An identity that is used from a second cluster: a copied Secret, a restored backup, a cloned machine.

use std::path::Path;

use serde_json::{Value, json};
use tests::installation::{ControlPlane, Installation};
use tests::support::{LIMIT, agent, ask, deploy, place, push_agent, put_secrets};
use tests::testbed::{Sample, Testbed, wait_until};

use super::then_mend;

#[tokio::test]
async fn an_identity_used_from_a_second_cluster_gets_no_session_and_raises_an_alarm() {
    let first = agent().await;
    let place = place("one-cluster").await;
    put_secrets(&place, "s").await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    let name = format!("{}-2", first.bed.instance().unwrap().name());
    let bed = Testbed::up(&name).await.unwrap();
    let work = used_from(&bed, first);
    then_mend(work, async { bed.clone().down().await.unwrap() }).await;
    first.control_plane.restart().await.unwrap();
    first.connected(LIMIT).await.unwrap();
    assert!(ask(&place, "/version").await.is_ok());
}

/// Copies control plane and identity to the other cluster, which has everything else of its own.
async fn used_from(bed: &Testbed, first: &Installation) {
    let state = bed.instance().unwrap().path("control-plane-state");
    first.control_plane.stop().await.unwrap();
    copy(first.control_plane.state(), &state);
    let plane = ControlPlane::start(bed, &state, &[]).await.unwrap();
    let mut options = first.options.clone();
    options.image = push_agent(bed).await.unwrap();
    let second = Installation { bed: bed.clone(), control_plane: plane.clone(), options };
    second.prepare_namespace().await.unwrap();
    second.helm_install(None).await.unwrap();
    let secret = ["get", "secret", "pdp-agent-identity", "-n", "pdp-agent", "-o", "json"];
    let stolen: Value = serde_json::from_str(&first.bed.kubectl(&secret).await.unwrap()).unwrap();
    let patch = json!({ "data": stolen["data"] }).to_string();
    let patch = ["patch", "secret", "pdp-agent-identity", "-n", "pdp-agent", "--type=merge", "-p", &patch];
    bed.kubectl(&patch).await.unwrap();
    let waited = wait_until(LIMIT, "the agent to be told", || async {
        let get = ["get", "dataplanes.pdp-agent.dev", "default", "-n", "pdp-agent", "-o", "json"];
        let plane = bed.kubectl(&get).await.map_err(|error| error.to_string())?;
        let plane: Value = serde_json::from_str(&plane).map_err(|error| error.to_string())?;
        let conditions = plane["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let told = conditions.iter().any(|one| {
            let message = one["message"].as_str().unwrap_or_default();
            one["reason"] == "ForeignCluster"
                && message.contains("belongs to another cluster")
                && message.contains("enrol")
        });
        if told { Ok(()) } else { Err(json!(conditions).to_string()) }
    })
    .await;
    if let Err(error) = waited {
        panic!("{error}\n{}", bed.diagnose("pdp-agent").await);
    }
    let cli = plane.pdpctl().within(&first.options.organization, "");
    let seen = cli.json(&["get", "data-plane", &first.options.data_plane]).await.unwrap();
    assert_ne!(seen["status"], "Connected", "{seen}");
    assert!(seen["message"].as_str().unwrap_or_default().contains("another cluster"), "no alarm: {seen}");
    let kinds = "releases.pdp-agent.dev,environments.pdp-agent.dev";
    let written = bed.kubectl(&["get", kinds, "-n", "pdp-agent", "-o", "name"]).await.unwrap();
    assert_eq!(written.trim(), "", "documents reached the second cluster");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

//! The start gate: a new pod has an open network until the network plugin applies the policies to it; a document's container never runs
//! in that time.

use anyhow::ensure;
use serde_json::{Value, json};
use tests::installation::Place;
use tests::support::{LIMIT, component, objects};
use tests::testbed::{Sample, wait_until};

use super::hostile::{environment, guest, policy};

/// How often a task tries.
const TRIES: usize = 5;

/// Where every pod finds the API server, and the cluster's DNS, which policies leave open.
const API_SERVER: &str = "10.96.0.1:443";
const DNS: &str = "10.96.0.10:53";

#[tokio::test]
async fn behind_the_start_gate_no_program_meets_an_open_network() {
    let guest = guest("gate", json!(null), json!(null)).await;
    let place = environment(&guest, "dev").await;
    let probe = guest.agent.bed.sample(Sample::Probe).unwrap();
    let file = |name: &str, kind: &str, args: &[&str]| {
        json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": name, "type": kind, "image": probe, "args": args})
            .to_string()
    };
    let dial = ["dial", "-timeout", "300ms", API_SERVER];
    assert_eq!(component(&place, &file("early", "ManualTask", &dial)).await.code, 0);
    assert_eq!(component(&place, &file("kept", "Service", &["sleep"])).await.code, 0);
    let codes = tries(&place, "early").await;
    assert!(codes.contains(&0), "this cluster closes its pods at once, so nothing would be proved: {codes:?}");
    let kept = pods(&place, "kept").await;

    let image = &guest.agent.options.image;
    policy(&guest, json!({"startGate": {"image": image}})).await;
    assert_eq!(component(&place, &file("late", "ManualTask", &dial)).await.code, 0);
    let codes = tries(&place, "late").await;
    assert_eq!(codes, [1; TRIES], "0: it reached what its policies close");
    assert_eq!(component(&place, &file("served", "Service", &["sleep"])).await.code, 0);
    for name in ["late", "served"] {
        for pod in pods(&place, name).await {
            let gate = &pod["status"]["initContainerStatuses"][0];
            assert_eq!(
                (&gate["name"], &gate["state"]["terminated"]["exitCode"]),
                (&"start-gate".into(), &0.into()),
                "{gate}"
            );
        }
    }
    // What was deployed before keeps its rendering.
    let names = |pods: &[Value]| pods.iter().map(|pod| pod["metadata"]["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&pods(&place, "kept").await), names(&kept), "a pod was replaced by the switch");

    policy(
        &guest,
        json!({"startGate": {"image": "elsewhere.test/pdp-agent@".to_owned() + image.split_once('@').unwrap().1}}),
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("component.yaml");
    std::fs::write(&path, file("held", "Service", &["sleep"])).unwrap();
    place.cli.run(&["deploy", "-f", &path.to_string_lossy(), "--environment", "dev"]).await.unwrap();
    told(&place, "the start gate of DataPlanePolicy/default names an image that is in no allowed registry").await;
    // An address that stays open holds the pod back for good, and says so.
    policy(&guest, json!({"startGate": {"image": image, "address": DNS}})).await;
    told(&place, "the start gate still waits").await;
    told(&place, "the start gate does not let the pod through").await;
    guest.close().await;
}

/// Exit codes of some runs of a task, one after the other.
async fn tries(place: &Place, task: &str) -> Vec<i64> {
    for _ in 0..TRIES {
        place.cli.ended(&["run", task, "--environment", "dev", "--wait", "--timeout", "120s"]).await.unwrap();
    }
    let runs = place.cli.json(&["get", "runs", task, "--environment", "dev"]).await.unwrap();
    runs.as_array().unwrap().iter().map(|run| run["exitCode"].as_i64().unwrap_or_else(|| panic!("{runs}"))).collect()
}

/// Pods of one component.
async fn pods(place: &Place, component: &str) -> Vec<Value> {
    let mut pods = objects(place, "pods").await.unwrap();
    pods.retain(|pod| pod["metadata"]["labels"]["pdp-agent.dev/component"] == component);
    assert!(!pods.is_empty(), "{component} has no pods");
    pods
}

/// Waits until the status of the component `held` has these words.
async fn told(place: &Place, words: &str) {
    wait_until(LIMIT, words, || async {
        let status = place.cli.json(&["status", "held", "--environment", "dev"]).await?;
        ensure!(status.to_string().contains(words), "{status}");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();
}

//! What a kubelet, a runtime, the scheduler or a controller writes stays in the cluster: whatever it is, no status and no fact
//! holds it.

use super::*;
use crate::operator::fixture::{CANARY, WAITING, planted_gate, planted_pod};
use crate::operator::world::view;

/// A Deployment whose pods were refused, in words that hold the canary.
fn deployment(failure: &str) -> DeploymentView {
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": CANARY, "message": failure});
    let object = json!({
        "metadata": {"generation": 1, "annotations": {"deployment.kubernetes.io/revision": "new"}},
        "spec": {"replicas": 1, "selector": {}, "template": {}},
        "status": {"observedGeneration": 1, "conditions": [condition("ReplicaFailure"), condition("Progressing")]},
    });
    view::deployment(&serde_json::from_value(object).unwrap())
}

/// Everything that leaves the cluster of a release with this workload, at once and after the deadline.
fn said(deployment: DeploymentView, pods: Vec<PodView>) -> String {
    let mut scene = Scene::new();
    scene.admit();
    scene.everything_is_there();
    scene.workload.deployment = Some(deployment);
    scene.workload.replica_sets =
        vec![ReplicaSetView { template_hash: "new".to_owned(), revision: Some("new".to_owned()) }];
    scene.workload.pods = pods;
    let mut said = String::new();
    for hours in [0, 1, 2] {
        scene.now += SignedDuration::from_hours(hours);
        let writes = scene.step();
        said.push_str(&format!("{writes} {} {:?}\n", json!(scene.status), scene.workload));
    }
    said
}

#[test]
fn no_word_of_kubelet_runtime_or_scheduler_leaves_the_cluster() {
    for waiting in WAITING {
        for scheduled in [true, false] {
            let pod = PodView { job: None, ..view::pod(&planted_pod(waiting, scheduled)) };
            let said = said(deployment("-"), vec![pod]);
            assert!(!said.contains(CANARY), "{waiting}, scheduled {scheduled}: {said}");
            assert!(said.contains("ImageRewritten"), "{said}");
            let waits = matches!(waiting, "ImagePullBackOff" | "ErrImagePull") || (!scheduled && waiting == CANARY);
            assert!(!waits || said.contains("kubectl describe pod web-new-1 -n ns"), "{said}");
        }
    }
}

#[test]
fn no_word_about_the_start_gate_leaves_the_cluster() {
    let states = ["tries", "tries again", "ended", "passed"].map(|state| (state, ""));
    for (state, waiting) in states.into_iter().chain(WAITING.map(|waiting| ("waits", waiting))) {
        let pod = PodView { job: None, ..view::pod(&planted_gate(state, waiting)) };
        let said = said(deployment("-"), vec![pod]);
        assert!(!said.contains(CANARY), "{state} {waiting}: {said}");
    }
}

#[test]
fn no_word_of_a_refused_pod_leaves_the_cluster() {
    for failure in ["exceeded quota: ", "admission webhook \"w\" denied the request: ", ""] {
        let said = said(deployment(&format!("pods \"a\" is forbidden: {failure}{CANARY}")), Vec::new());
        assert!(!said.contains(CANARY), "{said}");
        assert!(said.contains("new pods"), "{said}");
    }
}

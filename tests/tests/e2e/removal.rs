//! Removing an environment: its namespace goes with everything of ours, and with nothing of anybody else's.

use serde_json::json;
use tests::testbed::wait_until;

use tests::support::{LIMIT, agent, place};

#[tokio::test]
async fn an_environment_stays_while_anything_of_somebody_elses_is_in_it() {
    let place = place("leaving").await;
    let bed = &agent().await.bed;
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let selected = json!({"matchLabels": {"app": "a"}});
    let nowhere = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"nodeSelector": {"no": "where"}, "containers": [{"name": "a", "image": "a"}]}});
    let job = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}}}});
    let rule = json!({"service": {"name": "a", "port": {"number": 80}}});
    // None of them makes a pod.
    let specs = [
        (
            "apps/v1",
            "StatefulSet",
            json!({"replicas": 0, "serviceName": "a", "selector": selected, "template": template}),
        ),
        ("apps/v1", "DaemonSet", json!({"selector": selected, "template": nowhere})),
        ("batch/v1", "CronJob", json!({"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": job})),
        ("networking.k8s.io/v1", "Ingress", json!({"defaultBackend": rule})),
    ];
    let kinds: Vec<&str> = specs.iter().map(|(_, kind, _)| *kind).collect();
    for (api, kind, spec) in &specs {
        let metadata = json!({"name": "somebodys", "namespace": place.namespace});
        let object = json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec});
        bed.apply(&object.to_string()).await.unwrap();
    }
    // Clusters put this one into every namespace: it is in nobody's way.
    let metadata = json!({"name": "istio-ca-root-cert", "namespace": place.namespace});
    bed.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}).to_string()).await.unwrap();
    place.cli.run(&["delete", "environment", "dev", "--yes"]).await.unwrap();
    wait_until(LIMIT, "what is in the way to be named", || async {
        let status = place.cli.json(&["status", "--environment", "dev"]).await.map_err(|error| error.to_string())?;
        let said = status.to_string();
        let named = kinds.iter().all(|kind| said.contains(&format!("{kind}/somebodys")));
        if named { Ok(()) } else { Err(said) }
    })
    .await
    .unwrap();
    for kind in kinds {
        bed.kubectl(&["delete", kind, "somebodys", "-n", &place.namespace]).await.unwrap();
    }
    wait_until(LIMIT, "the namespace to go", || async {
        match bed.kubectl(&["get", "namespace", &place.namespace, "--ignore-not-found", "-o", "name"]).await {
            Ok(left) if left.trim().is_empty() => Ok(()),
            Ok(left) => Err(left),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap();
}

//! From a component file to a serving pod and back: deploy, update, restart, rollback, undeploy.

use serde_json::Value;
use tests::testbed::{Sample, Testbed, wait_until};

use tests::support::{
    LIMIT, agent, answered, ask, component, deploy, objects, phase, place, put_secrets, release, shell,
};

#[tokio::test]
async fn a_component_serves_with_its_configuration_and_secret_when_deploy_returns() {
    let place = place("serves").await;
    put_secrets(&place, "canary-7a1c").await;
    let ended = deploy(&place, Sample::HttpbinOld, &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let env = answered(&place, "/env").await;
    assert!(env.contains("hello from dev"), "{env}");
    assert!(env.contains("canary-7a1c"), "{env}");
    let row = release(&place, "httpbin").await.unwrap();
    assert_eq!(row["phase"], "Ready", "{row}");
    assert!(!row.to_string().contains("canary-7a1c"), "the secret is in the status: {row}");
}

#[tokio::test]
async fn an_update_and_a_rollback_change_what_answers() {
    let place = place("update").await;
    put_secrets(&place, "s").await;
    for sample in [Sample::HttpbinOld, Sample::HttpbinNew] {
        let ended = deploy(&place, sample, &[]).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        answers_only(&place, Testbed::sample_version(sample)).await;
    }
    let ended = place.cli.ended(&["rollback", "httpbin", "--environment", "dev", "--wait"]).await.unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    answers_only(&place, Testbed::sample_version(Sample::HttpbinOld)).await;
}

#[tokio::test]
async fn a_restart_replaces_the_pods_and_nothing_else() {
    let place = place("restart").await;
    put_secrets(&place, "s").await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    let before: Vec<String> = pods(&place).await;
    let ended = place.cli.ended(&["restart", "httpbin", "--environment", "dev", "--wait"]).await.unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    wait_until(LIMIT, "the old pods to be gone", || async {
        let now = pods(&place).await;
        if now.iter().any(|pod| before.contains(pod)) { Err(format!("{now:?}")) } else { Ok(()) }
    })
    .await
    .unwrap();
    answers_only(&place, Testbed::sample_version(Sample::HttpbinOld)).await;
}

#[tokio::test]
async fn an_undeployed_component_leaves_nothing_and_can_come_back() {
    let place = place("undeploy").await;
    put_secrets(&place, "s").await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    let ended = place.cli.ended(&["undeploy", "httpbin", "--environment", "dev", "--wait"]).await.unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    wait_until(LIMIT, "its objects to be gone", || async {
        for kind in ["deployments", "services", "pods"] {
            let left = objects(&place, kind).await.map_err(|error| error.to_string())?;
            if !left.is_empty() {
                return Err(format!("{} {kind} left", left.len()));
            }
        }
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(deploy(&place, Sample::HttpbinNew, &[]).await.code, 0);
    phase(&place, "httpbin", "Ready").await;
}

#[tokio::test]
async fn a_worker_has_no_address_and_holds_up_no_drain() {
    let place = place("worker").await;
    let bed = &agent().await.bed;
    let image = bed.sample(Sample::HttpbinOld).unwrap();
    let text = format!(
        "apiVersion: pdp-agent.dev/v1alpha1\nkind: Component\nname: worker\ntype: Worker\nimage: {image}\nsecurity: {{runAsUser: 65532}}\n"
    );
    let ended = component(&place, &text).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(release(&place, "worker").await.unwrap()["phase"], "Ready");
    for kind in ["services", "poddisruptionbudgets"] {
        assert!(objects(&place, kind).await.unwrap().is_empty(), "a worker has {kind}");
    }
    let before = objects(&place, "pods").await.unwrap();
    let name = before[0]["metadata"]["name"].as_str().unwrap();
    let eviction = format!("/api/v1/namespaces/{}/pods/{name}/eviction", place.namespace);
    let body = serde_json::json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("eviction.json");
    std::fs::write(&file, body.to_string()).unwrap();
    bed.kubectl(&["create", "--raw", &eviction, "-f", &file.to_string_lossy()]).await.unwrap();
    wait_until(LIMIT, "another pod", || async {
        let now = pods(&place).await;
        if now.iter().any(|pod| before[0]["metadata"]["uid"] != **pod) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await
    .unwrap();
    let ended = component(&place, &format!("{text}endpoints: [{{name: http, port: 8080, kind: HTTP}}]\n")).await;
    assert!(ended.code != 0 && ended.stderr.contains("a Worker has no endpoints"), "{ended:?}");
}

#[tokio::test]
async fn what_a_probe_asks_by_a_command_or_with_headers_says_when_a_component_serves() {
    let place = place("probes").await;
    let bed = &agent().await.bed;
    let shell = shell::image(bed).await.unwrap();
    let worker = serde_json::json!({
        "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": "worker", "type": "Worker", "image": shell,
        "args": ["sleep 2; : > /run/up; while :; do sleep 1; done"],
        "volumes": [{"path": "/run", "size": "1Mi", "medium": "Memory"}],
        "probes": {"readiness": {"exec": {"command": ["/bin/dash", "-c", "[ -e /run/up ]"]}, "periodSeconds": 1}},
        "terminationGraceSeconds": 1,
    });
    let ended = component(&place, &worker.to_string()).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let mut never = worker;
    never["name"] = "never".into();
    never["progressDeadlineSeconds"] = 15.into();
    never["probes"]["readiness"]["exec"]["command"][2] = "exit 1".into();
    let ended = component(&place, &never.to_string()).await;
    assert_eq!(ended.code, 1, "{ended:?}");

    let probe = serde_json::json!({"port": 8080, "path": "/status/200", "headers": [{"name": "X-Health", "value": "1"}], "initialDelaySeconds": 1});
    let service = serde_json::json!({
        "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": "web", "type": "Service",
        "image": bed.sample(Sample::HttpbinOld).unwrap(), "security": {"runAsUser": 65532},
        "endpoints": [{"name": "My_Public-API_of_orders", "port": 8080, "kind": "HTTP"}], "probes": {"readiness": probe},
    });
    let ended = component(&place, &service.to_string()).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    answered(&place, "/version").await;
}

async fn pods(place: &tests::installation::Place) -> Vec<String> {
    let pods = objects(place, "pods").await.unwrap();
    pods.iter().filter_map(|pod| pod.pointer("/metadata/uid").and_then(Value::as_str)).map(str::to_owned).collect()
}

async fn answers_only(place: &tests::installation::Place, version: &str) {
    wait_until(LIMIT, "only the new version to answer", || async {
        for _ in 0..5 {
            let answer = ask(place, "/version").await.map_err(|error| error.to_string())?;
            if !answer.contains(version) {
                return Err(answer);
            }
        }
        Ok(())
    })
    .await
    .unwrap();
}

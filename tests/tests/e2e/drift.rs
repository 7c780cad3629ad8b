//! Drift: edits of our objects by people and other programs are repaired; one who insists is named, and the object left alone.

use std::time::Instant;

use serde_json::Value;
use tests::installation::Place;
use tests::support::{LIMIT, agent, answered, ask, deploy, diagnose, object, objects, phase, place, put_secrets};
use tests::testbed::{Sample, wait_until};

#[tokio::test]
async fn a_deployment_that_a_person_changes_or_deletes_is_repaired() {
    let (place, name) = serving("drift").await;
    let bed = &agent().await.bed;
    bed.kubectl(&["scale", "deployment", &name, "-n", &place.namespace, "--replicas=3"]).await.unwrap();
    replicas(&place, &name, 1).await;
    bed.kubectl(&["delete", "deployment", &name, "-n", &place.namespace, "--wait=true"]).await.unwrap();
    wait_until(LIMIT, "the service to answer again", || async {
        ask(&place, "/version").await.map_err(|error| error.to_string())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn every_kind_of_object_that_a_person_deletes_comes_back() {
    let (place, _) = serving("deleted").await;
    let bed = &agent().await.bed;
    for kind in [
        "service",
        "configmap",
        "networkpolicy",
        "poddisruptionbudget",
        "controllerrevision",
        "rolebinding",
        "serviceaccount/pdp-vault",
        "resourcequota",
        "limitrange",
        "secret/pdp-key",
    ] {
        let (kind, name) = kind.split_once('/').map_or((kind, None), |(kind, name)| (kind, Some(name.to_owned())));
        let ours: Vec<Value> = objects(&place, kind).await.unwrap();
        let ours = ours.iter().filter(|object| object["metadata"]["labels"]["pdp-agent.dev/data-plane"].is_string());
        let before = ours.filter_map(|object| object["metadata"]["name"].as_str()).map(str::to_owned).next();
        // A release with one pod has no disruption budget.
        let Some(name) = name.or(before) else { continue };
        bed.kubectl(&["delete", kind, &name, "-n", &place.namespace, "--wait=true"]).await.unwrap();
        let since = Instant::now();
        let back = wait_until(LIMIT, "it to be back", || async {
            object(&place, kind, &name).await.map_err(|error| error.to_string())
        });
        if let Err(error) = back.await {
            panic!("{kind} {name}: {error}\n{}", diagnose(&place).await);
        }
        println!("{kind} {name} was back after {:?}", since.elapsed());
    }
    answered(&place, "/version").await;
    phase(&place, "httpbin", "Ready").await;
}

#[tokio::test]
async fn what_a_person_adds_to_a_selector_a_policy_or_a_binding_is_taken_back() {
    let (place, _) = serving("widened").await;
    let bed = &agent().await.bed;
    let service = objects(&place, "services").await.unwrap()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let subject = r#"{"kind": "ServiceAccount", "name": "default", "namespace": "default"}"#;
    let added = r#"{"op": "add", "path": "#;
    for (kind, name, what, at) in [
        ("networkpolicy", "pdp-default-deny", r#""/spec/ingress", "value": [{}]"#, "/spec/ingress"),
        (
            "networkpolicy",
            "pdp-default-deny",
            r#""/spec/podSelector/matchLabels", "value": {"no": "pod"}"#,
            "/spec/podSelector/matchLabels",
        ),
        (
            "networkpolicy",
            "pdp-own-namespace",
            r#""/spec/ingress/0/from/0/namespaceSelector", "value": {}"#,
            "/spec/ingress/0/from/0/namespaceSelector",
        ),
        ("service", &service, r#""/spec/selector/no", "value": "pod""#, "/spec/selector/no"),
        ("rolebinding", "pdp-agent-workloads", &format!(r#""/subjects/-", "value": {subject}"#), "/subjects/1"),
    ] {
        let patch = format!("[{added}{what}}}]");
        bed.kubectl(&["patch", kind, name, "-n", &place.namespace, "--type=json", "-p", &patch]).await.unwrap();
        wait_until(LIMIT, "it to be taken back", || async {
            let now = object(&place, kind, name).await.map_err(|error| error.to_string())?;
            now.pointer(at).map_or(Ok(()), |still| Err(format!("{kind} {name} has {at}: {still}")))
        })
        .await
        .unwrap();
    }
    answered(&place, "/version").await;
}

#[tokio::test]
async fn who_insists_on_a_change_is_named_and_left_alone() {
    let (place, name) = serving("contested").await;
    let bed = &agent().await.bed;
    let scale = ["scale", "deployment", &name, "-n", &place.namespace, "--replicas=2"];
    for _ in 0..3 {
        bed.kubectl(&scale).await.unwrap();
        replicas(&place, &name, 1).await;
    }
    bed.kubectl(&scale).await.unwrap();
    let message = wait_until(LIMIT, "the release to say that it is contested", || async {
        let args = ["get", "releases.pdp-agent.dev", "-n", "pdp-agent", "-o", "json"];
        let list: Value = serde_json::from_str(&bed.kubectl(&args).await.map_err(|e| e.to_string())?).unwrap();
        let mut conditions = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|release| release["status"]["namespace"] == place.namespace.as_str())
            .flat_map(|release| release["status"]["conditions"].as_array().cloned().unwrap_or_default());
        let contested = conditions.find(|condition| condition["type"] == "Contested");
        contested.map(|found| found["message"].to_string()).ok_or_else(|| "no such condition".to_owned())
    })
    .await
    .unwrap();
    assert!(message.contains("kubectl") && message.contains("/spec/replicas"), "{message}");
    assert_eq!(object(&place, "deployment", &name).await.unwrap()["spec"]["replicas"], 2);
    // A new generation starts to repair again.
    assert_eq!(deploy(&place, Sample::HttpbinNew, &[]).await.code, 0);
    replicas(&place, &name, 1).await;
}

#[tokio::test]
async fn replicas_stay_as_an_autoscaler_has_set_them_until_it_is_gone() {
    let (place, name) = serving("autoscaled").await;
    let bed = &agent().await.bed;
    let namespace = place.namespace.as_str();
    bed.kubectl(&["autoscale", "deployment", &name, "-n", namespace, "--min=3", "--max=4"]).await.unwrap();
    replicas(&place, &name, 3).await;
    // Neither a repair of something else nor a new release takes them back.
    let patch = r#"{"spec":{"progressDeadlineSeconds":77}}"#;
    bed.kubectl(&["patch", "deployment", &name, "-n", namespace, "--type=merge", "-p", patch]).await.unwrap();
    wait_until(LIMIT, "the deadline to be taken back", || async {
        let now = object(&place, "deployment", &name).await.map_err(|error| error.to_string())?;
        assert_eq!(now["spec"]["replicas"], 3);
        if now["spec"]["progressDeadlineSeconds"] == 77 { Err("it is as it was set".to_owned()) } else { Ok(()) }
    })
    .await
    .unwrap();
    assert_eq!(deploy(&place, Sample::HttpbinNew, &[]).await.code, 0);
    assert_eq!(object(&place, "deployment", &name).await.unwrap()["spec"]["replicas"], 3);
    let releases = bed.kubectl(&["get", "releases.pdp-agent.dev", "-n", "pdp-agent", "-o", "json"]).await.unwrap();
    let releases: Value = serde_json::from_str(&releases).unwrap();
    let ours = releases["items"].as_array().unwrap().iter().find(|release| release["status"]["namespace"] == namespace);
    let conditions = ours.unwrap()["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().all(|condition| condition["type"] != "Contested"), "{conditions:?}");

    bed.kubectl(&["delete", "horizontalpodautoscaler", &name, "-n", namespace]).await.unwrap();
    bed.kubectl(&["scale", "deployment", &name, "-n", namespace, "--replicas=2"]).await.unwrap();
    replicas(&place, &name, 1).await;
}

async fn serving(name: &str) -> (Place, String) {
    let place = place(name).await;
    put_secrets(&place, "s").await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    let name = objects(&place, "deployments").await.unwrap()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    (place, name)
}

async fn replicas(place: &Place, deployment: &str, expected: i64) {
    let repaired = wait_until(LIMIT, "the change to be taken back", || async {
        let now = object(place, "deployment", deployment).await.map_err(|error| error.to_string())?;
        if now["spec"]["replicas"] == expected { Ok(()) } else { Err(now["spec"]["replicas"].to_string()) }
    });
    if let Err(error) = repaired.await {
        panic!("{error}\n{}", diagnose(place).await);
    }
}

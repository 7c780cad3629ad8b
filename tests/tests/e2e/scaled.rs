//! An autoscaler that a component file asks for. Nothing measures pods in the cluster of these tests.

use serde_json::Value;
use tests::installation::Place;
use tests::support::{LIMIT, agent, component, diagnose, object, objects, phase, place, release, shell};
use tests::testbed::wait_until;

const AUTOSCALED: &str = "{min: 2, max: 4, cpu: 70}";

/// Deploys a worker that is scaled so, and waits for its end.
async fn deployed(place: &Place, image: &str, scaling: &str) {
    let text = format!(
        "apiVersion: pdp-agent.dev/v1alpha1\nkind: Component\nname: app\ntype: Worker\nimage: {image}\nargs: ['while :; do sleep 1; done']\n\
         minReadySeconds: 0\nterminationGraceSeconds: 1\nscaling: {scaling}\n"
    );
    let ended = component(place, &text).await;
    assert_eq!(ended.code, 0, "{scaling}: {ended:?}\n{}", diagnose(place).await);
}

/// Waits until the component's Deployment asks for that many pods; they are never fewer than `least` meanwhile.
async fn pods_are(place: &Place, name: &str, expected: i64, least: i64) {
    let waited = wait_until(LIMIT, "the pods to be as many", || async {
        let now = object(place, "deployment", name).await.map_err(|error| error.to_string())?;
        let replicas = now["spec"]["replicas"].as_i64().unwrap_or(1);
        assert!(replicas >= least, "{replicas} pods on the way to {expected}");
        if replicas == expected { Ok(()) } else { Err(replicas.to_string()) }
    });
    if let Err(error) = waited.await {
        panic!("{error}\n{}", diagnose(place).await);
    }
}

#[tokio::test]
async fn an_autoscaler_takes_over_comes_back_and_gives_back() {
    let place = place("scaled").await;
    let bed = &agent().await.bed;
    let image = shell::image(bed).await.unwrap();
    deployed(&place, &image, "{replicas: 3}").await;
    let name = objects(&place, "deployments").await.unwrap()[0]["metadata"]["name"].as_str().unwrap().to_owned();

    deployed(&place, &image, AUTOSCALED).await;
    pods_are(&place, &name, 3, 3).await;
    let made: Value = object(&place, "horizontalpodautoscaler", &name).await.unwrap();
    assert_eq!(made["spec"]["scaleTargetRef"]["name"], name.as_str(), "{made}");
    let told = wait_until(LIMIT, "it to be told that nothing measures pods", || async {
        let row = release(&place, "app").await.map_err(|error| error.to_string())?;
        if row["message"].as_str().is_some_and(|message| message.contains("install metrics-server")) {
            Ok(row)
        } else {
            Err(row.to_string())
        }
    });
    assert_eq!(told.await.unwrap()["phase"], "Ready");

    // Neither who deletes it nor who overrules it gets far.
    bed.kubectl(&["delete", "horizontalpodautoscaler", &name, "-n", &place.namespace, "--wait=true"]).await.unwrap();
    wait_until(LIMIT, "it to be back", || async {
        let now = object(&place, "horizontalpodautoscaler", &name).await.map_err(|error| error.to_string())?;
        if now["metadata"]["uid"] == made["metadata"]["uid"] { Err("it is not gone yet".to_owned()) } else { Ok(()) }
    })
    .await
    .unwrap();
    let scale = async |replicas: &str| {
        let number = format!("--replicas={replicas}");
        bed.kubectl(&["scale", "deployment", &name, "-n", &place.namespace, &number]).await.unwrap();
    };
    scale("9").await;
    pods_are(&place, &name, 4, 3).await;
    scale("3").await;

    deployed(&place, &image, "{replicas: 2}").await;
    pods_are(&place, &name, 2, 2).await;
    wait_until(LIMIT, "the autoscaler to be gone", || async {
        let left = objects(&place, "horizontalpodautoscalers").await.map_err(|error| error.to_string())?;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await
    .unwrap();
    phase(&place, "app", "Ready").await;
}

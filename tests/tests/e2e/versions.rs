//! Versions beside each other: callers of a major version are led to its newest minor version, without a failed request.

use serde_json::Value;
use tests::installation::{Place, get};
use tests::load::beside;
use tests::support::{LIMIT, agent, component, diagnose, object, phase, place};
use tests::testbed::{Sample, Testbed, wait_until};

#[tokio::test]
async fn callers_of_a_major_version_are_led_to_its_newest_minor_version_without_a_failed_request() {
    let place = place("versions").await;
    let bed = &agent().await.bed;
    deployed(&place, Sample::HttpbinOld, "v1.0", 1).await;
    let service = leads_to(&place, "v1", "v1.0").await;
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    let address = format!("{address}:{}", service["spec"]["ports"][0]["port"]).parse().unwrap();
    // The node takes up a new Service a moment after the pods are ready.
    let answers = || async { get(bed, address, "/version").await.map_err(|error| error.to_string()) };
    wait_until(LIMIT, "the new Service to answer", answers).await.unwrap();
    let kept = beside::start(bed, address, true).unwrap();
    let single = beside::start(bed, address, false).unwrap();

    // It is published, has no pods, returns, and is undeployed.
    deployed(&place, Sample::HttpbinNew, "v1.1", 1).await;
    leads_to(&place, "v1", "v1.1").await;
    deployed(&place, Sample::HttpbinNew, "v1.1", 0).await;
    leads_to(&place, "v1", "v1.0").await;
    deployed(&place, Sample::HttpbinNew, "v1.1", 1).await;
    leads_to(&place, "v1", "v1.1").await;
    // Another major version serves at the same time, and each minor version by itself.
    deployed(&place, Sample::HttpbinNew, "v2.0", 1).await;
    leads_to(&place, "v2", "v2.0").await;
    for (minor, track) in [("v1-0", "v1.0"), ("v1-1", "v1.1"), ("v2-0", "v2.0")] {
        leads_to(&place, minor, track).await;
    }
    let undeploy = ["undeploy", "web", "--environment", "dev", "--track", "v1.1", "--wait"];
    let ended = place.cli.ended(&undeploy).await.unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    leads_to(&place, "v1", "v1.0").await;

    let reports = [("kept", beside::finish(kept).await.unwrap()), ("single", beside::finish(single).await.unwrap())];
    println!("{reports:?}");
    for (name, report) in &reports {
        assert_eq!(report.failures, 0, "{name}: {report:?}");
    }
    // An open connection stays with its pod; each new one finds the version of that moment.
    for sample in [Sample::HttpbinOld, Sample::HttpbinNew] {
        let version = Testbed::sample_version(sample);
        assert!(reports[1].1.answers.get(version).is_some_and(|count| *count > 0), "{reports:?}");
    }
    // Nobody needs to be told: a person who changes where it leads is set right.
    let patch = r#"{"spec":{"selector":{"pdp-agent.dev/release":"nobody"}}}"#;
    let patched = ["patch", "service", "web-http-v1", "-n", &place.namespace, "--type=merge", "-p", patch];
    bed.kubectl(&patched).await.unwrap();
    leads_to(&place, "v1", "v1.0").await;
    phase(&place, "web", "Ready").await;
}

/// Deploys a version with so many pods.
async fn deployed(place: &Place, sample: Sample, track: &str, replicas: u8) {
    let image = agent().await.bed.sample(sample).unwrap();
    let text = format!(
        "apiVersion: pdp-agent.dev/v1alpha1\nkind: Component\nname: web\ntrack: {track}\ntype: Service\nimage: {image}\n\
         endpoints: [{{name: http, port: 8080, kind: HTTP}}]\nscaling: {{replicas: {replicas}}}\nsecurity: {{runAsUser: 65532}}\n\
         resources: {{cpuRequest: 20m, memoryRequest: 32Mi, memoryLimit: 128Mi}}\n\
         probes: {{readiness: {{port: 8080, path: /status/200, periodSeconds: 1}}}}\n"
    );
    let ended = component(place, &text).await;
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// Waits until the Service of a version leads to the release of a track.
async fn leads_to(place: &Place, version: &str, track: &str) -> Value {
    let name = format!("web-http-{version}");
    let what = format!("{name} to lead to {track}");
    let led = wait_until(LIMIT, &what, || async {
        let service = object(place, "service", &name).await.map_err(|error| error.to_string())?;
        let labels = &service["metadata"]["labels"];
        let selected = &service["spec"]["selector"]["pdp-agent.dev/release"];
        let leads = labels["pdp-agent.dev/track"] == track && *selected == labels["pdp-agent.dev/release"];
        if leads { Ok(service) } else { Err(service.to_string()) }
    });
    match led.await {
        Ok(service) => service,
        Err(error) => panic!("{error}\n{}", diagnose(place).await),
    }
}

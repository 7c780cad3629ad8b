//! Versions beside each other: callers of a major version are led to its newest minor version, without a failed request.

use serde_json::Value;
use tests::installation::Place;
use tests::load::beside;
use tests::support::{LIMIT, agent, deploy, diagnose, object, phase, place, put_secrets};
use tests::testbed::{Sample, Testbed, wait_until};

#[tokio::test]
async fn callers_of_a_major_version_are_led_to_its_newest_minor_version_without_a_failed_request() {
    let place = place("versions").await;
    let bed = &agent().await.bed;
    put_secrets(&place, "s").await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    let service = leads_to(&place, "v1", "v1.0").await;
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    let address = format!("{address}:{}", service["spec"]["ports"][0]["port"]).parse().unwrap();
    let kept = beside::start(bed, address, true).unwrap();
    let single = beside::start(bed, address, false).unwrap();

    let newer = |more: &'static [&'static str]| {
        let place = &place;
        async move {
            let args = [&["--set", "track=v1.1"][..], more].concat();
            assert_eq!(deploy(place, Sample::HttpbinNew, &args).await.code, 0);
        }
    };
    // It is published, has no pods, returns, and is undeployed.
    newer(&[]).await;
    leads_to(&place, "v1", "v1.1").await;
    newer(&["--set", "scaling.replicas=0"]).await;
    leads_to(&place, "v1", "v1.0").await;
    newer(&["--set", "scaling.replicas=1"]).await;
    leads_to(&place, "v1", "v1.1").await;
    // Another major version serves at the same time, and each minor version by itself.
    assert_eq!(deploy(&place, Sample::HttpbinNew, &["--set", "track=v2.0"]).await.code, 0);
    leads_to(&place, "v2", "v2.0").await;
    for (minor, track) in [("v1-0", "v1.0"), ("v1-1", "v1.1"), ("v2-0", "v2.0")] {
        leads_to(&place, minor, track).await;
    }
    let undeploy = ["undeploy", "httpbin", "--environment", "dev", "--track", "v1.1", "--wait"];
    let ended = place.cli.ended(&undeploy).await.unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    leads_to(&place, "v1", "v1.0").await;

    for (name, load) in [("kept", kept), ("single", single)] {
        let report = beside::finish(load).await.unwrap();
        println!("{name}: {report:?}");
        assert_eq!(report.failures, 0, "{name}: {report:?}");
        for sample in [Sample::HttpbinOld, Sample::HttpbinNew] {
            let version = Testbed::sample_version(sample);
            assert!(report.answers.get(version).is_some_and(|count| *count > 0), "{name}: {report:?}");
        }
    }
    // Nobody needs to be told: a person who changes where it leads is set right.
    let patch = r#"{"spec":{"selector":{"pdp-agent.dev/release":"nobody"}}}"#;
    let patched = ["patch", "service", "httpbin-http-v1", "-n", &place.namespace, "--type=merge", "-p", patch];
    bed.kubectl(&patched).await.unwrap();
    leads_to(&place, "v1", "v1.0").await;
    phase(&place, "httpbin", "Ready").await;
}

/// Waits until the Service of a version leads to the release of a track.
async fn leads_to(place: &Place, version: &str, track: &str) -> Value {
    let name = format!("httpbin-http-{version}");
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

//! No secret value outside its Secret, the vault and the process that needs it.

use base64::Engine as _;
use tests::testbed::Sample;

use tests::support::{agent, deploy, place, put_secrets};

#[tokio::test]
async fn a_secret_is_found_nowhere_but_in_its_secret() {
    let canary = format!("canary/{}", uuid::Uuid::new_v4());
    let place = place("canary").await;
    put_secrets(&place, &canary).await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    let agent = agent().await;
    let bed = &agent.bed;
    let mut places: Vec<(String, String)> = Vec::new();
    // All that the agent and its environment keep in the API server, but Secrets.
    for namespace in ["pdp-agent", place.namespace.as_str()] {
        let kinds = "releases.pdp-agent.dev,environments.pdp-agent.dev,dataplanes.pdp-agent.dev,taskruns.pdp-agent.dev,\
                     deployments,replicasets,pods,configmaps,events,controllerrevisions,jobs";
        let text = bed.kubectl(&["get", kinds, "-n", namespace, "-o", "yaml", "--show-managed-fields"]).await.unwrap();
        places.push((format!("objects of {namespace}"), text));
    }
    // The control plane: its store, and what it received.
    let state = bed.instance().unwrap().path("control-plane-state");
    for entry in std::fs::read_dir(&state).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        places.push((entry.path().display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
    }
    // The agent's own words.
    for role in ["link", "operator"] {
        let logs =
            bed.kubectl(&["logs", &format!("deploy/pdp-agent-{role}"), "-n", "pdp-agent", "--tail=-1"]).await.unwrap();
        assert!(!logs.is_empty(), "{role} says nothing");
        places.push((format!("log of {role}"), logs));
    }
    places.push(("status".to_owned(), place.cli.run(&["status", "-o", "json"]).await.unwrap()));
    for (name, text) in &places {
        for form in forms(&canary) {
            assert!(!text.contains(&form), "{name} holds the secret as {form}");
        }
    }
    // The search can find: the Secret itself holds it.
    let secrets = bed.kubectl(&["get", "secrets", "-n", &place.namespace, "-o", "yaml"]).await.unwrap();
    assert!(forms(&canary).iter().any(|form| secrets.contains(form)), "the search would not find it either");
}

/// The value as it is, in base64, in hexadecimal and as part of a URL.
fn forms(value: &str) -> Vec<String> {
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    vec![
        value.to_owned(),
        base64::engine::general_purpose::STANDARD.encode(value),
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(value),
        hex,
        value.replace('/', "%2F"),
    ]
}

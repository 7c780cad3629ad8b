//! Where a secret value must not be: everything that the agent, its environment and the control plane say or keep.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::Value;

use super::agent;
use crate::installation::{Place, get};

/// How every token of an account begins: the start of a JWT's head.
const JWT: &str = "eyJhbGciOi";

/// A place and what stands there.
pub type Said = (String, String);

/// Everything that can be read about `place` without a right to read Secrets.
///
/// # Errors
/// Something cannot be read, or is empty where it cannot be.
pub async fn everything_said(place: &Place) -> Result<Vec<Said>> {
    let agent = agent().await;
    let bed = &agent.bed;
    let mut said = Vec::new();
    for namespace in ["pdp-agent", place.namespace.as_str()] {
        let kinds = "releases.pdp-agent.dev,environments.pdp-agent.dev,dataplanes.pdp-agent.dev,taskruns.pdp-agent.dev,\
                     dataplanepolicies.pdp-agent.dev,deployments,replicasets,pods,services,configmaps,events,leases,\
                     controllerrevisions,jobs,endpointslices,networkpolicies";
        let text = bed.kubectl(&["get", kinds, "-n", namespace, "-o", "yaml", "--show-managed-fields"]).await?;
        said.push((format!("objects of {namespace}"), text));
    }
    let state = agent.control_plane.state();
    for entry in std::fs::read_dir(state)?.flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        said.push((entry.path().display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
    }
    let frames = serde_json::to_string(&agent.control_plane.pdpctl().record("").await?)?;
    ensure!(frames.contains(&place.namespace), "the record of frames does not hold this place");
    said.push(("frames".to_owned(), frames));
    let pods: Value = serde_json::from_str(&bed.kubectl(&["get", "pods", "-n", "pdp-agent", "-o", "json"]).await?)?;
    for pod in pods.get("items").and_then(Value::as_array).context("no pods")? {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let (name, Some(ip)) = (text("/metadata/name").unwrap_or_default(), text("/status/podIP")) else { continue };
        for more in [&[][..], &["--previous"]] {
            let args = [&["logs", &name, "-n", "pdp-agent", "--tail=-1"], more].concat();
            // There is a previous one only after a crash.
            match bed.kubectl(&args).await {
                Ok(log) => said.push((format!("log of {name}"), log)),
                Err(error) => ensure!(!more.is_empty(), "{error}"),
            }
        }
        let numbers = get(bed, format!("{ip}:8081").parse()?, "/metrics").await?;
        ensure!(numbers.contains("# EOF"), "{name} gives no metrics: {numbers}");
        said.push((format!("metrics of {name}"), numbers));
    }
    for args in [
        &["status", "-o", "json"][..],
        &["status", "-o", "yaml"],
        &["status"],
        &["events", "--tail", "1000"],
        &["get", "components", "-o", "json"],
        &["get", "environments", "-o", "json"],
        &["get", "data-planes", "-o", "json"],
    ] {
        said.push((format!("pdpctl {}", args.join(" ")), place.cli.run(args).await?));
    }
    Ok(said)
}

/// Where `secret` stands, in any form, and where a token of an account stands.
#[must_use]
pub fn leaks(said: &[Said], secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in said {
        found.extend(
            forms(secret).iter().filter(|form| text.contains(*form)).map(|form| format!("{name} holds {form}")),
        );
        // Checked in the control plane's own files as well: they hold certificates, and no token of an account.
        if text.contains(JWT) {
            found.push(format!("{name} holds a token"));
        }
    }
    found
}

/// The value as it is, in base64, in hexadecimal and as part of a URL.
#[must_use]
pub fn forms(value: &str) -> Vec<String> {
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    vec![value.to_owned(), STANDARD.encode(value), STANDARD_NO_PAD.encode(value), hex, value.replace('/', "%2F")]
}

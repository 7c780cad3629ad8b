//! The agent that all tests share, and small words for what they look at.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::string_slice,
    reason = "support of tests: a broken expectation is a failed test"
)]

use std::path::Path;
use std::time::Duration;

use crate::installation::{ControlPlane, Ended, Installation, Options, Place, artifacts};
use crate::testbed::{Sample, Testbed, wait_until};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::sync::OnceCell;

pub mod canary;
pub mod in_process;
pub mod printer;
pub mod shell;

/// Time within which anything that is expected must happen.
pub const LIMIT: Duration = Duration::from_secs(90);

/// The agent in namespace `pdp-agent`, installed once for all tests of a run.
pub async fn agent() -> &'static Installation {
    static AGENT: OnceCell<Installation> = OnceCell::const_new();
    AGENT.get_or_init(|| async { install().await.expect("the shared agent is installed") }).await
}

async fn install() -> Result<Installation> {
    let name = std::env::var("PDP_TESTBED_NAME").unwrap_or_else(|_| "main".to_owned());
    let bed = Testbed::attach(&name)?;
    let state = bed.instance()?.path("control-plane-state");
    // An agent left by an earlier run stays with its control plane and would not use another one's token.
    let secret = ["get", "secret", "pdp-agent-identity", "-n", "pdp-agent", "--ignore-not-found", "-o", "name"];
    if state.exists() && bed.kubectl(&secret).await?.trim().is_empty() {
        std::fs::remove_dir_all(&state)?;
    }
    let plane = ControlPlane::start(&bed, &state, &["--certificate-lifetime", "2m"]).await?;
    let image = push_agent(&bed).await?;
    let options = Options {
        namespace: "pdp-agent".to_owned(),
        release: "pdp-agent".to_owned(),
        organization: "acme".to_owned(),
        data_plane: "berlin".to_owned(),
        image,
        // Many tests create and remove resources at once, so there are no limits; these have tests of their own.
        // A quota on our kinds refuses them for the first minute after their definitions were installed.
        values: serde_json::json!({"policy": {"limits": null}, "objectQuota": null}).to_string(),
    };
    Installation::install(&bed, &plane, options).await
}

/// Pushes the image under test into a cluster's registry and returns it by digest. A binary in place of the image
/// (`PDP_AGENT_BINARY`) shortens the loop while the agent is being changed.
///
/// # Errors
/// There is no image, or the registry does not take it.
pub async fn push_agent(bed: &Testbed) -> Result<String> {
    Ok(match std::env::var_os("PDP_AGENT_BINARY") {
        Some(binary) => push_binary(bed, binary.as_ref(), "pdp-agent:dev").await?,
        None => bed.push_archive(&artifacts::image_archive(), "pdp-agent:e2e").await?,
    })
}

/// Pushes an agent as compiled for tests, and returns the image by digest.
///
/// # Errors
/// The registry does not take it.
pub async fn push_binary(bed: &Testbed, binary: &Path, name: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    Ok(bed.push_image(&artifacts::dynamic_image(binary, folder.path()).await, name).await?)
}

/// Pushes the agent with failpoints (feature `failpoints`) and returns the image by digest.
///
/// # Errors
/// It was not built, or the registry does not take it.
pub async fn push_failpoints(bed: &Testbed) -> Result<String> {
    let binary = artifacts::binary("pdp-agent-failpoints");
    let build = "cargo build --workspace --bin pdp-agent-failpoints --features pdp-agent/failpoints";
    ensure!(binary.exists(), "{} is missing: {build}", binary.display());
    push_binary(bed, &binary, "pdp-agent:failpoints").await
}

/// A new project with an environment `dev`. `name` is made unique.
pub async fn place(name: &str) -> Place {
    let unique = format!("{name}-{}", &uuid::Uuid::new_v4().simple().to_string()[..6]);
    agent().await.environment(&unique).await.expect("the environment is made")
}

/// Deploys `config/samples/httpbin.yaml` with an image and waits for the end, whatever it is.
pub async fn deploy(place: &Place, sample: Sample, more: &[&str]) -> Ended {
    let image = format!("image={}", agent().await.bed.sample(sample).expect("sample image"));
    deploy_file(place, "config/samples/httpbin.yaml", &[&["--set", &image], more].concat()).await
}

/// Deploys a file of the checkout and waits for the end, whatever it is.
pub async fn deploy_file(place: &Place, file: &str, more: &[&str]) -> Ended {
    let file = artifacts::file(file);
    let file = file.to_string_lossy();
    let args = [&["deploy", "-f", &*file, "--environment", "dev", "--wait", "--timeout", "120s"], more].concat();
    place.cli.ended(&args).await.expect("pdpctl runs")
}

/// The status of the component's release at the control plane.
pub async fn release(place: &Place, component: &str) -> Result<Value> {
    let status = place.cli.json(&["status", component, "--environment", "dev"]).await?;
    let rows = status.as_array().context("status is no list")?;
    let row = rows.iter().find(|row| row.get("kind").and_then(Value::as_str) == Some("Release"));
    row.cloned().with_context(|| status.to_string())
}

/// Waits until the component's release is in `phase` at the control plane.
pub async fn phase(place: &Place, component: &str, phase: &str) -> Value {
    let waited = wait_until(LIMIT, &format!("{component} to be {phase}"), || async {
        let row = release(place, component).await?;
        ensure!(row.get("phase").and_then(Value::as_str) == Some(phase), "{row}");
        Ok::<_, anyhow::Error>(row)
    })
    .await;
    match waited {
        Ok(row) => row,
        Err(error) => panic!("{error}\n{}", diagnose(place).await),
    }
}

/// The custom resources, events and last logs that matter.
pub async fn diagnose(place: &Place) -> String {
    let agent = agent().await;
    let resources = agent
        .bed
        .kubectl(&[
            "get",
            "releases.pdp-agent.dev,environments.pdp-agent.dev,taskruns.pdp-agent.dev",
            "-n",
            "pdp-agent",
            "-o",
            "yaml",
        ])
        .await
        .unwrap_or_else(|error| error.to_string());
    format!("{resources}\n{}\n{}", agent.bed.diagnose(&place.namespace).await, agent.bed.diagnose("pdp-agent").await)
}

/// One object of the environment's namespace as JSON.
pub async fn object(place: &Place, kind: &str, name: &str) -> Result<Value> {
    let text = agent().await.bed.kubectl(&["get", kind, name, "-n", &place.namespace, "-o", "json"]).await?;
    Ok(serde_json::from_str(&text)?)
}

/// The objects of one kind in the environment's namespace.
pub async fn objects(place: &Place, kind: &str) -> Result<Vec<Value>> {
    let text = agent().await.bed.kubectl(&["get", kind, "-n", &place.namespace, "-o", "json"]).await?;
    let list: Value = serde_json::from_str(&text)?;
    Ok(list.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
}

/// Asks the service of the place, from the node, and returns head and body of the answer.
pub async fn ask(place: &Place, path: &str) -> Result<String> {
    let services = objects(place, "services").await?;
    let service = services.first().context("no Service")?;
    let ip = service.pointer("/spec/clusterIP").and_then(Value::as_str).context("no address")?;
    let port = service.pointer("/spec/ports/0/port").and_then(Value::as_u64).context("no port")?;
    crate::installation::get(&agent().await.bed, format!("{ip}:{port}").parse()?, path).await
}

/// The same, once it answers: Services take up pods that are ready a moment later.
pub async fn answered(place: &Place, path: &str) -> String {
    let answer = wait_until(LIMIT, "an answer", || async { ask(place, path).await.map_err(|error| error.to_string()) });
    answer.await.expect("it answers")
}

/// Puts the secrets of `config/samples/httpbin.yaml` into the vault.
pub async fn put_secrets(place: &Place, token: &str) {
    let secret = serde_json::json!({ "api-token": token });
    agent().await.bed.vault_put(&format!("{}/httpbin", place.namespace), secret).await.expect("the vault takes it");
}

/// Deploys a component file given as text and waits for the end, at most two minutes.
pub async fn component(place: &Place, text: &str) -> Ended {
    component_within(place, text, "120s").await
}

/// The same, for what does not come to an end.
pub async fn component_within(place: &Place, text: &str, timeout: &str) -> Ended {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let file = folder.path().join("component.yaml");
    std::fs::write(&file, text).expect("a component file");
    let file = file.to_string_lossy();
    let args = ["deploy", "-f", &*file, "--environment", "dev", "--wait", "--timeout", timeout];
    place.cli.ended(&args).await.expect("pdpctl runs")
}

//! How soon a cut link is back, and how soon a silent one is noticed.
//!
//! A session that was cut young is dialled again more and more slowly, on purpose. So every session lives more than a minute before it
//! is cut, and several installations in the cluster share the waiting.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::documents::Documents;
use crate::installation::{ControlPlane, Installation, Options};
use crate::testbed::network::Cut;
use crate::testbed::{Testbed, wait_until};

/// Installations that are cut.
const INSTALLATIONS: usize = 5;
/// A session counts as healthy after a minute.
const LIFE: Duration = Duration::from_secs(61);

/// All figures of this part.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    /// From the end of one session at the control plane to the next one.
    pub(super) back: Vec<Duration>,
    /// From silence to the agent's own word that it has no connection.
    pub(super) noticed: Vec<Duration>,
}

/// Cuts at least `cuts` times.
pub(super) async fn measure(
    bed: &Testbed,
    plane: &ControlPlane,
    documents: &Documents,
    image: &str,
    cuts: usize,
) -> Result<Figures> {
    let mut installed = Vec::new();
    for number in 0..INSTALLATIONS {
        let name = format!("cut-{number}");
        let options = Options {
            namespace: name.clone(),
            release: name.clone(),
            organization: "acme".to_owned(),
            data_plane: name,
            image: image.to_owned(),
            values: String::new(),
        };
        installed.push(Installation::install(bed, plane, options).await?);
    }
    let cli = plane.pdpctl().within("acme", "");
    let mut ids = Vec::new();
    for installation in &installed {
        let shown = cli.json(&["get", "data-plane", &installation.options.data_plane]).await?;
        ids.push(shown.get("id").and_then(Value::as_str).context("a data plane without id")?.to_owned());
    }
    let mut figures = Figures::default();
    for _ in 0..cuts.div_ceil(INSTALLATIONS) {
        tokio::time::sleep(LIFE).await;
        for id in &ids {
            let from = Timestamp::now();
            documents.fault(&json!({ "fault": "kill", "dataPlane": id, "times": 1 })).await?;
            let back = wait_until(Duration::from_secs(60), "the session to be back", || async {
                let gone = documents.noted(id, "Disconnect", from).await?.context("it is not cut yet")?;
                let back = documents.noted(id, "Connect", gone).await?.context("it is not back yet")?;
                Ok::<_, anyhow::Error>(back.duration_since(gone))
            });
            figures.back.push(Duration::try_from(back.await?)?);
        }
    }
    tokio::time::sleep(LIFE).await;
    bed.cut_link(Cut::Drop).await?;
    let began = Instant::now();
    let noticed =
        futures::future::join_all(installed.iter().map(|installation| silent(bed, installation, began))).await;
    bed.restore_link().await?;
    figures.noticed = noticed.into_iter().collect::<Result<_>>()?;
    for installation in &installed {
        let name = installation.options.release.as_str();
        bed.helm(&["uninstall", name, "-n", name, "--wait"]).await?;
    }
    Ok(figures)
}

/// When the agent says that it has no connection.
async fn silent(bed: &Testbed, installation: &Installation, began: Instant) -> Result<Duration> {
    let path = "jsonpath={.status.conditions[?(@.type==\"Connected\")].status}";
    let namespace = installation.options.namespace.as_str();
    wait_until(Duration::from_secs(60), "the silence to be noticed", || async {
        let status = bed.kubectl(&["get", "dataplanes.pdp-agent.dev", "default", "-n", namespace, "-o", path]).await?;
        anyhow::ensure!(status == "False", "{status}");
        Ok::<_, anyhow::Error>(began.elapsed())
    })
    .await
    .map_err(Into::into)
}

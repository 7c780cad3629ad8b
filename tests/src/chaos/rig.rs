//! What faults are made with: the cluster, the control plane and its stores, the agent's processes; and the probe that tells when
//! documents flow again.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::gather;
use super::history::{History, Key};
use super::plan::Role;
use super::replicas::{self, Replica};
use super::stream::{DATA_PLANE, ORGANIZATION, Rest};
use super::watch::Observer;
use crate::installation::Installation;
use crate::testbed::{Testbed, wait_until};

/// Time within which everything goes on again after a fault.
pub const LIMIT: Duration = Duration::from_secs(120);

/// One run's cluster and what watches it.
#[derive(Debug)]
pub struct Rig {
    /// The agent and its control plane.
    pub agent: Installation,
    /// The independent watch.
    pub observer: Observer,
    /// The control plane's API.
    pub rest: Rest,
    /// Stores that are not in use any more.
    pub lost: Vec<PathBuf>,
    /// Resources that a restored control plane did not know, or whose end it has forgotten.
    pub strangers: std::collections::BTreeSet<Key>,
    /// Folder for copies of stores.
    pub scratch: tempfile::TempDir,
    /// Numbers the probes.
    pub probes: AtomicUsize,
}

impl Rig {
    /// The test cluster.
    #[must_use]
    pub const fn bed(&self) -> &Testbed {
        &self.agent.bed
    }

    /// The process that leads, and its identity in the Lease.
    ///
    /// # Errors
    /// Nobody leads within [`LIMIT`].
    pub async fn leader(&self, role: Role) -> Result<(Replica, String)> {
        let what = format!("a leading {}", role.name());
        let found = wait_until(LIMIT, &what, || async {
            let (identity, since) = self.observer.seen().leaders.get(&role).cloned().context("nobody was seen")?;
            let (pod, _) = identity.split_once('_').context("nobody leads")?;
            let all = replicas::replicas(self.bed(), role)?;
            let replica = all.iter().find(|replica| replica.pod == pod).cloned();
            let replica = replica.with_context(|| format!("{pod} leads and does not run; there are {all:?}"))?;
            // A process that was just replaced in its pod has another identity.
            ensure!(replica.process.age() > since.elapsed(), "{pod} was started again and does not lead yet");
            Ok::<_, anyhow::Error>((replica, identity))
        });
        Ok(found.await?)
    }

    /// Time from `since` until another holder was seen.
    ///
    /// # Errors
    /// There is none within [`LIMIT`].
    pub async fn takeover(&self, role: Role, old: &str, since: Instant) -> Result<Duration> {
        let what = format!("a new leading {}", role.name());
        let taken = wait_until(LIMIT, &what, || async {
            let seen = self.observer.seen();
            match seen.leaders.get(&role) {
                Some((holder, at)) if !holder.is_empty() && holder != old => Ok(at.saturating_duration_since(since)),
                other => Err(format!("{other:?}")),
            }
        });
        Ok(taken.await?)
    }

    /// Time from `since` until a document that is asked for from now on was accepted.
    ///
    /// # Errors
    /// It is not within `limit`.
    pub async fn flows(&self, since: Instant, limit: Duration) -> Result<Duration> {
        let number = self.probes.fetch_add(1, Ordering::Relaxed);
        let file = json!({
            "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": "probe", "type": "Service",
            "image": format!("registry.customer.test:5000/chaos@sha256:{:064x}", 7),
            "endpoints": [{ "name": "http", "port": 8080, "kind": "HTTP" }],
            "env": [{ "name": "PROBE", "value": number.to_string() }],
            "scaling": { "replicas": 0 },
        });
        let body = json!({ "environment": "dev", "file": file });
        wait_until(limit, "documents to flow", || async {
            let path = "/projects/p0/components/probe/deployments";
            let (status, said) = self.rest.call(Method::POST, path, Some(&body)).await?;
            ensure!(status.is_success(), "{status}: {said}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        wait_until(limit, "documents to flow", || async {
            let path = "/projects/p0/status?component=probe&environment=dev";
            let (_, status) = self.rest.call(Method::GET, path, None).await?;
            let answer = status.pointer("/0/answer/answer").and_then(Value::as_str);
            if matches!(answer, Some("accepted" | "already")) {
                return Ok(since.elapsed());
            }
            let plane = self.rest.data_plane().await.unwrap_or_default();
            bail!("{status} at {plane}")
        })
        .await
        .map_err(Into::into)
    }

    /// Waits until the API server is ready.
    ///
    /// # Errors
    /// It is not within [`LIMIT`].
    pub async fn api_ready(&self) -> Result<()> {
        wait_until(LIMIT, "the API server", || {
            self.bed().kubectl(&["get", "--raw", "/readyz", "--request-timeout=5s"])
        })
        .await?;
        Ok(())
    }

    /// Kills the control plane.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill_control_plane(&self) -> Result<()> {
        let process = self.bed().control_plane()?.context("the control plane does not run")?;
        process.signal(nix::sys::signal::Signal::SIGKILL)?;
        Ok(process.ended(Duration::from_secs(10)).await?)
    }

    /// Copies the store of a control plane that does not run.
    ///
    /// # Errors
    /// A file cannot be copied.
    pub fn copy_store(&self, name: &str) -> Result<PathBuf> {
        let to = self.scratch.path().join(name);
        copy(self.agent.control_plane.state(), &to)?;
        Ok(to)
    }

    /// The control plane loses what it wrote for a while, and a person adopts the data plane. Gives the time from the restart to the
    /// adoption.
    ///
    /// # Errors
    /// It does not hold the session, or does not adopt.
    pub async fn restore_older(&mut self) -> Result<Duration> {
        let plane = self.agent.control_plane.clone();
        self.kill_control_plane().await?;
        let older = self.copy_store("older")?;
        plane.restart().await?;
        self.flows(Instant::now(), LIMIT).await?;
        tokio::time::sleep(Duration::from_secs(15)).await;
        self.kill_control_plane().await?;
        let lost = self.copy_store(&format!("lost-{}", self.lost.len()))?;
        self.note_strangers(&older, &lost).await?;
        self.lost.push(lost.join("store.db"));
        copy(&older, plane.state())?;
        let since = Instant::now();
        plane.restart().await?;
        let cli = plane.pdpctl().within(ORGANIZATION, "");
        wait_until(LIMIT, "the session to be held", || async {
            let plane = self.rest.data_plane().await?;
            ensure!(plane.to_string().contains("\"Held\""), "{plane}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        cli.run(&["adopt", DATA_PLANE]).await?;
        let took = since.elapsed();
        // A run requested meanwhile may have been accepted before the store was lost, so it is not run again: its result is Unknown.
        let mut held = History::default();
        gather::wished(&mut held, &plane.state().join("store.db")).await?;
        let unknown = held.runs.iter().filter(|(_, result)| result.as_deref() == Some("Unknown"));
        self.strangers.extend(unknown.map(|(run, _)| Key::new("TaskRun", run)));
        Ok(took)
    }

    /// Notes what the older store does not know: resources that are newer, and runs whose end it has lost.
    async fn note_strangers(&mut self, older: &Path, lost: &Path) -> Result<()> {
        let (mut before, mut after) = (History::default(), History::default());
        // Read from copies: opening a store leaves files beside it.
        for (store, history, name) in [(older, &mut before, "read-older"), (lost, &mut after, "read-lost")] {
            let copied = self.scratch.path().join(name);
            copy(store, &copied)?;
            gather::wished(history, &copied.join("store.db")).await?;
        }
        let ended = after.runs.iter().filter(|(_, result)| result.is_some()).map(|(run, _)| Key::new("TaskRun", run));
        self.strangers.extend(ended);
        self.strangers
            .extend(gather::present(self.bed()).await?.into_iter().filter(|key| !before.wanted.contains_key(key)));
        // Under way when the store was lost.
        self.strangers.extend(after.wanted.into_keys().filter(|key| !before.wanted.contains_key(key)));
        Ok(())
    }
}

/// Copies a folder's files over another's, which has no others afterwards.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(to)?.flatten() {
        std::fs::remove_file(entry.path())?;
    }
    for entry in std::fs::read_dir(from)?.flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

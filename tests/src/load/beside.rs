//! The load as a process of its own, in the cluster's network. It ends when it is dropped.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::process::Child;

use super::Report;
use crate::installation::artifacts;
use crate::testbed::{Sample, Side, Testbed};

/// Requests without end, none repeated, until its standard input is closed.
///
/// # Errors
/// The program is not there or cannot be started.
pub fn start(bed: &Testbed, target: SocketAddr, keep_alive: bool) -> Result<Child> {
    let mut command = bed.in_netns(Side::Cluster, artifacts::binary("load"))?;
    command.args(["--target", &target.to_string(), "--path", "/version", "--host", "httpbin"]);
    command.args(["--workers", "4", "--pace-ms", "25", "--limit", "180"]);
    for sample in [Sample::HttpbinOld, Sample::HttpbinNew] {
        let version = Testbed::sample_version(sample);
        command.args(["--mark", &format!("{version}={version}")]);
    }
    if keep_alive {
        command.arg("--keep-alive");
    }
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?)
}

/// Ends the load and returns what it counted.
///
/// # Errors
/// It failed by itself, or does not end.
pub async fn finish(mut child: Child) -> Result<Report> {
    drop(child.stdin.take());
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await??;
    ensure!(output.status.success(), "the load ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

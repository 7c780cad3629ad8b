//! Programs that the demo starts: commands whose lines it shows, and the load. All of them end with it.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::installation::artifacts;
use crate::load;
use crate::testbed::{Sample, Side, Testbed, group};

/// Runs a command to its end and hands on each line of both its outputs. When dropped, ends it and all that it started.
pub(super) async fn lines_of(mut command: Command, mut each: impl FnMut(&str)) -> Result<ExitStatus> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()?;
    let _group = Group(child.id().and_then(|id| i32::try_from(id).ok()).context("it has no process id")?);
    let mut out = BufReader::new(child.stdout.take().context("no output")?).lines();
    let mut err = BufReader::new(child.stderr.take().context("no output")?).lines();
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        let line = tokio::select! {
            line = out.next_line(), if out_open => { out_open = matches!(line, Ok(Some(_))); line? }
            line = err.next_line(), if err_open => { err_open = matches!(line, Ok(Some(_))); line? }
        };
        if let Some(line) = line {
            each(&line);
        }
    }
    Ok(child.wait().await?)
}

/// A process group that ends with this value.
struct Group(i32);

impl Drop for Group {
    fn drop(&mut self) {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let deadline = Instant::now() + Duration::from_secs(5);
            let mut members = group(self.0);
            members.iter().for_each(|member| drop(member.signal(signal)));
            while !members.is_empty() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
                members = group(self.0);
            }
        }
    }
}

/// Requests without end, none repeated, until its standard input is closed.
pub(super) fn start_load(bed: &Testbed, target: SocketAddr, keep_alive: bool) -> Result<Child> {
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
pub(super) async fn finish_load(mut child: Child) -> Result<load::Report> {
    drop(child.stdin.take());
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await??;
    ensure!(output.status.success(), "the load ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

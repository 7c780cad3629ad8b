//! As many log streams as the link serves, of a pod that prints without end, most of them with a reader that reads nothing.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tests::chaos::plan::Role;
use tests::chaos::replicas::{Replica, replicas};
use tests::installation::Place;
use tests::support::{LIMIT, agent, deploy, place, printer, put_secrets};
use tests::testbed::{Sample, wait_until};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdout};

/// As many as the link serves at a time.
const STREAMS: usize = 64;
/// Of those, how many are read.
const READ: usize = 4;
/// What each of those must bring: far more than any window holds.
const ENOUGH: usize = 2 * 1024 * 1024;

#[tokio::test]
async fn a_flood_of_logs_that_nobody_reads_keeps_the_link_within_its_memory_limit() {
    let agent = agent().await;
    let place = place("flood").await;
    put_secrets(&place, "s").await;
    begin_to_print(&place).await;
    let link = || replicas(&agent.bed, Role::Link).unwrap().pop().expect("the link runs");
    let before = link();
    let mut streams: Vec<_> = (0..STREAMS).map(|_| follow(&place)).collect();
    let read = futures::future::join_all(streams.iter_mut().take(READ).map(|(_, output)| enough(output)));
    tokio::time::timeout(LIMIT, read).await.expect("logs come though others are not read");
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);

    let limit = memory_limit(&before).await.unwrap();
    let peak = peak(&before).unwrap();
    assert!(peak < limit / 2, "{peak} KiB of {limit} KiB");
    drop(streams);
    assert_eq!(link(), before, "it had to start anew");
    agent.connected(Duration::from_secs(10)).await.unwrap();
}

/// Deploys what never listens, and so is never ready, but prints. Half a core leaves the rest of the machine alone.
async fn begin_to_print(place: &Place) {
    let bed = &agent().await.bed;
    let file = json!({
        "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": "printer", "type": "Service",
        "image": printer::image(bed).await.unwrap(), "endpoints": [{ "name": "none", "port": 8080, "kind": "TCP" }],
        "resources": { "cpuRequest": "100m", "memoryRequest": "16Mi", "cpuLimit": "500m", "memoryLimit": "32Mi" },
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("printer.yaml");
    std::fs::write(&path, file.to_string()).unwrap();
    place.cli.run(&["deploy", "-f", &path.to_string_lossy(), "--environment", "dev"]).await.unwrap();
    wait_until(LIMIT, "the printer to print", || async {
        let text = place.cli.run(&["logs", "printer", "--environment", "dev", "--tail", "1"]).await?;
        ensure!(text.contains("xxx"), "{text}");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();
}

fn follow(place: &Place) -> (Child, ChildStdout) {
    let mut command = place.cli.command(&["logs", "printer", "--environment", "dev", "-f"]);
    let mut follower = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let output = follower.stdout.take().unwrap();
    (follower, output)
}

async fn enough(output: &mut ChildStdout) {
    let (mut buffer, mut read) = (vec![0; 64 * 1024], 0);
    while read < ENOUGH {
        let more = output.read(&mut buffer).await.unwrap();
        assert_ne!(more, 0, "the stream ended after {read} bytes");
        read += more;
    }
}

/// What the chart allows the pod, in KiB.
async fn memory_limit(replica: &Replica) -> Result<u64> {
    let path = "jsonpath={.spec.containers[0].resources.limits.memory}";
    let said = agent().await.bed.kubectl(&["get", "pod", &replica.pod, "-n", "pdp-agent", "-o", path]).await?;
    let mebibytes: u64 = said.trim().strip_suffix("Mi").context(said.clone())?.parse()?;
    Ok(mebibytes * 1024)
}

/// The most that its memory ever was, in KiB.
fn peak(replica: &Replica) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", replica.process.pid))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

//! As many log streams as the link serves, of a pod that prints without end, most of them with a reader that reads nothing.

use anyhow::{Context as _, Result, ensure};
use reqwest::{Client, Response};
use serde_json::json;
use tests::chaos::plan::Role;
use tests::chaos::replicas::{Replica, replicas};
use tests::installation::{Installation, Place};
use tests::support::printer::{self, Pace};
use tests::support::{LIMIT, agent, deploy, place, put_secrets};
use tests::testbed::{Sample, wait_until};

use super::then_mend;

/// As many as the link serves at a time.
const STREAMS: usize = 64;
/// Of those, how many are read.
const READ: usize = 4;
/// What each of those that are read must bring: far more than any window holds.
const ENOUGH: usize = 2 * 1024 * 1024;

#[tokio::test]
async fn a_flood_of_logs_that_nobody_reads_keeps_the_link_within_its_memory_limit() {
    let agent = agent().await;
    let place = place("flood").await;
    put_secrets(&place, "s").await;
    print(&place, 1).await;
    then_mend(flood(agent, &place), print(&place, 0)).await;
    agent.connected(LIMIT).await.unwrap();
}

async fn flood(agent: &Installation, place: &Place) {
    wait_until(LIMIT, "the printer to print", || async {
        let text = place.cli.run(&["logs", "printer", "--environment", "dev", "--tail", "1"]).await?;
        ensure!(text.contains("xxx"), "{text}");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();
    let link = || replicas(&agent.bed, Role::Link).unwrap().pop().expect("the link runs");
    let before = link();
    // A connection for each: on a common one those that are not read would hold up the others.
    let root = reqwest::Certificate::from_pem(agent.control_plane.ca().unwrap().as_bytes()).unwrap();
    let client = Client::builder().tls_certs_only([root]).http1_only().build().unwrap();
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(follow(&client, place).await);
    }
    let read = futures::future::join_all(streams.iter_mut().take(READ).map(|stream| read(stream, ENOUGH)));
    tokio::time::timeout(LIMIT, read).await.expect("logs come though others are not read");
    assert_eq!(deploy(place, Sample::HttpbinOld, &[]).await.code, 0);

    let limit = memory_limit(&before).await.unwrap();
    let peak = peak(&before).unwrap();
    assert!(peak < limit * 3 / 4, "{peak} KiB of {limit} KiB");
    assert_eq!(link(), before, "it had to start anew");
}

/// Deploys this many printers, which never listen, and so are never ready.
async fn print(place: &Place, replicas: u32) {
    let bed = &agent().await.bed;
    let file = json!({
        "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": "printer", "type": "Service",
        "image": printer::image(bed, Pace::Bursts).await.unwrap(), "endpoints": [{ "name": "none", "port": 8080, "kind": "TCP" }],
        "resources": { "cpuRequest": "50m", "memoryRequest": "16Mi", "cpuLimit": "200m", "memoryLimit": "32Mi" },
        "scaling": { "replicas": replicas },
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("printer.yaml");
    std::fs::write(&path, file.to_string()).unwrap();
    place.cli.run(&["deploy", "-f", &path.to_string_lossy(), "--environment", "dev"]).await.unwrap();
}

/// Follows the printer's log; returns once the stream has begun.
async fn follow(client: &Client, place: &Place) -> Response {
    let path = format!("organizations/acme/projects/{}/components/printer/logs", place.project);
    let url = format!("{}/api/v1/{path}?environment=dev&follow=true&tail=1&format=text", place.cli.server);
    let token = std::fs::read_to_string(&place.cli.token).unwrap();
    let mut stream = client.get(url).bearer_auth(token.trim()).send().await.unwrap().error_for_status().unwrap();
    read(&mut stream, 1).await;
    stream
}

async fn read(stream: &mut Response, enough: usize) {
    let mut read = 0;
    while read < enough {
        read += stream.chunk().await.unwrap().expect("the stream goes on").len();
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

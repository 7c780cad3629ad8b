//! What a flood of logs does to the control connection: its round trip and the latency of acknowledgements, idle and while log
//! streams fill the bulk connection, on the plain link of the test bed and on one of 50 Mbit/s with 20 ms.
//!
//! The kernel of the test bed may have no `netem`, so the delay is made by a program in the control plane's network, to which new
//! connections are sent; the rate by `tbf` on the cluster's end.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::documents::Documents;
use crate::support::printer::{self, Pace};
use crate::testbed::{Side, Testbed, wait_until};

/// One way of the delayed link.
const DELAY: Duration = Duration::from_millis(10);
/// Where the delay listens, in the control plane's network.
const DELAYED: &str = "10.77.1.1:8445";
/// Log streams at the same time.
const STREAMS: usize = 3;

/// Latencies on one kind of link.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    pub(super) idle: Latencies,
    pub(super) flooded: Latencies,
    /// Bytes of logs a second meanwhile.
    pub(super) rate: f64,
}

/// Of one state of a link.
#[derive(Debug, Clone, Default)]
pub(super) struct Latencies {
    /// Pings of the control plane over the control connection.
    pub(super) round_trips: Vec<Duration>,
    /// Documents until their acknowledgement.
    pub(super) documents: Vec<Duration>,
}

/// Pings for each document.
const PINGS: usize = 5;

/// Measures both links with so many documents each.
pub(super) async fn measure(bed: &Testbed, documents: &Documents, count: usize) -> Result<[Figures; 2]> {
    let image = printer::image(bed, Pace::Restless).await?;
    // Half a core prints more than the link takes and leaves the rest of the machine alone.
    let file = json!({
        "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": "printer", "type": "Service",
        "image": image, "endpoints": [{ "name": "none", "port": 8080, "kind": "TCP" }],
        "resources": { "cpuRequest": "100m", "memoryRequest": "16Mi", "cpuLimit": "300m", "memoryLimit": "32Mi" },
    });
    documents.deploy_file("printer", &file).await?;
    // It never listens and so is never ready, but it prints.
    wait_until(Duration::from_secs(60), "the printer to print", || async {
        let first = documents.logs("printer").await?.chunk().await?;
        ensure!(first.is_some_and(|chunk| !chunk.starts_with(b"#")), "no lines yet");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let plain = one_link(documents, count, 10_000).await?;
    let slow = Slow::begin(bed).await?;
    documents.reconnected().await?;
    let limited = one_link(documents, count, 20_000).await;
    slow.end(bed).await?;
    documents.reconnected().await?;
    let mut silent = file.clone();
    silent.as_object_mut().context("no object")?.insert("scaling".to_owned(), json!({ "replicas": 0 }));
    documents.deploy_file("printer", &silent).await?;
    Ok([plain, limited?])
}

async fn one_link(documents: &Documents, count: usize, round: i64) -> Result<Figures> {
    let idle = latencies(documents, count, round).await?;
    let bytes = Arc::new(AtomicU64::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..STREAMS {
        let mut stream = documents.logs("printer").await?;
        let bytes = Arc::clone(&bytes);
        readers.spawn(async move {
            while let Ok(Some(chunk)) = stream.chunk().await {
                bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (before, began) = (bytes.load(Ordering::Relaxed), Instant::now());
    let flooded = latencies(documents, count, round + 5_000).await?;
    let more = bytes.load(Ordering::Relaxed) - before;
    let rate = f64::from(u32::try_from(more / 1024)?) * 1024.0 / began.elapsed().as_secs_f64();
    ensure!(more > 0, "no logs came");
    Ok(Figures { idle, flooded, rate })
}

async fn latencies(documents: &Documents, count: usize, round: i64) -> Result<Latencies> {
    let round_trips = documents.round_trips(count * PINGS).await?;
    let mut times = Vec::new();
    for number in 0..i64::try_from(count)? {
        let sent = documents.deploy("bench", round + number).await?;
        times.push(documents.acknowledged(sent).await?);
    }
    Ok(Latencies { round_trips, documents: times })
}

/// A link of 50 Mbit/s with 20 ms, until it is ended.
struct Slow {
    delay: Child,
}

impl Slow {
    async fn begin(bed: &Testbed) -> Result<Self> {
        let mut command = bed.in_netns(Side::ControlPlane, std::env::current_exe()?)?;
        command.args(["delay", "--listen", DELAYED, "--to", "10.77.1.1:8443"]);
        let delay = command.stdout(Stdio::null()).kill_on_drop(true).spawn()?;
        let rules = "table ip slow { chain in { type nat hook prerouting priority -100; iifname \"down0\" tcp dport 8443 redirect to :8445; }; }";
        inside(bed, Side::ControlPlane, "nft", rules.split(' ')).await?;
        let shape = "qdisc replace dev up0 root tbf rate 50mbit burst 64kb latency 50ms";
        inside(bed, Side::Cluster, "tc", shape.split(' ')).await?;
        Ok(Self { delay })
    }

    async fn end(mut self, bed: &Testbed) -> Result<()> {
        inside(bed, Side::Cluster, "tc", "qdisc del dev up0 root".split(' ')).await?;
        inside(bed, Side::ControlPlane, "nft", "delete table ip slow".split(' ')).await?;
        self.delay.kill().await?;
        Ok(())
    }
}

async fn inside<'a>(bed: &Testbed, side: Side, program: &str, args: impl Iterator<Item = &'a str>) -> Result<()> {
    let output = bed.in_netns(side, program)?.args(args).output().await?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Passes connections on, each way late by half the round trip.
///
/// # Errors
/// The address is taken.
pub async fn delay(listen: SocketAddr, to: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let mut connections = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await?;
        connections.spawn(async move {
            let Ok(far) = TcpStream::connect(to).await else { return };
            let _no_delay = near.set_nodelay(true).and(far.set_nodelay(true));
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            // Either end closes both.
            tokio::select! {
                () = late(near_in, far_out) => {}
                () = late(far_in, near_out) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn late(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf) {
    // Bounded, so that a sender feels the slow link behind; wide enough for rate times delay.
    let (sender, mut line) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let reading = async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let piece = buffer.get(..length).unwrap_or_default().to_vec();
            if sender.send((Instant::now() + DELAY, piece)).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((at, piece)) = line.recv().await {
            tokio::time::sleep_until(at.into()).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}

//! Many simulated agents on the control-plane mock: two gateway processes over one store, two processes full of agents, loopback.
//!
//! Measured: how fast they connect, what each costs in the gateways' memory, what the heartbeats cost, and how fast all reconnect after
//! both gateways were killed. Gateways and load share the machine's cores. Touches a scratch folder and loopback only.

mod fleet;
mod load;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::say;
use crate::installation::artifacts::binary;
use load::Standing;

pub use load::serve;

/// Time for the agents to come, and to come back.
const LIMIT: Duration = Duration::from_secs(300);
/// How long nothing but heartbeats is watched.
const STEADY: Duration = Duration::from_secs(30);
/// Gateways, and processes of agents.
const SIDES: usize = 2;

/// What is measured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Agents in all.
    pub agents: usize,
    /// Agents that shall come back a second, as the gateways are told.
    pub reconnects_per_second: u32,
}

/// All figures of one run.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    agents: usize,
    came: Duration,
    gateways_before: u64,
    gateways_with: u64,
    gateways_after: u64,
    gateway_cpu: f64,
    back: Duration,
    spread: Duration,
    failures: BTreeMap<String, u64>,
    failed: u64,
    cut_off: u64,
    refused: u64,
    load: String,
}

/// Measures and prints.
///
/// # Errors
/// A process does not start, or the agents do not come.
pub async fn run(settings: &Settings) -> Result<()> {
    let figures = measure(settings).await?;
    figures.print();
    Ok(())
}

struct Gateway {
    process: Child,
    address: SocketAddr,
    /// The process's output, kept open: the process would not survive writing to a closed one.
    _said: Lines<BufReader<ChildStdout>>,
}

impl Gateway {
    async fn start(folder: &Path, number: usize, listen: &str, settings: &Settings) -> Result<Self> {
        let mut command = Command::new(binary("control-plane-mock"));
        command.args(["serve", "--listen", listen, "--record-limit", "0", "--log", "warn"]);
        command.args(["--gateway", &format!("gateway-{number}")]);
        command.args(["--reconnects-per-second", &settings.reconnects_per_second.to_string()]);
        command.arg("--store").arg(folder.join("store.db"));
        command.arg("--output").arg(folder.join(format!("gateway-{number}")));
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().context("start a gateway")?;
        let mut said = BufReader::new(process.stdout.take().context("a gateway without output")?).lines();
        let address = async {
            while let Some(line) = said.next_line().await? {
                if let Some(address) = line.strip_prefix("address ") {
                    return Ok(address.trim().parse()?);
                }
            }
            anyhow::bail!("a gateway ended at its start")
        };
        let address = tokio::time::timeout(Duration::from_secs(30), address).await.context("a gateway's start")??;
        Ok(Self { process, address, _said: said })
    }

    fn pid(&self) -> Result<u32> {
        self.process.id().context("a gateway has ended")
    }

    async fn kill(&mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.pid()?)?), Signal::SIGKILL)?;
        self.process.wait().await?;
        Ok(())
    }
}

/// A process full of agents, and what it said last.
struct Load {
    _process: Child,
    standing: Arc<Mutex<Standing>>,
}

impl Load {
    fn start(gateway: SocketAddr, ca: &Path, file: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["agents-load", "--gateway", &gateway.to_string(), "--ca"]).arg(ca).arg("--file").arg(file);
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().context("start a load")?;
        let mut said = BufReader::new(process.stdout.take().context("a load without output")?).lines();
        let standing = Arc::new(Mutex::new(Standing::default()));
        let last = Arc::clone(&standing);
        #[expect(clippy::disallowed_methods, reason = "it ends with the process that it reads")]
        tokio::spawn(async move {
            while let Ok(Some(line)) = said.next_line().await {
                if let Ok(standing) = serde_json::from_str(&line) {
                    *last.lock().unwrap_or_else(PoisonError::into_inner) = standing;
                }
            }
        });
        Ok(Self { _process: process, standing })
    }

    fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Number of failures, without dials while no gateway listened.
fn handshakes(failures: &BTreeMap<String, u64>) -> u64 {
    failures.iter().filter(|(what, _)| *what != load::REFUSED).map(|(_, count)| count).sum()
}

fn total(loads: &[Load]) -> Standing {
    let mut all = Standing::default();
    for standing in loads.iter().map(Load::standing) {
        all.open += standing.open;
        all.sessions += standing.sessions;
        all.beats += standing.beats;
        for (what, count) in standing.failures {
            *all.failures.entry(what).or_default() += count;
        }
    }
    all
}

/// Waits until `done`, and gives the time since `began`.
async fn until(what: &str, began: Instant, loads: &[Load], done: impl Fn(&Standing) -> bool) -> Result<Duration> {
    loop {
        let standing = total(loads);
        if done(&standing) {
            return Ok(began.elapsed());
        }
        ensure!(began.elapsed() < LIMIT, "{what}: {standing:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Resident memory in KiB and CPU time in hundredths of a second.
fn taken(pid: u32) -> Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Ok((resident.context("no VmRSS")?, ticks(11) + ticks(12)))
}

fn all_taken(gateways: &[Gateway]) -> Result<(u64, u64)> {
    gateways.iter().try_fold((0, 0), |(memory, cpu), gateway| {
        let (more, time) = taken(gateway.pid()?)?;
        Ok((memory + more, cpu + time))
    })
}

async fn measure(settings: &Settings) -> Result<Figures> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let store = folder.join("store.db");
    let files: Vec<PathBuf> = (0..SIDES).map(|number| folder.join(format!("agents-{number}"))).collect();
    say("an authority, data planes and their certificates");
    Gateway::start(folder, 0, "127.0.0.1:0", settings).await?.kill().await?;
    fleet::make(&store, settings.agents, &files).await?;
    let mut gateways = Vec::new();
    for number in 0..SIDES {
        gateways.push(Gateway::start(folder, number, "127.0.0.1:0", settings).await?);
    }
    // Time for the gateways' first check of each other and of the number of data planes.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (gateways_before, _) = all_taken(&gateways)?;

    say("the agents come");
    let began = Instant::now();
    let loads = files
        .iter()
        .zip(&gateways)
        .map(|(file, gateway)| Load::start(gateway.address, &folder.join("gateway-0").join("ca.crt"), file));
    let loads = loads.collect::<Result<Vec<_>>>()?;
    let wanted = u64::try_from(settings.agents)?;
    until("the first session", began, &loads, |standing| standing.sessions > 0).await?;
    let first = began.elapsed();
    let came = until("the agents to come", began, &loads, |standing| standing.open == wanted).await? - first;

    say("heartbeats");
    tokio::time::sleep(Duration::from_secs(15)).await;
    let (_, cpu) = all_taken(&gateways)?;
    tokio::time::sleep(STEADY).await;
    let (gateways_with, later) = all_taken(&gateways)?;
    let gateway_cpu = f64::from(u32::try_from(later - cpu)?) * 10.0 / STEADY.as_secs_f64();
    let steady = total(&loads);
    ensure!(steady.open == wanted, "not all stayed: {steady:?}");

    say("both gateways are killed and started again");
    let began = Instant::now();
    for gateway in &mut gateways {
        gateway.kill().await?;
    }
    // Handshakes under way fail with the gateways, and are reported within this time.
    tokio::time::sleep(load::SAY * 2).await;
    let cut_off = handshakes(&total(&loads).failures) - handshakes(&steady.failures);
    let mut again = Vec::new();
    for (number, gateway) in gateways.iter().enumerate() {
        again.push(Gateway::start(folder, number, &gateway.address.to_string(), settings).await?);
    }
    let sessions = steady.sessions + wanted;
    let back = until("the agents to come back", began, &loads, |now| now.open == wanted && now.sessions >= sessions);
    let back = back.await?;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let (gateways_after, _) = all_taken(&again)?;
    let failures = total(&loads).failures;
    let refused = failures.get(load::REFUSED).copied().unwrap_or(0);
    let failed = handshakes(&failures) - cut_off;
    let spread = Duration::from_secs(wanted / u64::from(settings.reconnects_per_second.max(1)));
    let agents = settings.agents;
    Ok(Figures {
        agents,
        came,
        gateways_before,
        gateways_with,
        gateways_after,
        gateway_cpu,
        back,
        spread,
        failures,
        failed,
        cut_off,
        refused,
        load: super::load_average(),
    })
}

impl Figures {
    pub(super) fn print(&self) {
        let agents = f64::from(u32::try_from(self.agents).unwrap_or(u32::MAX));
        let each =
            |kib: u64| f64::from(u32::try_from(kib.saturating_sub(self.gateways_before)).unwrap_or(u32::MAX)) / agents;
        let mib = |kib: u64| kib / 1024;
        println!("\nLoad average of the machine meanwhile: {}", self.load);
        println!("\n| {} simulated agents, two gateway processes | Measured | Target | Peer |", self.agents);
        println!("|---|---|---|---|");
        println!(
            "| first coming: TLS 1.3, upgrade, hello, comparison | {:.0}/s ({:.1} s) | | |",
            agents / self.came.as_secs_f64(),
            self.came.as_secs_f64()
        );
        println!(
            "| gateways' resident memory, empty → all connected | {} → {} MiB | | Elastic Fleet 2.7 GB at 20,000 |",
            mib(self.gateways_before),
            mib(self.gateways_with)
        );
        println!("| for each agent, TLS included | {:.1} KiB | ≤ 32 KiB | |", each(self.gateways_with));
        println!("| the same after the storm | {:.1} KiB | ≤ 32 KiB | |", each(self.gateways_after));
        println!("| CPU of both gateways for heartbeats | {:.0} m | | |", self.gateway_cpu);
        println!(
            "| all back after both gateways were killed, welcome spreads over {} s | {:.1} s | ≤ 60 s | KubeEdge about 20,000 a gateway |",
            self.spread.as_secs(),
            self.back.as_secs_f64()
        );
        println!("| failed handshakes in all this | {} {:?} | 0 | |", self.failed, self.failures);
        println!("| handshakes that were under way when the gateways were killed | {} | | |", self.cut_off);
        println!("| dials while no gateway listened | {} | | |", self.refused);
    }
}

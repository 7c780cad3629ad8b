//! The agent's processes as the host sees them, the failpoints in them, and whether they say that they lead. Asks no API server: that
//! may be what is broken.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::plan::{Points, Role};
use crate::testbed::{Process, Sockets, Testbed, processes};

/// Begins the line that a process says before it ends at a failpoint.
const REACHED: &str = "FAILPOINT_REACHED ";
/// Where the agent's admin server listens.
const ADMIN: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8081);

/// One running container of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    pub process: Process,
    pub pod: String,
}

/// What runs of a role now.
///
/// # Errors
/// The cluster is external.
pub fn replicas(bed: &Testbed, role: Role) -> Result<Vec<Replica>> {
    let cgroup = format!("/{}/", bed.instance()?.cgroup());
    let found = processes().into_iter().filter_map(|process| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", process.pid)).ok();
        let words = read("cmdline")?;
        let mut words = words.split('\0');
        let program = words.next()?;
        if !program.ends_with("/pdp-agent") || words.next()? != role.name() || !read("cgroup")?.contains(&cgroup) {
            return None;
        }
        let environment = read("environ")?;
        let pod = environment.split('\0').find_map(|variable| variable.strip_prefix("POD_NAME="))?.to_owned();
        Some(Replica { process, pod })
    });
    Ok(found.collect())
}

impl Replica {
    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// It may not be signalled.
    pub fn kill(&self) -> Result<()> {
        Ok(self.process.signal(Signal::SIGKILL)?)
    }

    /// Asks its admin server.
    async fn ask(&self, path: &str) -> Result<String> {
        let work = async {
            let network = PathBuf::from(format!("/proc/{}/ns/net", self.process.pid));
            let mut stream = Sockets::inside(&network)?.connect(ADMIN).await?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            ensure!(answer.contains(" 200 OK"), "{path}: {answer}");
            let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
            Ok(body.to_owned())
        };
        tokio::time::timeout(Duration::from_secs(3), work).await.context("no answer in 3 s")?
    }

    /// The failpoints that this build has, and who can reach them.
    ///
    /// # Errors
    /// It does not answer, or is a build without.
    pub async fn points(&self) -> Result<Points> {
        let list = self.ask("/failpoints").await?;
        let pairs = list.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(role, name)| (role.to_owned(), name.to_owned())).collect())
    }

    /// Whether it says that it leads.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn leads(&self, role: Role) -> Result<bool> {
        let line = format!("pdp_agent_leader{{role=\"{}\"}} 1", role.name());
        Ok(self.ask("/metrics").await?.lines().any(|said| said == line))
    }

    /// Arms one failpoint.
    ///
    /// # Errors
    /// It does not answer, or has no such point.
    pub async fn arm(&self, name: &str) -> Result<()> {
        self.ask(&format!("/failpoints/{name}")).await.map(drop)
    }

    /// Arms none.
    pub async fn disarm(&self) {
        // It answers that there is no such point, or is gone.
        drop(self.ask("/failpoints/none").await);
    }
}

/// What the containers of the agent have said, as far as the kubelet keeps it: file and text.
///
/// # Errors
/// The cluster is external.
pub fn logs(bed: &Testbed) -> Result<Vec<(PathBuf, String)>> {
    let root = bed.instance()?.path("pod-logs");
    let mut found = Vec::new();
    for pod in std::fs::read_dir(root).into_iter().flatten().flatten() {
        if !pod.file_name().to_string_lossy().starts_with("pdp-agent_") {
            continue;
        }
        for file in std::fs::read_dir(pod.path().join("pdp-agent")).into_iter().flatten().flatten() {
            found.push((file.path(), std::fs::read_to_string(file.path()).unwrap_or_default()));
        }
    }
    Ok(found)
}

/// Points that are told in a log.
#[must_use]
pub fn reached(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| line.split_once(REACHED));
    names.map(|(_, name)| name.trim().to_owned()).collect()
}

/// Lines of a log that tell of a panic.
#[must_use]
pub fn panics(text: &str) -> Vec<String> {
    text.lines().filter(|line| line.contains("panicked at")).map(str::to_owned).collect()
}

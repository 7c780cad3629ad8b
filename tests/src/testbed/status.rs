//! What runs of an instance, as a table for people.

use super::config::Record;
use super::instance::Side;
use super::parts::{self, Part};
use super::process::Process;
use super::vault::Vault;
use super::{Error, Instance, cgroup, down, up};

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Line {
    pub part: String,
    /// How it does.
    pub state: String,
    /// Where it answers.
    pub address: String,
    /// Resident memory in bytes.
    pub memory: Option<u64>,
}

/// Looks at every part.
///
/// # Errors
/// The instance is not there.
pub async fn status(instance: &Instance) -> Result<Vec<Line>, Error> {
    let record = Record::read(instance)?;
    let running = |process: Option<Process>| match process {
        Some(process) => format!("runs ({})", process.pid),
        None => "does not run".to_owned(),
    };
    let mut lines = Vec::new();
    for part in Part::ALL {
        let process = part.process(instance);
        let mut state = running(process);
        let mut address = part.address();
        match part {
            Part::Apiserver => {
                if process.is_some() && !up::api_reachable(instance).await {
                    state.push_str(", does not answer");
                }
                address = both(&address, record.ports.api);
            }
            Part::Vault => {
                if process.is_some() {
                    state.push_str(match Vault::of(instance)?.seal_status().await {
                        Ok((_, true)) => ", sealed",
                        Ok((true, false)) => ", unsealed",
                        Ok((false, false)) => ", not initialised",
                        Err(_) => ", does not answer",
                    });
                }
                address = both(&address, record.ports.vault);
            }
            Part::Registry => address = both(&address, record.ports.registry),
            Part::Etcd
            | Part::Containerd
            | Part::Forwarder
            | Part::ControllerManager
            | Part::Scheduler
            | Part::Kubelet
            | Part::KubeProxy
            | Part::KubeRouter => {}
        }
        lines.push(Line { part: part.name().to_owned(), state, address, memory: process.and_then(Process::memory) });
    }
    let control_plane = Process::read(&parts::pid_file(instance, "control-plane")).filter(|process| process.alive());
    lines.push(Line {
        part: "control plane".to_owned(),
        state: running(control_plane),
        address: both("https://control-plane.test:8443", record.ports.control_plane),
        memory: control_plane.and_then(Process::memory),
    });
    lines.push(Line {
        part: "pods".to_owned(),
        state: String::new(),
        address: "10.244.0.0/24".to_owned(),
        memory: cgroup::memory(instance),
    });
    let all = down::inside(instance, Side::Cluster);
    lines.push(Line {
        part: "node, all processes".to_owned(),
        state: format!("{} processes", all.len()),
        address: String::new(),
        memory: Some(all.iter().filter_map(|process| process.memory()).sum()),
    });
    Ok(lines)
}

fn both(inside: &str, port: u16) -> String {
    format!("{inside} = 127.0.0.1:{port}")
}

/// The table as text.
#[must_use]
pub fn table(lines: &[Line]) -> String {
    let width = |of: fn(&Line) -> usize| lines.iter().map(of).max().unwrap_or_default();
    let (part, state, address) =
        (width(|line| line.part.len()), width(|line| line.state.len()), width(|line| line.address.len()));
    let mut text = format!("{:part$}  {:state$}  {:address$}  {:>8}\n", "PART", "STATE", "ADDRESS", "MEMORY");
    for line in lines {
        let memory = line.memory.map(|bytes| format!("{} MiB", bytes >> 20)).unwrap_or_default();
        let Line { part: name, state: how, address: place, .. } = line;
        text.push_str(&format!("{name:part$}  {how:state$}  {place:address$}  {memory:>8}\n"));
    }
    text
}

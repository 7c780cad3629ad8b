//! What an instance may have left on the machine: looks at processes, mounts, cgroups, namespaces, firewall rules and kernel
//! settings, and compares with what was there before the first `up`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::process::all_pids;
use super::{Error, Instance, Side, cgroup, down, files};

/// Kernel settings that change by themselves.
const VOLATILE: &[&str] = &[
    "kernel/random/",
    "kernel/ns_last_pid",
    "kernel/pty/nr",
    "kernel/tainted",
    "kernel/perf_event_max_sample_rate",
    "fs/dentry-state",
    "fs/file-nr",
    "fs/inode-nr",
    "fs/inode-state",
    "fs/quota/",
    "fs/aio-nr",
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_log/",
    "net/ipv4/neigh/",
    "net/ipv6/",
    "fs/binfmt_misc/",
];

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Machine {
    boot: String,
    settings: BTreeMap<String, String>,
    rules: String,
    links: Vec<String>,
}

impl Machine {
    fn now() -> Self {
        let mut settings = BTreeMap::new();
        read_settings(Path::new("/proc/sys"), &mut settings);
        let mut links: Vec<_> = fs::read_dir("/sys/class/net")
            .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
            .unwrap_or_default();
        links.sort();
        let rules = std::process::Command::new("nft").args(["-s", "list", "ruleset"]).output();
        let rules = rules.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        Self { boot: boot(), settings, rules, links }
    }
}

/// Changes with every start of the machine.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn read_settings(folder: &Path, into: &mut BTreeMap<String, String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.strip_prefix("/proc/sys").unwrap_or(&path).to_string_lossy().into_owned();
        if VOLATILE.iter().any(|volatile| name.starts_with(volatile) || format!("{name}/") == *volatile) {
            continue;
        }
        if path.is_dir() {
            read_settings(&path, into);
        } else if let Ok(value) = fs::read_to_string(&path) {
            into.insert(name, value.trim().to_owned());
        }
    }
}

/// Remembers the machine as it is, unless that was done and not yet compared.
pub(crate) fn remember(instance: &Instance) -> Result<(), Error> {
    let file = instance.before_file();
    let known = files::read_json::<Machine>(&file).is_ok_and(|before| before.boot == boot());
    if known {
        return Ok(());
    }
    files::write_json(&file, &Machine::now())
}

/// Everything of the instance that is still on the machine, one sentence each. Empty after a good `down`; what was
/// remembered of the machine is forgotten then.
///
/// # Errors
/// The machine cannot be looked at.
pub fn leftovers(instance: &Instance) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let state = instance.state().display().to_string();
    for pid in all_pids().into_iter().filter(|pid| *pid != std::process::id().cast_signed()) {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&words).replace('\0', " ");
        if line.contains(&format!("{state}/")) {
            found.push(format!("process {pid}: {line}"));
        }
    }
    found.extend(down::forwarders(instance).iter().map(|process| format!("forwarder {}", process.pid)));
    for side in [Side::Cluster, Side::ControlPlane] {
        if instance.netns_file(side).exists() {
            found.push(format!("network namespace {}", instance.netns(side)));
        }
        found.extend(down::inside(instance, side).iter().map(|process| format!("process {} in it", process.pid)));
    }
    found.extend(down::mounts_below(instance).iter().map(|place| format!("mount {}", place.display())));
    found.extend(cgroup::present(instance).iter().map(|group| format!("cgroup {}", group.display())));
    if instance.root().join(".made-run-netns").exists() && !others_run(instance) {
        found.push("the mount /run/netns".to_owned());
    }
    found.extend(changed(instance)?);
    if found.is_empty() {
        files::remove(&instance.before_file())?;
    }
    Ok(found)
}

fn others_run(instance: &Instance) -> bool {
    let Ok(entries) = fs::read_dir(instance.root()) else { return false };
    let own: PathBuf = instance.state();
    entries.flatten().any(|entry| entry.path() != own && entry.path().join("instance.json").exists())
}

/// What differs from the machine that was remembered.
fn changed(instance: &Instance) -> Result<Vec<String>, Error> {
    let file = instance.before_file();
    if !file.exists() {
        return Ok(Vec::new());
    }
    let before: Machine = files::read_json(&file)?;
    let now = Machine::now();
    let mut found = Vec::new();
    if before.boot != now.boot {
        // The machine was started anew: nothing that was changed is left.
        return Ok(found);
    }
    for (name, value) in &before.settings {
        match now.settings.get(name) {
            Some(other) if other != value => found.push(format!("setting {name} was {value:?}, is {other:?}")),
            Some(_) | None => {}
        }
    }
    if before.rules != now.rules {
        found.push("the host's nft rules changed".to_owned());
    }
    found.extend(
        now.links.iter().filter(|link| !before.links.contains(link)).map(|link| format!("network link {link}")),
    );
    Ok(found)
}

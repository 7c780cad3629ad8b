//! Removing an instance so that nothing of it is left: processes, mounts, cgroups, namespaces, files.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::process::{Process, all_pids, clean, run};
use super::{Error, Instance, Lock, Side, cgroup, files, network, parts};

/// Ends and removes everything of the instance. `keep` leaves its data (etcd, images, vault), so that the next `up` goes on
/// with it, as after a reboot.
///
/// # Errors
/// Something resists; what was removed stays removed, and a second call goes on.
pub async fn down(instance: &Instance, keep: bool) -> Result<(), Error> {
    let _lock = Lock::hold(&instance.lock_file()).await?;
    clear_cluster_side(instance).await?;
    kill_all(inside(instance, Side::ControlPlane)).await?;
    for name in ["forwarder", "control-plane"] {
        if let Some(process) = Process::read(&parts::pid_file(instance, name)).filter(|process| process.alive()) {
            process.stop(Duration::from_secs(3)).await?;
        }
    }
    network::remove(instance).await?;
    unmount_leftovers(instance).await?;
    files::remove_folder(&instance.path("run"))?;
    if keep {
        return Ok(());
    }
    files::remove_folder(&instance.state())
}

/// Ends what runs in the cluster's namespaces and removes its network and cgroups. The control plane's side stays.
pub(crate) async fn clear_cluster_side(instance: &Instance) -> Result<(), Error> {
    if let Some(init) = parts::init_process(instance) {
        // The kernel ends all others of its namespace with it.
        init.signal(Signal::SIGKILL)?;
        init.ended(Duration::from_secs(20)).await?;
    }
    kill_all(inside(instance, Side::Cluster)).await?;
    cgroup::remove(instance).await?;
    unmount_leftovers(instance).await?;
    if instance.netns_file(Side::Cluster).exists() {
        let name = instance.netns(Side::Cluster);
        run("removing a network namespace", clean("ip").args(["netns", "del", &name])).await?;
    }
    Ok(())
}

/// All processes whose network is one of the instance's, whoever started them.
pub(crate) fn inside(instance: &Instance, side: Side) -> Vec<Process> {
    let Some(namespace) = inode(&instance.netns_file(side)) else { return Vec::new() };
    let wanted = PathBuf::from(format!("net:[{namespace}]"));
    let is_inside = |pid: &i32| Process::namespace(*pid, "net").as_ref() == Some(&wanted);
    all_pids().into_iter().filter(is_inside).filter_map(Process::with_pid).collect()
}

fn inode(file: &std::path::Path) -> Option<u64> {
    std::fs::metadata(file).ok().map(|data| std::os::unix::fs::MetadataExt::ino(&data))
}

async fn kill_all(processes: Vec<Process>) -> Result<(), Error> {
    let unique: HashSet<i32> = processes.iter().map(|process| process.pid).collect();
    for process in &processes {
        process.signal(Signal::SIGKILL)?;
    }
    for process in processes.into_iter().filter(|process| unique.contains(&process.pid)) {
        process.ended(Duration::from_secs(10)).await?;
    }
    Ok(())
}

/// Mounts below the state folder that a crash left in the host's own mount namespace.
async fn unmount_leftovers(instance: &Instance) -> Result<(), Error> {
    for place in mounts_below(instance) {
        run("removing a mount", clean("umount").arg("-l").arg(place)).await?;
    }
    Ok(())
}

/// Mounts of the host below the state folder, the deepest first.
pub(crate) fn mounts_below(instance: &Instance) -> Vec<PathBuf> {
    let Ok(text) = std::fs::read_to_string("/proc/self/mountinfo") else { return Vec::new() };
    let state = instance.state();
    let places = text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut found: Vec<_> = places.filter(|place| place.starts_with(&state)).collect();
    found.sort_by_key(|place| std::cmp::Reverse(place.components().count()));
    found
}

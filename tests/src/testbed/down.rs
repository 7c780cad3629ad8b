//! Removing an instance so that nothing of it is left: processes, mounts, cgroups, namespaces, files.

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
    kill_all(forwarders(instance)).await?;
    network::remove(instance).await?;
    unmount_leftovers(instance).await?;
    files::remove_folder(&instance.path("run"))?;
    if keep {
        return Ok(());
    }
    files::remove_folder(&instance.state())?;
    // A process that waits for the lock notices that the file is gone, and locks a new one.
    files::remove(&instance.lock_file())
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

/// The instance's forwarders, known by their command line: they live outside its namespaces, and a crash may lose a pid file.
pub(crate) fn forwarders(instance: &Instance) -> Vec<Process> {
    let wanted = format!("\0forward\0--name\0{}\0", instance.name());
    let is_ours = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).strip_suffix(&wanted).is_some_and(|program| program.ends_with("testbed"))
    };
    all_pids().into_iter().filter(is_ours).filter_map(Process::with_pid).collect()
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
    for process in &processes {
        process.signal(Signal::SIGKILL)?;
    }
    for process in processes {
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

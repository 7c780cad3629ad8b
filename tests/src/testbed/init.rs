//! Process 1 of the cluster's pid and mount namespaces: makes the cluster's own mounts, then reaps orphans until it is killed.
//!
//! It starts and supervises nothing. When it dies the kernel ends every process of the namespace, and its mounts go with it.

use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::instance::{CONTROL_PLANE_HOST, CONTROL_PLANE_IP, NODE_IP, REGISTRY_HOST, VAULT_HOST};
use super::{Error, Instance, files};

/// The kubelet sets these for the whole machine unless they have the wanted values already: so it sees files of its own in their place.
const MACHINE_SETTINGS: &[(&str, &str)] = &[
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Runs as process 1. Returns only on a signal or when a mount fails.
///
/// # Errors
/// A mount is refused.
pub fn run(instance: &Instance) -> Result<(), Error> {
    mounts(instance)?;
    files::write(&instance.path("run/init.ready"), "")?;
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set.add(Signal::SIGTERM);
    set.thread_block().map_err(|errno| Error::io("block signals in", "process 1")(errno.into()))?;
    while !matches!(set.wait(), Ok(Signal::SIGTERM)) {
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive) {}
    }
    Ok(())
}

fn mounts(instance: &Instance) -> Result<(), Error> {
    for folder in ["/run", "/var/log", "/var/lib/cni", "/var/lib/kubelet"] {
        files::make_folder(Path::new(folder))?;
        attempt(folder, mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some("mode=755")))?;
    }
    for folder in ["/run/netns", "/run/lock", "/run/containerd"] {
        files::make_folder(Path::new(folder))?;
    }
    if !Path::new("/var/run").exists() {
        symlink("/run", "/var/run").map_err(Error::io("create", "/var/run"))?;
    }
    let kubelet = instance.path("kubelet");
    files::make_folder(&kubelet)?;
    bind(&kubelet, &kubelet)?;
    for folder in [kubelet.as_path(), Path::new("/run")] {
        let shared = MsFlags::MS_SHARED | MsFlags::MS_REC;
        attempt(folder, mount(None::<&str>, folder, None::<&str>, shared, None::<&str>))?;
    }
    for (setting, value) in MACHINE_SETTINGS {
        let stand_in = Path::new("/run/machine-settings").join(setting.replace('/', "."));
        files::write(&stand_in, format!("{value}\n"))?;
        bind(&stand_in, &Path::new("/proc/sys").join(setting))?;
    }
    let hosts = Path::new("/run/hosts");
    files::write(
        hosts,
        format!(
            "127.0.0.1 localhost\n{CONTROL_PLANE_IP} {CONTROL_PLANE_HOST}\n{NODE_IP} {VAULT_HOST} {REGISTRY_HOST} node1\n"
        ),
    )?;
    bind(hosts, Path::new("/etc/hosts"))
}

fn bind(from: &Path, to: &Path) -> Result<(), Error> {
    attempt(to, mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>))
}

fn attempt(path: impl AsRef<Path>, result: nix::Result<()>) -> Result<(), Error> {
    result.map_err(|errno| Error::io("mount", path.as_ref())(errno.into()))
}

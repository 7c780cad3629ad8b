//! The cgroup of an instance, in every controller (version 1) or in the one tree (version 2). All pods run below it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Error, Instance, files, wait_until};

const ROOT: &str = "/sys/fs/cgroup";

/// Makes the cgroup.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn ensure(instance: &Instance) -> Result<(), Error> {
    for tree in trees() {
        let group = tree.join(instance.cgroup());
        files::make_folder(&group)?;
        // In version 1 a new group has no CPUs until it is told.
        for name in ["cpuset.cpus", "cpuset.mems"] {
            let (from, to) = (tree.join(name), group.join(name));
            if from.exists() && to.exists() && tree.ends_with("cpuset") {
                let value = files::read(&from)?;
                fs::write(&to, value.trim()).map_err(Error::io("write", &to))?;
            }
        }
    }
    let unified = Path::new(ROOT).join("cgroup.controllers");
    if unified.exists() {
        let controllers = files::read(&unified)?;
        let wanted: Vec<_> = controllers.split_whitespace().map(|name| format!("+{name}")).collect();
        for folder in [PathBuf::from(ROOT), Path::new(ROOT).join(instance.cgroup())] {
            let file = folder.join("cgroup.subtree_control");
            fs::write(&file, wanted.join(" ")).map_err(Error::io("write", &file))?;
        }
    }
    Ok(())
}

/// Removes the cgroup; its processes have been ended before.
///
/// # Errors
/// A process is still in it after ten seconds.
pub(crate) async fn remove(instance: &Instance) -> Result<(), Error> {
    wait_until(Duration::from_secs(10), "the cgroups to be empty", async || {
        for group in present(instance) {
            remove_tree(&group).map_err(|error| format!("{}: {error}", group.display()))?;
        }
        Ok::<_, String>(())
    })
    .await
}

/// The cgroup's folders that are there.
pub(crate) fn present(instance: &Instance) -> Vec<PathBuf> {
    trees().into_iter().map(|tree| tree.join(instance.cgroup())).filter(|group| group.exists()).collect()
}

/// Memory of all pods in bytes.
pub(crate) fn memory(instance: &Instance) -> Option<u64> {
    let name = instance.cgroup();
    [format!("{ROOT}/memory/{name}/memory.usage_in_bytes"), format!("{ROOT}/{name}/memory.current")]
        .iter()
        .find_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
}

fn trees() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let own = |path: &PathBuf| path.is_dir() && !path.is_symlink() && path.join("cgroup.procs").exists();
    entries.flatten().map(|entry| entry.path()).filter(own).collect()
}

fn remove_tree(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

//! A new checkout begins with what another one on this machine has compiled of other people's crates. Each checkout has a target
//! folder of its own, so that two at work never take each other's programs; a clean clone is warm all the same.
//!
//! The project's own crates are never taken over: cargo decides by the age of files, and a file of this checkout may be older than
//! what was compiled of another version elsewhere.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::board::Report;
use crate::{Error, Programs};

/// File in a target folder with the path of its checkout.
const OWNER: &str = "checkout";

/// Marks the folder as this checkout's. An empty one takes over what a sibling has; siblings whose checkout is gone are removed.
pub(crate) fn ensure(programs: &Programs, report: &Report) -> Result<(), Error> {
    let owner = programs.target.join(OWNER);
    if owner.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(&programs.target).map_err(Error::io("create", &programs.target))?;
    if let Some(donor) = donor(&programs.target) {
        report.at(0, 0, "taking over what another checkout has compiled");
        copy(&donor, programs)?;
    }
    for sibling in siblings(&programs.target) {
        let gone = std::fs::read_to_string(sibling.join(OWNER)).is_ok_and(|path| !Path::new(path.trim()).exists());
        if gone {
            std::fs::remove_dir_all(&sibling).map_err(Error::io("remove", &sibling))?;
        }
    }
    std::fs::write(&owner, format!("{}\n", programs.checkout.display())).map_err(Error::io("write", &owner))
}

/// The one that compiled last.
pub(crate) fn donor(target: &Path) -> Option<PathBuf> {
    siblings(target).into_iter().max_by_key(|folder| age(folder))
}

/// Target folders of other checkouts beside this one.
fn siblings(target: &Path) -> Vec<PathBuf> {
    let Some(Ok(list)) = target.parent().map(std::fs::read_dir) else { return Vec::new() };
    let folders = list.flatten().map(|entry| entry.path());
    folders.filter(|folder| folder != target && folder.join(OWNER).exists()).collect()
}

fn age(folder: &Path) -> Option<SystemTime> {
    std::fs::metadata(folder.join("debug/deps")).and_then(|data| data.modified()).ok()
}

/// Takes over libraries, build scripts and what cargo knows of them; programs and the project's own crates are compiled here.
fn copy(donor: &Path, programs: &Programs) -> Result<(), Error> {
    let own = own_crates(&programs.checkout);
    let foreign = |name: &str| !own.iter().any(|own| name.starts_with(&format!("{own}-")));
    for profile in ["debug", "check/debug"] {
        let (from, to) = (donor.join(profile), programs.target.join(profile));
        let Ok(lock) = File::open(from.join(".cargo-lock")) else { continue };
        // While its owner compiles, half of a file may be there: then this checkout compiles all itself.
        if lock.try_lock_shared().is_err() {
            continue;
        }
        copy_folder(&from.join(".fingerprint"), &to.join(".fingerprint"), &foreign)?;
        copy_folder(&from.join("build"), &to.join("build"), &|_| true)?;
        copy_folder(&from.join("deps"), &to.join("deps"), &|name| name.contains('.'))?;
    }
    Ok(())
}

/// Copies the entries that `take` selects, and everything below them, with their times, by which cargo decides.
fn copy_folder(from: &Path, to: &Path, take: &dyn Fn(&str) -> bool) -> Result<(), Error> {
    let Ok(list) = std::fs::read_dir(from) else { return Ok(()) };
    std::fs::create_dir_all(to).map_err(Error::io("create", to))?;
    for entry in list.flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if !take(&entry.file_name().to_string_lossy()) || to.is_file() {
            continue;
        }
        if from.is_dir() {
            copy_folder(&from, &to, &|_| true)?;
            continue;
        }
        std::fs::copy(&from, &to).map_err(Error::io("copy", &from))?;
        let time = std::fs::metadata(&from).and_then(|data| data.modified()).map_err(Error::io("read", &from))?;
        let written = File::open(&to).and_then(|file| file.set_modified(time));
        written.map_err(Error::io("write", &to))?;
    }
    Ok(())
}

/// Names of the workspace's packages and of their targets with names of their own.
fn own_crates(checkout: &Path) -> Vec<String> {
    let manifest = std::fs::read_to_string(checkout.join("Cargo.toml")).unwrap_or_default();
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap_or_default();
    let folders = members.split('"').skip(1).step_by(2);
    let name = |folder: &str| {
        let manifest = std::fs::read_to_string(checkout.join(folder).join("Cargo.toml")).ok()?;
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = "))?;
        Some(name.trim_matches('"').to_owned())
    };
    folders.filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_checkout_takes_over_what_others_compiled_but_nothing_of_the_project() {
        let root = std::env::temp_dir().join(format!("prepare-seed-{}", std::process::id()));
        let (donor, target) = (root.join("donor"), root.join("target"));
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned();
        for file in [
            "debug/.cargo-lock",
            "debug/.fingerprint/serde-1/lib-serde",
            "debug/.fingerprint/pdp-agent-1/lib-pdp_agent",
            "debug/deps/libserde-1.rlib",
            "debug/deps/testbed-1",
        ] {
            std::fs::create_dir_all(donor.join(file).parent().unwrap()).unwrap();
            std::fs::write(donor.join(file), "").unwrap();
        }
        let programs = Programs { checkout, target: target.clone() };
        copy(&donor, &programs).unwrap();
        let time =
            |folder: &Path| std::fs::metadata(folder.join("debug/deps/libserde-1.rlib")).unwrap().modified().unwrap();
        assert_eq!(time(&donor), time(&target));
        assert!(target.join("debug/.fingerprint/serde-1/lib-serde").exists());
        assert!(!target.join("debug/.fingerprint/pdp-agent-1").exists());
        assert!(!target.join("debug/deps/testbed-1").exists());
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_projects_own_crates_are_those_of_the_workspace() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let names = own_crates(checkout);
        for name in [
            "protocol",
            "pdp-agent",
            "control-plane-mock",
            "control-plane-model",
            "pdpctl",
            "tests",
            "simulation",
            "prepare",
        ] {
            assert!(names.iter().any(|own| own == name), "{name} is missing in {names:?}");
        }
    }
}

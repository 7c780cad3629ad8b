//! Whether this machine can do what is asked of it at all. Everything that is wrong is told at once, before anything is compiled.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::{Cache, Error, command, packages};

/// Oldest Go that builds the parts, and oldest Rust that builds the programs.
const GO: (u32, u32) = (1, 26);
const RUST: (u32, u32) = (1, 95);

/// Gigabytes of disk: with nothing there yet, and to work with what is there.
const DISK: (u64, u64) = (20, 6);
/// Megabytes of memory for a cluster and a compiler beside it.
const MEMORY: u64 = 4000;

pub(crate) struct Needs {
    /// A test cluster is made here.
    pub(crate) cluster: bool,
    /// Parts are built with Go.
    pub(crate) go: bool,
    /// The programs are compiled from nothing.
    pub(crate) fresh: bool,
}

pub(crate) fn all(needs: &Needs, cache: &Cache) -> Result<(), Error> {
    let mut wrong = vec![rust(), disk(needs, cache), memory()];
    if needs.cluster {
        wrong.extend([root(), debian(), namespaces(), ports()]);
    }
    if needs.go {
        wrong.extend([go(), python()]);
    }
    let wrong: Vec<_> = wrong.into_iter().flatten().collect();
    let Some((last, others)) = wrong.split_last() else { return Ok(()) };
    if others.is_empty() {
        return Err(Error::new(last.problem.clone(), last.fix.clone()));
    }
    let list: Vec<_> = wrong.iter().map(|error| format!("  - {error}")).collect();
    Err(Error::new(format!("this machine does not fit yet:\n{}", list.join("\n")), "see to these, and run again"))
}

fn root() -> Option<Error> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    (effective != Some("0")).then(|| {
        Error::new(
            "the test cluster needs root (namespaces, mounts, cgroups)",
            "run as root on Debian 12, or set KUBECONFIG to an existing cluster",
        )
    })
}

fn debian() -> Option<Error> {
    let names: Vec<_> = packages::missing().iter().map(|package| package.name).collect();
    (!names.is_empty() && !packages::present("apt-get")).then(|| {
        Error::new(format!("missing: {}", names.join(", ")), "install them by hand: this is not a Debian machine")
    })
}

fn namespaces() -> Option<Error> {
    let mut probe = Command::new("unshare");
    probe.args(["--net", "--mount", "--pid", "--fork", "true"]);
    let error = command::run("making network, mount and process namespaces", &mut probe).err()?;
    Some(Error::new(error.problem, "use a machine or a container that may make them (CAP_SYS_ADMIN)"))
}

fn ports() -> Option<Error> {
    let held: Result<Vec<_>, _> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let error = held.err()?;
    Some(Error::new(format!("no free port on 127.0.0.1: {error}"), "end what holds them"))
}

fn disk(needs: &Needs, cache: &Cache) -> Option<Error> {
    let wanted = if needs.go || needs.fresh { DISK.0 } else { DISK.1 };
    let there = cache.root().ancestors().find(|folder| folder.exists()).unwrap_or_else(|| Path::new("/"));
    let printed = command::run("df", Command::new("df").arg("-Pk").arg(there)).ok()?;
    let free: u64 = printed.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    let free = free / 1_000_000;
    (free < wanted).then(|| {
        Error::new(format!("{free} GB of disk are free at {}, {wanted} are needed", there.display()), "make room")
    })
}

fn memory() -> Option<Error> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let free: u64 =
        text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?.split_whitespace().next()?.parse().ok()?;
    let free = free / 1000;
    (free < MEMORY).then(|| Error::new(format!("{free} MB of memory are free, {MEMORY} are needed"), "end something"))
}

fn go() -> Option<Error> {
    tool("go", &["version"], GO, "Go")
}

fn rust() -> Option<Error> {
    tool("cargo", &["--version"], RUST, "Rust")
}

fn python() -> Option<Error> {
    let error = command::run("python3", Command::new("python3").arg("--version")).err()?;
    Some(Error::new(error.problem, "install Python 3"))
}

fn tool(program: &str, args: &[&str], oldest: (u32, u32), name: &str) -> Option<Error> {
    let wanted = format!("{name} {}.{}", oldest.0, oldest.1);
    let fix = format!("install {wanted} or newer, and put {program} on the PATH");
    let mut asked = Command::new(program);
    match command::run(program, asked.args(args).env("GOTOOLCHAIN", "local")) {
        Err(error) => Some(Error::new(error.problem, fix)),
        Ok(printed) => {
            let found = version(&printed);
            found
                .is_none_or(|found| found < oldest)
                .then(|| Error::new(format!("{} is too old for this: {wanted} is needed", printed.trim()), fix))
        }
    }
}

/// The first version in what a program says of itself.
fn version(printed: &str) -> Option<(u32, u32)> {
    printed.split_whitespace().find_map(|word| {
        let mut numbers = word.trim_start_matches("go").split('.');
        let major = numbers.next()?.parse().ok()?;
        Some((major, numbers.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_tools_say_them() {
        assert_eq!(version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(version("cargo 1.95.0 (abc 2026-01-01)"), Some((1, 95)));
        assert_eq!(version("what?"), None);
    }

    #[test]
    fn a_tool_that_is_too_old_is_named_with_what_is_needed() {
        let error = tool("cargo", &["--version"], (99, 0), "Rust").unwrap();
        assert!(error.problem.contains("Rust 99.0 is needed"), "{error}");
        assert!(tool("no-such-program-here", &[], (0, 0), "X").unwrap().fix.contains("install X 0.0"), "it is missing");
    }
}

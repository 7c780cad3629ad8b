//! Debian packages that the test cluster and the build of images need: says which are missing, asks, installs them without starting their services.

use std::io::{IsTerminal, Write};
use std::path::Path;

use super::process::{PATH, clean, run};
use super::{Error, files};

/// Program that proves the package, and the package.
const NEEDED: &[(&str, &str, &str)] = &[
    ("containerd", "containerd", "runs the containers"),
    ("runc", "runc", "makes one container"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins", "connects pods to the network"),
    ("iptables", "iptables", "masquerades pods, NetworkPolicy"),
    ("nft", "nftables", "Services, the firewall of the link"),
    ("ipset", "ipset", "NetworkPolicy"),
    ("conntrack", "conntrack", "Services"),
    ("socat", "socat", "port-forward"),
    ("ethtool", "ethtool", "network settings of pods"),
    ("ip", "iproute2", "network namespaces"),
    ("nsenter", "util-linux", "entering namespaces"),
    ("docker-registry", "docker-registry", "the registry"),
    ("htpasswd", "apache2-utils", "the registry's password file"),
    ("skopeo", "skopeo", "pushes images"),
    ("buildah", "buildah", "builds the agent's image"),
    ("jq", "jq", "checks the agent's image"),
    ("file", "file", "the same"),
    ("tar", "tar", "image layers"),
    ("pip3", "python3-pip", "fetches the vault"),
];

/// Makes sure that all packages are there.
///
/// # Errors
/// Not root, the user says no, or the installation fails.
pub(crate) async fn ensure(yes: bool) -> Result<(), Error> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::Machine {
            problem: "the test cluster needs root (namespaces, mounts, cgroups)".to_owned(),
            fix: "run as root on Debian 12, or set KUBECONFIG to an existing cluster".to_owned(),
        });
    }
    let missing: Vec<_> = NEEDED.iter().filter(|(program, ..)| !present(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !present("apt-get") {
        let names: Vec<_> = missing.iter().map(|(_, package, _)| *package).collect();
        return Err(Error::Machine {
            problem: format!("missing: {}", names.join(", ")),
            fix: "install them by hand: this is not a Debian machine".to_owned(),
        });
    }
    eprintln!("missing Debian packages:");
    for (_, package, why) in &missing {
        eprintln!("  {package:<28} {why}");
    }
    if !agreed("install them with apt-get?", yes).await? {
        return Err(Error::Machine {
            problem: "packages are missing".to_owned(),
            fix: "install them, or run with --yes".to_owned(),
        });
    }
    let _guard = NoServices::begin()?;
    let apt = |args: &[&str]| {
        let mut command = clean("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "DPkg::Lock::Timeout=300"]).args(args);
        command
    };
    run("apt-get update", &mut apt(&["update"])).await?;
    let mut install = apt(&["install", "-y", "--no-install-recommends"]);
    install.args(missing.iter().map(|(_, package, _)| package));
    run("apt-get install", &mut install).await?;
    Ok(())
}

/// Whether a program is on the path, or a file is there.
pub(crate) fn present(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    let own = std::env::var("PATH").unwrap_or_default();
    own.split(':').chain(PATH.split(':')).any(|folder| Path::new(folder).join(program).exists())
}

/// Asks on the terminal; yes without asking under `CI=true` or when told so before.
/// Cancel safe: a person may press Ctrl-C instead.
pub(crate) async fn agreed(question: &str, yes: bool) -> Result<bool, Error> {
    if yes || std::env::var("CI").is_ok_and(|value| value == "true") {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("{question} [y/N] ");
    let asked = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stderr().flush()?;
        std::io::stdin().read_line(&mut answer)?;
        Ok(answer)
    });
    let answer = asked.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    Ok(answer.map_err(Error::io("read", "the terminal"))?.trim().eq_ignore_ascii_case("y"))
}

/// Keeps Debian from starting the services of packages while they are installed.
struct NoServices(bool);

impl NoServices {
    const FILE: &str = "/usr/sbin/policy-rc.d";

    fn begin() -> Result<Self, Error> {
        let file = Path::new(Self::FILE);
        if file.exists() {
            return Ok(Self(false));
        }
        files::write(file, "#!/bin/sh\nexit 101\n")?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(file, mode).map_err(Error::io("write", file))?;
        Ok(Self(true))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.0
            && let Err(error) = files::remove(Path::new(Self::FILE))
        {
            eprintln!("warning: {error}");
        }
    }
}

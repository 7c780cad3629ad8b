//! Debian packages that the test cluster and the build of images need. Installed without starting their services.

use std::path::Path;
use std::process::Command;

use crate::{Error, command};

/// Where programs of the machine are looked for besides the caller's own path.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) struct Package {
    /// A program or file that proves it.
    proof: &'static str,
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
}

const fn package(proof: &'static str, name: &'static str, why: &'static str) -> Package {
    Package { proof, name, why }
}

const NEEDED: &[Package] = &[
    package("containerd", "containerd", "runs the containers"),
    package("runc", "runc", "makes one container"),
    package("/usr/lib/cni/bridge", "containernetworking-plugins", "connects pods to the network"),
    package("iptables", "iptables", "masquerades pods, NetworkPolicy"),
    package("nft", "nftables", "Services, the firewall of the link"),
    package("ipset", "ipset", "NetworkPolicy"),
    package("conntrack", "conntrack", "Services"),
    package("socat", "socat", "port-forward"),
    package("ethtool", "ethtool", "network settings of pods"),
    package("ip", "iproute2", "network namespaces"),
    package("nsenter", "util-linux", "entering namespaces"),
    package("docker-registry", "docker-registry", "the registry"),
    package("htpasswd", "apache2-utils", "the registry's password file"),
    package("skopeo", "skopeo", "pushes images"),
    package("buildah", "buildah", "builds the agent's image"),
    package("jq", "jq", "checks the agent's image"),
    package("file", "file", "the same"),
    package("tar", "tar", "image layers"),
    package("pip3", "python3-pip", "fetches the vault, Helm, kubectl"),
];

pub(crate) fn missing() -> Vec<&'static Package> {
    NEEDED.iter().filter(|package| !present(package.proof)).collect()
}

/// Whether a program is on the path, or a file is there.
#[must_use]
pub fn present(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    let own = std::env::var("PATH").unwrap_or_default();
    own.split(':').chain(PATH.split(':')).any(|folder| Path::new(folder).join(program).exists())
}

pub(crate) fn install(packages: &[&Package]) -> Result<(), Error> {
    if packages.is_empty() {
        return Ok(());
    }
    eprintln!("installing {} Debian packages …", packages.len());
    let _guard = NoServices::begin()?;
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "DPkg::Lock::Timeout=300"]).args(args);
        command
    };
    command::run("apt-get update", &mut apt(&["update"]))?;
    let mut install = apt(&["install", "-y", "--no-install-recommends"]);
    install.args(packages.iter().map(|package| package.name));
    command::run("apt-get install", &mut install).map(drop)
}

/// Keeps Debian from starting the services of packages while they are installed.
struct NoServices(bool);

impl NoServices {
    const FILE: &str = "/usr/sbin/policy-rc.d";

    fn begin() -> Result<Self, Error> {
        if Path::new(Self::FILE).exists() {
            return Ok(Self(false));
        }
        std::fs::write(Self::FILE, "#!/bin/sh\nexit 101\n").map_err(Error::io("write", Self::FILE))?;
        command::make_executable(Path::new(Self::FILE))?;
        Ok(Self(true))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.0
            && let Err(error) = std::fs::remove_file(Self::FILE)
        {
            eprintln!("warning: could not remove {}: {error}", Self::FILE);
        }
    }
}

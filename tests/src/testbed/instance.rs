//! One named test cluster: its names, folders, addresses and ports. Pure: touches nothing.
//!
//! Addresses repeat between instances, since each lives in network namespaces of its own that no other can reach.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;

/// Address of the control plane's end of the link.
pub const CONTROL_PLANE_IP: &str = "10.77.1.1";
/// Address of the cluster's end of the link.
pub const CLUSTER_IP: &str = "10.77.1.2";
/// Address of the node, the registry and the vault inside the cluster's network.
pub const NODE_IP: &str = "10.77.2.1";
/// Name of the control plane as the cluster's network resolves it.
pub const CONTROL_PLANE_HOST: &str = "control-plane.test";
/// Name of the vault as the cluster's network resolves it.
pub const VAULT_HOST: &str = "vault.customer.test";
/// Name of the registry as the cluster's network resolves it.
pub const REGISTRY_HOST: &str = "registry.customer.test";
/// Name and port of the registry as they stand in image references.
pub const REGISTRY: &str = "registry.customer.test:5000";
/// Port of the API server in the cluster's network.
pub const API_PORT: u16 = 6443;
/// Port of the registry in the cluster's network.
pub const REGISTRY_PORT: u16 = 5000;
/// Port of the vault in the cluster's network.
pub const VAULT_PORT: u16 = 8200;
/// Port of the control plane in its network.
pub const CONTROL_PLANE_PORT: u16 = 8443;

/// The two networks of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The customer's network: node, pods, registry, vault.
    Cluster,
    /// The outside, where the control plane listens.
    #[value(name = "controlplane", alias = "control-plane")]
    ControlPlane,
}

/// Ports on 127.0.0.1 of the host that the forwarder listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ports {
    /// The API server.
    pub api: u16,
    /// The registry.
    pub registry: u16,
    /// The vault.
    pub vault: u16,
    /// The control plane, if one runs.
    pub control_plane: u16,
}

impl Ports {
    /// The ports of the instance `main`; others take free ones.
    pub const MAIN: Self = Self { api: 17443, registry: 17500, vault: 17820, control_plane: 17843 };
}

/// Names and places of one test cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    name: String,
    root: PathBuf,
}

impl Instance {
    /// The instance called `name`, below `$PDP_TESTBED_STATE` or `/var/lib/pdp-agent-testbed`.
    ///
    /// # Errors
    /// The name is not 1–20 characters of `a-z`, `0-9` and `-`.
    pub fn named(name: &str) -> Result<Self, Error> {
        let root = std::env::var_os("PDP_TESTBED_STATE")
            .map_or_else(|| PathBuf::from("/var/lib/pdp-agent-testbed"), PathBuf::from);
        Self::below(name, &root)
    }

    fn below(name: &str, root: &Path) -> Result<Self, Error> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 20 || name.starts_with('-') || !name.chars().all(fits) {
            return Err(Error::Machine {
                problem: format!("{name:?} is no name for a test cluster"),
                fix: "use 1 to 20 characters of a-z, 0-9 and -, not starting with -".to_owned(),
            });
        }
        Ok(Self { name: name.to_owned(), root: root.to_owned() })
    }

    /// The instance's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of a network namespace, as `ip netns` shows it.
    #[must_use]
    pub fn netns(&self, side: Side) -> String {
        let base = match side {
            Side::Cluster => "cluster",
            Side::ControlPlane => "controlplane",
        };
        if self.name == "main" { base.to_owned() } else { format!("{base}-{}", self.name) }
    }

    /// File that holds a network namespace open.
    #[must_use]
    pub fn netns_file(&self, side: Side) -> PathBuf {
        Path::new("/run/netns").join(self.netns(side))
    }

    /// Name of the cgroup below which all pods run, in every controller.
    #[must_use]
    pub fn cgroup(&self) -> String {
        format!("pdp-testbed-{}", self.name)
    }

    /// Folder above all instances.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of everything that belongs to this instance.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    /// A file or folder below [`Self::state`].
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.state().join(below)
    }

    /// Held while the instance is made or removed. Outside [`Self::state`], which `down` removes.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.root.join(format!(".{}.lock", self.name))
    }

    /// What the machine looked like before the first `up`, for `verify-down`.
    #[must_use]
    pub fn before_file(&self) -> PathBuf {
        self.root.join(format!(".{}.before.json", self.name))
    }

    /// Log of a part.
    #[must_use]
    pub fn log(&self, part: &str) -> PathBuf {
        self.path(&format!("logs/{part}.log"))
    }

    /// Kubeconfig with all rights, for use on the host.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_has_short_names_and_others_carry_theirs() {
        let root = Path::new("/var/lib/x");
        let main = Instance::below("main", root).unwrap();
        let other = Instance::below("two", root).unwrap();
        assert_eq!(main.netns(Side::Cluster), "cluster");
        assert_eq!(other.netns(Side::ControlPlane), "controlplane-two");
        assert_eq!(other.path("etcd"), Path::new("/var/lib/x/two/etcd"));
        assert_ne!(main.cgroup(), other.cgroup());
    }

    #[test]
    fn names_that_could_leave_the_folder_are_refused() {
        for name in ["", "..", "a/b", "-x", "Main", "a_b", "123456789012345678901"] {
            assert!(Instance::below(name, Path::new("/x")).is_err(), "{name:?} was accepted");
        }
    }
}

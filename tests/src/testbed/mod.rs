//! The test cluster: a real single-node Kubernetes with registry and vault in a network namespace of its own, joined by one
//! link to a second namespace where a control plane runs. A firewall on the cluster's end of the link drops what comes in, so
//! "outbound only" is a fact of the network.
//!
//! [`Testbed`] is what tests use. The program `testbed` is a thin command line around the same functions. Touches: network
//! namespaces, cgroups and a state folder that are named after the instance; nothing else of the machine (`verify` proves it).
//! Programs that are left running are known by pid files; there is no daemon.

pub mod addon;
mod applied;
mod cgroup;
mod config;
pub mod down;
mod error;
mod faults;
mod files;
pub mod forward;
mod handle;
pub mod image;
pub mod init;
pub mod instance;
pub mod network;
pub mod parts;
mod pki;
mod process;
mod registry;
mod services;
pub mod status;
mod toxic;
pub mod up;
mod vault;
pub mod verify;
mod wait;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tokio::process::Command;

pub use addon::Addon;
pub use error::Error;
pub use forward::Sockets;
pub use handle::Testbed;
pub use image::ImageSpec;
pub use instance::{Instance, Side};
pub use network::Cut;
pub use parts::Part;
use prepare::{Cache, recipe};
pub use process::{Process, group, processes};
pub use services::Sample;
pub use up::UpOptions;
pub use wait::wait_until;

/// Held while an instance is made or removed. The kernel frees it when its process ends.
struct Lock {
    _file: std::fs::File,
}

impl Lock {
    async fn hold(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            files::make_folder(folder)?;
        }
        loop {
            let mut file = std::fs::File::create(path).map_err(Error::io("open", path))?;
            if file.try_lock().is_err() {
                eprintln!("another testbed command is at work ({}): waiting for it", path.display());
                let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
                file = locked.map_err(std::io::Error::other).flatten().map_err(Error::io("lock", path))?;
            }
            // `down` removes the file: what was waited for may no longer be the lock.
            let held = file.metadata().map(|data| data.ino()).map_err(Error::io("lock", path))?;
            if std::fs::metadata(path).is_ok_and(|data| data.ino() == held) {
                return Ok(Self { _file: file });
            }
        }
    }
}

/// What a program of ours must know from the caller's environment.
fn own_env() -> Vec<(String, String)> {
    ["PDP_TESTBED_STATE", "PDP_TESTBED_CACHE", "HOME"]
        .iter()
        .filter_map(|name| std::env::var(name).ok().map(|value| ((*name).to_owned(), value)))
        .collect()
}

/// There is one crypto provider in the whole tree; the first caller installs it.
fn use_crypto_provider() {
    // Err means that it is installed already.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

/// An HTTP client that trusts the customer's authority only.
fn http_client(instance: &Instance) -> Result<reqwest::Client, Error> {
    use_crypto_provider();
    let problem = |error: reqwest::Error| Error::Kubernetes(error.to_string());
    let pem = files::read(&config::authority(instance))?;
    let authority = reqwest::Certificate::from_pem(pem.as_bytes()).map_err(problem)?;
    let limit = std::time::Duration::from_secs(10);
    reqwest::Client::builder().tls_certs_only([authority]).no_proxy().timeout(limit).build().map_err(problem)
}

/// A client with the rights of a kubeconfig.
async fn client(kubeconfig: &Path) -> Result<kube::Client, Error> {
    use_crypto_provider();
    let problem = |error: &dyn std::fmt::Display| Error::Kubernetes(format!("{}: {error}", kubeconfig.display()));
    let document = kube::config::Kubeconfig::read_from(kubeconfig).map_err(|error| problem(&error))?;
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(document, &options).await.map_err(|error| problem(&error))?;
    kube::Client::try_from(config).map_err(|error| problem(&error))
}

/// `kubectl` of the instance with all rights, to be given its arguments.
fn kubectl(instance: &Instance) -> Result<Command, Error> {
    let mut command = process::clean(Cache::from_env().file(&recipe::KUBECTL));
    command.arg("--kubeconfig").arg(instance.kubeconfig());
    Ok(command)
}

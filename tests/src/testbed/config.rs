//! Writes the configuration files of an instance, and keeps its few settings: ports, passwords, sample images.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::instance::{API_PORT, Instance, Ports, REGISTRY};
use super::parts::Settings;
use super::process::{clean, run};
use super::{Error, files, recipe};

/// Template and where it goes below the state folder.
const TEMPLATES: &[(&str, &str)] = &[
    (include_str!("../../testbed/config/containerd.toml"), "config/containerd.toml"),
    (include_str!("../../testbed/config/hosts.toml"), "config/certs.d/registry.customer.test:5000/hosts.toml"),
    (include_str!("../../testbed/config/cni.json"), "config/cni/10-pods.conflist"),
    (include_str!("../../testbed/config/kubelet.yaml"), "config/kubelet.yaml"),
    (include_str!("../../testbed/config/proxy.yaml"), "config/proxy.yaml"),
    (include_str!("../../testbed/config/audit.yaml"), "config/audit.yaml"),
    (include_str!("../../testbed/config/registry.yml"), "config/registry.yml"),
    (include_str!("../../testbed/config/vault.hcl"), "config/vault.hcl"),
    (include_str!("../../testbed/config/system.yaml"), "config/system.yaml"),
];

/// What an instance remembers. Readable by root only: it holds the registry's password.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) ports: Ports,
    pub(crate) fsync: bool,
    pub(crate) registry_password: String,
    /// Name of a sample and its image by digest.
    #[serde(default)]
    pub(crate) samples: BTreeMap<String, String>,
}

impl Record {
    pub(crate) fn read(instance: &Instance) -> Result<Self, Error> {
        files::read_json(&instance.path("instance.json")).map_err(|_| Error::Instance {
            name: instance.name().to_owned(),
            problem: "it is not there".to_owned(),
            fix: format!("make it with `testbed up --name {}`", instance.name()),
        })
    }

    pub(crate) fn write(&self, instance: &Instance) -> Result<(), Error> {
        files::write_json(&instance.path("instance.json"), self)
    }

    pub(crate) const fn settings(&self) -> Settings {
        Settings { fsync: self.fsync }
    }

    /// The instance's record; made with free ports when there is none.
    pub(crate) fn ensure(instance: &Instance, fsync: Option<bool>) -> Result<Self, Error> {
        let mut record = match Self::read(instance) {
            Ok(record) => record,
            Err(_) => Self {
                ports: choose_ports(instance.name() == "main")?,
                fsync: false,
                registry_password: uuid::Uuid::new_v4().simple().to_string(),
                samples: BTreeMap::new(),
            },
        };
        record.fsync = fsync.unwrap_or(record.fsync);
        record.write(instance)?;
        Ok(record)
    }
}

/// User name at the registry.
pub(crate) const REGISTRY_USER: &str = "customer";

/// Writes all configuration files and kubeconfigs.
pub(crate) async fn ensure(instance: &Instance, record: &Record) -> Result<(), Error> {
    let state = instance.state().display().to_string();
    for (template, place) in TEMPLATES {
        let text = template
            .replace("{{state}}", &state)
            .replace("{{cgroup}}", &instance.cgroup())
            .replace("{{coredns}}", recipe::COREDNS_VERSION);
        files::write(&instance.path(place), text)?;
    }
    files::write(&instance.path("config/resolv.conf"), "")?;
    for folder in ["registry", "vault", "etcd", "pod-logs", "volume-plugins", "containerd", "containerd-opt", "logs"] {
        files::make_folder(&instance.path(folder))?;
    }
    let inside = format!("https://127.0.0.1:{API_PORT}");
    for client in ["controller-manager", "scheduler", "kubelet", "proxy", "kube-router"] {
        let file = instance.path(&format!("config/{client}.kubeconfig"));
        files::write_private(&file, kubeconfig(instance, client, &inside)?)?;
    }
    files::write_private(&instance.path("config/admin.kubeconfig"), kubeconfig(instance, "admin", &inside)?)?;
    let outside = format!("https://127.0.0.1:{}", record.ports.api);
    files::write_private(&instance.kubeconfig(), kubeconfig(instance, "admin", &outside)?)?;
    registry_login(instance, record).await
}

/// A kubeconfig that holds its keys itself, so that it can be copied.
fn kubeconfig(instance: &Instance, client: &str, server: &str) -> Result<String, Error> {
    let data = |file: &str| files::read(&instance.path(&format!("pki/{file}"))).map(|text| STANDARD.encode(text));
    let name = format!("testbed-{}", instance.name());
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": name, "cluster": { "server": server, "certificate-authority-data": data("ca.crt")? } }],
        "users": [{ "name": client, "user": {
            "client-certificate-data": data(&format!("{client}.crt"))?,
            "client-key-data": data(&format!("{client}.key"))?,
        } }],
        "contexts": [{ "name": name, "context": { "cluster": name, "user": client } }],
        "current-context": name,
    });
    Ok(format!("{document:#}\n"))
}

async fn registry_login(instance: &Instance, record: &Record) -> Result<(), Error> {
    let passwords = instance.path("config/htpasswd");
    if !passwords.exists() {
        let secret = instance.path("config/registry-password");
        files::write_private(&secret, &record.registry_password)?;
        let mut command = clean("sh");
        command.args(["-c", "htpasswd -niB \"$1\" < \"$0\""]).arg(&secret).arg(REGISTRY_USER);
        let line = run("hashing the registry's password", &mut command).await?;
        files::write_private(&passwords, line)?;
    }
    files::write_private(&instance.path("config/registry-auth.json"), docker_config(record))
}

/// The content of a `.dockerconfigjson` for the registry.
pub(crate) fn docker_config(record: &Record) -> String {
    let both = format!("{REGISTRY_USER}:{}", record.registry_password);
    json!({ "auths": { REGISTRY: {
        "username": REGISTRY_USER,
        "password": record.registry_password,
        "auth": STANDARD.encode(both),
    } } })
    .to_string()
}

/// Fixed ports for `main` where they are free, else whatever the kernel gives.
fn choose_ports(fixed: bool) -> Result<Ports, Error> {
    let mut taken = Vec::new();
    let mut choose = |wanted: u16| -> Result<u16, Error> {
        let first = if fixed { TcpListener::bind(("127.0.0.1", wanted)).ok() } else { None };
        let listener = match first {
            Some(listener) => listener,
            None => TcpListener::bind("127.0.0.1:0").map_err(Error::io("listen on", "127.0.0.1"))?,
        };
        let port = listener.local_addr().map_err(Error::io("listen on", "127.0.0.1"))?.port();
        // Held until all are chosen, so that none is given twice.
        taken.push(listener);
        Ok(port)
    };
    Ok(Ports {
        api: choose(Ports::MAIN.api)?,
        registry: choose(Ports::MAIN.registry)?,
        vault: choose(Ports::MAIN.vault)?,
        control_plane: choose(Ports::MAIN.control_plane)?,
    })
}

/// The authority of the customer's network, PEM.
pub(crate) fn authority(instance: &Instance) -> PathBuf {
    instance.path("pki/ca.crt")
}

/// Reads a secret file of the instance, such as the vault's root token.
pub(crate) fn secret(path: &Path) -> Result<String, Error> {
    files::read(path).map(|text| text.trim().to_owned())
}

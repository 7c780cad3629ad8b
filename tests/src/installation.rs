//! One control plane across the firewall and one agent installed from the chart: what end-to-end tests and the demo begin with.
//!
//! Everything goes the way a person would go: the mock's server binary in its own network, `pdpctl` against its REST API, the real
//! Helm with the chart of this checkout and the image in the test registry. Nothing here knows the inside of the agent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::testbed::{Side, Testbed, wait_until};

pub mod artifacts;
mod pdpctl;

pub use pdpctl::{Ended, Pdpctl};

/// The mock's server, running in the network `controlplane` of a test cluster.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    bed: Testbed,
    state: PathBuf,
    args: Vec<String>,
}

impl ControlPlane {
    /// Starts it, with an empty store unless `state` holds one. `args` go to `control-plane-mock serve`.
    ///
    /// # Errors
    /// It does not start, or does not answer within twenty seconds.
    pub async fn start(bed: &Testbed, state: &Path, args: &[&str]) -> Result<Self> {
        let plane = Self {
            bed: bed.clone(),
            state: state.to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        };
        plane.restart().await?;
        Ok(plane)
    }

    /// Starts it again over the same store, in place of the one that runs.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn restart(&self) -> Result<()> {
        std::fs::create_dir_all(&self.state).with_context(|| format!("create {}", self.state.display()))?;
        let output = self.state.to_string_lossy().into_owned();
        let store = self.state.join("store.db").to_string_lossy().into_owned();
        let public = "control-plane.test:8443";
        let mut args = vec!["serve", "--listen", "10.77.1.1:8443", "--store", &store, "--output", &output];
        args.extend(["--public-address", public]);
        args.extend(self.args.iter().map(String::as_str));
        self.bed.start_control_plane(&artifacts::binary("control-plane-mock"), &args, &[]).await?;
        let cli = self.pdpctl();
        wait_until(Duration::from_secs(20), "the control plane to answer", || async {
            cli.run(&["get", "organizations"]).await
        })
        .await?;
        Ok(())
    }

    /// The same store with these arguments (each a flag and its value) from the next [`Self::restart`] of the returned one on; they
    /// replace what was said of the same flags before.
    #[must_use]
    pub fn with(&self, more: &[&str]) -> Self {
        let given = |pair: &&[String]| !pair.first().is_some_and(|flag| more.contains(&flag.as_str()));
        let kept = self.args.chunks(2).filter(given).flatten().cloned();
        let args = kept.chain(more.iter().map(|arg| (*arg).to_owned())).collect();
        Self { args, ..self.clone() }
    }

    /// Folder of its store, CA and token.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Stops it; agents see a closed connection.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop(&self) -> Result<()> {
        Ok(self.bed.stop_control_plane().await?)
    }

    /// The command line with this control plane's address, CA and token.
    #[must_use]
    pub fn pdpctl(&self) -> Pdpctl {
        let port = self.bed.ports().map_or(0, |ports| ports.control_plane);
        Pdpctl {
            server: format!("https://127.0.0.1:{port}"),
            ca: self.state.join("ca.crt"),
            token: self.state.join("admin.token"),
            organization: None,
            project: None,
        }
    }

    /// Its CA, PEM.
    ///
    /// # Errors
    /// It has not written it.
    pub fn ca(&self) -> Result<String> {
        let file = self.state.join("ca.crt");
        std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
    }
}

/// What an installation is made with. `Default` is what most tests want.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespace of the agent, made if missing.
    pub namespace: String,
    /// Name of the Helm release.
    pub release: String,
    /// Handle of the organization, made if missing.
    pub organization: String,
    /// Handle of the data plane.
    pub data_plane: String,
    /// Image of the agent by digest.
    pub image: String,
    /// More values, as YAML.
    pub values: String,
}

/// An agent in a test cluster, enrolled at a control plane.
#[derive(Debug, Clone)]
pub struct Installation {
    pub bed: Testbed,
    /// Its control plane.
    pub control_plane: ControlPlane,
    /// What it was made with.
    pub options: Options,
}

impl Installation {
    /// Makes organization and data plane, installs the chart with the token and waits until the agent is connected.
    ///
    /// # Errors
    /// A step fails; the error says which and what was said.
    pub async fn install(bed: &Testbed, control_plane: &ControlPlane, options: Options) -> Result<Self> {
        let this = Self { bed: bed.clone(), control_plane: control_plane.clone(), options };
        let token = this.token().await?;
        this.prepare_namespace().await?;
        this.helm_install(token.as_deref()).await?;
        this.connected(Duration::from_secs(60)).await?;
        Ok(this)
    }

    /// Makes the organization and the data plane at the control plane and returns the enrolment token.
    ///
    /// # Errors
    /// The control plane refuses, or the data plane is enrolled already.
    pub async fn register(&self) -> Result<String> {
        self.token().await?.context("the data plane is enrolled already")
    }

    /// Makes the organization and the data plane at the control plane, where they are missing, and returns an enrolment token
    /// unless the data plane is enrolled.
    ///
    /// # Errors
    /// The control plane refuses.
    pub async fn token(&self) -> Result<Option<String>> {
        let cli = self.control_plane.pdpctl();
        let Options { organization, data_plane, .. } = &self.options;
        if cli.ended(&["get", "organization", organization]).await?.code != 0 {
            cli.run(&["create", "organization", organization]).await?;
        }
        let cli = cli.within(organization, "");
        let create = if cli.ended(&["get", "data-plane", data_plane]).await?.code != 0 {
            "data-plane"
        } else {
            let known = cli.json(&["get", "data-plane", data_plane]).await?;
            if known.get("status").and_then(Value::as_str) != Some("NotEnrolled") {
                return Ok(None);
            }
            "enrolment"
        };
        let enrolment = cli.json(&["create", create, data_plane]).await?;
        let token = enrolment.get("token").and_then(Value::as_str).context("the enrolment has no token")?;
        Ok(Some(token.to_owned()))
    }

    /// The namespace, labelled as a careful customer would, and the Secret for pulling the agent's image and the samples.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn prepare_namespace(&self) -> Result<()> {
        let namespace = &self.options.namespace;
        self.bed
            .apply(
                &serde_json::json!({
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": { "name": namespace, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
                })
                .to_string(),
            )
            .await?;
        self.bed.pull_secret(namespace, "registry").await?;
        Ok(())
    }

    /// Values of the chart for this installation.
    ///
    /// # Errors
    /// The cluster is not of the test bed.
    pub fn values(&self, token: Option<&str>) -> Result<Value> {
        let (repository, digest) = self.options.image.split_once('@').context("the image has no digest")?;
        let mut values = serde_json::json!({
            "controlPlane": { "url": "https://control-plane.test:8443", "caBundle": self.control_plane.ca()? },
            "image": { "repository": repository, "digest": digest },
            "imagePullSecrets": [{ "name": "registry" }],
            "displayName": self.options.data_plane,
            "policy": {
                "registries": [{ "prefix": "registry.customer.test:5000/", "pullSecret": "registry" }],
                "logs": { "mode": "ThroughLink" },
                "vault": {
                    "address": "https://vault.customer.test:8200",
                    "caBundle": self.bed.authority()?,
                    "mount": "secret",
                    "authMount": "kubernetes",
                    "role": "pdp-agent",
                    "audience": "vault",
                    "prefix": "{namespace}",
                },
                "internalRanges": ["10.244.0.0/16", "10.96.0.0/16", "10.77.2.0/24", "169.254.0.0/16"],
            },
        });
        if let (Some(token), Some(values)) = (token, values.as_object_mut()) {
            values.insert("enrolment".to_owned(), serde_json::json!({ "token": token }));
        }
        Ok(values)
    }

    /// Installs or upgrades the chart of this checkout.
    ///
    /// # Errors
    /// Helm fails; the error holds what it said.
    pub async fn helm_install(&self, token: Option<&str>) -> Result<()> {
        self.helm_install_chart(&artifacts::file("helm/pdp-agent"), token).await
    }

    /// The same with a chart of another version.
    ///
    /// # Errors
    /// As [`Self::helm_install`].
    pub async fn helm_install_chart(&self, chart: &Path, token: Option<&str>) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let values = folder.path().join("values.json");
        std::fs::write(&values, self.values(token)?.to_string())?;
        let more = folder.path().join("more.yaml");
        std::fs::write(&more, &self.options.values)?;
        let (values, more) = (values.to_string_lossy(), more.to_string_lossy());
        let Options { namespace, release, .. } = &self.options;
        let mut args = vec!["upgrade", "--install", release, "-n", namespace, "-f", &values];
        if !self.options.values.is_empty() {
            args.extend(["-f", &more]);
        }
        let chart = chart.to_string_lossy();
        // Another release on this cluster may have brought the definitions, which are kept when it goes.
        args.extend([&*chart, "--take-ownership", "--wait", "--timeout", "90s"]);
        if let Err(error) = self.bed.helm(&args).await {
            bail!("{}\n{error}", self.bed.diagnose(namespace).await);
        }
        Ok(())
    }

    /// Waits until the control plane says that the agent is connected.
    ///
    /// # Errors
    /// It is not within `limit`; the error holds the agent's last logs.
    pub async fn connected(&self, limit: Duration) -> Result<()> {
        let cli = self.control_plane.pdpctl().within(&self.options.organization, "");
        let name = self.options.data_plane.as_str();
        let waited = wait_until(limit, "the agent to be connected", || async {
            let plane = cli.json(&["get", "data-plane", name]).await?;
            match plane.get("status").and_then(Value::as_str) {
                Some("Connected") => Ok(()),
                _ => bail!("{plane}"),
            }
        })
        .await;
        match waited {
            Ok(()) => Ok(()),
            Err(error) => bail!("{}\n{error}", self.bed.diagnose(&self.options.namespace).await),
        }
    }

    /// Makes a project and an environment `dev` in it, and returns the command line inside them and the namespace.
    ///
    /// # Errors
    /// The control plane refuses, or the environment is not ready within a minute.
    pub async fn environment(&self, project: &str) -> Result<Place> {
        self.environment_with(project, &[]).await
    }

    /// The same with more flags for `pdpctl create environment`.
    ///
    /// # Errors
    /// As [`Self::environment`].
    pub async fn environment_with(&self, project: &str, more: &[&str]) -> Result<Place> {
        let cli = self.control_plane.pdpctl().within(&self.options.organization, project);
        cli.run(&["create", "project", project]).await?;
        let create = ["create", "environment", "dev", "--data-plane", &self.options.data_plane];
        cli.run(&[&create, more].concat()).await?;
        let namespace = Self::ready(&cli, "dev").await?;
        Ok(Place { cli, namespace, project: project.to_owned() })
    }

    /// Waits until an environment is ready and returns its namespace.
    ///
    /// # Errors
    /// It is not within three minutes.
    pub async fn ready(cli: &Pdpctl, environment: &str) -> Result<String> {
        let ready = wait_until(Duration::from_secs(180), "the environment to be ready", || async {
            let status = cli.json(&["status", "--environment", environment]).await?;
            let row = status.as_array().and_then(|rows| {
                rows.iter().find(|row| row.get("kind").and_then(Value::as_str) == Some("Environment"))
            });
            let ready = row.filter(|row| row.get("phase").and_then(Value::as_str) == Some("Ready"));
            let namespace = ready.and_then(|row| row.pointer("/state/namespace")).and_then(Value::as_str);
            namespace.map(str::to_owned).with_context(|| status.to_string())
        });
        Ok(ready.await?)
    }
}

/// One environment of one project: where a test works.
#[derive(Debug, Clone)]
pub struct Place {
    /// The command line, inside organization and project.
    pub cli: Pdpctl,
    /// Namespace of the environment `dev` in the cluster.
    pub namespace: String,
    /// Handle of the project.
    pub project: String,
}

/// One request from the customer's network to an address in it; head and body of the answer, which must be 200. Five seconds.
///
/// # Errors
/// No connection, no answer, another status.
pub async fn get(bed: &Testbed, address: std::net::SocketAddr, path: &str) -> Result<String> {
    let answer = answer(bed, address, path).await?;
    ensure!(answer.contains(" 200 OK"), "{}", answer.lines().next().unwrap_or("no answer"));
    Ok(answer)
}

/// The same, whatever the status.
///
/// # Errors
/// No connection, no answer.
pub async fn answer(bed: &Testbed, address: std::net::SocketAddr, path: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let work = async {
        let mut stream = bed.connect(Side::Cluster, address).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: httpbin\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(Duration::from_secs(5), work).await.context("no answer in 5 s")?
}

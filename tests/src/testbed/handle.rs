//! The handle that tests hold.

use std::path::PathBuf;

use serde_json::Value;
use tokio::process::Command;

use super::config::Record;
use super::instance::Instance;
use super::process::run;
use super::up::{UpOptions, up};
use super::{Cache, Error, files, parts, recipe};

/// A test cluster that runs.
#[derive(Debug, Clone)]
pub struct Testbed {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Own(Instance),
    External(PathBuf),
}

impl Testbed {
    /// The running instance of this name.
    ///
    /// # Errors
    /// It does not run.
    pub fn attach(name: &str) -> Result<Self, Error> {
        let instance = Instance::named(name)?;
        Record::read(&instance)?;
        parts::inside(&instance)?;
        Ok(Self { kind: Kind::Own(instance) })
    }

    /// Brings the instance up (or verifies that it is) and attaches to it. Installs and builds what is missing without asking.
    ///
    /// # Errors
    /// See [`up`].
    pub async fn up(name: &str) -> Result<Self, Error> {
        let instance = Instance::named(name)?;
        up(&instance, &UpOptions { yes: true, ..UpOptions::default() }).await?;
        Ok(Self { kind: Kind::Own(instance) })
    }

    /// The cluster that end-to-end tests use: the instance `$PDP_TESTBED_NAME` or `main` where the caller is root, else the
    /// existing cluster of `$KUBECONFIG`.
    ///
    /// # Errors
    /// The cluster cannot be brought up, or there is none to use.
    pub async fn from_env() -> Result<Self, Error> {
        if nix::unistd::geteuid().is_root() {
            return Self::up(&std::env::var("PDP_TESTBED_NAME").unwrap_or_else(|_| "main".to_owned())).await;
        }
        std::env::var_os("KUBECONFIG").map(Self::external).ok_or_else(|| Error::Machine {
            problem: "there is no cluster to test on".to_owned(),
            fix: "run as root on Debian 12, or set KUBECONFIG to an existing cluster".to_owned(),
        })
    }

    /// Removes the instance and everything of it.
    ///
    /// # Errors
    /// Something resists.
    pub async fn down(self) -> Result<(), Error> {
        super::down::down(self.own("removing the cluster")?, false).await
    }

    /// An existing cluster (kind, k3d). What needs namespaces, processes, registry or vault of the test bed returns
    /// [`Error::External`].
    #[must_use]
    pub fn external(kubeconfig: impl Into<PathBuf>) -> Self {
        Self { kind: Kind::External(kubeconfig.into()) }
    }

    /// The names and places of an instance that the test bed made.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn instance(&self) -> Result<&Instance, Error> {
        self.own("its instance")
    }

    pub(super) fn own(&self, what: &'static str) -> Result<&Instance, Error> {
        match &self.kind {
            Kind::Own(instance) => Ok(instance),
            Kind::External(_) => Err(Error::External(what)),
        }
    }

    /// Kubeconfig with all rights, for use on the host. It holds its keys itself.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        match &self.kind {
            Kind::Own(instance) => instance.kubeconfig(),
            Kind::External(file) => file.clone(),
        }
    }

    /// A client with all rights.
    ///
    /// # Errors
    /// The kubeconfig does not read.
    pub async fn kube_client(&self) -> Result<kube::Client, Error> {
        super::client(&self.kubeconfig()).await
    }

    /// Runs kubectl to its end and returns what it printed.
    ///
    /// # Errors
    /// It ends with an error, whose last lines are told.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String, Error> {
        run(&format!("kubectl {}", args.join(" ")), self.kubectl_command().args(args)).await
    }

    /// kubectl with all rights, to be given arguments, input or output.
    #[must_use]
    pub fn kubectl_command(&self) -> Command {
        let mut command = match &self.kind {
            Kind::Own(_) => super::process::clean(Cache::from_env().file(&recipe::KUBECTL)),
            Kind::External(_) => Command::new("kubectl"),
        };
        command.arg("--kubeconfig").arg(self.kubeconfig());
        command
    }

    /// Applies manifests given as text.
    ///
    /// # Errors
    /// The API server refuses one.
    pub async fn apply(&self, manifests: &str) -> Result<(), Error> {
        let file = tempfile::NamedTempFile::new().map_err(Error::io("create", std::env::temp_dir()))?;
        files::write(file.path(), manifests)?;
        let path = file.path().display().to_string();
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &path]).await.map(drop)
    }

    /// Runs helm to its end and returns what it printed.
    ///
    /// # Errors
    /// It ends with an error, whose last lines are told.
    pub async fn helm(&self, args: &[&str]) -> Result<String, Error> {
        let mut command = match &self.kind {
            Kind::Own(_) => super::process::clean(Cache::from_env().file(&recipe::HELM)),
            Kind::External(_) => Command::new("helm"),
        };
        command.env("KUBECONFIG", self.kubeconfig()).args(args);
        run(&format!("helm {}", args.join(" ")), &mut command).await
    }

    /// The API server's audit log, oldest event first.
    ///
    /// # Errors
    /// The cluster is external, or the log cannot be read.
    pub fn audit_log(&self) -> Result<Vec<Value>, Error> {
        let text = files::read(&self.own("the audit log")?.path("logs/audit.log"))?;
        // The last line may be half written.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Pods, events and last logs of a namespace, for a failing test to print.
    pub async fn diagnose(&self, namespace: &str) -> String {
        let mut report = format!("--- namespace {namespace}\n");
        for args in [
            &["get", "all,networkpolicies,configmaps", "-o", "wide"][..],
            &["get", "events", "--sort-by=.lastTimestamp"],
            &["describe", "pods"],
        ] {
            let all = [&["-n", namespace][..], args].concat();
            let answer = self.kubectl(&all).await.unwrap_or_else(|error| error.to_string());
            report.push_str(&format!("$ kubectl {}\n{answer}\n", all.join(" ")));
        }
        let pods = self.kubectl(&["-n", namespace, "get", "pods", "-o", "name"]).await.unwrap_or_default();
        for pod in pods.lines() {
            let args = ["-n", namespace, "logs", pod, "--all-containers", "--tail=40", "--prefix"];
            let log = self.kubectl(&args).await.unwrap_or_else(|error| error.to_string());
            report.push_str(&format!("$ kubectl logs {pod}\n{log}\n"));
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::{Cut, Part, Sample};

    #[tokio::test]
    async fn an_external_cluster_says_what_it_cannot_do() {
        let external = Testbed::external("/nowhere/kubeconfig");
        assert_eq!(external.kubeconfig(), PathBuf::from("/nowhere/kubeconfig"));
        let refusals = [
            external.cut_link(Cut::Drop).await.unwrap_err(),
            external.kill(Part::Etcd).await.unwrap_err(),
            external.vault_seal().await.unwrap_err(),
            external.sample(Sample::Probe).unwrap_err(),
            external.audit_log().unwrap_err(),
        ];
        for refusal in refusals {
            assert!(refusal.to_string().contains("not available on an external cluster"), "{refusal}");
        }
    }
}

//! The handle that tests hold.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::Command;

use super::config::{self, REGISTRY_USER, Record};
use super::instance::{Instance, Ports, Side};
use super::parts::{self, Part};
use super::process::{Background, Process, run};
use super::up::{UpOptions, up};
use super::vault::Vault;
use super::{Cache, Cut, Error, ImageSpec, Sockets, files, image, network, recipe, registry};

/// An image that is in the registry of every test cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// go-httpbin, the older version; `/version` and `/env` tell it. Listens on 8080.
    HttpbinOld,
    /// go-httpbin, the newer version.
    HttpbinNew,
    /// A client for use inside pods: `probe get URL`, `probe dial HOST:PORT`, `probe load URL`, `probe sleep`.
    Probe,
}

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

    fn own(&self, what: &'static str) -> Result<&Instance, Error> {
        match &self.kind {
            Kind::Own(instance) => Ok(instance),
            Kind::External(_) => Err(Error::External(what)),
        }
    }

    // -- Kubernetes

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
            Kind::Own(_) => {
                let mut command = super::process::clean(Cache::from_env().file(&recipe::TESTCLUSTER));
                command.arg("kubectl");
                command
            }
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

    // -- Registry

    /// Pushes an image made from files and returns its reference by digest. `name` is `repository:tag`.
    ///
    /// # Errors
    /// The image cannot be built or the registry does not take it.
    pub async fn push_image(&self, spec: &ImageSpec, name: &str) -> Result<String, Error> {
        let instance = self.own("its registry")?;
        let scratch = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
        let layout = image::build(spec, name, &scratch.path().join("image")).await?;
        registry::push(instance, &layout, name).await
    }

    /// Pushes a docker or OCI archive and returns its reference by digest.
    ///
    /// # Errors
    /// The file is no archive, or the registry does not take it.
    pub async fn push_archive(&self, archive: &Path, name: &str) -> Result<String, Error> {
        registry::push_archive(self.own("its registry")?, archive, name).await
    }

    /// Reference by digest of an image that every test cluster has.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn sample(&self, sample: Sample) -> Result<String, Error> {
        let instance = self.own("its sample images")?;
        let name = match sample {
            Sample::HttpbinOld => "httpbin-1",
            Sample::HttpbinNew => "httpbin-2",
            Sample::Probe => "probe",
        };
        Record::read(instance)?.samples.get(name).cloned().ok_or_else(|| Error::Instance {
            name: instance.name().to_owned(),
            problem: format!("it has no image {name}"),
            fix: "run `testbed up` again".to_owned(),
        })
    }

    /// What `/version` of a go-httpbin sample answers, as version number.
    #[must_use]
    pub const fn sample_version(sample: Sample) -> &'static str {
        match sample {
            Sample::HttpbinOld => recipe::HTTPBIN[0],
            Sample::HttpbinNew => recipe::HTTPBIN[1],
            Sample::Probe => "1",
        }
    }

    /// User and password at the registry.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn registry_login(&self) -> Result<(String, String), Error> {
        let record = Record::read(self.own("its registry")?)?;
        Ok((REGISTRY_USER.to_owned(), record.registry_password))
    }

    /// Content of a `.dockerconfigjson` that may pull from the registry.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn docker_config(&self) -> Result<String, Error> {
        Ok(config::docker_config(&Record::read(self.own("its registry")?)?))
    }

    /// Makes the Secret `name` of type `kubernetes.io/dockerconfigjson` in the namespace.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn pull_secret(&self, namespace: &str, name: &str) -> Result<(), Error> {
        let manifest = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": name, "namespace": namespace },
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": { ".dockerconfigjson": self.docker_config()? },
        });
        self.apply(&manifest.to_string()).await
    }

    /// The authority that signed the certificates of API server, registry and vault, PEM.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn authority(&self) -> Result<String, Error> {
        files::read(&config::authority(self.own("its authority")?))
    }

    /// A client that trusts [`Self::authority`] and nothing else. Ten seconds for a request.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn http_client(&self) -> Result<reqwest::Client, Error> {
        super::http_client(self.own("its authority")?)
    }

    /// The program inside a sample image, for use on the host or in a namespace.
    #[must_use]
    pub fn sample_program(sample: Sample) -> PathBuf {
        let cache = Cache::from_env();
        cache.file(match sample {
            Sample::HttpbinOld => &recipe::HTTPBIN_1,
            Sample::HttpbinNew => &recipe::HTTPBIN_2,
            Sample::Probe => &recipe::PROBE,
        })
    }

    // -- Vault

    /// Writes a secret at `secret/<path>` (KV version 2). `data` is an object of strings.
    ///
    /// # Errors
    /// The vault refuses or does not answer.
    pub async fn vault_put(&self, path: &str, data: Value) -> Result<(), Error> {
        Vault::of(self.own("its vault")?)?.put(path, data).await
    }

    /// Any call of the vault's API with its root token; `path` is below `/v1/`.
    ///
    /// # Errors
    /// The vault refuses or does not answer.
    pub async fn vault_call(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Result<Value, Error> {
        Vault::of(self.own("its vault")?)?.call(method, path, body).await
    }

    /// The vault's root token.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn vault_token(&self) -> Result<String, Error> {
        config::secret(&self.own("its vault")?.path("vault-root-token"))
    }

    /// Seals the vault: it answers 503 until [`Self::vault_unseal`].
    ///
    /// # Errors
    /// The vault does not answer.
    pub async fn vault_seal(&self) -> Result<(), Error> {
        Vault::of(self.own("its vault")?)?.seal().await
    }

    /// Unseals the vault and waits until it is active.
    ///
    /// # Errors
    /// The vault does not answer.
    pub async fn vault_unseal(&self) -> Result<(), Error> {
        Vault::of(self.own("its vault")?)?.unseal().await
    }

    // -- Processes

    /// Sends a signal to a part and returns its process. `SIGSTOP` freezes it, `SIGCONT` lets it go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, part: Part, signal: Signal) -> Result<Process, Error> {
        part.signal(self.own("a signal to one of its processes")?, signal)
    }

    /// Kills a part and waits until it has ended.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub async fn kill(&self, part: Part) -> Result<(), Error> {
        self.signal(part, Signal::SIGKILL)?.ended(Duration::from_secs(10)).await
    }

    /// Stops a part, if it runs, and starts it again. Does not wait until it is ready.
    ///
    /// # Errors
    /// It ends at once.
    pub async fn restart(&self, part: Part) -> Result<Process, Error> {
        let instance = self.own("restarting one of its processes")?;
        part.restart(instance, Record::read(instance)?.settings()).await
    }

    // -- Networks

    /// A command inside one of the two networks, with the host's files. Give it arguments and start it.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn in_netns(&self, side: Side, program: impl AsRef<std::ffi::OsStr>) -> Result<Command, Error> {
        let mut command = network::inside(self.own("its networks")?, side);
        command.arg(program);
        Ok(command)
    }

    /// Connects to an address inside one of the two networks. Has no time limit of its own.
    ///
    /// # Errors
    /// The connection is refused, times out or has no route.
    pub async fn connect(&self, side: Side, address: std::net::SocketAddr) -> Result<TcpStream, Error> {
        Sockets::inside(&self.own("its networks")?.netns_file(side))?.connect(address).await
    }

    /// Cuts the link between the two networks.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn cut_link(&self, how: Cut) -> Result<(), Error> {
        network::cut(self.own("cutting the link")?, how).await
    }

    /// Undoes [`Self::cut_link`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn restore_link(&self) -> Result<(), Error> {
        network::restore(self.own("restoring the link")?).await
    }

    /// Ports on 127.0.0.1 of the host.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn ports(&self) -> Result<Ports, Error> {
        Ok(Record::read(self.own("its ports")?)?.ports)
    }

    // -- Control plane

    /// Starts a program as the control plane in its own network, in place of one that runs. It should listen on
    /// `10.77.1.1:8443`; the host reaches it at `127.0.0.1:` [`Ports::control_plane`].
    ///
    /// # Errors
    /// It cannot be started, or ends at once.
    pub async fn start_control_plane(
        &self,
        program: &Path,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Result<Process, Error> {
        let instance = self.own("a control plane in a network of its own")?;
        self.stop_control_plane().await?;
        let mut enter = vec!["nsenter".to_owned()];
        enter.extend(network::enter(instance, Side::ControlPlane));
        enter.push("--".to_owned());
        Background {
            name: "the control plane",
            enter,
            init: None,
            program: program.to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            folder: std::env::current_dir().unwrap_or_else(|_| instance.state()),
            log: instance.log("control-plane"),
            pid_file: parts::pid_file(instance, "control-plane"),
        }
        .start()
        .await
    }

    /// Stops the control plane, if one runs.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop_control_plane(&self) -> Result<(), Error> {
        match self.control_plane()? {
            Some(process) => process.stop(Duration::from_secs(10)).await,
            None => Ok(()),
        }
    }

    /// The control plane's process, if it runs.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn control_plane(&self) -> Result<Option<Process>, Error> {
        let file = parts::pid_file(self.own("its control plane")?, "control-plane");
        Ok(Process::read(&file).filter(|process| process.alive()))
    }
}

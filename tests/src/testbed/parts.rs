//! The processes of an instance: how each is started, and where it answers. Starting, stopping and killing them by name.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::instance::{API_PORT, NODE_IP, REGISTRY, VAULT_HOST};
use super::process::{Background, Process};
use super::{Error, Instance, Side, files, network, recipe};
use prepare::Cache;

/// A process of the test cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Part {
    /// The store of the API server.
    Etcd,
    /// The API server.
    #[value(alias = "kube-apiserver")]
    Apiserver,
    /// The controllers of Kubernetes itself.
    ControllerManager,
    /// Places pods.
    Scheduler,
    /// Runs containers; they survive its restart.
    Containerd,
    /// The node's agent.
    Kubelet,
    /// Makes Services work.
    KubeProxy,
    /// Enforces NetworkPolicy.
    KubeRouter,
    /// The image registry.
    Registry,
    /// OpenBao.
    Vault,
    /// Joins ports of the host with the cluster's network.
    Forwarder,
}

impl Part {
    /// All parts, in the order in which they are started.
    pub const ALL: [Self; 11] = [
        Self::Etcd,
        Self::Containerd,
        Self::Registry,
        Self::Vault,
        Self::Apiserver,
        Self::Forwarder,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::KubeRouter,
    ];

    /// Its name in commands, log files and pid files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Apiserver => "apiserver",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::KubeRouter => "kube-router",
            Self::Registry => "registry",
            Self::Vault => "vault",
            Self::Forwarder => "forwarder",
        }
    }

    /// Where it answers, for people.
    #[must_use]
    pub fn address(self) -> String {
        match self {
            Self::Apiserver => format!("https://{NODE_IP}:{API_PORT}"),
            Self::Registry => REGISTRY.to_owned(),
            Self::Vault => format!("https://{VAULT_HOST}:8200"),
            Self::Etcd
            | Self::ControllerManager
            | Self::Scheduler
            | Self::Containerd
            | Self::Kubelet
            | Self::KubeProxy
            | Self::KubeRouter
            | Self::Forwarder => String::new(),
        }
    }

    /// The running process, if it runs.
    #[must_use]
    pub fn process(self, instance: &Instance) -> Option<Process> {
        Process::read(&pid_file(instance, self.name())).filter(|process| process.alive())
    }

    /// Starts it unless it runs.
    ///
    /// # Errors
    /// The cluster is not up, or the process ends at once.
    pub(crate) async fn start(self, instance: &Instance, settings: Settings) -> Result<Process, Error> {
        if let Some(process) = self.process(instance) {
            return Ok(process);
        }
        let (program, args) = self.command(instance, settings);
        let (enter, init) = if self == Self::Forwarder { (vec![], None) } else { inside(instance)? };
        Background {
            name: self.name(),
            enter,
            init,
            program,
            args,
            env: super::own_env(),
            folder: instance.state(),
            log: instance.log(self.name()),
            pid_file: pid_file(instance, self.name()),
        }
        .start()
        .await
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn signal(self, instance: &Instance, signal: Signal) -> Result<Process, Error> {
        let process = self.process(instance).ok_or_else(|| Error::Instance {
            name: instance.name().to_owned(),
            problem: format!("{} does not run", self.name()),
            fix: format!("start it with `testbed restart {}`", self.name()),
        })?;
        process.signal(signal)?;
        Ok(process)
    }

    /// Stops it, if it runs, and starts it again.
    pub(crate) async fn restart(self, instance: &Instance, settings: Settings) -> Result<Process, Error> {
        if let Some(process) = self.process(instance) {
            // A frozen process would not hear the request to end.
            process.signal(Signal::SIGCONT)?;
            process.stop(Duration::from_secs(10)).await?;
        }
        self.start(instance, settings).await
    }

    fn command(self, instance: &Instance, settings: Settings) -> (PathBuf, Vec<String>) {
        let cache = Cache::from_env();
        let state = instance.state().display().to_string();
        let fill = |text: &str| text.replace("{{state}}", &state);
        let words = |text: &str| fill(text).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let kubernetes = |text: &str| (cache.file(&recipe::TESTCLUSTER), words(text));
        match self {
            Self::Etcd => {
                let (program, mut args) = kubernetes(ETCD);
                if !settings.fsync {
                    args.push("--unsafe-no-fsync".to_owned());
                }
                (program, args)
            }
            Self::Apiserver => kubernetes(APISERVER),
            Self::ControllerManager => kubernetes(CONTROLLER_MANAGER),
            Self::Scheduler => {
                kubernetes("kube-scheduler --kubeconfig {{state}}/config/scheduler.kubeconfig --leader-elect=false")
            }
            Self::Kubelet => kubernetes(KUBELET),
            Self::KubeProxy => kubernetes("kube-proxy --config {{state}}/config/proxy.yaml"),
            Self::KubeRouter => (cache.file(&recipe::KUBE_ROUTER), words(KUBE_ROUTER)),
            Self::Containerd => ("containerd".into(), words("-c {{state}}/config/containerd.toml")),
            Self::Registry => ("docker-registry".into(), words("serve {{state}}/config/registry.yml")),
            Self::Vault => (cache.file(&recipe::OPENBAO), words("server -config={{state}}/config/vault.hcl")),
            Self::Forwarder => {
                (own_program(), vec!["forward".to_owned(), "--name".to_owned(), instance.name().to_owned()])
            }
        }
    }
}

/// Choices of an instance that change how parts are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Whether etcd waits for the disk: on for crash tests of the machine, off for speed.
    pub fsync: bool,
}

const ETCD: &str = "etcd --data-dir {{state}}/etcd --log-level warn
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380
    --initial-cluster default=http://127.0.0.1:2380";

const APISERVER: &str = "kube-apiserver --etcd-servers http://127.0.0.1:2379
    --advertise-address 10.77.2.1 --bind-address 0.0.0.0 --secure-port 6443
    --tls-cert-file {{state}}/pki/apiserver.crt --tls-private-key-file {{state}}/pki/apiserver.key
    --client-ca-file {{state}}/pki/ca.crt --authorization-mode Node,RBAC
    --enable-admission-plugins NodeRestriction --allow-privileged=true
    --service-account-issuer https://kubernetes.default.svc
    --service-account-key-file {{state}}/pki/service-account.pub
    --service-account-signing-key-file {{state}}/pki/service-account.key
    --service-cluster-ip-range 10.96.0.0/16
    --kubelet-preferred-address-types=InternalIP
    --kubelet-client-certificate {{state}}/pki/kubelet-client.crt --kubelet-client-key {{state}}/pki/kubelet-client.key
    --requestheader-client-ca-file {{state}}/pki/ca.crt --requestheader-allowed-names front-proxy
    --requestheader-extra-headers-prefix X-Remote-Extra- --requestheader-group-headers X-Remote-Group
    --requestheader-username-headers X-Remote-User
    --proxy-client-cert-file {{state}}/pki/front-proxy.crt --proxy-client-key-file {{state}}/pki/front-proxy.key
    --enable-aggregator-routing=true --shutdown-delay-duration=0s
    --audit-policy-file {{state}}/config/audit.yaml --audit-log-path {{state}}/logs/audit.log
    --audit-log-maxsize 500 --audit-log-maxbackup 1";

const CONTROLLER_MANAGER: &str = "kube-controller-manager
    --kubeconfig {{state}}/config/controller-manager.kubeconfig --leader-elect=false
    --service-account-private-key-file {{state}}/pki/service-account.key --root-ca-file {{state}}/pki/ca.crt
    --cluster-signing-cert-file {{state}}/pki/ca.crt --cluster-signing-key-file {{state}}/pki/ca.key
    --use-service-account-credentials --allocate-node-cidrs=false
    --kube-api-qps 200 --kube-api-burst 400";

const KUBELET: &str = "kubelet --config {{state}}/config/kubelet.yaml --kubeconfig {{state}}/config/kubelet.kubeconfig
    --hostname-override node1 --node-ip 10.77.2.1 --root-dir {{state}}/kubelet";

const KUBE_ROUTER: &str = "--run-router=false --run-firewall=true --run-service-proxy=false --run-loadbalancer=false
    --kubeconfig {{state}}/config/kube-router.kubeconfig --hostname-override node1
    --service-cluster-ip-range 10.96.0.0/16 --enable-cni=false --enable-overlay=false --metrics-port 0
    --iptables-sync-period 1m --health-port 20244";

/// Words that put a program into the cluster's namespaces, and process 1 of them.
pub(crate) fn inside(instance: &Instance) -> Result<(Vec<String>, Option<i32>), Error> {
    let init = init_process(instance).ok_or_else(|| Error::Instance {
        name: instance.name().to_owned(),
        problem: "it does not run".to_owned(),
        fix: format!("start it with `testbed up --name {}`", instance.name()),
    })?;
    let words = ["nsenter", "--target", &init.pid.to_string(), "--mount", "--net", "--pid", "--"].map(str::to_owned);
    Ok((words.to_vec(), Some(init.pid)))
}

/// Process 1 of the cluster's namespaces, as the host sees it.
pub(crate) fn init_process(instance: &Instance) -> Option<Process> {
    Process::read(&pid_file(instance, "init")).filter(|process| process.alive())
}

/// Starts process 1 unless it runs, and waits until its mounts are made. Returns whether it was started now.
pub(crate) async fn start_init(instance: &Instance) -> Result<bool, Error> {
    if init_process(instance).is_some() {
        return Ok(false);
    }
    let ready = instance.path("run/init.ready");
    files::remove(&ready)?;
    let mut enter = vec!["nsenter".to_owned()];
    enter.extend(network::enter(instance, Side::Cluster));
    let outer = Background {
        name: "the cluster's process 1",
        enter,
        init: None,
        program: "unshare".into(),
        args: ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
            .map(str::to_owned)
            .into_iter()
            .chain([own_program().display().to_string(), "init".into(), "--name".into(), instance.name().into()])
            .collect(),
        env: super::own_env(),
        folder: instance.state(),
        log: instance.log("init"),
        pid_file: pid_file(instance, "unshare"),
    }
    .start()
    .await?;
    let init = super::wait_until(Duration::from_secs(10), "the cluster's process 1", async || {
        if !outer.alive() {
            return Err(files::tail(&instance.log("init"), 5));
        }
        files::read(&ready).map_err(|error| error.to_string())?;
        Process::child_of(outer.pid).ok_or_else(|| "it has no process yet".to_owned())
    })
    .await?;
    files::write_json(&pid_file(instance, "init"), &init)?;
    Ok(true)
}

pub(crate) fn pid_file(instance: &Instance, name: &str) -> PathBuf {
    instance.path(&format!("run/{name}.pid"))
}

/// The `testbed` program: this one, or the one that was built beside the running test.
pub(crate) fn own_program() -> PathBuf {
    if let Some(program) = std::env::var_os("PDP_TESTBED_BIN") {
        return program.into();
    }
    let own = std::env::current_exe().unwrap_or_else(|_| "testbed".into());
    if own.file_name().is_some_and(|name| name == "testbed") {
        return own;
    }
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("testbed")).find(|file| file.exists());
    beside.unwrap_or_else(|| "testbed".into())
}

//! Bringing an instance up, and healing one that was left half dead. Every step looks first and does only what is missing, so
//! that `up` on a healthy cluster verifies it and changes nothing.

use std::future::Future;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::{Api, Client};
use prepare::{Recipe, Wanted};

use super::addon::Addon;
use super::applied::{deployment_available, kubectl_apply};
use super::config::{self, Record};
use super::instance::{API_PORT, NODE_IP};
use super::parts::{self, Part};
use super::process::run;
use super::vault::Vault;
use super::{Cache, Error, Instance, Lock, Side, Sockets, cgroup, files, network, pki, recipe, registry, verify};
use super::{kubectl, wait_until};

/// Choices of `up`.
#[derive(Debug, Clone, Default)]
pub struct UpOptions {
    /// Install and build what is missing without asking.
    pub yes: bool,
    /// Whether etcd waits for the disk; `None` leaves it as it was, off at first.
    pub fsync: Option<bool>,
    /// What is installed besides the cluster itself.
    pub with: Vec<Addon>,
}

/// Installs and builds what is missing on this machine; says what, and asks.
///
/// # Errors
/// The user says no, or something cannot be installed or built.
pub async fn prepare(options: &UpOptions) -> Result<(), Error> {
    let on_demand = options.with.iter().flat_map(|addon| addon.recipes());
    ready(recipe::BASE.iter().copied().chain(on_demand).collect(), options.yes).await
}

/// The same for parts that are named. Not cancel safe: what was begun goes on until the process ends.
pub(crate) async fn ready(parts: Vec<Recipe>, yes: bool) -> Result<(), Error> {
    let wanted = Wanted { cluster: Some(parts), programs: None, yes };
    let done = tokio::task::spawn_blocking(|| prepare::ensure(wanted)).await;
    let done = done.map_err(|error| Error::Kubernetes(error.to_string()))?;
    done.map_err(|error| Error::Machine { problem: error.problem, fix: error.fix })
}

/// Brings the instance up. A second call at the same time waits for the first.
///
/// # Errors
/// What is missing cannot be built or installed, or a part does not become ready in time.
pub async fn up(instance: &Instance, options: &UpOptions) -> Result<(), Error> {
    prepare(options).await?;
    let cache = Cache::from_env();
    let _lock = Lock::hold(&instance.lock_file()).await?;
    let started = Instant::now();
    let step = Steps { started };

    verify::remember(instance)?;
    files::make_folder(&instance.path("run"))?;
    let record = Record::ensure(instance, options.fsync)?;
    pki::ensure(instance)?;
    config::ensure(instance, &record).await?;
    shortcuts(instance, &cache)?;

    if parts::init_process(instance).is_none() && network::present(instance) {
        step.say("a dead cluster was left behind: healing it");
        super::down::clear_cluster_side(instance).await?;
    }
    network::ensure(instance).await?;
    cgroup::ensure(instance)?;
    let fresh = parts::start_init(instance).await?;
    for process in super::down::forwarders(instance) {
        // Left by a crash: its threads are in a namespace that is gone, or its pid file is lost.
        if fresh || Part::Forwarder.process(instance) != Some(process) {
            process.stop(Duration::from_secs(3)).await?;
        }
    }
    step.say("networks, firewall and mounts are there");

    if !super::vault::keys_known(instance) {
        // Cut off between initialising it and writing its keys down: it can never be unsealed again.
        if let Some(vault) = Part::Vault.process(instance) {
            vault.stop(Duration::from_secs(3)).await?;
        }
        files::remove_folder(&instance.path("vault"))?;
        files::make_folder(&instance.path("vault"))?;
    }
    let settings = record.settings();
    let mut born = Vec::new();
    for part in [Part::Etcd, Part::Containerd, Part::Registry, Part::Vault, Part::Apiserver, Part::Forwarder] {
        if part.process(instance).is_none() {
            part.start(instance, settings).await?;
            born.push(part.name());
        }
    }
    let node_images = registry::node_images(&cache);
    let ((), (), reviewer, vault) = tokio::try_join!(
        registry::import(instance, &cache, &node_images),
        sample_images(instance, &cache),
        async {
            api_ready(instance).await?;
            step.say("the API server is ready");
            for part in [Part::ControllerManager, Part::Scheduler, Part::Kubelet, Part::KubeProxy] {
                part.start(instance, settings).await?;
            }
            kubectl_apply(instance, &instance.path("config/system.yaml")).await?;
            let mut token = kubectl(instance)?;
            token.args(["-n", "kube-system", "create", "token", "vault-reviewer", "--duration=8760h"]);
            run("making a token for the vault", &mut token).await
        },
        async {
            let mut vault = Vault::of(instance)?;
            vault.open().await?;
            step.say("the vault is unsealed");
            Ok(vault)
        },
    )?;
    let client = super::client(&instance.kubeconfig()).await?;
    tokio::try_join!(vault.configure(reviewer.trim()), node_ready(&client), names_ready(instance, &client))?;
    // It ends when it finds no Node of its name.
    Part::KubeRouter.start(instance, settings).await?;
    default_account(&client).await?;
    step.say("the node is ready and names resolve");
    for addon in &options.with {
        addon.install(instance, &cache, &client).await?;
        step.say(&format!("{} is installed", addon.name()));
    }
    verify_parts(instance)?;
    let verdict = if fresh || !born.is_empty() { "is up" } else { "was up already and is well" };
    step.say(&format!("test cluster {} {verdict}", instance.name()));
    Ok(())
}

struct Steps {
    started: Instant,
}

impl Steps {
    fn say(&self, what: &str) {
        eprintln!("[{:5.1} s] {what}", self.started.elapsed().as_secs_f64());
    }
}

/// Fails with the end of its log if a part ended while others became ready.
fn verify_parts(instance: &Instance) -> Result<(), Error> {
    match Part::ALL.iter().find(|part| part.process(instance).is_none()) {
        None => Ok(()),
        Some(part) => Err(Error::Instance {
            name: instance.name().to_owned(),
            problem: format!("{} has ended: {}", part.name(), files::tail(&instance.log(part.name()), 5)),
            fix: "run `testbed up` again".to_owned(),
        }),
    }
}

/// Small programs named as people type them, for `testbed env` and `testbed shell`.
fn shortcuts(instance: &Instance, cache: &Cache) -> Result<(), Error> {
    for (name, program) in [
        ("kubectl", cache.file(&recipe::KUBECTL)),
        ("helm", cache.file(&recipe::HELM)),
        ("bao", cache.file(&recipe::OPENBAO)),
    ] {
        let file = instance.path("bin").join(name);
        files::write(&file, format!("#!/bin/sh\nexec {} \"$@\"\n", program.display()))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&file, mode).map_err(Error::io("write", &file))?;
    }
    Ok(())
}

async fn sample_images(instance: &Instance, cache: &Cache) -> Result<(), Error> {
    let mut record = Record::read(instance)?;
    let mut changed = false;
    for own in registry::samples(cache) {
        let layout = registry::layout(cache, &own).await?;
        let known = record.samples.get(own.name).is_some_and(|reference| reference.ends_with(&layout.digest));
        if known {
            continue;
        }
        let reference = wait_until(Duration::from_secs(15), "the registry to take an image", || {
            registry::push(instance, &layout, &own.reference)
        })
        .await?;
        record.samples.insert(own.name.to_owned(), reference);
        changed = true;
    }
    if changed { record.write(instance) } else { Ok(()) }
}

/// Waits until the API server says that it is ready, asked through the forwarder as a client would.
async fn api_ready(instance: &Instance) -> Result<(), Error> {
    let http = super::http_client(instance)?;
    let url = format!("https://127.0.0.1:{}/readyz", Record::read(instance)?.ports.api);
    wait_until(Duration::from_secs(60), "the API server to be ready", async || {
        if Part::Apiserver.process(instance).is_none() {
            return Err(format!("it has ended: {}", files::tail(&instance.log("apiserver"), 3)));
        }
        let answer = http.get(&url).send().await.map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answers {}", answer.status())) }
    })
    .await
}

fn node_ready(client: &Client) -> impl Future<Output = Result<(), Error>> {
    let nodes: Api<Node> = Api::all(client.clone());
    wait_until(Duration::from_secs(60), "the node to be Ready", move || {
        let nodes = nodes.clone();
        async move {
            let node = nodes.get("node1").await.map_err(|error| error.to_string())?;
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            match conditions.iter().find(|condition| condition.type_ == "Ready") {
                Some(ready) if ready.status == "True" => Ok(()),
                Some(ready) => Err(ready.message.clone().unwrap_or_default()),
                None => Err("no condition yet".to_owned()),
            }
        }
    })
}

/// CoreDNS runs, and its Service is programmed.
async fn names_ready(instance: &Instance, client: &Client) -> Result<(), Error> {
    deployment_available(client, "kube-system", "coredns").await?;
    let sockets = Sockets::inside(&instance.netns_file(Side::Cluster))?;
    let address = std::net::SocketAddr::from(([10, 96, 0, 10], 53));
    wait_until(Duration::from_secs(30), "the Service of CoreDNS", async || {
        let limit = Duration::from_millis(500);
        match tokio::time::timeout(limit, sockets.connect(address)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    })
    .await
}

/// Pods cannot be made in a namespace before its default ServiceAccount is there.
async fn default_account(client: &Client) -> Result<(), Error> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    wait_until(Duration::from_secs(30), "the default ServiceAccount", async || {
        accounts.get("default").await.map(drop).map_err(|error| error.to_string())
    })
    .await
}

/// Checks that the API server answers on its own address, for `status`.
pub(crate) async fn api_reachable(instance: &Instance) -> bool {
    let Ok(sockets) = Sockets::inside(&instance.netns_file(Side::Cluster)) else { return false };
    let Ok(ip) = NODE_IP.parse::<std::net::IpAddr>() else { return false };
    let connect = sockets.connect(std::net::SocketAddr::new(ip, API_PORT));
    matches!(tokio::time::timeout(Duration::from_secs(1), connect).await, Ok(Ok(_)))
}

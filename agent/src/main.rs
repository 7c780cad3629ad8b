//! `pdp-agent`: starts what the command line asks for.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::header::{HeaderValue, USER_AGENT};
use kube::Client;
use nix::sys::resource::{Resource, setrlimit};
use pdp_agent::admin::{self, Health};
use pdp_agent::cli::{self, Command, CommonArgs, DoctorArgs, Output};
use pdp_agent::client::Clients;
use pdp_agent::doctor;
use pdp_agent::doctor::dns::{RESOLV_CONF, nameserver};
use pdp_agent::elector::{Elector, ElectorMetrics, Leadership};
use pdp_agent::link::{self, LinkContext};
use pdp_agent::operator::clock::Clock;
use pdp_agent::operator::cluster::Http;
use pdp_agent::operator::{self, OperatorContext};
use pdp_agent::settings::{LinkSettings, Settings};
use pdp_agent::supervisor::{ExitPolicy, Outcome, Stage, Supervisor};
use pdp_agent::telemetry::{self, LevelHandle, Metrics};
use pdp_agent::{kinds, start_gate, yaml};
use tracing::{error, info, warn};

/// From the first signal to the last task's end; the chart's grace period is longer.
const STOP_LIMIT: Duration = Duration::from_secs(25);

/// Exit code for wrong usage, as clap has it.
const USAGE: u8 = 2;

pub(crate) fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
            return if error.print().is_ok() { code } else { ExitCode::FAILURE };
        }
    };
    match command(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pdp-agent: {}", telemetry::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn command(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Link { common, link } => roles(&common, Some(link.settings()), false),
        Command::Operator { common } => roles(&common, None, true),
        Command::Run { common, link } => roles(&common, Some(link.settings()), true),
        Command::Doctor(args) => doctor(&args),
        Command::FirstSecond { address, seconds } => first_second(address, seconds),
        Command::StartGate { address, deadline } => gate(address, deadline),
        Command::Crds => {
            let mut text = String::new();
            for definition in kinds::crds()? {
                text.push_str("---\n");
                text.push_str(&yaml::to_yaml(&serde_json::to_value(definition)?));
            }
            print(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Version => {
            print(concat!("pdp-agent ", env!("CARGO_PKG_VERSION"), "\n"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> std::io::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Checks and prints; the exit code tells whether something fails.
fn doctor(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let report = runtime()?.block_on(async {
        let clients = clients(&Metrics::default()).await.map_err(|error| telemetry::chain(error.as_ref()));
        doctor::run(args, clients.map(|clients| clients.shared)).await
    });
    match args.output {
        Output::Text => print(&doctor::to_text(&report))?,
        Output::Json => print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?,
    }
    Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures and prints; the exit code tells whether anything was open.
fn first_second(address: Option<SocketAddr>, seconds: u64) -> anyhow::Result<ExitCode> {
    let address = address.map_or_else(api_server, Ok)?;
    let found = runtime()?.block_on(doctor::first_second::measure(address, Duration::from_secs(seconds)));
    print(&format!("{}\n", found.sentence(address)))?;
    Ok(if found == doctor::first_second::Found::Closed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits until this pod is closed. An error becomes the container's termination message.
fn gate(address: Option<SocketAddr>, deadline: u64) -> anyhow::Result<ExitCode> {
    let address = address.map_or_else(api_server, Ok)?;
    let text = std::fs::read_to_string(RESOLV_CONF).context(RESOLV_CONF)?;
    let nameserver = nameserver(&text).with_context(|| {
        format!("{RESOLV_CONF} names no nameserver, so nothing shows whether the network of this pod is up")
    })?;
    // One worker and no TLS: this starts before every pod, with a tenth of a CPU.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no async runtime")?;
    runtime.block_on(start_gate::pass(address, nameserver, Duration::from_secs(deadline)))?;
    Ok(ExitCode::SUCCESS)
}

/// The API server as the kubelet tells every pod.
fn api_server() -> anyhow::Result<SocketAddr> {
    let variable = |name: &str| std::env::var(name).with_context(|| format!("give an address: {name} is not set"));
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    Ok(SocketAddr::new(
        host.parse().context("KUBERNETES_SERVICE_HOST")?,
        port.parse().context("KUBERNETES_SERVICE_PORT")?,
    ))
}

/// Keys and secret values are in this process's memory: no core dump is written, and no other process of the same user may read it.
fn close_memory() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    nix::sys::prctl::set_dumpable(false)
}

/// Runs one or both roles until a signal comes or one of them fails.
fn roles(common: &CommonArgs, link: Option<LinkSettings>, operator: bool) -> anyhow::Result<ExitCode> {
    let level = telemetry::start(common.log_format, common.log_level.into()).context("the log cannot be started")?;
    if let Err(error) = close_memory() {
        warn!(error = %error, "core dumps and debuggers could not be switched off");
    }
    let settings = common.settings();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        instance = settings.instance,
        link = link.is_some(),
        operator,
        "starting"
    );
    let runtime = runtime()?;
    let outcome = runtime.block_on(supervise(settings, link, operator, level));
    // A lookup of a name that never comes back would hold the process beyond its time.
    runtime.shutdown_background();
    match outcome {
        Ok(Outcome::Stopped) => {
            info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Outcome::TaskEnded(task)) => {
            error!(task, "stopped because a task ended that the process needs");
            Ok(ExitCode::FAILURE)
        }
        Ok(Outcome::Aborted(tasks)) => {
            error!(?tasks, "stopped without waiting for tasks");
            Ok(ExitCode::FAILURE)
        }
        Err(error) => {
            error!(error = %telemetry::chain(error.as_ref()), "cannot start");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Two workers: one busy with parsing must not keep heartbeats and the Lease waiting.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider was installed before"))?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("no async runtime")
}

async fn supervise(
    settings: Settings,
    link: Option<LinkSettings>,
    operator: bool,
    level: LevelHandle,
) -> anyhow::Result<Outcome> {
    let (metrics, health) = (Metrics::default(), Health::default());
    let clients = clients(&metrics).await?;
    let electors = ElectorMetrics::new(&metrics);
    let mut tasks = Supervisor::default();

    let listener = admin::listen(settings.admin_address).await?;
    let (at, numbers) = (health.clone(), metrics.clone());
    tasks.spawn("admin", Stage::Services, ExitPolicy::EndsProcess, |stop| admin::serve(listener, at, numbers, stop));

    if let Some(link) = link {
        let leadership = elect(&mut tasks, "link-elector", "link", &clients.apart, &settings, &electors);
        let context = LinkContext {
            clients: clients.clone(),
            settings: settings.clone(),
            link,
            leadership,
            metrics: metrics.clone(),
            health: health.clone(),
            level: level.clone(),
        };
        tasks.spawn("link", Stage::Roles, ExitPolicy::EndsProcess, |stop| infallible(link::run(context, stop)));
    }
    if operator {
        let leadership = elect(&mut tasks, "operator-elector", "operator", &clients.apart, &settings, &electors);
        let source = clients.shared;
        let api = Arc::new(Http::new(source.clone()));
        let context =
            OperatorContext { api, source, clock: Clock::System, settings, leadership, metrics, health, level };
        tasks.spawn("operator", Stage::Roles, ExitPolicy::EndsProcess, |stop| infallible(operator::run(context, stop)));
    }
    tasks.run(STOP_LIMIT).await.context("signals cannot be received")
}

/// A role, as the supervisor takes it: it ends only when it is stopped.
async fn infallible(role: impl Future<Output = ()>) -> Result<(), Infallible> {
    role.await;
    Ok(())
}

/// Takes part in the election of one role.
fn elect(
    tasks: &mut Supervisor,
    task: &'static str,
    role: &'static str,
    client: &Client,
    settings: &Settings,
    metrics: &ElectorMetrics,
) -> Leadership {
    let lease = format!("{}-{role}", settings.fullname);
    let (elector, leadership) =
        Elector::new(client.clone(), &settings.namespace, &lease, role, &settings.instance, metrics);
    tasks.spawn(task, Stage::Leases, ExitPolicy::EndsProcess, |stop| elector.run(stop));
    leadership
}

/// The clients of the API server: of the pod's account in a cluster, of `KUBECONFIG` elsewhere.
async fn clients(metrics: &Metrics) -> anyhow::Result<Clients> {
    let mut config = kube::Config::infer().await.context("neither a cluster's account nor a kubeconfig is here")?;
    config.connect_timeout = Some(Duration::from_secs(10));
    // The roles retry by themselves: what to try again, and when, depends on the write.
    config.default_retry = false;
    config.headers.push((USER_AGENT, HeaderValue::from_static(concat!("pdp-agent/", env!("CARGO_PKG_VERSION")))));
    Clients::new(&config, metrics).context("the API server's address or trust is malformed")
}

#[cfg(test)]
mod tests {
    use nix::sys::prctl::get_dumpable;
    use nix::sys::resource::getrlimit;

    use super::*;

    #[test]
    fn no_core_dump_is_written_and_no_debugger_attaches() {
        close_memory().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
        assert!(!get_dumpable().unwrap());
    }
}

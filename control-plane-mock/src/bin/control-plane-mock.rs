//! The server: `control-plane-mock serve`.
//!
//! Writes what `pdpctl` and an agent's installation need beside its store: `ca.crt`, `admin.token`, `context.yaml`. The
//! administrator's token stays the same as long as its file does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use control_plane_mock::domain::SCHEMA;
use control_plane_mock::gateway::authority::{self, Phase, RotationStep};
use control_plane_mock::store::Store;
use control_plane_mock::{Config, ControlPlane};
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// A control plane to test and show data-plane agents with.
#[derive(Debug, Parser)]
#[command(name = "control-plane-mock", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve agents and people until SIGINT or SIGTERM.
    Serve(Box<Serve>),
    /// Print the OpenAPI document of the REST API.
    Openapi,
    /// Take one step of a change of certificate authority: announce, switch, finish; restart every gateway after each.
    Ca(Ca),
}

#[derive(Debug, Args)]
struct Ca {
    /// What to do.
    step: CaStep,
    /// File of the store.
    #[arg(long, env = "CPM_STORE")]
    store: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum CaStep {
    /// Make a new root and hand it out with the old one, which goes on to issue.
    Announce,
    /// Issue with the new root; certificates of the old one are still taken.
    Switch,
    /// Drop the old root; there is no way back.
    Finish,
    /// Undo `announce` or `switch`.
    Back,
}

#[derive(Debug, Args)]
struct Serve {
    /// YAML file with the same settings as below; a flag wins over it.
    #[arg(long, env = "CPM_CONFIG")]
    config: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1:8443].
    #[arg(long, env = "CPM_LISTEN")]
    listen: Option<SocketAddr>,
    /// File of the store; memory without one.
    #[arg(long, env = "CPM_STORE")]
    store: Option<PathBuf>,
    /// Folder for ca.crt, admin.token and context.yaml [default: the store's folder, else the present one].
    #[arg(long, env = "CPM_OUTPUT")]
    output: Option<PathBuf>,
    /// Name or address in the server's certificate; repeatable [default: control-plane.test, localhost, 127.0.0.1, 10.77.1.1].
    #[arg(long = "san", env = "CPM_SANS", value_delimiter = ',')]
    sans: Vec<String>,
    /// host:port by which agents and people reach this server [default: the address listened on].
    #[arg(long, env = "CPM_PUBLIC_ADDRESS")]
    public_address: Option<String>,
    /// Name of this process among those that serve one store [default: gateway-1].
    #[arg(long, env = "CPM_GATEWAY")]
    gateway: Option<String>,
    /// Agents that shall come back a second after all lost their link [default: 500].
    #[arg(long, env = "CPM_RECONNECTS_PER_SECOND")]
    reconnects_per_second: Option<u32>,
    /// Life of data planes' certificates, `2m` or `24h` [default: 24h].
    #[arg(long, env = "CPM_CERTIFICATE_LIFETIME", value_parser = duration)]
    certificate_lifetime: Option<Duration>,
    /// How long after its end a certificate may be renewed [default: 30 days].
    #[arg(long, env = "CPM_RENEWAL_GRACE", value_parser = duration)]
    renewal_grace: Option<Duration>,
    /// Life of enrolment tokens, at most 1h [default: 1h].
    #[arg(long, env = "CPM_TOKEN_LIFETIME", value_parser = duration)]
    token_lifetime: Option<Duration>,
    /// After which time a refusal by policy or quota is asked for again [default: 5m].
    #[arg(long, env = "CPM_RETRY_REFUSED", value_parser = duration)]
    retry_refused: Option<Duration>,
    /// Reference of the agent's chart in the install command that is shown [default: ./helm/pdp-agent].
    #[arg(long, env = "CPM_CHART")]
    chart: Option<String>,
    /// Messages that are kept for the record; 0 keeps none [default: 20000].
    #[arg(long, env = "CPM_RECORD_LIMIT")]
    record_limit: Option<usize>,
    /// Print the context for pdpctl at start, as YAML with the CA and the path of the token.
    #[arg(long)]
    print_context: bool,
    /// Filter of the log, `info` or `control_plane_mock=debug`.
    #[arg(long, env = "CPM_LOG", default_value = "info")]
    log: String,
}

/// The same settings as a file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    store: Option<PathBuf>,
    output: Option<PathBuf>,
    #[serde(default)]
    sans: Vec<String>,
    public_address: Option<String>,
    gateway: Option<String>,
    reconnects_per_second: Option<u32>,
    certificate_lifetime: Option<String>,
    renewal_grace: Option<String>,
    token_lifetime: Option<String>,
    retry_refused: Option<String>,
    chart: Option<String>,
    record_limit: Option<usize>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("{text:?} is not a time; write it like 90s, 2m or 24h");
    let span: jiff::SignedDuration = text.parse().map_err(|_| refuse())?;
    Duration::try_from(span).map_err(|_| refuse())
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Openapi => {
            println!("{}", control_plane_mock::api::openapi_json());
            ExitCode::SUCCESS
        }
        Command::Ca(Ca { step, store }) => {
            let step = match step {
                CaStep::Announce => RotationStep::Announce,
                CaStep::Switch => RotationStep::Switch,
                CaStep::Finish => RotationStep::Finish,
                CaStep::Back => RotationStep::Back,
            };
            match take(step, &store) {
                Ok(now) => {
                    println!("{now}");
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    eprintln!("error: {error:#}");
                    ExitCode::FAILURE
                }
            }
        }
        Command::Serve(serve) => {
            if let Err(error) = run(*serve) {
                eprintln!("error: {error:#}");
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
    }
}

fn run(serve: Serve) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&serve.log)
        .context("--log is not a filter; write it like info or control_plane_mock=debug")?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let file = read_file(serve.config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(serve_until_stopped(serve, file))
}

/// Takes a step in a store that exists, and says what comes next.
fn take(step: RotationStep, store: &Path) -> anyhow::Result<&'static str> {
    if !store.is_file() {
        bail!(
            "there is no store at {}; give the file that `control-plane-mock serve --store` works on",
            store.display()
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("no runtime")?;
    let store = Store::open(Some(store), SCHEMA, |_| {})?;
    Ok(match runtime.block_on(store.run(move |c| authority::step(c, step)))? {
        Phase::Settled => "one authority; restart every gateway",
        Phase::Announced => "announced; restart every gateway, wait until every installation trusts both, then: switch",
        Phase::Switched => "switched; restart every gateway, wait until all are connected, then: finish",
    })
}

fn read_file(path: Option<&Path>) -> anyhow::Result<File> {
    let Some(path) = path else { return Ok(File::default()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    match serde_saphyr::from_str(&text) {
        Ok(file) => Ok(file),
        Err(error) => {
            let line = error.location().map(|place| format!(":{}", place.line())).unwrap_or_default();
            if let serde_saphyr::Error::SerdeUnknownField { field, expected, .. } = error.without_snippet() {
                let nearest = expected.iter().min_by_key(|known| strsim::damerau_levenshtein(field, known));
                bail!(
                    "{}{line}: unknown key `{field}`; did you mean `{}`?",
                    path.display(),
                    nearest.unwrap_or(&"listen")
                );
            }
            bail!("{}{line}: {}", path.display(), error.without_snippet())
        }
    }
}

fn settle(serve: &Serve, file: &File) -> anyhow::Result<(Config, PathBuf)> {
    let default = Config::default();
    let time = |flag: Option<Duration>, text: &Option<String>, otherwise: Duration| -> anyhow::Result<Duration> {
        match (flag, text) {
            (Some(flag), _) => Ok(flag),
            (None, Some(text)) => duration(text).map_err(anyhow::Error::msg),
            (None, None) => Ok(otherwise),
        }
    };
    let store = serve.store.clone().or_else(|| file.store.clone());
    let beside = store.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
    let output = serve.output.clone().or_else(|| file.output.clone());
    let output = output.unwrap_or_else(|| beside.map_or_else(|| PathBuf::from("."), Path::to_path_buf));
    let sans = [&serve.sans, &file.sans].into_iter().find(|list| !list.is_empty()).unwrap_or(&default.sans).clone();
    let config = Config {
        listen: serve.listen.or(file.listen).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8443))),
        sans,
        public_address: serve.public_address.clone().or_else(|| file.public_address.clone()),
        certificate_lifetime: time(
            serve.certificate_lifetime,
            &file.certificate_lifetime,
            default.certificate_lifetime,
        )?,
        renewal_grace: time(serve.renewal_grace, &file.renewal_grace, default.renewal_grace)?,
        token_lifetime: time(serve.token_lifetime, &file.token_lifetime, default.token_lifetime)?,
        retry_refused: time(serve.retry_refused, &file.retry_refused, default.retry_refused)?,
        gateway: serve.gateway.clone().or_else(|| file.gateway.clone()).unwrap_or_else(|| default.gateway.clone()),
        reconnects_per_second: serve
            .reconnects_per_second
            .or(file.reconnects_per_second)
            .unwrap_or(default.reconnects_per_second),
        chart: serve.chart.clone().or_else(|| file.chart.clone()).unwrap_or_else(|| default.chart.clone()),
        record_limit: serve.record_limit.or(file.record_limit).unwrap_or(default.record_limit),
        store,
        ..default
    };
    Ok((config, output))
}

async fn serve_until_stopped(serve: Serve, file: File) -> anyhow::Result<()> {
    let (config, output) = settle(&serve, &file)?;
    std::fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
    let token_file = output.join("admin.token");
    let kept =
        std::fs::read_to_string(&token_file).ok().map(|token| token.trim().to_owned()).filter(|token| token.len() > 30);
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let plane = ControlPlane::start_with_token(config, kept).await?;
    let ca_file = output.join("ca.crt");
    std::fs::write(&ca_file, plane.ca()).with_context(|| format!("cannot write {}", ca_file.display()))?;
    write_private(&token_file, plane.admin_token())?;
    let context = format!(
        "server: {}\ncaFile: {}\ntokenFile: {}\n",
        plane.url(),
        absolute(&ca_file).display(),
        absolute(&token_file).display()
    );
    let context_file = output.join("context.yaml");
    std::fs::write(&context_file, &context).with_context(|| format!("cannot write {}", context_file.display()))?;
    println!("address {}", plane.address());
    println!("url     {}", plane.url());
    println!("ca      {}", absolute(&ca_file).display());
    println!("token   {}", absolute(&token_file).display());
    println!(
        "log in  pdpctl login {} --token-file {} --ca-file {}",
        plane.url(),
        absolute(&token_file).display(),
        absolute(&ca_file).display()
    );
    if serve.print_context {
        print!("---\n{context}");
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping");
    tokio::select! {
        () = plane.shutdown() => {}
        // A second signal does not wait.
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(file, "{text}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_names_every_setting_and_no_other() {
        let example = Path::new("../config/control-plane-mock.yaml");
        let File {
            listen,
            store,
            output,
            sans,
            public_address,
            gateway,
            reconnects_per_second,
            certificate_lifetime,
            renewal_grace,
            token_lifetime,
            retry_refused,
            chart,
            record_limit,
        } = read_file(Some(example)).unwrap();
        assert!(
            listen.is_some() && store.is_some() && output.is_some() && !sans.is_empty() && public_address.is_some()
        );
        assert!(chart.is_some() && record_limit.is_some() && gateway.is_some() && reconnects_per_second.is_some());
        for time in [certificate_lifetime, renewal_grace, token_lifetime, retry_refused] {
            duration(&time.unwrap()).unwrap();
        }
    }

    #[test]
    fn an_unknown_key_of_the_file_is_named_with_line_and_nearest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mock.yaml");
        std::fs::write(&path, "listen: 127.0.0.1:1\nstoer: /x\n").unwrap();
        let error = read_file(Some(&path)).unwrap_err().to_string();
        assert!(error.contains(":2: unknown key `stoer`; did you mean `store`?"), "{error}");
    }
}

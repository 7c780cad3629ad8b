//! `testbed`: makes, uses, breaks and removes test clusters. A command line around `tests::testbed`.

use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use nix::sys::signal::Signal;
use tests::testbed::{Addon, Cut, ImageSpec, Instance, Part, Side, Testbed, UpOptions};
use tests::testbed::{down, forward, init, status, up, verify};
use tokio::process::Command;

/// A real Kubernetes with registry and vault behind a firewall, for tests. Needs root on Debian 12.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Which test cluster.
    #[arg(long, global = true, default_value = "main", env = "PDP_TESTBED_NAME")]
    name: String,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build what is missing and bring the cluster up; heal it after a crash; verify it when it is up.
    Up(Up),
    /// Remove the cluster and everything of it.
    Down {
        /// Keep etcd, images and vault for the next `up`, as after a reboot.
        #[arg(long)]
        keep_data: bool,
    },
    /// Tell what `down` left on the machine; exit code 1 if anything.
    VerifyDown,
    /// Show what runs.
    Status,
    /// Print shell settings: eval "$(testbed env)".
    Env,
    /// Open a shell inside one of the two networks.
    Shell {
        #[arg(default_value = "cluster")]
        side: Side,
        /// A command instead of a shell.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Run kubectl with all rights.
    Kubectl(PassThrough),
    /// Run helm with all rights.
    Helm(PassThrough),
    /// Run the vault's command line with its root token.
    Bao(PassThrough),
    /// Print the log of a part, or of control-plane, init, audit.
    Logs {
        part: String,
        /// How many lines from the end.
        #[arg(short = 'n', long, default_value_t = 200)]
        lines: usize,
        /// Go on printing.
        #[arg(short, long)]
        follow: bool,
    },
    /// Kill a part, or send it another signal.
    Kill {
        part: Part,
        /// KILL, TERM, STOP (freeze) or CONT.
        #[arg(long, default_value = "KILL")]
        signal: String,
    },
    /// Restart a part, or start one that was killed.
    Restart { part: Part },
    /// Seal the vault.
    Seal,
    /// Unseal the vault.
    Unseal,
    /// Cut the link between cluster and control plane, or restore it.
    Link {
        #[command(subcommand)]
        action: Link,
    },
    /// Put images into the registry.
    Image {
        #[command(subcommand)]
        action: Image,
    },
    /// Run a program as the control plane, in its own network.
    ControlPlane {
        #[command(subcommand)]
        action: ControlPlane,
    },
    #[command(hide = true)]
    Init,
    #[command(hide = true)]
    Forward,
}

#[derive(Args)]
struct Up {
    /// Install and build what is missing without asking (also under CI=true).
    #[arg(long, short)]
    yes: bool,
    /// Whether etcd waits for the disk (off at first).
    #[arg(long)]
    fsync: Option<bool>,
    /// Parts on demand, separated by commas.
    #[arg(long, value_delimiter = ',')]
    with: Vec<Addon>,
}

#[derive(Args)]
#[command(disable_help_flag = true)]
struct PassThrough {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

#[derive(Subcommand)]
enum Link {
    /// Cut it.
    Cut {
        #[arg(long, default_value = "drop")]
        how: Cut,
    },
    /// Undo every cut.
    Restore,
}

#[derive(Subcommand)]
enum Image {
    /// Make an image from scratch of static binaries, push it, print its reference by digest.
    Push {
        /// Repository and tag, such as `agent:dev`.
        repository: String,
        /// The first is the entrypoint; each lies in / under its own name.
        #[arg(required = true)]
        binaries: Vec<PathBuf>,
        /// KEY=value for the image's environment.
        #[arg(long)]
        env: Vec<String>,
        /// Numeric user and group.
        #[arg(long)]
        user: Option<String>,
    },
    /// Push a docker or OCI archive and print its reference by digest.
    PushArchive { file: PathBuf, repository: String },
    /// Print the references of the sample images.
    Samples,
}

#[derive(Subcommand)]
enum ControlPlane {
    /// Start it, in place of one that runs.
    Start {
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Stop it.
    Stop,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match act(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("testbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let instance = Instance::named(&arguments.name)?;
    if matches!(arguments.action, Action::Init) {
        // Process 1 has no use for a runtime and its threads.
        init::run(&instance)?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(instance, arguments.action))
}

async fn run(instance: Instance, action: Action) -> anyhow::Result<ExitCode> {
    let attach = || Testbed::attach(instance.name());
    match action {
        Action::Up(Up { yes, fsync, with }) => {
            up::up(&instance, &UpOptions { yes, fsync, with }).await?;
            eprintln!("next: eval \"$(testbed env --name {})\"", instance.name());
        }
        Action::Down { keep_data } => {
            let started = std::time::Instant::now();
            down::down(&instance, keep_data).await?;
            eprintln!("test cluster {} is gone after {:.1} s", instance.name(), started.elapsed().as_secs_f64());
        }
        Action::VerifyDown => {
            let left = verify::leftovers(&instance)?;
            for line in &left {
                println!("{line}");
            }
            if !left.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
            eprintln!("nothing is left of test cluster {}", instance.name());
        }
        Action::Status => print!("{}", status::table(&status::status(&instance).await?)),
        Action::Env => print_env(&instance, &attach()?)?,
        Action::Shell { side, command } => return shell(&instance, &attach()?, side, command).await,
        Action::Kubectl(PassThrough { args }) => {
            return pass_through(Command::new(instance.path("bin/kubectl")), &instance, args).await;
        }
        Action::Helm(PassThrough { args }) => {
            return pass_through(Command::new(instance.path("bin/helm")), &instance, args).await;
        }
        Action::Bao(PassThrough { args }) => {
            let mut command = Command::new(instance.path("bin/bao"));
            command.envs(vault_env(&instance, &attach()?)?);
            return pass_through(command, &instance, args).await;
        }
        Action::Logs { part, lines, follow } => {
            let mut command = Command::new("tail");
            command.args(["-n", &lines.to_string()]);
            if follow {
                command.arg("-F");
            }
            return end(command.arg(instance.log(&part)).status().await?);
        }
        Action::Kill { part, signal } => {
            let signal: Signal =
                format!("SIG{}", signal.trim_start_matches("SIG")).parse().context("no such signal")?;
            attach()?.signal(part, signal)?;
        }
        Action::Restart { part } => {
            attach()?.restart(part).await?;
        }
        Action::Seal => attach()?.vault_seal().await?,
        Action::Unseal => attach()?.vault_unseal().await?,
        Action::Link { action: Link::Cut { how } } => attach()?.cut_link(how).await?,
        Action::Link { action: Link::Restore } => attach()?.restore_link().await?,
        Action::Image { action } => images(&attach()?, action).await?,
        Action::ControlPlane { action: ControlPlane::Start { command } } => {
            let Some((program, args)) = command.split_first() else { bail!("name a program") };
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            let process = attach()?.start_control_plane(program.as_ref(), &args, &[]).await?;
            println!("{}", process.pid);
        }
        Action::ControlPlane { action: ControlPlane::Stop } => attach()?.stop_control_plane().await?,
        Action::Forward => forward::run(&instance).await?,
        Action::Init => bail!("only as process 1"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn images(testbed: &Testbed, action: Image) -> anyhow::Result<()> {
    match action {
        Image::Push { repository, binaries, env, user } => {
            let mut spec = ImageSpec { env, user, ..ImageSpec::default() };
            for file in binaries {
                let name = file.file_name().context("a binary has a file name")?.to_string_lossy().into_owned();
                spec.files.push((file, format!("/{name}")));
            }
            spec.entrypoint = spec.files.iter().take(1).map(|(_, place)| place.clone()).collect();
            println!("{}", testbed.push_image(&spec, &repository).await?);
        }
        Image::PushArchive { file, repository } => println!("{}", testbed.push_archive(&file, &repository).await?),
        Image::Samples => {
            use tests::testbed::Sample::{HttpbinNew, HttpbinOld, Probe};
            for sample in [HttpbinOld, HttpbinNew, Probe] {
                println!("{}  (version {})", testbed.sample(sample)?, Testbed::sample_version(sample));
            }
        }
    }
    Ok(())
}

/// The ways in for the user's own tools. Prints the vault's root token, which exists for nothing else.
fn print_env(instance: &Instance, testbed: &Testbed) -> anyhow::Result<()> {
    println!("export KUBECONFIG='{}'", testbed.kubeconfig().display());
    for (key, value) in vault_env(instance, testbed)? {
        println!("export {key}='{value}'");
    }
    let ports = testbed.ports()?;
    println!("export PDPCTL_SERVER='https://127.0.0.1:{}'", ports.control_plane);
    println!("export TESTBED_REGISTRY='127.0.0.1:{}'", ports.registry);
    println!("export TESTBED_REGISTRY_AUTH='{}'", instance.path("config/registry-auth.json").display());
    println!("export PATH='{}':\"$PATH\"", instance.path("bin").display());
    Ok(())
}

fn vault_env(instance: &Instance, testbed: &Testbed) -> anyhow::Result<Vec<(&'static str, String)>> {
    let address = format!("https://127.0.0.1:{}", testbed.ports()?.vault);
    let authority = instance.path("pki/ca.crt").display().to_string();
    let token = testbed.vault_token()?;
    Ok(vec![
        ("BAO_ADDR", address.clone()),
        ("BAO_CACERT", authority.clone()),
        ("BAO_TOKEN", token.clone()),
        ("VAULT_ADDR", address),
        ("VAULT_CACERT", authority),
        ("VAULT_TOKEN", token),
    ])
}

async fn shell(instance: &Instance, testbed: &Testbed, side: Side, words: Vec<String>) -> anyhow::Result<ExitCode> {
    let path = format!("{}:{}", instance.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    let shell = vec![std::env::var("SHELL").unwrap_or_else(|_| "/bin/bash".to_owned())];
    let words = if words.is_empty() { shell } else { words };
    let Some((program, args)) = words.split_first() else { bail!("name a program") };
    let mut command = testbed.in_netns(side, program)?;
    command.args(args).envs(std::env::vars()).env("PATH", path);
    // Seen from inside, the API server is elsewhere.
    command.env("KUBECONFIG", instance.path("config/admin.kubeconfig"));
    end(command.status().await?)
}

async fn pass_through(mut command: Command, instance: &Instance, args: Vec<String>) -> anyhow::Result<ExitCode> {
    Testbed::attach(instance.name())?;
    command.args(args).env("KUBECONFIG", instance.kubeconfig());
    end(command.status().await?)
}

/// Passes a program's exit code on.
fn end(status: ExitStatus) -> anyhow::Result<ExitCode> {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

//! The command line: commands, arguments, and the words of their help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCandidates;

use super::age::duration;
use super::complete;
use super::context::Chosen;
use super::output::Format;

mod kinds;

pub(super) use kinds::{Create, Delete, Get, New};

const AFTER: &str = "\
Exit codes:
  0  done
  1  it failed, or the control plane refused it
  2  wrong usage, or a file that breaks rules
  3  timed out while waiting
  4  the control plane cannot be reached

Environment variables, each stronger than the context:
  PDPCTL_SERVER, PDPCTL_TOKEN or PDPCTL_TOKEN_FILE, PDPCTL_CA_FILE,
  PDPCTL_ORGANIZATION, PDPCTL_PROJECT, PDPCTL_CONTEXT, PDPCTL_CONFIG";

/// Deploys components to data planes, and shows what became of them.
#[derive(Debug, Parser)]
#[command(name = "pdpctl", version, after_help = AFTER, max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of all commands")]
pub(super) struct Global {
    /// Context to use in place of the current one
    #[arg(long, global = true, value_name = "NAME", add = ArgValueCandidates::new(complete::contexts))]
    pub(super) context: Option<String>,
    /// Organization in place of the context's
    #[arg(long, global = true, value_name = "NAME", add = ArgValueCandidates::new(complete::organizations))]
    pub(super) organization: Option<String>,
    /// Project in place of the context's
    #[arg(long, short, global = true, value_name = "NAME", add = ArgValueCandidates::new(complete::projects))]
    pub(super) project: Option<String>,
    /// Form of the output
    #[arg(long, short, global = true, value_name = "FORM", value_enum, default_value_t = Format::Table, hide_default_value = true)]
    pub(super) output: Format,
}

impl Global {
    /// What was chosen by flags.
    pub(super) fn chosen(&self) -> Chosen {
        let Self { context, organization, project, output: _ } = self.clone();
        Chosen { context, organization, project }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Keep a server, its CA and a token as a context
    Login(Login),
    /// Choose and change contexts
    Context {
        #[command(subcommand)]
        command: ContextCommand,
    },
    /// Make something
    Create {
        #[command(subcommand)]
        kind: Create,
    },
    /// Show one thing, or list all of a kind
    #[command(visible_alias = "list")]
    Get {
        #[command(subcommand)]
        kind: Get,
    },
    /// Delete something
    Delete {
        #[command(subcommand)]
        kind: Delete,
    },
    /// Take a data plane's access away, for good
    Revoke {
        /// Data plane
        #[arg(add = ArgValueCandidates::new(complete::data_planes))]
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Accept what a held data plane has, after a restore of the control plane; ends an alarm too
    Adopt {
        /// Data plane
        #[arg(add = ArgValueCandidates::new(complete::data_planes))]
        name: String,
    },
    /// Deploy a component file, or a release that exists (promotion)
    Deploy(Deploy),
    /// Show what is wanted, what runs, and why they differ
    Status(Status),
    /// Show the lines that a component's pods write
    Logs(Logs),
    /// Replace a component's pods, with no other change
    Restart(Act),
    /// Go back to a release that was deployed before
    Rollback(Rollback),
    /// Remove a component from an environment
    Undeploy(Act),
    /// Run a task
    Run(Run),
    /// Cancel a run of a task
    Cancel {
        /// Component
        #[arg(add = ArgValueCandidates::new(complete::components))]
        component: String,
        /// Id of the run, or its beginning
        run: String,
    },
    /// Show who deployed what, newest first
    History(History),
    /// Show what happened on the data planes
    Events(Events),
    /// Print the completion script of a shell
    Completion {
        /// Shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Show the versions of pdpctl and of the control plane
    Version {
        /// Only that of pdpctl
        #[arg(long)]
        client: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Login {
    /// Address, https://HOST:PORT
    pub(super) server: String,
    /// File that holds the token; - for standard input
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) token_file: PathBuf,
    /// CA certificates of the control plane, PEM
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) ca_file: Option<PathBuf>,
    /// Name of the context; the server's host when left out
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ContextCommand {
    /// List contexts
    #[command(visible_alias = "ls")]
    List,
    /// Make a context the current one
    Use {
        /// Context
        #[arg(add = ArgValueCandidates::new(complete::contexts))]
        name: String,
    },
    /// Keep --organization and --project in the current context, or in the one named
    Set {
        /// Context
        #[arg(add = ArgValueCandidates::new(complete::contexts))]
        name: Option<String>,
    },
    /// Print the CA of a context, for the installation of an agent for instance
    Ca {
        /// Context; the current one when left out
        #[arg(add = ArgValueCandidates::new(complete::contexts))]
        name: Option<String>,
    },
    /// Forget a context and its token
    Delete {
        /// Context
        #[arg(add = ArgValueCandidates::new(complete::contexts))]
        name: String,
    },
}

#[derive(Debug, Clone, Args)]
pub(super) struct Wait {
    /// Wait until it is done, and show how it goes
    #[arg(long, short)]
    pub(super) wait: bool,
    /// Longest time to wait: 300s, 5m
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "300s")]
    pub(super) timeout: Duration,
}

#[derive(Debug, Clone, Args)]
pub(super) struct FileArgs {
    /// Component file; - for standard input
    #[arg(long = "file", short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) file: Option<PathBuf>,
    /// Replace a value of the file, may be given several times: image=…, env.NAME=…, scaling.replicas=2
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "file")]
    pub(super) sets: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Deploy {
    /// Component; needed with --release, found in the file otherwise
    #[arg(add = ArgValueCandidates::new(complete::components))]
    pub(super) component: Option<String>,
    #[command(flatten)]
    pub(super) file: FileArgs,
    /// Number of a release that exists
    #[arg(long, value_name = "N", conflicts_with = "file")]
    pub(super) release: Option<i64>,
    #[command(flatten)]
    pub(super) place: Where,
    #[command(flatten)]
    pub(super) wait: Wait,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Where {
    /// Environment
    #[arg(long, short, value_name = "NAME", add = ArgValueCandidates::new(complete::environments))]
    pub(super) environment: String,
    /// Deployment track; the file's, or the only one there is
    #[arg(long, value_name = "TRACK")]
    pub(super) track: Option<String>,
    /// Why, for the history and the cluster's audit log
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Act {
    /// Component
    #[arg(add = ArgValueCandidates::new(complete::components))]
    pub(super) component: String,
    #[command(flatten)]
    pub(super) place: Where,
    #[command(flatten)]
    pub(super) wait: Wait,
}

#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// Component
    #[arg(add = ArgValueCandidates::new(complete::components))]
    pub(super) component: String,
    /// Number of the release; the one deployed before when left out
    #[arg(long, value_name = "N")]
    pub(super) to: Option<i64>,
    #[command(flatten)]
    pub(super) place: Where,
    #[command(flatten)]
    pub(super) wait: Wait,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Component, of type ManualTask
    #[arg(add = ArgValueCandidates::new(complete::components))]
    pub(super) component: String,
    #[command(flatten)]
    pub(super) place: Where,
    #[command(flatten)]
    pub(super) wait: Wait,
    /// Arguments in place of the release's
    #[arg(last = true)]
    pub(super) args: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    /// Component; all when left out
    #[arg(add = ArgValueCandidates::new(complete::components))]
    pub(super) component: Option<String>,
    /// Environment; all when left out
    #[arg(long, short, value_name = "NAME", add = ArgValueCandidates::new(complete::environments))]
    pub(super) environment: Option<String>,
    /// Deployment track; all when left out
    #[arg(long, value_name = "TRACK")]
    pub(super) track: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct History {
    /// Component
    #[arg(add = ArgValueCandidates::new(complete::components))]
    pub(super) component: String,
    /// Environment; all when left out
    #[arg(long, short, value_name = "NAME", add = ArgValueCandidates::new(complete::environments))]
    pub(super) environment: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Component
    #[arg(add = ArgValueCandidates::new(complete::components))]
    pub(super) component: String,
    /// Environment
    #[arg(long, short, value_name = "NAME", add = ArgValueCandidates::new(complete::environments))]
    pub(super) environment: String,
    /// Go on with new lines until Ctrl-C
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Begin with the last N lines of each pod
    #[arg(long, value_name = "N")]
    pub(super) tail: Option<u64>,
    /// Begin with lines of the last TIME: 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) since: Option<Duration>,
    /// Those of the containers before their last restart
    #[arg(long, conflicts_with = "follow")]
    pub(super) previous: bool,
    /// Those of one run of a task, by its id or the id's beginning
    #[arg(long, value_name = "ID")]
    pub(super) run: Option<String>,
    /// Begin each line with its time
    #[arg(long)]
    pub(super) timestamps: bool,
    /// Do not begin each line with the name of its pod
    #[arg(long)]
    pub(super) no_prefix: bool,
}

#[derive(Debug, Args)]
pub(super) struct Events {
    /// Go on with new events until Ctrl-C
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Begin with the last N events
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub(super) tail: usize,
}

/// Shells that completion is made for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Shell {
    /// Add to ~/.bashrc: source <(pdpctl completion bash)
    Bash,
    /// Add to ~/.zshrc: source <(pdpctl completion zsh)
    Zsh,
    /// Add to ~/.config/fish/config.fish: pdpctl completion fish | source
    Fish,
}

//! What the commands take, but for create, get and delete.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use control_plane_model::{ComponentRow, Environment};
use protocol::document::ComponentType;

use super::age::duration;
use super::catalog::kind::names_of;
use super::catalog::organizations::Organization;
use super::catalog::projects::Project;
use super::names;
use super::output::Format;
use super::session::Chosen;
use super::wait::Wait;

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of all commands")]
pub(super) struct Global {
    /// Context to use in place of the current one
    #[arg(long, global = true, value_name = "NAME", add = ArgValueCandidates::new(names::contexts))]
    pub(super) context: Option<String>,
    /// Organization in place of the context's
    #[arg(long, global = true, value_name = "NAME", add = names_of::<Organization>())]
    pub(super) organization: Option<String>,
    /// Project in place of the context's
    #[arg(long, short, global = true, value_name = "NAME", add = names_of::<Project>())]
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
        #[arg(add = ArgValueCandidates::new(names::contexts))]
        name: String,
    },
    /// Keep --organization and --project in the current context, or in the one named
    Set {
        /// Context
        #[arg(add = ArgValueCandidates::new(names::contexts))]
        name: Option<String>,
    },
    /// Print the CA of a context, for the installation of an agent for instance
    Ca {
        /// Context; the current one when left out
        #[arg(add = ArgValueCandidates::new(names::contexts))]
        name: Option<String>,
    },
    /// Forget a context and its token
    Delete {
        /// Context
        #[arg(add = ArgValueCandidates::new(names::contexts))]
        name: String,
    },
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
pub(super) struct Import {
    /// Folder of the component: the one that holds .choreo, or workload.yaml
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(super) folder: PathBuf,
    /// Name of the component, which most of these files do not hold
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Image by digest, which none of these files holds
    #[arg(long, value_name = "IMAGE")]
    pub(super) image: String,
    /// What it becomes in the cluster; Service when left out if it has endpoints, else Worker
    #[arg(long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(ComponentType::ALL.map(ComponentType::as_str)))]
    pub(super) component_type: Option<String>,
    /// File of DIR to read; the newest form of those that are there when left out
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) file: Option<String>,
    /// Where to write the component file; standard output when left out
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) write: Option<PathBuf>,
    /// Replace that file if it exists
    #[arg(long, requires = "write")]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
pub(super) struct Deploy {
    /// Component; needed with --release, found in the file otherwise
    #[arg(add = names_of::<ComponentRow>())]
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
    #[arg(long, short, value_name = "NAME", add = names_of::<Environment>())]
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
    #[arg(add = names_of::<ComponentRow>())]
    pub(super) component: String,
    #[command(flatten)]
    pub(super) place: Where,
    #[command(flatten)]
    pub(super) wait: Wait,
}

#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// Component
    #[arg(add = names_of::<ComponentRow>())]
    pub(super) component: String,
    /// Number of the release; the newest earlier one that served there when left out
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
    #[arg(add = names_of::<ComponentRow>())]
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
    #[arg(add = names_of::<ComponentRow>())]
    pub(super) component: Option<String>,
    /// Environment; all when left out
    #[arg(long, short, value_name = "NAME", add = names_of::<Environment>())]
    pub(super) environment: Option<String>,
    /// Deployment track; all when left out
    #[arg(long, value_name = "TRACK")]
    pub(super) track: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct History {
    /// Component
    #[arg(add = names_of::<ComponentRow>())]
    pub(super) component: String,
    /// Environment; all when left out
    #[arg(long, short, value_name = "NAME", add = names_of::<Environment>())]
    pub(super) environment: Option<String>,
}

/// Container of a pod that runs the component's image.
pub(super) const COMPONENT_CONTAINER: &str = "main";

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Component
    #[arg(add = names_of::<ComponentRow>())]
    pub(super) component: String,
    /// Environment
    #[arg(long, short, value_name = "NAME", add = names_of::<Environment>())]
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
    /// Those of this container, not of the component's own (main)
    #[arg(long, short, value_name = "NAME", default_value = COMPONENT_CONTAINER, hide_default_value = true)]
    pub(super) container: String,
    /// Those of all containers: what the cluster puts beside the component too
    #[arg(long, conflicts_with = "container")]
    pub(super) all_containers: bool,
    /// Those of the containers before their last restart
    #[arg(long, conflicts_with = "follow")]
    pub(super) previous: bool,
    /// The last ones of the version that failed: for an hour if its pods are gone
    #[arg(long, conflicts_with_all = ["follow", "previous", "since", "run"])]
    pub(super) failed: bool,
    /// Those of one run of a task, by its id or the id's beginning
    #[arg(long, value_name = "ID")]
    pub(super) run: Option<String>,
    /// Begin each line with its time
    #[arg(long)]
    pub(super) timestamps: bool,
    /// Do not begin each line with the name of its pod, and of its container where that is not main
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

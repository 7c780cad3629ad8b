//! The command line: its commands, and the words of their help. What each takes is in [`super::args`] and [`super::catalog`].

use clap::{Parser, Subcommand};
use control_plane_model::{ComponentRow, DataPlane};

use super::args::{
    Act, ContextCommand, Deploy, Events, Global, History, Import, Login, Logs, Rollback, Run, Shell, Status,
};
use super::catalog::kind::names_of;
use super::catalog::{Create, Delete, Get, Update};

const AFTER: &str = "\
Exit codes:
  0    done
  1    it failed, or the control plane refused it
  2    wrong usage, or a file that breaks rules
  3    timed out while waiting
  4    the control plane cannot be reached
  130  interrupted
  141  whoever read the output has closed the pipe

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
    /// Change the settings of something
    Update {
        #[command(subcommand)]
        kind: Update,
    },
    /// Delete something
    Delete {
        #[command(subcommand)]
        kind: Delete,
    },
    /// Take a data plane's access away, for good
    Revoke {
        /// Data plane
        #[arg(add = names_of::<DataPlane>())]
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Accept what a held data plane has, after a restore of the control plane; ends an alarm too
    Adopt {
        /// Data plane
        #[arg(add = names_of::<DataPlane>())]
        name: String,
    },
    /// Make a component file of one of Choreo or OpenChoreo, and say what becomes of each of its fields
    Import(Import),
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
        #[arg(add = names_of::<ComponentRow>())]
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

//! What create, get and delete take, kind by kind.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use protocol::document::ComponentType;

use super::{FileArgs, Wait};
use crate::complete;

#[derive(Debug, Args)]
pub(crate) struct New {
    /// Name: lower-case letters, digits, dashes
    pub(crate) name: String,
    /// Name for people
    #[arg(long, value_name = "TEXT")]
    pub(crate) display_name: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Create {
    /// Owner of everything
    #[command(visible_alias = "org")]
    Organization(New),
    /// Group of components
    #[command(visible_alias = "proj")]
    Project(New),
    /// Place to deploy to; made on its data planes at once
    #[command(visible_alias = "env")]
    Environment {
        /// Name: lower-case letters, digits, dashes
        name: String,
        /// Data plane that serves it, may be given several times; the only one when left out
        #[arg(long = "data-plane", value_name = "NAME", add = ArgValueCandidates::new(complete::data_planes))]
        data_planes: Vec<String>,
        /// Place in the order of promotion, from 1; the last when left out
        #[arg(long, value_name = "N")]
        position: Option<i64>,
        /// Whether pods may reach the world outside the cluster
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        egress: Option<bool>,
        /// CPU for all that runs in it, 4 or 500m
        #[arg(long, value_name = "QUANTITY")]
        quota_cpu: Option<String>,
        /// Memory for all that runs in it, 8Gi for instance
        #[arg(long, value_name = "QUANTITY")]
        quota_memory: Option<String>,
        /// Number of pods in it
        #[arg(long, value_name = "N")]
        quota_pods: Option<i32>,
    },
    /// A data plane; prints the command that installs its agent
    #[command(visible_aliases = ["dp", "dataplane"])]
    DataPlane(New),
    /// A new enrolment token for a data plane that exists
    Enrolment {
        /// Data plane
        #[arg(add = ArgValueCandidates::new(complete::data_planes))]
        name: String,
    },
    /// An access token of the organization, shown once
    Token {
        /// Name: who or what uses it; lower-case letters, digits, dashes
        name: String,
        /// Its life, 30d or 12h; at most a year
        #[arg(long, value_name = "TIME", default_value = "90d", value_parser = life)]
        expires: u64,
    },
    /// A component without a release; deploy -f makes it too
    #[command(visible_alias = "comp")]
    Component {
        #[command(flatten)]
        new: New,
        /// What it becomes in the cluster
        #[arg(long = "type", value_name = "TYPE", default_value = "Service", value_parser = PossibleValuesParser::new(ComponentType::ALL.map(ComponentType::as_str)))]
        component_type: String,
    },
    /// A release of a component file, deployed nowhere yet
    #[command(visible_alias = "rel")]
    Release {
        #[command(flatten)]
        file: FileArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Get {
    /// Owners
    #[command(visible_aliases = ["organization", "orgs", "org"])]
    Organizations {
        /// Names; all when left out
        #[arg(add = ArgValueCandidates::new(complete::organizations))]
        names: Vec<String>,
    },
    /// Groups of components
    #[command(visible_aliases = ["project", "proj"])]
    Projects {
        /// Names; all when left out
        #[arg(add = ArgValueCandidates::new(complete::projects))]
        names: Vec<String>,
    },
    /// Places to deploy to
    #[command(visible_aliases = ["environment", "envs", "env"])]
    Environments {
        /// Names; all when left out
        #[arg(add = ArgValueCandidates::new(complete::environments))]
        names: Vec<String>,
    },
    /// Installed agents
    #[command(visible_aliases = ["data-plane", "dataplanes", "dataplane", "dp"])]
    DataPlanes {
        /// Names; all when left out
        #[arg(add = ArgValueCandidates::new(complete::data_planes))]
        names: Vec<String>,
    },
    /// Access tokens of the organization: until when, used when; never the tokens
    #[command(visible_aliases = ["token"])]
    Tokens {
        /// Names; all when left out
        #[arg(add = ArgValueCandidates::new(complete::tokens))]
        names: Vec<String>,
    },
    /// Units of work
    #[command(visible_aliases = ["component", "comps", "comp"])]
    Components {
        /// Names; all when left out
        #[arg(add = ArgValueCandidates::new(complete::components))]
        names: Vec<String>,
    },
    /// Releases of a component
    #[command(visible_aliases = ["release", "rels", "rel"])]
    Releases {
        /// Component
        #[arg(add = ArgValueCandidates::new(complete::components))]
        component: String,
        /// Numbers; all when left out
        numbers: Vec<i64>,
        /// Deployment track, v1.0 for instance; all when left out
        #[arg(long, value_name = "TRACK")]
        track: Option<String>,
    },
    /// Runs of a task, of the last 30 days
    #[command(visible_aliases = ["run"])]
    Runs {
        /// Component
        #[arg(add = ArgValueCandidates::new(complete::components))]
        component: String,
        /// Ids, or their beginnings; all when left out
        ids: Vec<String>,
        /// Environment; all when left out
        #[arg(long, short, value_name = "NAME", add = ArgValueCandidates::new(complete::environments))]
        environment: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Delete {
    /// Organizations that own nothing any more
    #[command(visible_alias = "org")]
    Organization {
        /// Names
        #[arg(required = true, add = ArgValueCandidates::new(complete::organizations))]
        names: Vec<String>,
    },
    /// Projects that are empty
    #[command(visible_alias = "proj")]
    Project {
        /// Names
        #[arg(required = true, add = ArgValueCandidates::new(complete::projects))]
        names: Vec<String>,
    },
    /// Environments, with all that runs in them
    #[command(visible_alias = "env")]
    Environment {
        /// Names
        #[arg(required = true, add = ArgValueCandidates::new(complete::environments))]
        names: Vec<String>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Data planes that serve no environment
    #[command(visible_aliases = ["dp", "dataplane"])]
    DataPlane {
        /// Names
        #[arg(required = true, add = ArgValueCandidates::new(complete::data_planes))]
        names: Vec<String>,
    },
    /// Access tokens of the organization; they end at once
    Token {
        /// Names
        #[arg(required = true, add = ArgValueCandidates::new(complete::tokens))]
        names: Vec<String>,
    },
    /// Components that are deployed nowhere
    #[command(visible_alias = "comp")]
    Component {
        /// Names
        #[arg(required = true, add = ArgValueCandidates::new(complete::components))]
        names: Vec<String>,
    },
    /// Releases that were never deployed
    #[command(visible_alias = "rel")]
    Release {
        /// Component
        #[arg(add = ArgValueCandidates::new(complete::components))]
        component: String,
        /// Numbers
        #[arg(required = true)]
        numbers: Vec<i64>,
        /// Deployment track
        #[arg(long, value_name = "TRACK", default_value = "v1.0")]
        track: String,
    },
}

/// Seconds of `30d`, `12h`, `1h30m`.
fn life(text: &str) -> Result<u64, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()).map(|days| days.saturating_mul(86_400));
    let time = || u64::try_from(text.parse::<jiff::SignedDuration>().ok()?.as_secs()).ok();
    days.or_else(time).filter(|seconds| *seconds > 0).ok_or_else(|| "write it like 30d or 12h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_written_in_days_or_hours() {
        for (text, expected) in
            [("30d", Some(2_592_000)), ("12h", Some(43_200)), ("0d", None), ("-1h", None), ("x", None)]
        {
            assert_eq!(life(text).ok(), expected, "{text}");
        }
    }
}

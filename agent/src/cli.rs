//! The command line and the environment, parsed once into [`crate::settings`].
//!
//! Every flag of a role has a variable. A variable that begins with `PDP_` and is none of ours is a mistake that would
//! otherwise go unnoticed, so it ends the start with the name of the nearest one.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use protocol::document::LogLevel;

use crate::settings::{ControlPlaneUrl, LinkSettings, Pin, Settings};
use crate::telemetry::LogFormat;

/// A private data-plane agent: takes instructions from a control plane over an outbound link and runs them on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "pdp-agent", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keep the link to the control plane: documents in, reports and logs out
    Link {
        /// For every role.
        #[command(flatten)]
        common: CommonArgs,
        /// For the link.
        #[command(flatten)]
        link: LinkArgs,
    },
    /// Reconcile what is stored in the cluster into workloads
    Operator {
        /// For every role.
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Link and operator in one process, for small installs: gives up the split between two accounts
    Run {
        /// For every role.
        #[command(flatten)]
        common: CommonArgs,
        /// For the link.
        #[command(flatten)]
        link: LinkArgs,
    },
    /// Check from here what the agent needs; exit code 0 all well, 1 something fails, 2 wrong usage
    Doctor(DoctorArgs),
    /// Measure, in a pod that a NetworkPolicy closes, how long it is open all the same; exit code 1 if at all
    FirstSecond {
        /// What the policy closes, IP:PORT; the API server of the cluster when left out
        address: Option<SocketAddr>,
        /// How long to try, in seconds
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
        seconds: u64,
    },
    /// End once this pod is closed: an address that NetworkPolicies close is refused while the DNS answers; exit code 1 if it stays open
    StartGate {
        /// What the policies close, IP:PORT; the API server of the cluster when left out
        #[arg(long)]
        address: Option<SocketAddr>,
        /// How long to wait for it, in seconds
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
        deadline: u64,
    },
    /// Print the custom resource definitions as YAML
    Crds,
    /// Print the version
    Version,
}

/// What every role takes.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Namespace of the agent
    #[arg(long, env = "POD_NAMESPACE", default_value = "pdp-agent", value_parser = dns_label)]
    pub namespace: String,
    /// Name of the Helm release; names of Leases, Secrets and roles start with it
    #[arg(long, env = "PDP_FULLNAME", default_value = "pdp-agent", value_parser = dns_label)]
    pub fullname: String,
    /// Value of the label pdp-agent.dev/agent on namespaces of this installation; NAMESPACE.FULLNAME when left out
    #[arg(long, env = "PDP_NAMESPACE_LABEL", value_parser = label_value)]
    pub namespace_label: Option<String>,
    /// Whether the chart made admission policies on the operator's account; it then works only while they hold
    #[arg(long, env = "PDP_ADMISSION_POLICIES", default_value_t = false, action = clap::ArgAction::Set)]
    pub admission_policies: bool,
    /// Where probes and metrics are served
    #[arg(long, env = "PDP_ADMIN_ADDRESS", default_value = "0.0.0.0:8081")]
    pub admin_address: SocketAddr,
    /// How log lines look
    #[arg(long, env = "PDP_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// Least level of log lines; the control plane's setting for the data plane wins once it is known
    #[arg(long, env = "PDP_LOG_LEVEL", value_enum, default_value = "info")]
    pub log_level: Level,
}

/// What the link takes beside.
#[derive(Debug, Clone, Args)]
pub struct LinkArgs {
    /// Where the control plane is: https://host:port
    #[arg(long, env = "PDP_CONTROL_PLANE_URL")]
    pub control_plane_url: ControlPlaneUrl,
    /// Hosts beside that one that log streams may go to, separated by commas
    #[arg(long = "bulk-host", env = "PDP_BULK_HOSTS", value_delimiter = ',')]
    pub bulk_hosts: Vec<String>,
    /// CA bundle of the control plane, PEM; it alone counts. Platform roots when left out
    #[arg(long, env = "PDP_CA_BUNDLE_FILE")]
    pub ca_bundle_file: Option<PathBuf>,
    /// Keys of which the control plane must have one: sha256/BASE64, separated by commas
    #[arg(long = "pin", env = "PDP_CONTROL_PLANE_PINS", value_delimiter = ',')]
    pub pins: Vec<Pin>,
    /// One-time token, needed until enrolment is done; the file may be missing
    #[arg(long, env = "PDP_ENROLMENT_TOKEN_FILE")]
    pub enrolment_token_file: Option<PathBuf>,
}

/// What the doctor takes.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Check what can be checked before the agent is installed
    #[arg(long)]
    pub pre: bool,
    /// How results are printed
    #[arg(long, short, value_enum, default_value = "text")]
    pub output: Output,
    /// Namespace of the agent
    #[arg(long, env = "POD_NAMESPACE", default_value = "pdp-agent", value_parser = dns_label)]
    pub namespace: String,
    /// Name of the Helm release
    #[arg(long, env = "PDP_FULLNAME", default_value = "pdp-agent", value_parser = dns_label)]
    pub fullname: String,
    /// Whether the chart made admission policies on the operator's account
    #[arg(long, env = "PDP_ADMISSION_POLICIES", default_value_t = false, action = clap::ArgAction::Set)]
    pub admission_policies: bool,
    /// Where the control plane is; its checks are skipped when left out
    #[arg(long, env = "PDP_CONTROL_PLANE_URL")]
    pub control_plane_url: Option<ControlPlaneUrl>,
    /// CA bundle of the control plane, PEM; it alone counts. Platform roots when left out
    #[arg(long, env = "PDP_CA_BUNDLE_FILE")]
    pub ca_bundle_file: Option<PathBuf>,
    /// Keys of which the control plane must have one: sha256/BASE64, separated by commas
    #[arg(long = "pin", env = "PDP_CONTROL_PLANE_PINS", value_delimiter = ',')]
    pub pins: Vec<Pin>,
}

/// Formats of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table.
    Text,
    /// One JSON document.
    Json,
}

/// Levels as they are written on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Somebody must act.
    Error,
    /// Somebody should look.
    Warn,
    /// What happened.
    Info,
    /// Why it happened.
    Debug,
    /// Every step.
    Trace,
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::Error,
            Level::Warn => Self::Warn,
            Level::Info => Self::Info,
            Level::Debug => Self::Debug,
            Level::Trace => Self::Trace,
        }
    }
}

impl CommonArgs {
    /// As settings, with an identity that is unique to this process.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Settings {
            namespace: self.namespace.clone(),
            fullname: self.fullname.clone(),
            admission_policies: self.admission_policies,
            agent: self.namespace_label.clone().unwrap_or_else(|| format!("{}.{}", self.namespace, self.fullname)),
            admin_address: self.admin_address,
            instance: format!("{}_{}", host.trim(), uuid::Uuid::new_v4()),
        }
    }
}

impl LinkArgs {
    /// As settings.
    #[must_use]
    pub fn settings(self) -> LinkSettings {
        let Self { control_plane_url, bulk_hosts, ca_bundle_file, pins, enrolment_token_file } = self;
        LinkSettings { control_plane: control_plane_url, bulk_hosts, ca_bundle_file, pins, enrolment_token_file }
    }
}

/// Parses the command line of this process.
///
/// # Errors
/// Wrong usage, or a question for help; `exit()` on the error prints it.
pub fn parse() -> Result<Cli, clap::Error> {
    let cli = Cli::try_parse()?;
    match cli.command {
        Command::Link { .. } | Command::Operator { .. } | Command::Run { .. } => {
            let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
            match unknown_variable(names) {
                Some(complaint) => Err(Cli::command().error(clap::error::ErrorKind::UnknownArgument, complaint)),
                None => Ok(cli),
            }
        }
        // These run on a person's machine or in pods of others, where variables with our prefix may belong to other tools of the
        // same family.
        Command::Doctor(_)
        | Command::FirstSecond { .. }
        | Command::StartGate { .. }
        | Command::Crds
        | Command::Version => Ok(cli),
    }
}

/// The first variable that looks like ours and is not.
fn unknown_variable(names: impl Iterator<Item = String>) -> Option<String> {
    let command = Cli::command();
    let known: std::collections::BTreeSet<&str> = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter_map(|argument| argument.get_env()?.to_str())
        .collect();
    let mut unknown: Vec<String> = names
        // A Service called `pdp-agent` in the pod's namespace brings variables of its own (service links).
        .filter(|name| name.starts_with("PDP_") && !name.starts_with("PDP_AGENT_") && !known.contains(name.as_str()))
        .collect();
    unknown.sort_unstable();
    let name = unknown.first()?;
    let nearest = known.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name))?;
    Some(format!("unknown environment variable {name}; the nearest known one is {nearest}"))
}

fn dns_label(text: &str) -> Result<String, String> {
    let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if text.is_empty() || text.len() > 63 || !text.bytes().all(good) || text.starts_with('-') || text.ends_with('-') {
        return Err("must be 1 to 63 lower-case letters, digits and dashes, with no dash at either end".to_owned());
    }
    Ok(text.to_owned())
}

fn label_value(text: &str) -> Result<String, String> {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if text.len() > 63 || !text.bytes().all(good) || !edge(text.bytes().next()) || !edge(text.bytes().last()) {
        return Err("must be the value of a label: 1 to 63 letters, digits, dashes, dots and underscores".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_answered_with_the_nearest_right_one() {
        for (line, word) in [
            ("pdp-agent link --control-plane-uri https://x", "--control-plane-url"),
            ("pdp-agent opertor", "operator"),
            ("pdp-agent operator --log-level debgu", "debug"),
            ("pdp-agent operator --log-format jsn", "json"),
            ("pdp-agent operator --namespace Bad_Name", "lower-case"),
            ("pdp-agent operator --namespace-label a/b", "value of a label"),
            ("pdp-agent link --control-plane-url http://x", "https"),
            ("pdp-agent doctor -o yaml", "json"),
            ("pdp-agent doctor --pin abc", "sha256/"),
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line).to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn an_unknown_variable_of_ours_is_answered_with_the_nearest_known_one() {
        let complain = |names: &[&str]| unknown_variable(names.iter().map(|name| (*name).to_owned()));
        assert_eq!(complain(&["PDP_FULLNAME", "POD_NAMESPACE", "PATH", "PDP_AGENT_SERVICE_HOST"]), None);
        let complaint = complain(&["PATH", "PDP_CONTROLPLANE_URL"]).unwrap();
        assert!(
            complaint.contains("PDP_CONTROLPLANE_URL; the nearest known one is PDP_CONTROL_PLANE_URL"),
            "{complaint}"
        );
    }
}

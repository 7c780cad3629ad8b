//! Checks from where it runs what the agent needs: the way to the control plane, the cluster, the rights, the vault.
//!
//! It reads only, and asks the API server about rights without using them. Each check ends in a finding with a hint; a check
//! whose premise failed is skipped, so that the first failure is the one to mend. Nothing here is needed by a running agent.

use std::time::Duration;

use kube::Client;
use serde::Serialize;

use crate::cli::DoctorArgs;

mod cluster;
mod control_plane;
pub mod dns;
pub mod first_second;
mod probe;
mod rights;
mod secrets;
mod text;

pub use text::to_text;

/// Longest time of one step: a look-up, a connection, a call.
const STEP_LIMIT: Duration = Duration::from_secs(5);

/// All findings of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order of checking.
    pub checks: Vec<Finding>,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it belongs to.
    pub group: Group,
    /// Which check; the same in every version.
    pub check: &'static str,
    /// How it ended.
    pub status: Status,
    /// What was seen. Never a secret value.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Parts of the world that are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// The way to the control plane.
    ControlPlane,
    /// The cluster and what is installed in it.
    Kubernetes,
    /// What the accounts may do.
    Rights,
    /// Where secrets come from.
    Vault,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// As it shall be.
    Ok,
    /// Works, and somebody should look.
    Warn,
    /// Does not work.
    Fail,
    /// Could not be checked from here, or makes no sense now.
    Skip,
}

impl Report {
    /// Whether nothing fails.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.checks.iter().all(|finding| finding.status != Status::Fail)
    }
}

/// Collects findings of one group.
struct Notes<'a> {
    report: &'a mut Report,
    group: Group,
}

impl Notes<'_> {
    fn ok(&mut self, check: &'static str, detail: impl Into<String>) {
        self.add(check, Status::Ok, detail.into(), None);
    }

    fn skip(&mut self, check: &'static str, detail: impl Into<String>) {
        self.add(check, Status::Skip, detail.into(), None);
    }

    fn warn(&mut self, check: &'static str, detail: impl Into<String>, hint: impl Into<String>) {
        self.add(check, Status::Warn, detail.into(), Some(hint.into()));
    }

    fn fail(&mut self, check: &'static str, detail: impl Into<String>, hint: impl Into<String>) {
        self.add(check, Status::Fail, detail.into(), Some(hint.into()));
    }

    fn add(&mut self, check: &'static str, status: Status, detail: String, hint: Option<String>) {
        self.report.checks.push(Finding { group: self.group, check, status, detail, hint });
    }
}

/// Runs all checks that make sense. `client` is an error when there is no way to an API server.
pub async fn run(args: &DoctorArgs, client: Result<Client, String>) -> Report {
    let mut report = Report::default();
    let mut notes = Notes { report: &mut report, group: Group::ControlPlane };
    control_plane::check(&mut notes, args).await;

    notes.group = Group::Kubernetes;
    let client = match client {
        Ok(client) => client,
        Err(reason) => {
            notes.fail("api-server", reason, "run it in the cluster, or set KUBECONFIG");
            return report;
        }
    };
    if !cluster::reachable(&mut notes, &client).await {
        return report;
    }
    let policy = if args.pre { None } else { cluster::installed(&mut notes, &client, args).await };
    dns::check(&mut notes, &client, policy.as_ref()).await;

    notes.group = Group::Rights;
    let account = rights::check(&mut notes, &client, args).await;

    notes.group = Group::Vault;
    match account {
        // The link's NetworkPolicy keeps it from reaching the vault.
        rights::Account::Link => notes.skip("vault", "the operator alone talks to the vault: run this in its pod"),
        rights::Account::Other if args.pre => {}
        rights::Account::Other => secrets::check(&mut notes, policy.as_ref()).await,
    }
    report
}

//! What the agent asked of the API server, from the audit log: calls by account, writes in a span of time, watches that are open.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Deserialize;

use crate::testbed::Testbed;

/// Accounts of the agent that is measured.
const ACCOUNTS: &str = "system:serviceaccount:pdp-agent:pdp-agent-";

/// One request as the audit log has it, without bodies.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Call {
    #[serde(rename = "auditID")]
    id: String,
    stage: String,
    /// `get`, `create`, …
    pub(super) verb: String,
    /// With its query.
    #[serde(rename = "requestURI")]
    pub(super) uri: String,
    user: User,
    object_ref: Option<Object>,
    #[serde(rename = "requestReceivedTimestamp")]
    pub(super) at: Timestamp,
}

#[derive(Debug, Clone, Deserialize)]
struct User {
    username: String,
}

/// What a request is about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Object {
    pub(super) resource: String,
    pub(super) subresource: String,
    pub(super) name: String,
}

impl Call {
    /// `link` or `operator`.
    fn role(&self) -> Option<&str> {
        self.user.username.strip_prefix(ACCOUNTS)
    }

    pub(super) fn object(&self) -> Object {
        self.object_ref.clone().unwrap_or_default()
    }

    fn is_lease(&self) -> bool {
        self.object().resource == "leases"
    }

    fn is_watch(&self) -> bool {
        self.verb == "watch"
    }

    /// Dry runs change nothing and are told apart.
    pub(super) fn writes(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete") && !self.is_dry_run()
    }

    pub(super) fn is_dry_run(&self) -> bool {
        self.uri.contains("dryRun=All")
    }
}

/// Every request of the agent, oldest first.
fn all(bed: &Testbed) -> Result<Vec<Call>> {
    let path = bed.instance()?.path("logs/audit.log");
    let file = BufReader::new(std::fs::File::open(&path).with_context(|| format!("read {}", path.display()))?);
    let mut calls = Vec::new();
    for line in file.lines() {
        let line = line?;
        // Most lines are of others and long; the last one may be half written.
        if line.contains(ACCOUNTS)
            && let Ok(call) = serde_json::from_str::<Call>(&line)
            && call.role().is_some()
        {
            calls.push(call);
        }
    }
    Ok(calls)
}

/// Finished requests of the agent in a span of time, without watches and its Leases, in their order.
pub(super) fn between(bed: &Testbed, from: Timestamp, upto: Timestamp) -> Result<Vec<Call>> {
    let mut calls = all(bed)?;
    calls.retain(|call| {
        call.stage == "ResponseComplete" && !call.is_watch() && !call.is_lease() && call.at >= from && call.at < upto
    });
    calls.sort_by_key(|call| call.at);
    Ok(calls)
}

/// Calls by what they do: `create deployments`, dry runs marked.
pub(super) fn counted(calls: &[Call]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        let Object { resource, subresource, .. } = call.object();
        let subresource = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
        let dry = if call.is_dry_run() { " (dry run)" } else { "" };
        let role = call.role().unwrap_or_default();
        *counts.entry(format!("{role} {} {resource}{subresource}{dry}", call.verb)).or_default() += 1;
    }
    counts
}

/// Watches by account that were opened and have not ended: each is a connection.
pub(super) fn open_watches(bed: &Testbed) -> Result<BTreeMap<String, usize>> {
    let calls = all(bed)?;
    let ended: BTreeSet<&str> =
        calls.iter().filter(|call| call.stage == "ResponseComplete").map(|call| call.id.as_str()).collect();
    let mut open: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.is_watch() && !ended.contains(call.id.as_str())) {
        let role = call.role().unwrap_or_default();
        open.entry(role.to_owned()).or_default().insert(call.id.clone());
    }
    Ok(open.into_iter().map(|(role, watches)| (role, watches.len())).collect())
}

//! Deployments and other actions on a component: what is asked for, and what was done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks for a deployment: a file makes (or finds) a release, a number binds an existing one.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewDeployment {
    /// Environment.
    pub environment: String,
    /// A component file; its release is made if the newest one differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub file: Option<serde_json::Value>,
    /// Number of an existing release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<i64>,
    /// Track; the file's, or `v1.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track: Option<String>,
    /// Why, for the history and the cluster's audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Names an environment and a track for an action on a component.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Action {
    /// Environment.
    pub environment: String,
    /// Track; the only one deployed there when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track: Option<String>,
    /// Rollback: number of the release; the newest earlier one that served there when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// Run: arguments in place of the release's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// What the one who asked gave as the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One entry of the history of a component in an environment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// Number over all deployments.
    pub id: i64,
    /// Component.
    pub component: String,
    /// Environment.
    pub environment: String,
    /// Track.
    pub track: String,
    /// Number of the release; none for an undeployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<i64>,
    /// `Deploy`, `Promote`, `Rollback`, `Restart`, `Undeploy`.
    pub action: String,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What the one who asked gave as the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// RFC 3339.
    pub created: String,
    /// Generation drawn by this request, by data plane. Empty in listings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub generations: BTreeMap<String, i64>,
    /// True if a release was made by this request.
    #[serde(default)]
    pub new_release: bool,
    /// True if nothing had to change.
    #[serde(default)]
    pub unchanged: bool,
    /// How it ended, in listings: `Ready`, `Failed`, `RolledBack`, `Refused`; none while no data plane has told an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What the one who asked should know: why this release was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

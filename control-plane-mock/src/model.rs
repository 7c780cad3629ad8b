//! What the API shows and takes: the types that server and `pdpctl` share.

use protocol::spec::Quota;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::component::Component;

mod observed;

pub use observed::{Event, ResourceStatus, TaskRun};

/// A thing with a handle: organization, project.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    /// Handle, a DNS label.
    pub name: String,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// When it was made, RFC 3339.
    #[serde(default)]
    pub created: String,
}

/// Asks for an organization, a project or a data plane.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewNamed {
    /// Handle, a DNS label.
    pub name: String,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// Asks for an access token that is confined to one organization.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewAccessToken {
    /// What it is for; also the actor's name in histories.
    pub name: String,
    /// Its life, at most a year; 90 days when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
}

/// An access token, shown once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessToken {
    /// What it is for.
    pub name: String,
    /// The token.
    pub token: String,
    /// Its end.
    pub expires: String,
}

/// An access token without the token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessTokenRow {
    /// What it is for.
    pub name: String,
    /// When it was made.
    pub created: String,
    /// Its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// When it was used last, to a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
}

/// One installed agent, or one that is still to be installed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataPlane {
    /// Handle.
    pub name: String,
    /// Id on the wire and in labels.
    pub id: String,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// When it was made.
    pub created: String,
    /// `NotEnrolled`, `Connected`, `Disconnected`, `Held` or `Revoked`.
    pub status: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Version of the agent that was last here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Uid of its cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// When it was last heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// Highest generation drawn.
    pub counter: i64,
}

/// What is needed to install an agent. The token is shown once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enrolment {
    /// The data plane.
    pub data_plane: DataPlane,
    /// One-time token.
    pub token: String,
    /// Until when it may be used.
    pub expires: String,
    /// The command that installs the agent.
    pub command: String,
    /// CA that the agent must trust, PEM.
    pub ca_bundle: String,
}

/// Settings of the installation that a control plane may make.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DataPlaneSettings {
    /// Name shown to people at both ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// `Error`, `Warn`, `Info`, `Debug` or `Trace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub log_level: Option<protocol::spec::LogLevel>,
}

/// One environment of a project.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Environment {
    /// Handle.
    pub name: String,
    /// Place in the order of promotion, from 1.
    pub position: i64,
    /// Handles of the data planes that serve it.
    pub data_planes: Vec<String>,
    /// Settings.
    #[serde(flatten)]
    pub settings: EnvironmentSettings,
    /// When it was made.
    pub created: String,
    /// Set while it is being deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting: Option<String>,
}

/// What may be set for an environment.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentSettings {
    /// Whether pods may reach the world outside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<bool>,
    /// Limits for all that runs in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub quota: Option<Quota>,
}

/// Asks for an environment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewEnvironment {
    /// Handle.
    pub name: String,
    /// Handles of the data planes; the only one of the organization when left out.
    #[serde(default)]
    pub data_planes: Vec<String>,
    /// Place in the order of promotion; the last when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    /// Whether pods may reach the world outside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<bool>,
    /// Limits for all that runs in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub quota: Option<Quota>,
}

/// One component of a project.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentRow {
    /// Handle.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub component_type: String,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// When it was made.
    #[serde(default)]
    pub created: String,
    /// Newest release by track.
    #[serde(default)]
    pub releases: std::collections::BTreeMap<String, i64>,
}

/// Asks for a component without a release.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewComponent {
    /// Handle.
    pub name: String,
    /// `Service` or `ManualTask`.
    #[serde(rename = "type")]
    pub component_type: String,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// One immutable release.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Component.
    pub component: String,
    /// Deployment track.
    pub track: String,
    /// Number in its track.
    pub number: i64,
    /// Image by digest.
    pub image: String,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// When.
    pub created: String,
    /// Where it is the deployed one.
    #[serde(default)]
    pub deployed_to: Vec<String>,
    /// What it holds, in the form of a component file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub content: Option<Component>,
}

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
    /// Rollback: number of the release; the one deployed before when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// Run: arguments in place of the release's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Why.
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
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    pub created: String,
    /// Generation drawn by this request, by data plane. Empty in listings.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub generations: std::collections::BTreeMap<String, i64>,
    /// True if a release was made by this request.
    #[serde(default)]
    pub new_release: bool,
    /// True if nothing had to change.
    #[serde(default)]
    pub unchanged: bool,
}

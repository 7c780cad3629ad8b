//! Data planes: how they are shown, what installs an agent, what may be set.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    pub log_level: Option<protocol::document::LogLevel>,
}

//! Environments of a project and what may be set for them.

use protocol::document::Quota;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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

/// What may be set for an environment, also later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
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

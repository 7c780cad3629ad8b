//! Components and their releases.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::component::Component;

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
    pub releases: BTreeMap<String, i64>,
}

/// Asks for a component without a release.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewComponent {
    /// Handle.
    pub name: String,
    /// `Service`, `Worker`, `ManualTask`.
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
    /// RFC 3339.
    pub created: String,
    /// Where it is the deployed one.
    #[serde(default)]
    pub deployed_to: Vec<String>,
    /// How it ended where it was deployed last, by environment: `Ready`, `Failed`, `RolledBack`, `Refused`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outcomes: BTreeMap<String, String>,
    /// What it holds, in the form of a component file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub content: Option<Component>,
}

//! What organizations and projects are shown as, and what is needed to make one: a handle.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::{Problem, check_display_name, check_handle};

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

impl NewNamed {
    /// Refuses a handle that is none, and a name for people that cannot be shown.
    ///
    /// # Errors
    /// `Invalid` at the field.
    pub fn check(&self) -> Result<(), Problem> {
        let Self { name, display_name } = self;
        check_handle("name", name)?;
        check_display_name("displayName", display_name.as_deref())
    }
}

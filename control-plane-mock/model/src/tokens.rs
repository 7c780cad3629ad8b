//! Access tokens, with and without the token.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    /// RFC 3339.
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
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// When it was used last, to a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
}

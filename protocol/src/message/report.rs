//! Reports and their acknowledgements.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::ResourceKey;
use crate::report::{Fact, State};

/// Latest state of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StateReport {
    /// The resource.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// SHA-256 of the state's canonical bytes.
    pub digest: String,
    /// The state; none when the resource is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

/// A state was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StateAck {
    /// The resource.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// Digest of the recorded state.
    pub digest: String,
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FactReport {
    /// Which resource.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// What happened.
    pub fact: Fact,
}

/// A fact was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FactAck {
    /// Which resource.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// Id of the fact.
    pub id: String,
}

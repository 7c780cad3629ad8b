//! The comparison after each connect (see [`crate::inventory`]).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::ResourceKey;

/// Root digest of stored documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// Over the 256 bucket digests.
    pub root: String,
    /// Number of resources.
    pub count: u64,
}

/// All bucket digests, 256 of them, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryBuckets {
    /// Hexadecimal digests; an empty bucket is an empty string.
    pub digests: Vec<String>,
}

/// Entries of some buckets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryEntries {
    /// By bucket number.
    pub buckets: BTreeMap<u8, Vec<InventoryEntry>>,
}

/// One stored resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryEntry {
    /// Which.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// Stored generation.
    pub generation: i64,
    /// Hash as received.
    pub hash: String,
    /// `Present` or `Absent`.
    pub state: crate::spec::Desired,
}

/// Asks for entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryNeedEntries {
    /// Numbers of buckets.
    pub buckets: Vec<u8>,
}

/// The comparison is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryDone {
    /// Nothing will be accepted until a person at the control plane adopts.
    pub held: bool,
}

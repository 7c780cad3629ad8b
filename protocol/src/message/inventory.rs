//! The comparison after each connect (see [`crate::inventory`]).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::ResourceKey;

/// Root digest of the stored documents, and the counters that it does not cover.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// Over the 256 bucket digests (see [`crate::inventory`]).
    pub root: String,
    /// Number of resources in it.
    pub count: u64,
    /// Every TaskRun of a document that is still stored. One that was accepted and is missing here has ended with result Unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub task_runs: Vec<InventoryEntry>,
    /// Resources that somebody made in the cluster, without a document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub local: Vec<ResourceKey>,
    /// The two lists were cut: what is missing in them may be there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// All bucket digests, 256 of them, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryBuckets {
    /// Hexadecimal digests; an empty bucket is an empty string.
    pub digests: Vec<String>,
}

/// Entries of some buckets, each bucket whole. The buckets asked for may be spread over several such messages.
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
    /// The resource.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// Stored generation.
    pub generation: i64,
    /// Hash as received.
    pub hash: String,
    /// `Present` or `Absent`.
    pub state: crate::document::Desired,
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

/// A person at the control plane has adopted this data plane after a restore. Ends a held session's waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Adopted {
    /// Id of the store, as in welcome; the agent keeps it from now on.
    pub store_id: String,
    /// The counter, raised above all generations seen.
    pub counter: i64,
}

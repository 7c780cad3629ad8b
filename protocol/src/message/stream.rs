//! Requests that change nothing: log streams (their data takes the bulk connection, see [`crate::bulk`]) and listings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::ResourceKey;

/// Start a log stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamStart {
    /// Number chosen by the control plane, unique in the session.
    pub stream: u32,
    /// Whose pods: a Release or a TaskRun.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// Name of the Environment that a TaskRun is of: a run's object is forgotten once its end is recorded, and its pods are found
    /// there for as long as they stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Keep sending what comes.
    pub follow: bool,
    /// Lines from the end to start with; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Only lines not older than this many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_seconds: Option<u32>,
    /// The container instance before the running one.
    #[serde(default)]
    pub previous: bool,
    /// Cursors of the last chunks received, one per source, to go on after them. Sources without one follow the other rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resume: Vec<String>,
    /// Bytes that may be sent before more credit comes.
    pub credit: u64,
}

/// Stop a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamStop {
    /// Number of the stream.
    pub stream: u32,
}

/// A stream is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamEnded {
    /// Number of the stream.
    pub stream: u32,
    /// Why, one word: `NotFound`, `NotAllowed`, `ContainerEnded`, `PodDeleted`, `ServerCut`, `Stopped`, `AgentStopping`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// Asks for events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct List {
    /// Number of the request.
    pub id: u64,
    /// Whose workloads.
    #[serde(flatten)]
    pub key: ResourceKey,
}

/// Events, newest last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// Number of the request.
    pub to: u64,
    /// One line each.
    pub lines: Vec<String>,
}

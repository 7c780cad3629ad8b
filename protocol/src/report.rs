//! What comes back: states (latest wins) and facts (never coalesced).
//!
//! The same types stand in the status of the custom resources, so that what `kubectl` shows is what the control plane learns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ContentHash, Tree};

/// A condition as Kubernetes writes it; `observedGeneration` is the document's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `Stalled`, `Failed`, `PolicyDenied`, `Contested`, `Paused`, …
    #[serde(rename = "type")]
    pub condition_type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word in PascalCase, for machines.
    pub reason: String,
    /// A sentence for people: what, where, why, what to do. Never a secret value.
    pub message: String,
    /// Generation that this speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// RFC 3339, UTC, seconds.
    pub last_transition_time: String,
}

/// The state of one resource: coalesced, acknowledged by digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Document generation that the operator has acted on; none for local resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions, sorted by type.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Namespace of the workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Pods as wanted, updated and ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Replicas>,
    /// Generation and image that serve now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<Effective>,
    /// Pods that are worth a word: restarting, waiting or ended. At most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodState>,
    /// Addresses by endpoint name, in-cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointState>,
    /// Hash of the document as it is stored, if the cluster or a person in it changed what was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_hash: Option<String>,
}

/// The digest by which a state is acknowledged: [`ContentHash`] of its JSON, `null` for a resource that is gone.
#[must_use]
pub fn digest(state: Option<&State>) -> String {
    let json = serde_json::to_vec(&state).unwrap_or_default();
    ContentHash::of(&Tree::parse(&json).unwrap_or(Tree::Null)).to_string()
}

/// Counts of pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replicas {
    /// As the release asks.
    pub desired: i32,
    /// Of the newest rendering.
    pub updated: i32,
    /// Ready to serve, of any rendering; never more than `desired`, also while older pods are still going.
    pub ready: i32,
}

/// What serves now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// Generation whose rendering serves; none for local resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Name of the stored rendering.
    pub revision: String,
    /// Image by digest.
    pub image: String,
}

/// Counters instead of edges: what one pod has been through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodState {
    /// Name of the pod.
    pub name: String,
    /// Restarts of its container.
    pub restarts: i32,
    /// Why it waits or ended, as the kubelet says, without values of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Exit code of the last termination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// Where one endpoint answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointState {
    /// Name of the endpoint.
    pub name: String,
    /// URL or host:port inside the cluster.
    pub address: String,
    /// The same of its major version: leads to the newest minor version that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major_address: Option<String>,
}

/// Something that happened once: sent until acknowledged, recorded once by `id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fact {
    /// `uid/generation/kind/ordinal` of the resource.
    pub id: String,
    /// What happened.
    pub kind: FactKind,
    /// Document generation that it happened to; 0 for local resources.
    pub generation: i64,
    /// RFC 3339, UTC.
    pub at: String,
    /// One word in PascalCase.
    pub reason: String,
    /// A sentence for people. Never a secret value.
    pub message: String,
    /// Exit code of an ended task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How often it happened, for facts that are merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
}

/// Kinds of facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FactKind {
    /// First outcome of a generation: it serves.
    Ready,
    /// First outcome of a generation: it failed.
    Failed,
    /// The last good revision serves again.
    RolledBack,
    /// All objects of an absent resource are gone.
    Deleted,
    /// A task's pod started.
    TaskStarted,
    /// A task ended.
    TaskEnded,
    /// Somebody in the cluster changed the stored document.
    Modified,
}

impl FactKind {
    /// As on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Failed => "Failed",
            Self::RolledBack => "RolledBack",
            Self::Deleted => "Deleted",
            Self::TaskStarted => "TaskStarted",
            Self::TaskEnded => "TaskEnded",
            Self::Modified => "Modified",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Desired;

    #[test]
    fn words_are_those_of_the_wire() {
        use FactKind::*;
        for kind in [Ready, Failed, RolledBack, Deleted, TaskStarted, TaskEnded, Modified] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for state in [Desired::Present, Desired::Absent] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}

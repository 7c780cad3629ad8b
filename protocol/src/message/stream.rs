//! Requests that change nothing: log streams (their data takes the bulk connection, see [`crate::bulk`]) and listings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::ResourceKey;

/// Name of the capability to keep the last lines of pods that are stopped, and to give them for [`StreamStart::stopped`].
pub const LAST_LINES: &str = "lastLines";

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
    /// The last lines of pods that were stopped: of a Release's version that was taken back, of a TaskRun that was cancelled. Those of
    /// the pods that are there where a Release failed and had no version to go back to. Of the other rules only `tail` counts. A
    /// part of the capability [`LAST_LINES`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
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
    /// For programs.
    pub reason: EndReason,
    /// A sentence for people.
    pub message: String,
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EndReason {
    /// All lines were sent, and no more will come.
    ContainerEnded,
    /// The pods are gone.
    PodDeleted,
    /// Its receiver does not want more.
    Stopped,
    /// No such resource, no pods, or it never ran.
    NotFound,
    /// The customer does not let these logs through the link.
    NotAllowed,
    /// A cursor is none, or of another stream.
    BadCursor,
    /// The number is 0 or in use.
    BadStream,
    /// As many streams as the agent serves are open.
    TooMany,
    /// Too much is asked for at once.
    Busy,
    /// The bulk connection cannot be opened.
    BulkUnavailable,
    /// The bulk connection was lost; cursors go on behind the last chunk.
    BulkLost,
    /// Reading broke off; cursors go on behind the last chunk.
    ServerCut,
    /// Another process of the agent takes over; cursors go on behind the last chunk.
    AgentStopping,
    /// A reason of a later version.
    #[serde(other)]
    Other,
}

impl EndReason {
    /// The word, as on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContainerEnded => "ContainerEnded",
            Self::PodDeleted => "PodDeleted",
            Self::Stopped => "Stopped",
            Self::NotFound => "NotFound",
            Self::NotAllowed => "NotAllowed",
            Self::BadCursor => "BadCursor",
            Self::BadStream => "BadStream",
            Self::TooMany => "TooMany",
            Self::Busy => "Busy",
            Self::BulkUnavailable => "BulkUnavailable",
            Self::BulkLost => "BulkLost",
            Self::ServerCut => "ServerCut",
            Self::AgentStopping => "AgentStopping",
            Self::Other => "Other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_same_word_everywhere_and_an_unknown_one_is_none_of_them() {
        for reason in [
            EndReason::ContainerEnded,
            EndReason::PodDeleted,
            EndReason::Stopped,
            EndReason::NotFound,
            EndReason::NotAllowed,
            EndReason::BadCursor,
            EndReason::BadStream,
            EndReason::TooMany,
            EndReason::Busy,
            EndReason::BulkUnavailable,
            EndReason::BulkLost,
            EndReason::ServerCut,
            EndReason::AgentStopping,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
        assert_eq!(serde_json::from_str::<EndReason>("\"OfTomorrow\"").unwrap(), EndReason::Other);
    }
}

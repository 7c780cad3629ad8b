//! What is shown of what happens: status, events, runs, lines of logs.

use protocol::message::Verdict;
use protocol::report::{Fact, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One resource on one data plane, from the wish to what runs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// Data plane's handle.
    pub data_plane: String,
    /// Whether its link is up.
    pub connected: bool,
    /// Kind of the resource.
    pub kind: String,
    /// Name of the resource in the cluster.
    pub name: String,
    /// Component, for releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Track, for releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track: Option<String>,
    /// Environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Number of the release that is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<i64>,
    /// `Present` or `Absent`.
    pub desired: String,
    /// Generation that is wanted.
    pub generation: i64,
    /// Last answer to that generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub answer: Option<Verdict>,
    /// Last state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub state: Option<State>,
    /// Facts of that generation, oldest first; at most twenty.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub facts: Vec<Fact>,
    /// One word: `Ready`, `Progressing`, `Waiting`, `Refused`, `Failed`, `Stalled`, `RolledBack`, `Removing`, `Removed`, `Unknown`.
    pub phase: String,
    /// Why, in words of a developer, with what to do.
    pub message: String,
}

/// Something that changed, for live progress.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Number; ask for those after it.
    pub seq: i64,
    /// RFC 3339.
    pub at: String,
    /// `Document`, `Answer`, `State`, `Fact`, `Connected`, `Disconnected`, `Alarm`.
    pub what: String,
    /// Data plane's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_plane: Option<String>,
    /// Kind of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is said of it.
    pub data: serde_json::Value,
}

/// One execution of a task.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskRun {
    /// Unique id.
    pub id: String,
    /// Component.
    pub component: String,
    /// Environment.
    pub environment: String,
    /// Data plane's handle.
    pub data_plane: String,
    /// Name of the resource.
    pub name: String,
    /// Release that was deployed when it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<i64>,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// When it was asked for.
    pub created: String,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// `Succeeded`, `Failed`, `Cancelled`, `Unknown` once it has ended; `Refused` if it never ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One line of output.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// Data plane's handle.
    pub data_plane: String,
    /// Pod and container, `pod/container`; empty for notes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Time as the log API gives it, RFC 3339.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// The text.
    pub line: String,
    /// `Gap`, `End`, `Interrupted` or `Waiting` for notes of ours; none for lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

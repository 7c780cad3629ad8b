//! Body of `TaskRun`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pattern;

/// One execution of a task, asked for by a person. It runs the newest good rendering of `release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskRunSpec {
    /// Name of the Release of type `ManualTask` to run.
    #[schemars(regex(pattern = pattern::LABEL))]
    pub release: String,
    /// Arguments in place of the release's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub args: Option<Vec<String>>,
    /// True asks for the running Job to be suspended and the run to end as cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<bool>,
}

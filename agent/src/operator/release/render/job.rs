//! One run of a task: the Job that a TaskRun takes, with its own name and arguments.

use serde_json::{Value, json};

use super::Input;
use super::config::Config;
use super::pod::{self, Purpose};
use crate::operator::object::ObjectKind;

/// Seconds that an ended Job stays, so that its log can still be read.
const KEEP_SECONDS: i64 = 3600;

pub(super) fn job(input: &Input<'_>, config: &Config) -> Value {
    let mut job = super::head(input, ObjectKind::Job, input.name);
    let mut spec = json!({
        "backoffLimit": input.release.task.retries.unwrap_or(0),
        "podReplacementPolicy": "Failed",
        // An eviction or a lost node is not the task's failure.
        "podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]},
        "ttlSecondsAfterFinished": KEEP_SECONDS,
        "template": pod::template(input, config, Purpose::Task),
    });
    pod::set(&mut spec, "activeDeadlineSeconds", input.release.task.timeout_seconds.map(|seconds| json!(seconds)));
    job["spec"] = spec;
    job
}

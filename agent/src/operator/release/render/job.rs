//! One run of a task: the Job that a TaskRun takes, with its own name and arguments.
//!
//! It has no time to live: a Job that goes by itself while no operator runs could be taken for one that was never made, and the task
//! would run twice. The operator removes it (`release::runs`).

use serde_json::{Value, json};

use super::Input;
use super::config::Config;
use super::pod::{self, Purpose};
use crate::operator::object::ObjectKind;

pub(super) fn job(input: &Input<'_>, config: &Config) -> Value {
    let mut job = super::head(input, ObjectKind::Job, input.name);
    let mut spec = json!({
        "backoffLimit": input.release.task.retries.unwrap_or(0),
        "podReplacementPolicy": "Failed",
        // An eviction or a lost node is not the task's failure.
        "podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]},
        "template": pod::template(input, config, Purpose::Task),
    });
    if let Some(seconds) = input.release.task.timeout_seconds {
        // The kubelet ends an attempt and keeps its pod, with the log. The Job's own deadline deletes pods: it is a net for those that no
        // node takes.
        spec["template"]["spec"]["activeDeadlineSeconds"] = json!(seconds);
        spec["activeDeadlineSeconds"] = json!(longest(seconds, input));
    }
    job["spec"] = spec;
    job
}

/// Seconds that all attempts of a run may take, with the waits between them (Kubernetes documentation, Jobs: 10 s, doubled each time, at
/// most six minutes) and the time that a pod takes to stop.
fn longest(seconds: i64, input: &Input<'_>) -> i64 {
    let retries = input.release.task.retries.unwrap_or(0);
    let waits: i64 = (0..retries).map(|retry| (10 << retry.min(6)).min(360)).sum();
    (seconds + input.release.termination_grace_seconds) * (i64::from(retries) + 1) + waits + 60
}

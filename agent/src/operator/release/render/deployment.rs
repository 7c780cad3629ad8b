//! The pods that serve.

use serde_json::{Value, json};

use super::Input;
use super::config::Config;
use super::pod::{self, Purpose};
use crate::operator::object::ObjectKind;

pub(super) fn deployment(input: &Input<'_>, config: &Config) -> Value {
    let mut deployment = super::head(input, ObjectKind::Deployment, input.name);
    deployment["spec"] = json!({
        "replicas": input.release.replicas,
        // One old set for `kubectl rollout undo`; ours come from stored renderings.
        "revisionHistoryLimit": 1,
        "progressDeadlineSeconds": input.release.progress_deadline_seconds,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
        "selector": {"matchLabels": pod::selector(input)},
        "template": pod::template(input, config, Purpose::Serve),
    });
    let min_ready = input.release.min_ready_seconds;
    super::set(&mut deployment["spec"], "minReadySeconds", (min_ready > 0).then(|| json!(min_ready)));
    deployment
}

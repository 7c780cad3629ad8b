//! How many pods may be away at once for maintenance.

use serde_json::{Value, json};

use super::Input;
use super::pod;
use crate::operator::object::ObjectKind;

pub(super) fn budget(input: &Input<'_>) -> Value {
    let mut budget = super::head(input, ObjectKind::PodDisruptionBudget, input.name);
    budget["spec"] = json!({
        "maxUnavailable": 1,
        "selector": {"matchLabels": pod::selector(input)},
        // A pod that does not serve must not keep a node from being drained.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    });
    budget
}

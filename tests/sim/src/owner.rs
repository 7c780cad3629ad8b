//! Whose an object is, by its labels.

use pdp_agent::kinds::labels::{ENVIRONMENT, RELEASE, TASK_RUN};
use pdp_agent::operator::object;
use serde_json::Value;

use super::api::Id;

/// The resource that an object belongs to; one of ours belongs to itself.
pub(super) fn owner_of(object: &Value) -> Option<Id> {
    let id = Id::of(object);
    match id.kind.as_str() {
        "Release" | "Environment" | "TaskRun" => Some(id),
        "Job" => label(object, TASK_RUN, "TaskRun"),
        _ => label(object, TASK_RUN, "TaskRun")
            .or_else(|| label(object, RELEASE, "Release"))
            .or_else(|| label(object, ENVIRONMENT, "Environment")),
    }
}

fn label(object: &Value, label: &str, kind: &str) -> Option<Id> {
    object::label(object, label).map(|name| Id::own(kind, name))
}

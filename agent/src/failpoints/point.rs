//! Points where a running agent can be made to end, as if somebody had killed it there: before and after every durable write.
//!
//! One is armed at a time, over the admin port (`/failpoints/NAME`), so that every name can be reached by turn in a process that runs
//! as it always does. Reached, the process says which point it was on its standard error and ends at once: nothing is unwound, flushed
//! or released. It aborts instead of sending itself SIGKILL, which the kernel keeps from the first process of a container.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use protocol::name::Kind;
use serde_json::Value;

use crate::link::store::{Call, Table};

/// Which side of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Nothing was sent yet.
    Before,
    /// The API server has answered.
    After,
}

/// Every durable write, and the answer that follows the most important one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Link: a document becomes an object.
    Create,
    /// Link: a document replaces one.
    Update,
    /// Link: the answer to a document or forget.
    Answer,
    /// Link: the floor is raised before a forget deletes.
    Floor,
    /// Link: a forget deletes.
    Forget,
    /// Link: acknowledged facts leave a status.
    FactRemoval,
    /// Link: its own conditions.
    LinkStatus,
    /// Link: a new key or certificate into the pending slot.
    PendingKey,
    /// Link: the pending slot becomes the active one.
    ActiveKey,
    /// Operator: a rendering is stored.
    Rendering,
    /// Operator: a new object.
    ObjectCreate,
    /// Operator: an object changes.
    ObjectApply,
    /// Operator: callers are switched.
    Service,
    /// Operator: an object is removed.
    Prune,
    /// Operator: a Secret with values.
    Secret,
    /// Operator: a status with new facts.
    Fact,
    /// Operator: any other status.
    Status,
    /// Operator: the name of a run's Job is recorded.
    JobRecord,
    /// Operator: the Job itself.
    Job,
    /// Operator: namespace of an Environment.
    Namespace,
    /// Operator: its removal.
    NamespaceRemoval,
    /// Elector: the Lease is taken.
    Acquire,
    /// Elector: it is renewed.
    Renew,
    /// Elector: it is given back.
    Release,
}

impl Act {
    const ALL: [Self; 24] = [
        Self::Create,
        Self::Update,
        Self::Answer,
        Self::Floor,
        Self::Forget,
        Self::FactRemoval,
        Self::LinkStatus,
        Self::PendingKey,
        Self::ActiveKey,
        Self::Rendering,
        Self::ObjectCreate,
        Self::ObjectApply,
        Self::Service,
        Self::Prune,
        Self::Secret,
        Self::Fact,
        Self::Status,
        Self::JobRecord,
        Self::Job,
        Self::Namespace,
        Self::NamespaceRemoval,
        Self::Acquire,
        Self::Renew,
        Self::Release,
    ];

    /// Who can reach it.
    const fn role(self) -> &'static str {
        match self {
            Self::Create
            | Self::Update
            | Self::Answer
            | Self::Floor
            | Self::Forget
            | Self::FactRemoval
            | Self::LinkStatus
            | Self::PendingKey
            | Self::ActiveKey => "link",
            Self::Rendering
            | Self::ObjectCreate
            | Self::ObjectApply
            | Self::Service
            | Self::Prune
            | Self::Secret
            | Self::Fact
            | Self::Status
            | Self::JobRecord
            | Self::Job
            | Self::Namespace
            | Self::NamespaceRemoval => "operator",
            Self::Acquire | Self::Renew | Self::Release => "elector",
        }
    }

    /// The failpoint of a call of the link. During a `forget` (`answers`) a write to the status of the DataPlane raises the floor.
    #[must_use]
    pub fn of_call(call: &Call, answers: bool) -> Option<Self> {
        match call {
            Call::Get { .. } => None,
            Call::Create { .. } => Some(Self::Create),
            Call::Update { table: Table::Secret, body, .. } => Some(match body.pointer("/data/pending.key") {
                Some(_) => Self::PendingKey,
                None => Self::ActiveKey,
            }),
            Call::Update { .. } => Some(Self::Update),
            Call::UpdateStatus { table: Table::Document(Kind::DataPlane), .. } if answers => Some(Self::Floor),
            Call::UpdateStatus { table: Table::Document(Kind::DataPlane), .. } => Some(Self::LinkStatus),
            Call::UpdateStatus { .. } => Some(Self::FactRemoval),
            Call::Delete { .. } => Some(Self::Forget),
        }
    }

    /// What the operator is about to write.
    #[must_use]
    pub fn of_write(verb: &str, kind: &str, dry_run: bool, body: &Value) -> Option<Self> {
        let facts = body.pointer("/status/facts").and_then(Value::as_array).is_some_and(|facts| !facts.is_empty());
        let status = |field: &str| body.pointer("/status").is_some_and(|status| status.get(field).is_some());
        match (verb, kind) {
            _ if dry_run => None,
            ("create", "ControllerRevision") => Some(Self::Rendering),
            ("create", "Namespace") => Some(Self::Namespace),
            ("create", "Secret") => Some(Self::Secret),
            ("create", "Job") => Some(Self::Job),
            ("create", _) => Some(Self::ObjectCreate),
            ("apply", "Service") => Some(Self::Service),
            ("apply", _) => Some(Self::ObjectApply),
            ("delete", "Namespace") => Some(Self::NamespaceRemoval),
            ("delete", _) => Some(Self::Prune),
            ("status", _) if facts => Some(Self::Fact),
            ("status", "TaskRun") if status("job") && !status("result") => Some(Self::JobRecord),
            ("status", _) => Some(Self::Status),
            _ => None,
        }
    }
}

/// The armed one, counted from 1; 0 is none.
static ARMED: AtomicUsize = AtomicUsize::new(0);

fn points() -> impl Iterator<Item = (usize, Edge, Act)> {
    let both = Act::ALL.into_iter().flat_map(|act| [(Edge::Before, act), (Edge::After, act)]);
    both.enumerate().map(|(index, (edge, act))| (index + 1, edge, act))
}

/// The process has come here. Does not return if this point is armed.
pub fn reach(edge: Edge, act: Option<Act>) {
    let armed = ARMED.load(Ordering::Relaxed);
    if armed == 0 || !points().any(|(index, at, what)| index == armed && at == edge && Some(what) == act) {
        return;
    }
    if let Some(act) = act {
        // A failure to print cannot be reported: the process is about to abort.
        drop(writeln!(std::io::stderr(), "{}{edge:?}{act:?}", super::REACHED));
    }
    std::process::abort();
}

/// `/failpoints` lists who can reach which; `/failpoints/NAME` arms that one alone, any other name none.
pub fn routes() -> Router {
    let list = async || points().map(|(_, edge, act)| format!("{} {edge:?}{act:?}\n", act.role())).collect::<String>();
    let arm = async |Path(name): Path<String>| {
        let found = points().find(|(_, edge, act)| format!("{edge:?}{act:?}") == name);
        ARMED.store(found.map_or(0, |(index, _, _)| index), Ordering::Relaxed);
        if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND }
    };
    Router::new().route("/failpoints", get(list)).route("/failpoints/{name}", get(arm))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn writes_are_told_apart_by_what_they_write() {
        let fact = json!({ "status": { "facts": [{}], "job": "j" } });
        let record = json!({ "status": { "job": "j", "facts": [] } });
        for (verb, kind, body, expected) in [
            ("create", "ControllerRevision", json!({}), Some(Act::Rendering)),
            ("create", "Deployment", json!({}), Some(Act::ObjectCreate)),
            ("apply", "Service", json!({}), Some(Act::Service)),
            ("status", "TaskRun", fact, Some(Act::Fact)),
            ("status", "TaskRun", record, Some(Act::JobRecord)),
            ("status", "Release", json!({ "status": {} }), Some(Act::Status)),
            ("convert", "Service", json!({}), None),
        ] {
            assert_eq!(Act::of_write(verb, kind, false, &body), expected, "{verb} {kind}");
        }
        assert_eq!(Act::of_write("create", "Pod", true, &json!({})), None);
    }

    #[test]
    fn every_point_has_one_name() {
        let names: std::collections::BTreeSet<_> = points().map(|(_, edge, act)| format!("{edge:?}{act:?}")).collect();
        assert_eq!(names.len(), 48);
    }
}

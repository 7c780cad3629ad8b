//! The operator's look at environments and runs: the real decisions over models of a namespace and a Job.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pdp_agent::kinds::{EnvironmentStatus, TaskRunStatus};
use pdp_agent::link::intake::body;
use pdp_agent::operator::compare;
use pdp_agent::operator::environment::decide::{self as environments, Obstacle};
use pdp_agent::operator::environment::objects::Wanted;
use pdp_agent::operator::modified::Modified;
use pdp_agent::operator::object::{ENVIRONMENT, ObjectKind, TASK_RUN};
use pdp_agent::operator::taskrun::decide::{self as runs, Blueprint, JobSeen};
use pdp_agent::operator::write::Live;
use protocol::name::{Kind, ResourceKey};
use protocol::spec::{DocumentStamp, EnvironmentSpec, TaskRunSpec};
use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Serialize};
use serde_json::{Value, json};

use super::api::{AGENT, Id, generation, is_terminating, text};
use super::operator::{Decided, NAMESPACE, Operator};
use super::world::World;

fn status<S: DeserializeOwned + Default>(object: &Value) -> Option<S> {
    object.get("status").map_or_else(|| Some(S::default()), |status| S::deserialize(status).ok())
}

/// As the operator compares what is stored with what came.
fn modified<S: DeserializeOwned + Serialize>(kind: Kind, name: &str, object: &Value) -> Option<Modified> {
    let spec = object.get("spec")?;
    let key = ResourceKey { kind, name: name.to_owned() };
    let stamp = DocumentStamp::deserialize(spec.get("document")?).ok()?;
    Modified::of(&key, Some(&stamp), None, &S::deserialize(body(spec)).ok()?)
}

impl Operator {
    /// Its namespace is all that an environment makes here.
    pub(super) fn environment(&self, name: &str, now: Timestamp) -> Option<Decided> {
        let object = self.cached(&Id::own("Environment", name))?;
        let status: EnvironmentStatus = status(object)?;
        // An Absent document does not name it.
        let is_absent = object.pointer("/spec/state").and_then(Value::as_str) == Some("Absent");
        let namespace = if is_absent { status.namespace.clone().unwrap_or_default() } else { format!("dp-{name}") };
        let pods = object.pointer("/spec/quota/pods").cloned().unwrap_or_default();
        let wanted = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": namespace, "labels": { ENVIRONMENT: name }, "annotations": { "pods": pods } },
        });
        let id = Id { kind: "Namespace".to_owned(), namespace: AGENT.to_owned(), name: namespace.clone() };
        let live = self.cached(&id).map(|found| Live {
            uid: text(found, "uid").to_owned(),
            resource_version: text(found, "resourceVersion").to_owned(),
            ours: true,
            terminating: is_terminating(found),
            drift: compare::drift(&wanted, found),
            was_equal: false,
            rival: None,
            autoscaled: None,
        });
        let live: BTreeMap<_, _> =
            live.map(|live| (ObjectKind::Namespace.named(&namespace), live)).into_iter().collect();
        let modified = modified::<EnvironmentSpec>(Kind::Environment, name, object);
        let observed = environments::Observed {
            uid: text(object, "uid"),
            generation: generation(object),
            fact_generation: generation(object),
            modified: modified.as_ref(),
            status: &status,
            namespace: &namespace,
            holder: None,
            paused: None,
            settles: self.settles(ENVIRONMENT, name),
            live: &live,
        };
        if is_absent {
            return Some(Decided::of(environments::remove(&observed, &Obstacle::None, now)));
        }
        let wanted = Wanted { present: vec![wanted], absent: Vec::new() };
        Some(Decided::of(environments::decide(&observed, Ok(&wanted), None, now)))
    }
}

impl World {
    pub(super) fn task_run(&self, operator: &Operator, name: &str, now: Timestamp) -> Option<Decided> {
        let object = operator.cached(&Id::own("TaskRun", name))?;
        let status: TaskRunStatus = status(object)?;
        if status.result.is_some() {
            return None;
        }
        let uid = text(object, "uid");
        let job_name = format!("{name}-job");
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": { "name": job_name, "namespace": NAMESPACE, "labels": { TASK_RUN: name } },
            "spec": { "suspend": false },
        });
        let id = Id { kind: "Job".to_owned(), namespace: NAMESPACE.to_owned(), name: job_name };
        // The operator asks the API server when the watch knows of no Job.
        let seen = match self.api.get(&id).filter(|_| status.job.is_some()) {
            None => JobSeen::Missing,
            Some(found) => {
                let (view, pods) = operator.pods.as_ref().unwrap_or(&self.pods).job(&id);
                JobSeen::Found {
                    uid: text(found, "uid").to_owned(),
                    resource_version: text(found, "resourceVersion").to_owned(),
                    terminating: is_terminating(found),
                    job: view,
                    pods,
                }
            }
        };
        let blueprint =
            Ok(Blueprint { namespace: NAMESPACE.to_owned(), revision: "r1-0".to_owned(), job: job.clone() });
        let modified = modified::<TaskRunSpec>(Kind::TaskRun, name, object);
        let observed = runs::Observed {
            name,
            uid,
            generation: generation(object),
            fact_generation: generation(object),
            modified: modified.as_ref(),
            cancel: object.pointer("/spec/cancel").and_then(Value::as_bool).unwrap_or(false),
            status: &status,
            blueprint: Some(&blueprint),
            denied: None,
            recorded: Some(&job),
            job: &seen,
            paused: None,
            settles: operator.settles(TASK_RUN, name),
        };
        Some(Decided::of(runs::decide(&observed, now)))
    }
}

//! Before anything changes, the cluster is asked: a dry run of the objects once something serves, and of one pod where pods would change.
//!
//! The pod is what the customer's policies, Pod Security and the quota speak about; a Deployment alone would pass and stall later.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::kinds::conditions::Reason;
use crate::operator::cluster::{ApiError, Class};
use crate::operator::object::owner::Owner;
use crate::operator::object::{self, ObjectKind};
use crate::operator::reconcile::halt::{Halt, INVALID};
use crate::operator::reconcile::observe;
use crate::operator::reconcile::shared::Shared;
use crate::operator::reconcile::write::Live;

/// Dry-runs `objects`. Before a first revision serves (`serves` is false), objects that are about to be created are left out: their
/// creation reports the same refusal.
///
/// # Errors
/// They would not be accepted, or the cluster could not be asked, or our account may not ask.
pub async fn check(shared: &Shared, owner: Owner<'_>, objects: &[Value], serves: bool) -> Result<(), Halt> {
    let tries = join_all(objects.iter().map(|object| one(shared, owner, object, serves))).await;
    let mut refusals = Vec::new();
    for result in tries.into_iter().flatten() {
        match result {
            Ok(()) => {}
            Err(error) => match error.class() {
                Class::Policy | Class::Quota | Class::Invalid => refusals.push((error.class(), error.message())),
                // The object is there or gone meanwhile: apply will find out.
                Class::Conflict => {}
                Class::Missing | Class::NotLeading | Class::Rights | Class::Transient => return Err(error.into()),
            },
        }
    }
    if refusals.is_empty() { Ok(()) } else { Err(why(refusals).into()) }
}

/// The answers about one object, and about a pod of it.
async fn one(shared: &Shared, owner: Owner<'_>, object: &Value, serves: bool) -> [Result<(), ApiError>; 2] {
    let live = match observe::wanted(shared, owner, object).await {
        Ok(live) => live,
        Err(error) => return [Err(error), Ok(())],
    };
    let itself = async {
        match &live {
            Some(live) if !live.ours || live.drift.is_empty() => Ok(()),
            Some(live) => shared.cluster.try_apply(object, &live.uid, &live.resource_version).await,
            // The Job of a task is created by its runs, not now.
            None if serves || is(object, ObjectKind::Job) => shared.cluster.try_create(object).await,
            None => Ok(()),
        }
    };
    let pod = async {
        match one_pod(object).filter(|_| live.as_ref().is_none_or(changes_pods)) {
            Some(pod) => try_pod(shared, object, &pod, live.is_some()).await,
            None => Ok(()),
        }
    };
    futures::future::join(itself, pod).await.into()
}

/// Whether pods of the new content would differ from those that run.
fn changes_pods(live: &Live) -> bool {
    !live.ours || live.drift.iter().any(|path| path.starts_with("/spec/template"))
}

async fn try_pod(shared: &Shared, workload: &Value, pod: &Value, runs: bool) -> Result<(), ApiError> {
    let Err(error) = shared.cluster.try_create(pod).await else { return Ok(()) };
    // A task makes its pod when it is run, and a release of no replicas makes none: what is full now may have room then.
    if error.class() == Class::Quota && (is(workload, ObjectKind::Job) || replicas(workload) == 0) {
        return Ok(());
    }
    if !runs {
        return Err(error);
    }
    let Some((kind, reference)) = object::reference(workload) else { return Err(error) };
    let namespace = workload.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    let Some(present) = shared.cluster.get(kind, namespace, &reference.name).await? else { return Err(error) };
    let (class, wanted, now) = (error.class(), replicas(workload), replicas(&present));
    // A rolling update to fewer pods needs no room, or makes it.
    if class == Class::Quota && wanted < now {
        return Ok(());
    }
    // A policy may refuse the operator as the creator of a Pod. If it also refuses a Pod that already runs, the refusal is about the
    // dry run and is ignored.
    if class == Class::Policy
        && now > 0
        && let Some(running) = one_pod(&present)
        && refuses(&shared.cluster.try_create(&running).await)
    {
        tracing::warn!(
            namespace,
            workload = reference.name,
            %error,
            "a policy refuses the pod that the operator tries, and also one that runs already; it is taken to meet only the trial"
        );
        return Ok(());
    }
    Err(error)
}

fn refuses(answer: &Result<(), ApiError>) -> bool {
    answer.as_ref().is_err_and(|error| error.class() == Class::Policy)
}

fn replicas(workload: &Value) -> i64 {
    workload.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
}

fn is(object: &Value, kind: ObjectKind) -> bool {
    object::reference(object).is_some_and(|(found, _)| found == kind)
}

/// One pod as the workload's controller would make it, with an owner and a generated name: policies ask for them. The owner need not
/// exist, since nothing is stored.
fn one_pod(workload: &Value) -> Option<Value> {
    let (kind, reference) = object::reference(workload)?;
    let (api_version, owner) = if kind == ObjectKind::Deployment {
        ("apps/v1", "ReplicaSet")
    } else if kind == ObjectKind::Job {
        ("batch/v1", "Job")
    } else {
        return None;
    };
    let template = workload.pointer("/spec/template")?;
    let metadata = workload.get("metadata")?;
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": template.get("metadata")?, "spec": template.get("spec")?});
    let head = pod.get_mut("metadata")?.as_object_mut()?;
    head.extend([
        ("name".to_owned(), json!(format!("{}-check-xxxxx", reference.name))),
        ("generateName".to_owned(), json!(format!("{}-check-", reference.name))),
        ("namespace".to_owned(), metadata.get("namespace")?.clone()),
        (
            "ownerReferences".to_owned(),
            json!([{"apiVersion": api_version, "kind": owner, "name": format!("{}-check", reference.name),
                "uid": "00000000-0000-4000-8000-000000000000", "controller": true}]),
        ),
    ]);
    Some(pod)
}

/// Joins all refusals into one. A policy's comes first, since only the customer can change it; what the API server itself finds wrong
/// stays wrong.
fn why(refusals: Vec<(Class, String)>) -> Reason {
    let has = |class: Class| refusals.iter().any(|(found, _)| *found == class);
    let (reason, lead) = if has(Class::Policy) {
        ("PolicyDenied", "the cluster's policies refuse it")
    } else if has(Class::Invalid) {
        (INVALID, "the API server refuses it")
    } else {
        ("Quota", "the namespace's quota leaves no room for it, counting one more pod than now for a rolling update")
    };
    let mut words: Vec<String> = refusals.into_iter().map(|(_, words)| words).collect();
    words.dedup();
    Reason::new(reason, format!("{lead}: {}", words.join("; ")))
}

#[cfg(test)]
mod tests;

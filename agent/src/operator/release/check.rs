//! Before anything changes, the cluster is asked: a dry run of the objects, and of one pod from the template.
//!
//! The pod is what the customer's policies, Pod Security and the quota speak about; a Deployment alone would pass and stall later.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::kinds::conditions::Reason;
use crate::operator::cluster::{ApiError, Class};
use crate::operator::object::ObjectKind;
use crate::operator::object::owner::Owner;
use crate::operator::reconcile::halt::Halt;
use crate::operator::reconcile::observe;
use crate::operator::reconcile::shared::Shared;

/// Asks the cluster whether `objects` would be taken.
///
/// # Errors
/// They would not be accepted, or the cluster could not be asked, or our account may not ask.
pub async fn check(shared: &Shared, owner: Owner<'_>, objects: &[Value]) -> Result<(), Halt> {
    let pods = objects.iter().filter_map(one_pod);
    let tries = join_all(objects.iter().map(|object| object_as_dry_run(shared, owner, object)));
    let pod_tries = join_all(pods.map(async |pod| shared.cluster.try_create(&pod).await));
    let (objects, pods) = futures::future::join(tries, pod_tries).await;
    let mut refusals = Vec::new();
    for result in objects.into_iter().chain(pods) {
        match result {
            Ok(()) => {}
            Err(error) => match error.class() {
                Class::Policy | Class::Quota | Class::Invalid => refusals.push((error.class(), error.words())),
                // The object is there or gone meanwhile: apply will find out.
                Class::Conflict => {}
                Class::Missing | Class::NotLeading | Class::Rights | Class::Transient => return Err(error.into()),
            },
        }
    }
    if refusals.is_empty() { Ok(()) } else { Err(why(refusals).into()) }
}

async fn object_as_dry_run(shared: &Shared, owner: Owner<'_>, object: &Value) -> Result<(), ApiError> {
    match observe::wanted(shared, owner, object).await? {
        Some(live) if !live.ours || live.drift.is_empty() => Ok(()),
        Some(live) => shared.cluster.try_apply(object, &live.uid, &live.resource_version).await,
        None => shared.cluster.try_create(object).await,
    }
}

/// One pod as the workload's controller would make it.
fn one_pod(workload: &Value) -> Option<Value> {
    let kind = ObjectKind::of(workload.get("kind")?.as_str()?)?;
    if !matches!(kind, ObjectKind::Deployment | ObjectKind::Job) {
        return None;
    }
    let template = workload.pointer("/spec/template")?;
    let metadata = workload.get("metadata")?;
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": template.get("metadata")?, "spec": template.get("spec")?});
    let head = pod.get_mut("metadata")?.as_object_mut()?;
    head.insert("name".to_owned(), json!(format!("{}-check", metadata.get("name")?.as_str()?)));
    head.insert("namespace".to_owned(), metadata.get("namespace")?.clone());
    Some(pod)
}

/// Joins all refusals into one reason. A policy's comes first, since only the customer can change it.
fn why(refusals: Vec<(Class, String)>) -> Reason {
    let has = |class: Class| refusals.iter().any(|(found, _)| *found == class);
    let (reason, lead) = if has(Class::Policy) {
        ("PolicyDenied", "the cluster's policies refuse it")
    } else if has(Class::Invalid) {
        ("Invalid", "the API server refuses it")
    } else {
        ("Quota", "the namespace's quota leaves no room for it, counting one more pod than now for a rolling update")
    };
    let mut words: Vec<String> = refusals.into_iter().map(|(_, words)| words).collect();
    words.dedup();
    Reason::new(reason, format!("{lead}: {}", words.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pod_is_what_the_controller_would_make() {
        let deployment = json!({"kind": "Deployment", "metadata": {"name": "web", "namespace": "ns"},
            "spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}}});
        let pod = one_pod(&deployment).unwrap();
        assert_eq!(pod["metadata"], json!({"labels": {"a": "b"}, "name": "web-check", "namespace": "ns"}));
        assert_eq!(one_pod(&json!({"kind": "Service", "metadata": {"name": "web"}})), None);
    }

    #[test]
    fn a_policy_speaks_first_and_every_word_is_kept() {
        let why = why(vec![(Class::Quota, "no room".to_owned()), (Class::Policy, "no latest".to_owned())]);
        assert_eq!(why.reason, "PolicyDenied");
        assert!(why.message.contains("no room") && why.message.contains("no latest"));
    }
}

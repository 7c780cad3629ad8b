//! At the end, when everything is quiet: what an environment or a release says of itself is true of the cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::api::{Api, Id};
use super::pods::LAST_EXIT;

/// What every environment that is ready has in its namespace.
const PREPARED: [(&str, &str); 8] = [
    ("ServiceAccount", "default"),
    ("ServiceAccount", "pdp-vault"),
    ("LimitRange", "pdp-defaults"),
    ("NetworkPolicy", "pdp-default-deny"),
    ("NetworkPolicy", "pdp-dns"),
    ("NetworkPolicy", "pdp-own-namespace"),
    ("RoleBinding", "pdp-agent-workloads"),
    ("Secret", "pdp-key"),
];

/// Statuses that are not true.
pub(super) fn untrue(api: &Api) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, object) in api.iter().filter(|(_, object)| says_ready(object)) {
        let namespace = object.pointer("/status/namespace").and_then(Value::as_str).unwrap_or_default();
        let mut expected: BTreeSet<(&str, &str)> = BTreeSet::new();
        match id.kind.as_str() {
            "Environment" => {
                expected.extend(PREPARED);
                let quota = object.pointer("/spec/quota").and_then(Value::as_object);
                expected.extend(quota.filter(|quota| !quota.is_empty()).map(|_| ("ResourceQuota", "pdp-quota")));
            }
            "Release" => {
                let objects = object.pointer("/status/objects").and_then(Value::as_array).into_iter().flatten();
                let named = objects.filter_map(|one| Some((one.get("kind")?.as_str()?, one.get("name")?.as_str()?)));
                expected.extend(named.filter(|(kind, _)| matches!(*kind, "Deployment" | "PodDisruptionBudget")));
            }
            _ => {}
        }
        for (kind, name) in expected {
            let wanted = Id { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() };
            if api.get(&wanted).is_none() {
                wrong.push(format!("{id} says that it is ready, and {wanted} is missing"));
            }
        }
    }
    wrong
}

/// Major versions that lead elsewhere than to the newest minor version that serves, or to one that is newer still and answers.
pub(super) fn misled(api: &Api) -> Vec<String> {
    let text =
        |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let answers = |release: &Value| release.pointer("/status/replicas/ready").and_then(Value::as_u64) > Some(0);
    let is_present = |release: &Value| text(release, "/spec/state") == "Present";
    let track = |release: &Value| text(release, "/spec/owner/track");
    let releases = || api.iter().filter(|(id, release)| id.kind == "Release" && is_present(release));
    let mut wrong = Vec::new();
    // What somebody insists on is left to them, by whichever version it belonged to.
    let component = |release: &Value| text(release, "/spec/owner/component");
    let contested: BTreeSet<String> =
        releases().filter(|(_, release)| says(release, "Contested")).map(|(_, release)| component(release)).collect();
    let counts = |release: &Value| says_ready(release) && answers(release) && !contested.contains(&component(release));
    for (id, release) in releases().filter(|(_, release)| counts(release)) {
        let name = format!("{}-http-v1", component(release));
        let service =
            Id { kind: "Service".to_owned(), namespace: text(release, "/status/namespace"), name: name.clone() };
        let Some(service) = api.get(&service) else {
            wrong.push(format!("{id} serves, and {name} is missing"));
            continue;
        };
        let leads_to = text(service, "/spec/selector/pdp-agent.dev~1release");
        let newer = |(other, release_of): &(&Id, &Arc<Value>)| {
            other.name == leads_to && answers(release_of) && track(release_of) >= track(release)
        };
        if !releases().any(|one| newer(&one)) {
            wrong.push(format!("{id} serves, and {name} leads to {leads_to}"));
        }
    }
    wrong
}

/// An exit code in a run's status that is not true.
pub(super) fn untrue_exit(id: &Id, run: &Value) -> Option<String> {
    let truth = match run.pointer("/status/result").and_then(Value::as_str)? {
        "Succeeded" => 0,
        "Failed" => i64::from(LAST_EXIT),
        _ => return None,
    };
    let said = run.pointer("/status/exitCode").and_then(Value::as_i64)?;
    (id.kind == "TaskRun" && said != truth).then(|| format!("{id} ended with {truth}, and says {said}"))
}

fn says_ready(object: &Value) -> bool {
    says(object, "Ready")
}

/// Whether a condition of that type holds.
pub(super) fn says(object: &Value, condition: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let is = |one: &Value, key: &str, text: &str| one.get(key).and_then(Value::as_str) == Some(text);
    conditions.into_iter().any(|one| is(one, "type", condition) && is(one, "status", "True"))
}

pub(super) fn is_absent(release: &Value) -> bool {
    release.pointer("/spec/state").and_then(Value::as_str) == Some("Absent")
}

/// Highest generation that was really deleted.
pub(super) fn floor(api: &Api) -> i64 {
    let data_plane = api.get(&Id::own("DataPlane", "default"));
    data_plane.and_then(|object| object.pointer("/status/floor")).and_then(Value::as_i64).unwrap_or(0)
}

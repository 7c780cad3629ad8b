//! What stands behind the API server: models of the controllers and the kubelet, as far as the operator looks.
//!
//! A Deployment gets replica sets and pods, one step after the other; a template whose image says `bad` crashes for ever, any other one
//! serves after a while, and old pods go once new ones serve. A Job starts and ends. A Service gets an EndpointSlice of the pods that
//! are ready, a namespace the account that every namespace has. All state is in the objects, so that it goes back with them.

use std::collections::BTreeSet;

use pdp_agent::operator::object::{ObjectKind, short_digest};
use serde_json::{Value, json};

use super::api::{AGENT, Api, Id, generation_of, is_terminating, text};

/// Stands in every text that a kubelet or a runtime writes here, as a secret value could. It must not be in any status or report.
pub(super) const CANARY: &str = "canary-of-the-runtime";

const HASH: &str = "pod-template-hash";
/// Exit codes of the tries of a run that fail.
const EXITS: [i32; 2] = [3, LAST_EXIT];

/// Exit code of a run that failed.
pub(super) const LAST_EXIT: i32 = 5;

const JOB: &str = "batch.kubernetes.io/job-name";
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Which Deployment or Job made an object.
const MADE_BY: &str = "made-by";

/// What a controller does.
#[derive(Debug)]
pub(super) enum Deed {
    /// An object becomes this.
    Set(Value),
    /// An object goes.
    Take(Id),
}

/// One step of the controllers for one object, and whether there is more to do later. `now`: RFC 3339.
pub(super) fn step(api: &Api, id: &Id, now: &str) -> (Vec<Deed>, bool) {
    match (id.kind.as_str(), api.get(id)) {
        ("Deployment", Some(deployment)) => rollout(api, id, deployment),
        ("Job", Some(job)) => run(api, id, job, now),
        ("Deployment" | "Job", None) => (made_by(api, id).map(|(id, _)| Deed::Take(id.clone())).collect(), false),
        ("Service", Some(service)) => (vec![Deed::Set(slice(api, service))], false),
        ("Service", None) => (vec![Deed::Take(slice_of(id))], false),
        ("Namespace", Some(_)) => {
            let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default", "namespace": id.name } });
            let there = api.get(&Id::of(&account)).is_some();
            (if there { Vec::new() } else { vec![Deed::Set(account)] }, false)
        }
        _ => (Vec::new(), false),
    }
}

fn made_by<'a>(api: &'a Api, id: &'a Id) -> impl Iterator<Item = (&'a Id, &'a Value)> {
    let of = |kind: &'static str| api.of_kind(kind, &id.namespace);
    let made = of("ReplicaSet").chain(of("Pod"));
    let by = format!("{}/{}", id.kind, id.name);
    made.filter(move |(_, object)| annotation(object, MADE_BY) == Some(&by)).map(|(id, object)| (id, object.as_ref()))
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

fn put(object: &mut Value, path: &[&str], value: Value) {
    let mut at = object;
    for member in path {
        if !at.is_object() {
            *at = json!({});
        }
        let Some(members) = at.as_object_mut() else { return };
        at = members.entry((*member).to_owned()).or_insert(Value::Null);
    }
    *at = value;
}

fn is_ready(pod: &Value) -> bool {
    pod.pointer("/status/conditions/0/status").and_then(Value::as_str) == Some("True")
}

fn is_crashed(pod: &Value) -> bool {
    pod.pointer("/status/containerStatuses/0/state/waiting").is_some()
}

fn rollout(api: &Api, id: &Id, deployment: &Value) -> (Vec<Deed>, bool) {
    if is_terminating(deployment) {
        return (Vec::new(), false);
    }
    let template = deployment.pointer("/spec/template").cloned().unwrap_or_default();
    let text_of_template = template.to_string();
    let hash = short_digest(text_of_template.as_bytes(), 8);
    let replicas = deployment.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    let mut deeds = Vec::new();
    // Which template is the newest one, its replica set says by its number.
    let sets: Vec<&Value> =
        made_by(api, id).filter(|(made, _)| made.kind == "ReplicaSet").map(|(_, object)| object).collect();
    let revision =
        |set: &Value| annotation(set, REVISION).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    let highest = sets.iter().map(|set| revision(set)).max().unwrap_or_default();
    let newest = sets.iter().find(|set| label(set, HASH) == Some(&hash));
    let current = match newest {
        Some(set) if revision(set) == highest => highest,
        Some(_) | None => highest + 1,
    };
    let name = format!("{}-{hash}", id.name);
    let mut set = made(id, "ReplicaSet", &name, &template, &[(HASH, &hash)]);
    put(&mut set, &["metadata", "annotations", REVISION], json!(current.to_string()));
    put(&mut set, &["spec"], json!({ "replicas": replicas, "template": template }));
    deeds.push(Deed::Set(set));
    let mut pods: Vec<Value> =
        made_by(api, id).filter(|(made, _)| made.kind == "Pod").map(|(_, object)| object.clone()).collect();
    let of_newest = |pod: &Value| label(pod, HASH) == Some(&hash);
    let mut more = true;
    let count = pods.iter().filter(|pod| of_newest(pod)).count() as u64;
    if count < replicas {
        let mut pod = made(id, "Pod", &format!("{name}-{count}"), &template, &[(HASH, &hash)]);
        put(&mut pod, &["spec"], template.get("spec").cloned().unwrap_or_default());
        // Some take their time, others are there before anybody looks.
        let status = if hash.starts_with(|digit: char| digit < '6') {
            json!({ "conditions": [{ "type": "Ready", "status": "False" }] })
        } else {
            begun(&template, text_of_template.contains("/bad@"))
        };
        put(&mut pod, &["status"], status);
        deeds.push(Deed::Set(pod.clone()));
        pods.push(pod);
    } else if let Some(pod) = pods.iter_mut().find(|pod| of_newest(pod) && !is_ready(pod) && !is_crashed(pod)) {
        put(pod, &["status"], begun(&template, text_of_template.contains("/bad@")));
        deeds.push(Deed::Set(pod.clone()));
    } else if pods.iter().all(|pod| !of_newest(pod) || is_ready(pod)) && pods.iter().any(|pod| !of_newest(pod)) {
        deeds.extend(pods.iter().filter(|pod| !of_newest(pod)).map(|pod| Deed::Take(Id::of(pod))));
        pods.retain(of_newest);
        for set in sets.into_iter().filter(|set| label(set, HASH) != Some(&hash)) {
            let mut set = set.clone();
            put(&mut set, &["spec", "replicas"], json!(0));
            deeds.push(Deed::Set(set));
        }
    } else {
        more = false;
    }
    let mut next = deployment.clone();
    put(&mut next, &["metadata", "annotations", REVISION], json!(current.to_string()));
    let updated = pods.iter().filter(|pod| of_newest(pod)).count();
    let status = json!({
        "observedGeneration": generation_of(deployment), "replicas": pods.len(), "updatedReplicas": updated,
        "availableReplicas": pods.iter().filter(|pod| is_ready(pod)).count(),
    });
    put(&mut next, &["status"], status);
    deeds.push(Deed::Set(next));
    (deeds, more)
}

/// An object of a template, with labels beside.
fn made(by: &Id, kind: &str, name: &str, template: &Value, labels: &[(&str, &str)]) -> Value {
    let version = ObjectKind::of(kind).map_or("v1", |kind| kind.names().0);
    let mut all = template.pointer("/metadata/labels").cloned().unwrap_or_else(|| json!({}));
    labels.iter().for_each(|(key, value)| put(&mut all, &[key], json!(value)));
    json!({ "apiVersion": version, "kind": kind, "metadata": {
        "name": name, "namespace": by.namespace, "labels": all,
        "annotations": { MADE_BY: format!("{}/{}", by.kind, by.name) },
    }})
}

/// How a pod does once its container was started.
fn begun(template: &Value, bad: bool) -> Value {
    let name = template.pointer("/spec/containers/0/name").cloned().unwrap_or_default();
    let container = if bad {
        json!({
            "name": name, "image": "", "imageID": "", "ready": false, "restartCount": 3,
            "state": { "waiting": { "reason": "CrashLoopBackOff", "message": format!("back-off {CANARY}") } },
            "lastState": { "terminated": { "reason": "Error", "exitCode": 1, "message": CANARY } },
        })
    } else {
        json!({ "name": name, "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": { "running": {} } })
    };
    let ready = if bad { "False" } else { "True" };
    json!({ "conditions": [{ "type": "Ready", "status": ready }], "containerStatuses": [container] })
}

fn run(api: &Api, id: &Id, job: &Value, now: &str) -> (Vec<Deed>, bool) {
    let ended = job.pointer("/status/conditions").is_some();
    if is_terminating(job) || ended {
        return (Vec::new(), false);
    }
    let pods: Vec<&Value> = made_by(api, id).map(|(_, object)| object).collect();
    let mut next = job.clone();
    let mut deeds = Vec::new();
    let suspended = job.pointer("/spec/suspend").and_then(Value::as_bool).unwrap_or(false);
    let template = job.pointer("/spec/template").cloned().unwrap_or_default();
    let container = |state: Value| {
        let name = template.pointer("/spec/containers/0/name").cloned().unwrap_or_default();
        json!({ "containerStatuses": [{ "name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state }] })
    };
    let state = |pod: &Value, of: &str| pod.pointer(&format!("/status/containerStatuses/0/state/{of}")).cloned();
    let running = pods.iter().find(|pod| state(pod, "running").is_some());
    // Some runs fail at the first try, and some of those at the second as well. The pods' names do not show their order.
    let fails = match short_digest(id.name.as_bytes(), 1).as_str() {
        "0" | "1" | "2" => 2,
        "3" | "4" | "5" | "6" | "7" => 1,
        _ => 0,
    };
    let mut more = false;
    match (suspended, running) {
        (true, _) => {
            deeds.extend(pods.iter().map(|pod| Deed::Take(Id::of(pod))));
            put(&mut next, &["status", "active"], json!(0));
        }
        (false, None)
            if pods.first().is_some_and(|first| state(first, "terminated").is_some_and(|it| rests(&it, now))) =>
        {
            return (deeds, true);
        }
        (false, None) => {
            let name = format!("{}-{}", id.name, if pods.is_empty() { "z" } else { "a" });
            let mut pod = made(id, "Pod", &name, &template, &[(JOB, &id.name)]);
            put(&mut pod, &["spec"], template.get("spec").cloned().unwrap_or_default());
            put(&mut pod, &["status"], container(json!({ "running": { "startedAt": now } })));
            deeds.push(Deed::Set(pod));
            let started = job.pointer("/status/startTime").cloned().unwrap_or_else(|| json!(now));
            put(&mut next, &["status"], json!({ "active": 1, "startTime": started }));
            more = true;
        }
        (false, Some(pod)) => {
            let fails = pods.len() <= fails;
            let (reason, code) = if fails {
                ("Error", EXITS.get(pods.len() - 1).copied().unwrap_or(LAST_EXIT))
            } else {
                ("Completed", 0)
            };
            let began = state(pod, "running").and_then(|running| running.get("startedAt").cloned());
            let terminated = json!({ "reason": reason, "exitCode": code, "startedAt": began, "finishedAt": now });
            let mut pod = Value::clone(pod);
            put(&mut pod, &["status"], container(json!({ "terminated": terminated })));
            deeds.push(Deed::Set(pod));
            let started = job.pointer("/status/startTime").cloned().unwrap_or_else(|| json!(now));
            if fails && pods.len() == 1 {
                put(&mut next, &["status"], json!({ "active": 0, "failed": 1, "startTime": started }));
                deeds.push(Deed::Set(next));
                return (deeds, true);
            }
            let failed = pods.len() - usize::from(!fails);
            let end = if fails { ("Failed", "BackoffLimitExceeded") } else { ("Complete", "CompletionsReached") };
            let done = json!([{ "type": end.0, "reason": end.1, "status": "True", "lastTransitionTime": now }]);
            let counts = (u64::from(!fails), failed);
            put(
                &mut next,
                &["status"],
                json!({
                    "active": 0, "succeeded": counts.0, "failed": counts.1, "startTime": started, "conditions": done,
                }),
            );
        }
    }
    deeds.push(Deed::Set(next));
    (deeds, more)
}

/// Whether it is too early for another try. Source: Kubernetes documentation, Jobs, "Pod backoff failure policy".
fn rests(terminated: &Value, now: &str) -> bool {
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let ended = terminated.get("finishedAt").and_then(Value::as_str).and_then(time);
    let passed = ended.zip(time(now)).map(|(ended, now)| now.duration_since(ended));
    passed.is_some_and(|passed| passed < jiff::SignedDuration::from_secs(10))
}

fn slice_of(service: &Id) -> Id {
    Id { kind: "EndpointSlice".to_owned(), name: format!("{}-1", service.name), ..service.clone() }
}

/// Which pods a Service sends requests to.
fn slice(api: &Api, service: &Value) -> Value {
    let id = Id::of(service);
    let selector = service.pointer("/spec/selector").and_then(Value::as_object).cloned().unwrap_or_default();
    let selected = |pod: &Value| selector.iter().all(|(key, value)| label(pod, key) == value.as_str());
    let ready = api.of_kind("Pod", &id.namespace).filter(|(_, pod)| selected(pod) && is_ready(pod));
    let endpoints: Vec<Value> = ready
        .map(|(pod, _)| json!({ "addresses": [], "conditions": { "ready": true }, "targetRef": { "name": pod.name } }))
        .collect();
    let mut labels = service.pointer("/metadata/labels").cloned().unwrap_or_else(|| json!({}));
    put(&mut labels, &["kubernetes.io/service-name"], json!(id.name));
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": slice_of(&id).name, "namespace": id.namespace, "labels": labels },
        "endpoints": endpoints, "ports": service.pointer("/spec/ports"),
    })
}

/// Services whose slices the pods of a namespace may be in.
pub(super) fn services(api: &Api, namespace: &str) -> Vec<Id> {
    api.of_kind("Service", namespace).map(|(id, _)| id.clone()).collect()
}

/// Whether controllers look at a changed object: its spec is another, or it is new or gone.
pub(super) fn concerns(kind: &str, before: Option<&Value>, after: Option<&Value>) -> bool {
    let selector = |object: Option<&Value>| object.map(|object| object.pointer("/spec/selector").cloned());
    let spec = |object: Option<&Value>| object.map(|object| (generation_of(object), text(object, "uid").to_owned()));
    match kind {
        "Deployment" | "Job" => spec(before) != spec(after),
        "Service" => selector(before) != selector(after),
        "Namespace" => before.is_none(),
        _ => false,
    }
}

/// Deployments and Jobs that are gone while something that was made for them is there.
pub(super) fn orphans(api: &Api) -> BTreeSet<Id> {
    let maker = |(id, object): (&Id, &std::sync::Arc<Value>)| {
        let (kind, name) = annotation(object, MADE_BY)?.split_once('/')?;
        Some(Id { kind: kind.to_owned(), name: name.to_owned(), ..id.clone() })
    };
    api.iter().filter_map(maker).filter(|maker| api.get(maker).is_none()).collect()
}

/// Everything in a namespace.
pub(super) fn contents(api: &Api, namespace: &str) -> Vec<Id> {
    let within = |id: &&Id| id.namespace == namespace && id.namespace != AGENT;
    api.iter().map(|(id, _)| id).filter(within).cloned().collect()
}

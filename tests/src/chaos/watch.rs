//! The independent observer: watches of its own, with all rights, that note every version they see. A watch that is broken begins again by
//! itself; what it missed meanwhile stands in the audit log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use futures::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use tokio::task::JoinSet;

use super::history::{Ended, Held, Job, Key, Version};
use super::plan::Role;
use crate::testbed::Testbed;

/// Namespace of the agent.
pub const NAMESPACE: &str = "pdp-agent";
/// Wait before a broken watch begins again.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(300);
/// Label with the name of a run.
const TASK_RUN: &str = "pdp-agent.dev/task-run";

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// Versions of our resources.
    pub versions: BTreeSet<Version>,
    /// Holders of Leases.
    pub held: BTreeSet<Held>,
    /// Jobs of runs.
    pub jobs: BTreeSet<Job>,
    /// Containers of the agent that ended.
    pub ended: BTreeSet<Ended>,
    /// The latest holder by role: identity, and when this was seen.
    pub leaders: BTreeMap<Role, (String, std::time::Instant)>,
    /// How often a watch was broken.
    pub broken: usize,
}

/// The watches. They end with this.
#[derive(Debug)]
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    _tasks: JoinSet<()>,
}

impl Observer {
    /// Begins to watch.
    ///
    /// # Errors
    /// The kubeconfig does not read.
    pub async fn start(bed: &Testbed) -> Result<Self> {
        let client = bed.kube_client().await?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut tasks = JoinSet::new();
        for (group, version, kind) in [
            ("pdp-agent.dev", "v1alpha1", "Release"),
            ("pdp-agent.dev", "v1alpha1", "Environment"),
            ("pdp-agent.dev", "v1alpha1", "TaskRun"),
            ("pdp-agent.dev", "v1alpha1", "DataPlane"),
            ("coordination.k8s.io", "v1", "Lease"),
            ("", "v1", "Pod"),
            ("batch", "v1", "Job"),
        ] {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let (api, config): (Api<DynamicObject>, _) = if kind == "Job" {
                (Api::all_with(client.clone(), &resource), watcher::Config::default().labels(TASK_RUN))
            } else {
                (Api::namespaced_with(client.clone(), NAMESPACE, &resource), watcher::Config::default())
            };
            let seen = Arc::clone(&seen);
            tasks.spawn(async move {
                let mut events = watcher(api, config).boxed();
                while let Some(event) = events.next().await {
                    match event {
                        Ok(Event::InitApply(object) | Event::Apply(object) | Event::Delete(object)) => {
                            lock(&seen).note(kind, &serde_json::to_value(object).unwrap_or_default());
                        }
                        Ok(Event::Init | Event::InitDone) => {}
                        Err(_) => {
                            lock(&seen).broken += 1;
                            tokio::time::sleep(AGAIN).await;
                        }
                    }
                }
            });
        }
        Ok(Self { seen, _tasks: tasks })
    }

    /// What was seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    fn note(&mut self, kind: &str, object: &Value) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind {
            "Lease" => self.lease(&text("/metadata/name"), object),
            "Pod" => self.pod(&text("/metadata/name"), object),
            "Job" => {
                let labels = object.pointer("/metadata/labels");
                let run = labels.and_then(|labels| labels.get(TASK_RUN)).and_then(Value::as_str).unwrap_or_default();
                let (uid, name) = (text("/metadata/uid"), text("/metadata/name"));
                self.jobs.insert(Job { uid, name, run: run.to_owned() });
            }
            _ => {
                self.versions.insert(version(kind, object));
            }
        }
    }

    fn lease(&mut self, name: &str, object: &Value) {
        let Some(role) = Role::ALL.into_iter().find(|role| name.ends_with(&format!("-{}", role.name()))) else {
            return;
        };
        let holder = object.pointer("/spec/holderIdentity").and_then(Value::as_str).unwrap_or_default();
        if self.leaders.get(&role).is_none_or(|(known, _)| known != holder) {
            self.leaders.insert(role, (holder.to_owned(), std::time::Instant::now()));
        }
        if let Some((pod, _)) = holder.split_once('_') {
            let resource_version = resource_version(object);
            self.held.insert(Held { role: role.name().to_owned(), resource_version, pod: pod.to_owned() });
        }
    }

    fn pod(&mut self, pod: &str, object: &Value) {
        for status in object.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten() {
            for place in ["/state/terminated", "/lastState/terminated"] {
                let Some(end) = status.pointer(place) else { continue };
                let text = |field: &str| end.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
                let code = end.get("exitCode").and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok());
                let (container, reason) = (text("containerID"), text("reason"));
                self.ended.insert(Ended { pod: pod.to_owned(), container, code: code.unwrap_or(-1), reason });
            }
        }
    }
}

fn resource_version(object: &Value) -> u64 {
    let text = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// One of our resources as a version. The audit log has them in the same form.
#[must_use]
pub fn version(kind: &str, object: &Value) -> Version {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let facts = object.pointer("/status/facts").and_then(Value::as_array).into_iter().flatten();
    Version {
        key: Key::new(kind, text("/metadata/name")),
        uid: text("/metadata/uid").to_owned(),
        resource_version: resource_version(object),
        changes: object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0),
        document: object.pointer("/spec/document/generation").and_then(Value::as_i64),
        facts: facts.filter_map(|fact| fact.get("id")?.as_str().map(str::to_owned)).collect(),
    }
}

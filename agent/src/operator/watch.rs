//! Watches: our kinds in the agent's namespace, workloads by label in the whole cluster. Secrets are never watched.
//!
//! Each watch keeps the index current and says which resource is due. A broken watch starts again with a growing delay; what
//! was deleted meanwhile is found when its list is complete.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Error as WatchError, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::RoleBinding;

use super::index::{Contents, Index, Own, Place, Tracked, View};
use super::object::{DATA_PLANE, LOCAL, ObjectKind};
use super::queue::{Cause, Key, Queue};
use super::view;
use crate::kinds::{DataPlane, DataPlanePolicy, Environment, Release, TaskRun};

mod due;

pub use due::all;
use due::{Sink, asks_the_same, cause, keys};

/// Objects of one page of a list.
const PAGE: u32 = 50;

/// The running watches. They end when this is dropped.
pub struct Watches {
    tasks: JoinSet<()>,
    pending: watch::Receiver<usize>,
}

impl Watches {
    /// Starts watches for the data plane `id`; objects of a data plane that was never enrolled belong to it too.
    #[must_use]
    pub fn start(client: &Client, namespace: &str, id: &str, index: Arc<Index>, queue: Arc<Queue>) -> Self {
        let (sender, pending) = watch::channel(0);
        let sink = Sink { index, queue, pending: Arc::new(sender) };
        let mut watches = Self { tasks: JoinSet::new(), pending };
        watches.own::<Release>(client, namespace, &sink, |contents| &mut contents.releases, Key::Release);
        watches.own::<Environment>(client, namespace, &sink, |contents| &mut contents.environments, Key::Environment);
        watches.own::<TaskRun>(client, namespace, &sink, |contents| &mut contents.task_runs, Key::TaskRun);
        watches.single::<DataPlane>(client, namespace, &sink, |contents| &mut contents.data_plane);
        watches.single::<DataPlanePolicy>(client, namespace, &sink, |contents| &mut contents.policy);

        let labels = format!("{DATA_PLANE} in ({id},{LOCAL})");
        watches.objects(client, &labels, &sink, ObjectKind::Deployment, |object: &Deployment| {
            View::Deployment(Box::new(view::deployment(object)))
        });
        watches.objects(client, &labels, &sink, ObjectKind::Pod, |object: &Pod| View::Pod(Box::new(view::pod(object))));
        watches.objects(client, &labels, &sink, ObjectKind::EndpointSlice, |object: &EndpointSlice| {
            View::Slice(Box::new(view::slice(object)))
        });
        watches.objects(client, &labels, &sink, ObjectKind::Job, |object: &Job| View::Job(Box::new(view::job(object))));
        watches.objects(client, &labels, &sink, ObjectKind::ReplicaSet, |object: &PartialObjectMeta<ReplicaSet>| {
            View::ReplicaSet(Box::new(view::replica_set(&object.metadata)))
        });
        watches.heads::<Namespace>(client, &labels, &sink, ObjectKind::Namespace);
        watches.heads::<RoleBinding>(client, &labels, &sink, ObjectKind::RoleBinding);
        watches.heads::<NetworkPolicy>(client, &labels, &sink, ObjectKind::NetworkPolicy);
        watches.heads::<ConfigMap>(client, &labels, &sink, ObjectKind::ConfigMap);
        watches.heads::<Service>(client, &labels, &sink, ObjectKind::Service);
        watches.heads::<PodDisruptionBudget>(client, &labels, &sink, ObjectKind::PodDisruptionBudget);
        watches.heads::<ControllerRevision>(client, &labels, &sink, ObjectKind::ControllerRevision);
        watches
    }

    /// Waits until every watch has seen its first list. Cancel safe.
    pub async fn synced(&mut self) {
        // The senders live in the tasks, which end only with this object.
        if self.pending.wait_for(|pending| *pending == 0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn heads<K>(&mut self, client: &Client, labels: &str, sink: &Sink, kind: ObjectKind)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    {
        self.objects(client, labels, sink, kind, |_: &PartialObjectMeta<K>| View::Nothing);
    }

    fn objects<K>(&mut self, client: &Client, labels: &str, sink: &Sink, kind: ObjectKind, view: fn(&K) -> View)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        sink.pending.send_modify(|pending| *pending += 1);
        let stream = watcher(Api::<K>::all(client.clone()), paged().labels(labels));
        let sink = sink.clone();
        self.tasks.spawn(async move {
            let mut follow = Objects { sink, kind, view, unseen: BTreeSet::new(), first: true };
            let mut stream = std::pin::pin!(stream.default_backoff());
            while let Some(event) = stream.next().await {
                match event {
                    Ok(event) => follow.event(event),
                    Err(error) => report(kind.names().1, &error),
                }
            }
        });
    }

    fn own<K>(
        &mut self,
        client: &Client,
        namespace: &str,
        sink: &Sink,
        map: fn(&mut Contents) -> &mut std::collections::BTreeMap<String, Own<K>>,
        key: fn(String) -> Key,
    ) where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        sink.pending.send_modify(|pending| *pending += 1);
        let api: Api<DeserializeGuard<K>> = Api::namespaced(client.clone(), namespace);
        let sink = sink.clone();
        self.tasks.spawn(async move {
            let mut first = true;
            let mut unseen = BTreeSet::new();
            let mut stream = std::pin::pin!(watcher(api, paged()).default_backoff());
            while let Some(event) = stream.next().await {
                let event = match event {
                    Ok(event) => event,
                    Err(error) => {
                        report(&K::kind(&()), &error);
                        continue;
                    }
                };
                match event {
                    Event::Init => unseen = map(&mut sink.index.lock()).keys().cloned().collect(),
                    Event::Apply(object) | Event::InitApply(object) => {
                        let name = object.meta().name.clone().unwrap_or_default();
                        unseen.remove(&name);
                        let object = unwrapped(object);
                        let cause = {
                            let mut contents = sink.index.lock();
                            let known = map(&mut contents);
                            let cause = cause(known.get(&name), &object);
                            known.insert(name.clone(), object);
                            cause
                        };
                        sink.changed(key(name), cause);
                    }
                    Event::Delete(object) => {
                        let name = object.meta().name.clone().unwrap_or_default();
                        map(&mut sink.index.lock()).remove(&name);
                        sink.changed(key(name), Cause::Wanted);
                    }
                    Event::InitDone => {
                        for name in std::mem::take(&mut unseen) {
                            map(&mut sink.index.lock()).remove(&name);
                            sink.changed(key(name), Cause::Wanted);
                        }
                        sink.listed(&mut first);
                    }
                }
            }
        });
    }

    fn single<K>(&mut self, client: &Client, namespace: &str, sink: &Sink, kept_in: fn(&mut Contents) -> &mut Option<K>)
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        sink.pending.send_modify(|pending| *pending += 1);
        let api: Api<DeserializeGuard<K>> = Api::namespaced(client.clone(), namespace);
        let sink = sink.clone();
        self.tasks.spawn(async move {
            let mut first = true;
            let mut seen = false;
            let config = Config::default().fields("metadata.name=default");
            let mut stream = std::pin::pin!(watcher(api, config).default_backoff());
            while let Some(event) = stream.next().await {
                match event {
                    Ok(Event::Init) => seen = false,
                    Ok(Event::Apply(object) | Event::InitApply(object)) => {
                        seen = true;
                        // One that cannot be read counts as none: what it allows is not known.
                        let object = object.0.inspect_err(|error| unreadable(&K::kind(&()), error)).ok().map(kept);
                        let same = {
                            let mut contents = sink.index.lock();
                            let known = kept_in(&mut contents);
                            let same = asks_the_same(known.as_ref(), object.as_ref());
                            *known = object;
                            same
                        };
                        if same {
                            sink.queue.add(Key::DataPlane, Cause::Wanted);
                        } else {
                            sink.everything();
                        }
                    }
                    Ok(Event::Delete(_)) => {
                        *kept_in(&mut sink.index.lock()) = None;
                        sink.everything();
                    }
                    Ok(Event::InitDone) => {
                        if !seen {
                            *kept_in(&mut sink.index.lock()) = None;
                            sink.everything();
                        }
                        sink.listed(&mut first);
                    }
                    Err(error) => report(&K::kind(&()), &error),
                }
            }
        });
    }
}

struct Objects<K> {
    sink: Sink,
    kind: ObjectKind,
    view: fn(&K) -> View,
    unseen: BTreeSet<Place>,
    first: bool,
}

impl<K: Resource> Objects<K> {
    fn event(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.unseen = self.sink.index.lock().places_of(self.kind),
            Event::Apply(object) | Event::InitApply(object) => {
                let place = self.place(&object);
                self.unseen.remove(&place);
                let tracked = Tracked::new(object.meta(), (self.view)(&object));
                let due = keys(&tracked);
                if self.sink.index.lock().put(place, tracked) {
                    self.sink.observed(due);
                }
            }
            Event::Delete(object) => {
                let place = self.place(&object);
                self.gone(&place);
            }
            Event::InitDone => {
                for place in std::mem::take(&mut self.unseen) {
                    self.gone(&place);
                }
                self.sink.listed(&mut self.first);
            }
        }
    }

    fn gone(&self, place: &Place) {
        let known = self.sink.index.lock().remove(place);
        if let Some(tracked) = known {
            self.sink.observed(keys(&tracked));
        }
    }

    fn place(&self, object: &K) -> Place {
        let meta = object.meta();
        Place::new(self.kind, meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}

fn unwrapped<K: Resource>(object: DeserializeGuard<K>) -> Own<K> {
    match object.0 {
        Ok(object) => Own::Read(Box::new(kept(object))),
        Err(mut invalid) => {
            invalid.metadata.managed_fields = None;
            Own::Unreadable { metadata: Box::new(invalid.metadata), error: invalid.error }
        }
    }
}

/// An object as it is kept: who set which field is most of it and concerns nobody here.
pub(super) fn kept<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// Watches with short pages: a page is read whole before its first object is taken.
fn paged() -> Config {
    Config::default().page_size(PAGE)
}

fn unreadable(kind: &str, error: &kube::core::error_boundary::InvalidObject) {
    tracing::warn!(kind, error = %error, "an object does not fit its type and counts as missing");
}

fn report(kind: &str, error: &WatchError) {
    tracing::warn!(kind, error = %crate::telemetry::chain(error), "a watch broke and starts again");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_an_object_does_not_say_who_set_which_field() {
        let object = |spec: serde_json::Value| {
            let managed = serde_json::json!([{"manager": "m", "operation": "Apply", "fieldsV1": {"f:spec": {}}}]);
            let metadata =
                serde_json::json!({"name": "run", "uid": "u", "resourceVersion": "1", "managedFields": managed});
            serde_json::json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": "TaskRun", "metadata": metadata, "spec": spec})
        };
        let read: DeserializeGuard<TaskRun> =
            serde_json::from_value(object(serde_json::json!({"release": "web"}))).unwrap();
        let Own::Read(kept) = unwrapped(read) else { panic!("it fits its type") };
        assert!(kept.metadata.managed_fields.is_none() && kept.metadata.uid.as_deref() == Some("u"));
        let strange: DeserializeGuard<TaskRun> =
            serde_json::from_value(object(serde_json::json!({"release": 7}))).unwrap();
        let Own::Unreadable { metadata, .. } = unwrapped(strange) else { panic!("it does not fit") };
        assert!(metadata.managed_fields.is_none() && metadata.uid.as_deref() == Some("u"));
    }
}

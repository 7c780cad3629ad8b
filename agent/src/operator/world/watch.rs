//! Watches: our kinds in the agent's namespace, workloads by label in the whole cluster. Secrets are never watched.
//!
//! Each watch keeps the index current and says which resource is due. A broken watch starts again with a growing delay; what
//! was deleted meanwhile is found when its list is complete.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use futures::StreamExt;
use kube::Resource;
use kube::api::PartialObjectMeta;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::watcher::{Config, Error as WatchError, Event};
use tokio::sync::watch;
use tokio::task::JoinSet;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, Namespace, Pod, ResourceQuota, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::RoleBinding;

use super::index::{self, Contents, Index, Own, Place, Tracked, View};
use super::own_kind::OwnKind;
use super::queue::{Cause, Key, Queue};
use super::view;
use crate::kinds::labels::DATA_PLANE;
use crate::kinds::{DataPlane, DataPlanePolicy, Environment, Release, TaskRun};
use crate::operator::object::{LOCAL, ObjectKind};
use crate::supervisor::joined;

mod due;
mod source;

pub use due::all;
use due::{Sink, asks_the_same, cause, keys};
pub use source::{Change, Followed, Source};

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
    pub fn start<S: Source>(source: &S, namespace: &str, id: &str, index: Arc<Index>, queue: Arc<Queue>) -> Self {
        let (sender, pending) = watch::channel(0);
        let sink = Sink { index, queue, pending: Arc::new(sender) };
        let mut watches = Self { tasks: JoinSet::new(), pending };
        watches.own::<Release, S>(source, namespace, &sink);
        watches.own::<Environment, S>(source, namespace, &sink);
        watches.own::<TaskRun, S>(source, namespace, &sink);
        watches.single::<DataPlane, S>(source, namespace, &sink, |contents| &mut contents.data_plane);
        watches.single::<DataPlanePolicy, S>(source, namespace, &sink, |contents| &mut contents.policy);

        let labels = format!("{DATA_PLANE} in ({id},{LOCAL})");
        for kind in ObjectKind::followed() {
            watches.follow(source, &labels, &sink, kind);
        }
        watches
    }

    /// Waits until every watch has seen its first list. Cancel safe.
    ///
    /// # Panics
    /// As [`Self::broken`].
    pub async fn synced(&mut self) {
        let listed = async {
            // The senders live in the tasks, which end only with this object.
            if self.pending.wait_for(|pending| *pending == 0).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            never = broken(&mut self.tasks) => match never {},
            () = listed => {}
        }
    }

    /// Pending as long as no watch ends. Cancel safe.
    ///
    /// # Panics
    /// A watch panicked: otherwise its kind would keep its last state for ever.
    pub async fn broken(&mut self) -> Infallible {
        broken(&mut self.tasks).await
    }

    /// Follows the objects of one kind, as much of them as the decisions look at.
    fn follow<S: Source>(&mut self, source: &S, labels: &str, sink: &Sink, kind: ObjectKind) {
        match kind {
            ObjectKind::Deployment => self.objects(source, labels, sink, kind, |object: &Deployment| {
                View::Deployment(Box::new(view::deployment(object)))
            }),
            ObjectKind::Pod => {
                self.objects(source, labels, sink, kind, |object: &Pod| View::Pod(Box::new(view::pod(object))));
            }
            ObjectKind::EndpointSlice => self.objects(source, labels, sink, kind, |object: &EndpointSlice| {
                View::Slice(Box::new(view::slice(object)))
            }),
            ObjectKind::Job => {
                self.objects(source, labels, sink, kind, |object: &Job| View::Job(Box::new(view::job(object))));
            }
            ObjectKind::ReplicaSet => {
                self.objects(source, labels, sink, kind, |object: &PartialObjectMeta<ReplicaSet>| {
                    View::ReplicaSet(Box::new(view::replica_set(&object.metadata)))
                });
            }
            ObjectKind::Namespace => self.heads::<Namespace, S>(source, labels, sink, kind),
            ObjectKind::RoleBinding => self.heads::<RoleBinding, S>(source, labels, sink, kind),
            ObjectKind::NetworkPolicy => self.heads::<NetworkPolicy, S>(source, labels, sink, kind),
            ObjectKind::ConfigMap => self.heads::<ConfigMap, S>(source, labels, sink, kind),
            ObjectKind::Service => self.heads::<Service, S>(source, labels, sink, kind),
            ObjectKind::PodDisruptionBudget => self.heads::<PodDisruptionBudget, S>(source, labels, sink, kind),
            ObjectKind::ControllerRevision => self.heads::<ControllerRevision, S>(source, labels, sink, kind),
            ObjectKind::ServiceAccount => self.heads::<ServiceAccount, S>(source, labels, sink, kind),
            ObjectKind::ResourceQuota => self.heads::<ResourceQuota, S>(source, labels, sink, kind),
            ObjectKind::LimitRange => self.heads::<LimitRange, S>(source, labels, sink, kind),
            // Not one of those that are followed.
            ObjectKind::Secret => {}
        }
    }

    fn heads<K, S: Source>(&mut self, source: &S, labels: &str, sink: &Sink, kind: ObjectKind)
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
    {
        self.objects(source, labels, sink, kind, |_: &PartialObjectMeta<K>| View::Nothing);
    }

    fn objects<K: Followed, S: Source>(
        &mut self,
        source: &S,
        labels: &str,
        sink: &Sink,
        kind: ObjectKind,
        view: fn(&K) -> View,
    ) {
        sink.pending.send_modify(|pending| *pending += 1);
        let stream = source.everywhere::<K>(paged().labels(labels));
        let sink = sink.clone();
        self.tasks.spawn(async move {
            let mut follow = Objects { sink, kind, view, unseen: BTreeMap::new(), first: true };
            let mut stream = std::pin::pin!(stream);
            while let Some(event) = stream.next().await {
                match event {
                    Ok(event) => follow.event(event),
                    Err(error) => report(kind.names().1, &error),
                }
            }
        });
    }

    fn own<K: OwnKind, S: Source>(&mut self, source: &S, namespace: &str, sink: &Sink) {
        sink.pending.send_modify(|pending| *pending += 1);
        let stream = source.within::<DeserializeGuard<K>>(namespace, paged());
        let sink = sink.clone();
        self.tasks.spawn(async move {
            let mut first = true;
            let mut unseen = BTreeMap::new();
            let mut stream = std::pin::pin!(stream);
            while let Some(event) = stream.next().await {
                let event = match event {
                    Ok(event) => event,
                    Err(error) => {
                        report(K::KIND.as_str(), &error);
                        continue;
                    }
                };
                match event {
                    Event::Init => {
                        let mut contents = sink.index.lock();
                        let known = K::map(&mut contents).iter();
                        unseen = known.map(|(name, own)| (name.clone(), own.metadata().uid.clone())).collect();
                    }
                    Event::Apply(object) | Event::InitApply(object) => {
                        let name = object.meta().name.clone().unwrap_or_default();
                        unseen.remove(&name);
                        let object = unwrapped(object);
                        let cause = {
                            let mut contents = sink.index.lock();
                            let known = K::map(&mut contents);
                            let cause = cause(known.get(&name), &object);
                            index::shown(known, &name, object).then_some(cause)
                        };
                        if let Some(cause) = cause {
                            sink.changed(K::key(name), cause);
                        }
                    }
                    Event::Delete(object) => {
                        let name = object.meta().name.clone().unwrap_or_default();
                        let uid = object.meta().uid.as_deref();
                        if index::vanished(K::map(&mut sink.index.lock()), &name, uid) {
                            sink.changed(K::key(name), Cause::Wanted);
                        }
                    }
                    Event::InitDone => {
                        for (name, uid) in std::mem::take(&mut unseen) {
                            if index::vanished(K::map(&mut sink.index.lock()), &name, uid.as_deref()) {
                                sink.changed(K::key(name), Cause::Wanted);
                            }
                        }
                        sink.listed(&mut first);
                    }
                }
            }
        });
    }

    fn single<K: Followed + Resource<Scope = NamespaceResourceScope>, S: Source>(
        &mut self,
        source: &S,
        namespace: &str,
        sink: &Sink,
        kept_in: fn(&mut Contents) -> &mut Option<K>,
    ) {
        sink.pending.send_modify(|pending| *pending += 1);
        let stream = source.within::<DeserializeGuard<K>>(namespace, Config::default().fields("metadata.name=default"));
        let sink = sink.clone();
        self.tasks.spawn(async move {
            let mut first = true;
            let mut seen = false;
            let mut stream = std::pin::pin!(stream);
            while let Some(event) = stream.next().await {
                match event {
                    Ok(Event::Init) => seen = false,
                    Ok(Event::Apply(object) | Event::InitApply(object)) => {
                        seen = true;
                        // A policy that cannot be read counts as none: what it allows is not known.
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

async fn broken(tasks: &mut JoinSet<()>) -> Infallible {
    while let Some(done) = tasks.join_next().await {
        joined(done);
    }
    std::future::pending().await
}

struct Objects<K> {
    sink: Sink,
    kind: ObjectKind,
    view: fn(&K) -> View,
    unseen: BTreeMap<Place, Arc<str>>,
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
                self.gone(&place, object.meta().uid.as_deref().unwrap_or_default());
            }
            Event::InitDone => {
                for (place, uid) in std::mem::take(&mut self.unseen) {
                    self.gone(&place, &uid);
                }
                self.sink.listed(&mut self.first);
            }
        }
    }

    fn gone(&self, place: &Place, uid: &str) {
        let known = self.sink.index.lock().deleted(place, uid);
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
        Ok(object) => Own::Read(Arc::new(kept(object))),
        Err(mut invalid) => {
            invalid.metadata.managed_fields = None;
            Own::Unreadable { metadata: Box::new(invalid.metadata), error: invalid.error }
        }
    }
}

/// An object as it is kept: managed fields are most of it, and nobody here needs them.
pub(in crate::operator) fn kept<K: Resource>(mut object: K) -> K {
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

//! What an operator's process sees of the API server: requests and watches that go into the world's mailbox, and answers and changes
//! that the world sends when it is their time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::{mpsc, oneshot};
use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, StreamExt as _, stream};
use kube::Resource;
use kube::core::NamespaceResourceScope;
use kube::runtime::watcher::{Config, Event};
use pdp_agent::api::{ApiStatus, CallError};
use pdp_agent::operator::cluster::{self, Path};
use pdp_agent::operator::object::ObjectKind;
use pdp_agent::operator::world::watch::{Change, Followed, Source};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::api::{AGENT, Answer, Id, Request};

/// What a process wants of the world.
pub(super) enum Wish {
    /// An answer to a request.
    Call(Request, oneshot::Sender<Answer>),
    /// All objects of a kind, and their changes.
    Follow(String, mpsc::UnboundedSender<News>),
}

/// What a watch is told.
pub(super) enum News {
    /// A list is requested: other answers from now on may be newer than the list.
    Asked,
    /// All that there is.
    Listed(Vec<Arc<Value>>),
    /// An object is new or changed.
    Changed(Arc<Value>),
    /// One is gone.
    Gone(Arc<Value>),
}

/// Wishes of all processes, in their order.
#[derive(Default)]
pub(super) struct Mailbox {
    wishes: Mutex<Vec<(u64, Wish)>>,
    came: Notify,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Wish)>> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self) -> Vec<(u64, Wish)> {
        std::mem::take(&mut *self.lock())
    }

    /// Waits until something lies in it.
    pub(super) async fn came(&self) {
        while self.lock().is_empty() {
            self.came.notified().await;
        }
    }

    fn put(&self, incarnation: u64, wish: Wish) {
        self.lock().push((incarnation, wish));
        self.came.notify_one();
    }
}

/// The API server as one process reaches it.
#[derive(Clone)]
pub(super) struct Remote {
    pub(super) incarnation: u64,
    pub(super) mailbox: Arc<Mailbox>,
}

impl cluster::Api for Remote {
    fn call<'a>(&'a self, request: cluster::Request<'a>) -> BoxFuture<'a, Result<Value, CallError>> {
        let Some(asked) = translated(request) else {
            return std::future::ready(Err(CallError::NoAnswer("it is not modelled".to_owned()))).boxed();
        };
        let gets = matches!(asked, Request::Get(_));
        let (sender, receiver) = oneshot::channel();
        self.mailbox.put(self.incarnation, Wish::Call(asked, sender));
        async move {
            match receiver.await {
                Ok(Ok(None)) if gets => Err(missing()),
                Ok(Ok(found)) => Ok(found.unwrap_or_default()),
                Ok(Err(error)) => Err(error),
                // No answer comes: the caller has a limit of its own.
                Err(_) => std::future::pending().await,
            }
        }
        .boxed()
    }
}

fn missing() -> CallError {
    let (reason, message) = ("NotFound".to_owned(), "not found".to_owned());
    CallError::Refused(ApiStatus { code: 404, reason, message, ..ApiStatus::default() })
}

impl Source for Remote {
    fn within<K: Followed + Resource<Scope = NamespaceResourceScope>>(
        &self,
        _: &str,
        _: Config,
    ) -> impl Stream<Item = Change<K>> + Send + 'static {
        self.follow()
    }

    fn everywhere<K: Followed>(&self, _: Config) -> impl Stream<Item = Change<K>> + Send + 'static {
        self.follow()
    }
}

impl Remote {
    fn follow<K: Followed>(&self) -> impl Stream<Item = Change<K>> + Send + 'static {
        let (sender, receiver) = mpsc::unbounded();
        self.mailbox.put(self.incarnation, Wish::Follow(K::kind(&()).into_owned(), sender));
        receiver.flat_map(|news| stream::iter(events(news)))
    }
}

fn events<K: Followed>(news: News) -> Vec<Change<K>> {
    let read = |object: &Value| {
        K::deserialize(object).unwrap_or_else(|error| unreachable!("an object of the model cannot be read: {error}"))
    };
    match news {
        News::Asked => vec![Ok(Event::Init)],
        News::Listed(objects) => {
            let all = objects.iter().map(|object| Ok(Event::InitApply(read(object))));
            all.chain(std::iter::once(Ok(Event::InitDone))).collect()
        }
        News::Changed(object) => vec![Ok(Event::Apply(read(&object)))],
        News::Gone(object) => vec![Ok(Event::Delete(read(&object)))],
    }
}

/// The request as the model knows it; none if the model has nothing of the kind.
fn translated(request: cluster::Request<'_>) -> Option<Request> {
    let text =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let tried = |request: Request, dry_run: bool| if dry_run { Request::Try(Box::new(request)) } else { request };
    Some(match request {
        cluster::Request::Get(at) | cluster::Request::Head(at) => Request::Get(id_at(at)?),
        cluster::Request::List { at, selector } | cluster::Request::Heads { at, selector, .. } => {
            let id = id_at(at)?;
            Request::List { kind: id.kind, namespace: id.namespace, selector: selector.to_owned() }
        }
        cluster::Request::Create { object, dry_run, .. } => tried(Request::Create(object.clone()), dry_run),
        cluster::Request::Apply { object, dry_run, .. } => tried(Request::Apply(object.clone()), dry_run),
        cluster::Request::JsonPatch { at, patch } => Request::Convert {
            id: id_at(at)?,
            uid: text(patch, "/0/value"),
            resource_version: text(patch, "/2/value"),
            managed: patch.pointer("/1/value").cloned().unwrap_or_else(|| json!([])),
        },
        cluster::Request::Merge { at, patch } => Request::Merge { id: id_at(at)?, patch: patch.clone() },
        cluster::Request::ReplaceStatus { object, .. } => Request::UpdateStatus(object.clone()),
        cluster::Request::Delete { at, options } => Request::Delete {
            id: id_at(at)?,
            uid: text(options, "/preconditions/uid"),
            resource_version: text(options, "/preconditions/resourceVersion"),
        },
        cluster::Request::Token { .. } => return None,
    })
}

/// The object at an address, or without a name all of its kind.
fn id_at(path: &Path) -> Option<Id> {
    let path = path.as_str().split('?').next()?;
    let mut words = path.split('/').skip(if path.starts_with("/apis/") { 4 } else { 3 });
    let first = words.next()?;
    let (namespace, plural, name) = match (first, words.next(), words.next()) {
        ("namespaces", Some(namespace), Some(plural)) => (namespace, plural, words.next()),
        (plural, name, _) => (AGENT, plural, name),
    };
    let known = ObjectKind::ALL.into_iter().map(|kind| (kind.names().2, kind.names().1));
    let others = [
        ("dataplanes", "DataPlane"),
        ("environments", "Environment"),
        ("releases", "Release"),
        ("taskruns", "TaskRun"),
        ("customresourcedefinitions", "CustomResourceDefinition"),
        ("horizontalpodautoscalers", "HorizontalPodAutoscaler"),
        ("persistentvolumeclaims", "PersistentVolumeClaim"),
        ("statefulsets", "StatefulSet"),
        ("daemonsets", "DaemonSet"),
        ("cronjobs", "CronJob"),
        ("ingresses", "Ingress"),
    ];
    let kind = known.chain(others).find_map(|(known, kind)| (known == plural).then_some(kind))?;
    let (namespace, name) = (namespace.to_owned(), name.unwrap_or_default().to_owned());
    Some(Id { kind: kind.to_owned(), namespace, name })
}

//! Where watches come from: the API server in the agent; another source needs no server.
//!
//! A type parameter and not a trait object, so that an object is parsed directly into the kept type, without JSON values in
//! between.

use std::fmt::Debug;

use futures::Stream;
use kube::core::NamespaceResourceScope;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Error as WatchError, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

/// What can be followed.
pub trait Followed: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Followed for K {}

/// What a watch brings: lists and changes, and errors, after which it starts again by itself.
pub type Change<K> = Result<Event<K>, WatchError>;

/// Whoever shows objects and their changes as the API server does.
pub trait Source: Clone + Send + Sync + 'static {
    /// Objects of one kind in a namespace.
    fn within<K: Followed + Resource<Scope = NamespaceResourceScope>>(
        &self,
        namespace: &str,
        config: Config,
    ) -> impl Stream<Item = Change<K>> + Send + 'static;

    /// Objects of one kind in the whole cluster.
    fn everywhere<K: Followed>(&self, config: Config) -> impl Stream<Item = Change<K>> + Send + 'static;
}

impl Source for Client {
    fn within<K: Followed + Resource<Scope = NamespaceResourceScope>>(
        &self,
        namespace: &str,
        config: Config,
    ) -> impl Stream<Item = Change<K>> + Send + 'static {
        watcher(Api::<K>::namespaced(self.clone(), namespace), config).default_backoff()
    }

    fn everywhere<K: Followed>(&self, config: Config) -> impl Stream<Item = Change<K>> + Send + 'static {
        watcher(Api::<K>::all(self.clone()), config).default_backoff()
    }
}

//! The table of our kinds that have rounds: where the index keeps them, and their keys in the queue.
//!
//! A row makes a kind watched and queued and its status written; `reconcile::round` defines what a round of it does.

use std::collections::BTreeMap;
use std::fmt::Debug;

use kube::core::NamespaceResourceScope;
use protocol::name::Kind;
use serde::de::DeserializeOwned;

use super::index::{Contents, Own};
use super::queue::Key;
use crate::kinds::{Environment, Release, TaskRun};

/// One of our kinds.
pub trait OwnKind:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    const KIND: Kind;
    /// Where the index keeps them.
    fn map(contents: &mut Contents) -> &mut BTreeMap<String, Own<Self>>;
    /// Key in the queue for the object of this name.
    fn key(name: String) -> Key;
}

impl OwnKind for Release {
    const KIND: Kind = Kind::Release;

    fn map(contents: &mut Contents) -> &mut BTreeMap<String, Own<Self>> {
        &mut contents.releases
    }

    fn key(name: String) -> Key {
        Key::Release(name)
    }
}

impl OwnKind for Environment {
    const KIND: Kind = Kind::Environment;

    fn map(contents: &mut Contents) -> &mut BTreeMap<String, Own<Self>> {
        &mut contents.environments
    }

    fn key(name: String) -> Key {
        Key::Environment(name)
    }
}

impl OwnKind for TaskRun {
    const KIND: Kind = Kind::TaskRun;

    fn map(contents: &mut Contents) -> &mut BTreeMap<String, Own<Self>> {
        &mut contents.task_runs
    }

    fn key(name: String) -> Key {
        Key::TaskRun(name)
    }
}

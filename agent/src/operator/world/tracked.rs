//! What is kept of an object that a watch showed.
//!
//! An installation has thousands of them: strings that repeat are held once, and what is only compared is held as its digest.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::cluster_words::ClusterWords;
use super::interned::Names;
pub use super::mark::Mark;
use super::workload::{DeploymentView, PodView, ReplicaSetView, SliceView};
use crate::kinds::ObjectRef;
use crate::kinds::labels::{AGENT, DATA_PLANE};
use crate::operator::object::ObjectKind;
use crate::operator::object::owner::Owners;

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its namespace; empty for namespaces.
    pub namespace: Arc<str>,
    pub kind: ObjectKind,
    pub name: Arc<str>,
}

impl Place {
    /// The object `name` of a kind in a namespace.
    #[must_use]
    pub fn new(kind: ObjectKind, namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), kind, name: name.into() }
    }

    /// The reference as it stands in status.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        self.kind.named(&self.name)
    }
}

/// Something that a watch showed.
#[derive(Debug, Clone)]
pub struct Tracked {
    pub uid: Arc<str>,
    pub resource_version: Box<str>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Changes when something may have changed that we set; not when only a status did.
    pub mark: Mark,
    pub owners: Owners,
    /// Label of the data plane.
    pub data_plane: Option<Arc<str>>,
    /// What matters of its state.
    pub view: View,
}

/// What matters of an object's state, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// Existence is enough.
    Nothing,
    /// See [`NamespaceView`].
    Namespace(Box<NamespaceView>),
    /// See [`DeploymentView`].
    Deployment(Box<DeploymentView>),
    /// See [`ReplicaSetView`].
    ReplicaSet(Box<ReplicaSetView>),
    /// See [`PodView`].
    Pod(Box<PodView>),
    /// See [`SliceView`].
    Slice(Box<SliceView>),
    /// See [`JobView`].
    Job(Box<JobView>),
}

/// What matters of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceView {
    /// Label of the agent that made it.
    pub agent: String,
}

/// What matters of a Job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobView {
    /// Whether it is suspended.
    pub suspended: bool,
    /// Pods that run.
    pub active: i32,
    /// Pods that have ended, well or not: so many attempts there were.
    pub attempts: i32,
    /// Condition `Complete`.
    pub complete: bool,
    /// Reason of condition `Failed`.
    pub failed: Option<ClusterWords>,
    /// Start, RFC 3339.
    pub started: Option<String>,
    /// End, or since when it is suspended; RFC 3339.
    pub ended: Option<String>,
}

impl Tracked {
    /// Labels and marks from an object's head.
    #[must_use]
    pub fn new(metadata: &ObjectMeta, view: View) -> Self {
        let text = |key: &str| Some(metadata.labels.as_ref()?.get(key)?.as_str());
        let label = |key: &str| text(key).map(Into::into);
        Self {
            uid: metadata.uid.as_deref().unwrap_or_default().into(),
            resource_version: metadata.resource_version.as_deref().unwrap_or_default().into(),
            terminating: metadata.deletion_timestamp.is_some(),
            mark: mark(metadata),
            owners: Owners::read(label),
            data_plane: label(DATA_PLANE),
            view: match (view, text(AGENT)) {
                (View::Nothing, Some(agent)) => View::Namespace(Box::new(NamespaceView { agent: agent.to_owned() })),
                (view, _) => view,
            },
        }
    }

    /// The agent that the label of a namespace names.
    #[must_use]
    pub fn agent(&self) -> Option<&str> {
        match &self.view {
            View::Namespace(view) => Some(&view.agent),
            View::Nothing
            | View::Deployment(_)
            | View::ReplicaSet(_)
            | View::Pod(_)
            | View::Slice(_)
            | View::Job(_) => None,
        }
    }

    /// Replaces its strings by copies that are shared with other objects.
    pub(in crate::operator) fn share(&mut self, names: &mut Names) {
        for label in self.owners.names_mut().chain([&mut self.data_plane]) {
            *label = label.take().map(|text| names.shared(&text));
        }
    }
}

/// Changes when what we may have set on an object changes: its generation where it has one, else its resource version; labels and
/// annotations without those that controllers write.
fn mark(metadata: &ObjectMeta) -> Mark {
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let Some(generation) = metadata.generation else {
        return Mark::of(&(uid, &metadata.resource_version));
    };
    let noted = |key: &&String| !key.starts_with("deployment.kubernetes.io/");
    let annotations: Vec<_> = metadata.annotations.iter().flatten().filter(|(key, _)| noted(key)).collect();
    Mark::of(&(uid, generation, &metadata.labels, annotations))
}

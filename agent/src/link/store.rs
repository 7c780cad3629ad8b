//! The API server as the link sees it: a table for each kind of document and two more in one namespace, five calls and a watch, in types of our own.
//!
//! Everything that the link does to the cluster is a [`Call`], so that the pure parts (intake, reporter) can ask for one
//! without doing it, and so that tests and the simulation can stand in for the API server.

use futures::stream::BoxStream;
use protocol::name::Kind;
use serde_json::Value;

use crate::api::CallError;

mod api;
#[cfg(test)]
pub(crate) mod memory;

pub use api::KubeStore;

/// What the link may touch. Nothing else in the cluster exists for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// What documents of a kind become.
    Document(Kind),
    /// `DataPlanePolicy/default`, read only.
    DataPlanePolicy,
    /// The one Secret with the link's own key.
    Secret,
}

impl From<Kind> for Table {
    fn from(kind: Kind) -> Self {
        Self::Document(kind)
    }
}

impl Table {
    /// `kind` of its objects.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Document(kind) => kind.as_str(),
            Self::DataPlanePolicy => "DataPlanePolicy",
            Self::Secret => "Secret",
        }
    }

    /// `apiVersion` of its objects.
    #[must_use]
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::Document(_) | Self::DataPlanePolicy => "pdp-agent.dev/v1alpha1",
            Self::Secret => "v1",
        }
    }

    /// Name in URLs.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Document(kind) => kind.plural(),
            Self::DataPlanePolicy => "dataplanepolicies",
            Self::Secret => "secrets",
        }
    }
}

/// Name of the one DataPlane and of the one DataPlanePolicy.
pub const DEFAULT: &str = "default";

/// One request to the API server.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// Reads one object; the reply is `None` when there is none.
    Get { table: Table, name: String },
    /// Creates one object, with strict field validation.
    Create {
        table: Table,
        /// Which, as in the body.
        name: String,
        /// The whole object.
        body: Value,
    },
    /// Replaces one object, with strict field validation. The body carries `metadata.uid` and `metadata.resourceVersion`.
    Update {
        table: Table,
        name: String,
        /// The whole object; its status is ignored.
        body: Value,
    },
    /// Replaces the status of one object. The body carries `metadata.uid` and `metadata.resourceVersion`.
    UpdateStatus {
        table: Table,
        name: String,
        /// The whole object; only its status counts.
        body: Value,
    },
    /// Deletes one object if it is still this one.
    Delete { table: Table, name: String, uid: String, resource_version: String },
}

impl Call {
    /// Whether it changes anything: leadership is checked before such a call.
    #[must_use]
    pub const fn writes(&self) -> bool {
        match self {
            Self::Get { .. } => false,
            Self::Create { .. } | Self::Update { .. } | Self::UpdateStatus { .. } | Self::Delete { .. } => true,
        }
    }
}

/// The answer of the API server: the object (as stored now), nothing, or an error.
pub type Reply = Result<Option<Value>, CallError>;

/// The next step of something that is made of calls: the pure parts ask for one call after the other and then end.
#[derive(Debug, Clone, PartialEq)]
pub enum Step<T> {
    /// Make this call and pass on its result.
    Call(Call),
    /// The end.
    Done(T),
}

/// The end of a write that may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It stands there, or there is nothing to do.
    Done,
    /// It did not work now; try again later.
    Later,
}

/// What a watch brings. It starts with a consistent list (`Begin`, `Found`…, `Complete`), and again after a gap.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A list begins: what is not found until `Complete` is gone.
    Begin,
    /// An object of the list.
    Found(Value),
    /// The list is complete.
    Complete,
    /// An object was created or changed.
    Applied(Value),
    /// An object was deleted; the last that was seen of it.
    Deleted(Value),
    /// The watch failed; it goes on by itself.
    Failed(CallError),
}

/// The API server. Implemented over `kube` for the agent and in memory for tests.
pub trait Store: Clone + Send + Sync + 'static {
    /// Makes one call. Ends within the store's own deadline; [`CallError::NoAnswer`] when that passes.
    ///
    /// Not cancel safe for calls that write: dropping the future loses the answer, not the write.
    fn call(&self, call: Call) -> impl Future<Output = Reply> + Send;

    /// Lists and watches all objects of `table`, without end.
    fn watch(&self, table: Table) -> BoxStream<'static, Change>;
}

//! What the API server can be asked for.

use serde_json::Value;

use super::Id;

/// One request.
#[derive(Debug, Clone)]
pub enum Request {
    /// Reads.
    Get(Id),
    /// Reads all of a kind in a namespace that the selector selects.
    List {
        /// `kind`.
        kind: String,
        namespace: String,
        /// By label, as `key=value` or `!key`; empty for all.
        selector: String,
    },
    /// Creates.
    Create(Value),
    /// Replaces the spec.
    Update(Value),
    /// Replaces the status.
    UpdateStatus(Value),
    /// Merges our fields; uid and resourceVersion in the body.
    Apply(Value),
    /// Merges; uid and resourceVersion in the patch.
    Merge {
        /// Into what.
        id: Id,
        patch: Value,
    },
    /// Replaces the `managedFields`, with uid and resourceVersion as preconditions.
    Convert {
        /// Of what.
        id: Id,
        uid: String,
        resource_version: String,
        /// From now on.
        managed: Value,
    },
    /// A dry run of a create or an apply.
    Try(Box<Self>),
    /// Deletes with preconditions.
    Delete { id: Id, uid: String, resource_version: String },
    /// Somebody replaces the finalizers, whatever the version.
    Finalizers {
        id: Id,
        /// Those that it has from now on.
        names: Vec<&'static str>,
    },
}

impl Request {
    /// Which object it is about.
    #[must_use]
    pub fn id(&self) -> Id {
        match self {
            Self::Get(id)
            | Self::Delete { id, .. }
            | Self::Finalizers { id, .. }
            | Self::Merge { id, .. }
            | Self::Convert { id, .. } => id.clone(),
            Self::List { kind, namespace, .. } => {
                Id { kind: kind.clone(), namespace: namespace.clone(), name: String::new() }
            }
            Self::Create(body) | Self::Update(body) | Self::UpdateStatus(body) | Self::Apply(body) => Id::of(body),
            Self::Try(request) => request.id(),
        }
    }

    /// Whether it only reads.
    #[must_use]
    pub const fn reads(&self) -> bool {
        matches!(self, Self::Get(_) | Self::List { .. })
    }

    /// One word for the trace.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Get(_) => "get",
            Self::List { .. } => "list",
            Self::Create(_) => "create",
            Self::Update(_) => "update",
            Self::UpdateStatus(_) => "status",
            Self::Apply(_) => "apply",
            Self::Merge { .. } => "merge",
            Self::Convert { .. } => "convert",
            Self::Try(_) => "try",
            Self::Delete { .. } => "delete",
            Self::Finalizers { .. } => "finalizers",
        }
    }
}

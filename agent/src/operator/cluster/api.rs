//! The edge to the API server: one method, so that tests and simulations can stand in for the server.
//!
//! Leadership, deadlines, preconditions and unanswered creates are handled above, in [`super::Cluster`]. Below there is only the
//! sending of one request, over HTTP in the agent.

use futures::future::BoxFuture;
use serde_json::Value;

use super::Path;
use crate::api::CallError;

/// One request. Objects are JSON and are never logged: a Secret is among them, so there is no `Debug`.
#[derive(Clone, Copy)]
pub enum Request<'a> {
    /// What is at a path.
    Get(&'a Path),
    /// Metadata of the object at a path, without its content.
    Head(&'a Path),
    /// Objects of a kind in a namespace.
    List {
        /// All of the kind.
        at: &'a Path,
        /// By label.
        selector: &'a str,
    },
    /// Metadata of the first ones at a path.
    Heads {
        at: &'a Path,
        /// By label.
        selector: &'a str,
        /// At most this many.
        limit: usize,
    },
    /// A new object.
    Create {
        /// All of its kind.
        at: &'a Path,
        /// What it shall be.
        object: &'a Value,
        /// Only whether it could be; the answer is null.
        dry_run: bool,
    },
    /// Our fields of an object, also those that another manager owns. Carries uid and resource version.
    Apply {
        at: &'a Path,
        /// Our fields.
        object: &'a Value,
        /// Only whether they could be; the answer is null.
        dry_run: bool,
    },
    /// A JSON patch, which tests its own precondition.
    JsonPatch {
        at: &'a Path,
        /// Operations.
        patch: &'a Value,
    },
    /// A merge patch that carries uid and resource version.
    Merge {
        /// The object, or its status.
        at: &'a Path,
        /// What is merged.
        patch: &'a Value,
    },
    /// Another status. Carries uid and resource version.
    ReplaceStatus {
        /// The status of the object.
        at: &'a Path,
        object: &'a Value,
    },
    /// A deletion; the answer is null.
    Delete {
        at: &'a Path,
        /// With its preconditions.
        options: &'a Value,
    },
    /// A token of an account.
    Token {
        /// The tokens of the account.
        at: &'a Path,
        /// For whom, and for how long.
        request: &'a Value,
    },
}

#[cfg(feature = "failpoints")]
impl<'a> Request<'a> {
    /// Body of a write.
    pub(super) const fn body(&self) -> Option<&'a Value> {
        match *self {
            Self::Get(_) | Self::Head(_) | Self::List { .. } | Self::Heads { .. } => None,
            Self::Create { object, .. } | Self::Apply { object, .. } | Self::ReplaceStatus { object, .. } => {
                Some(object)
            }
            Self::JsonPatch { patch, .. } | Self::Merge { patch, .. } => Some(patch),
            Self::Delete { options, .. } => Some(options),
            Self::Token { request, .. } => Some(request),
        }
    }
}

/// Whoever answers requests as the API server does.
pub trait Api: Send + Sync {
    /// Sends one request. If the future is dropped, the request may or may not be carried out.
    fn call<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Value, CallError>>;
}

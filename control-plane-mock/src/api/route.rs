//! One row of the table of routes.

use std::sync::Arc;

use axum::routing::MethodRouter;

use crate::shared::Shared;

/// One route of people.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    /// Names of query parameters.
    pub(crate) query: &'static [&'static str],
    /// Schema of the body.
    pub(crate) body: Option<&'static str>,
    /// Schema of the answer; a leading `[]` makes it a list.
    pub(crate) answer: &'static str,
    pub(crate) handler: MethodRouter<Arc<Shared>>,
}

macro_rules! route {
    ($method:literal $path:literal, $summary:literal, $query:expr, $body:expr, $answer:literal, $handler:expr) => {
        $crate::api::route::Route {
            method: $method,
            path: $path,
            summary: $summary,
            query: $query,
            body: $body,
            answer: $answer,
            handler: $handler,
        }
    };
}
pub(super) use route;

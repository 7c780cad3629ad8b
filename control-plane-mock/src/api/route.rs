//! One row of the table of routes, and what goes over it, for the router and for the OpenAPI document.

use std::sync::Arc;

use axum::routing::MethodRouter;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};

use crate::shared::Shared;

/// One route of people.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    /// Names of query parameters.
    pub(crate) query: &'static [&'static str],
    pub(crate) body: Option<Content>,
    pub(crate) answer: Content,
    pub(crate) handler: MethodRouter<Arc<Shared>>,
}

/// A body or an answer.
pub(crate) struct Content {
    pub(crate) schema: RefOr<Schema>,
    /// The schemas that it refers to, by name.
    pub(crate) parts: Vec<(String, RefOr<Schema>)>,
}

impl Content {
    /// An object of no fixed form.
    pub(super) fn any() -> Self {
        Self { schema: RefOr::T(Schema::Object(ObjectBuilder::new().build())), parts: Vec::new() }
    }

    pub(super) fn one<T: ToSchema>() -> Self {
        let mut parts = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut parts);
        Self { schema: RefOr::Ref(Ref::from_schema_name(T::name())), parts }
    }

    pub(super) fn list<T: ToSchema>() -> Self {
        let Self { schema, parts } = Self::one::<T>();
        Self { schema: RefOr::T(Schema::Array(ArrayBuilder::new().items(schema).build())), parts }
    }
}

/// Method and path, summary, query, body, answer, handler. Of body and answer the type: `T`, a list `[T]`, any object `()`, none `-`.
macro_rules! route {
    (@body -) => { None };
    (@body $of:tt) => { Some($crate::api::route::route!(@of $of)) };
    (@of ()) => { $crate::api::route::Content::any() };
    (@of [$of:ty]) => { $crate::api::route::Content::list::<$of>() };
    (@of $of:ty) => { $crate::api::route::Content::one::<$of>() };
    ($method:literal $path:literal, $summary:literal, $query:expr, $body:tt, $answer:tt, $handler:expr) => {
        $crate::api::route::Route {
            method: $method,
            path: $path,
            summary: $summary,
            query: $query,
            body: $crate::api::route::route!(@body $body),
            answer: $crate::api::route::route!(@of $answer),
            handler: $handler,
        }
    };
}
pub(super) use route;

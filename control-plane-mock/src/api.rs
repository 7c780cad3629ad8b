//! The REST API for people and their tools, below `/api/v1`, with a bearer token; and the router of the whole server.
//!
//! The routes of people stand in one table ([`routes`]) from which both the router and the OpenAPI document are made, so that
//! none can be missing in the other. Every refusal is a [`Problem`].

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::request::Parts;
use http::{StatusCode, header};
use rusqlite::Connection;
use serde::de::DeserializeOwned;

use crate::control_plane::Shared;
use crate::problem::{Code, Problem};
use crate::store::catalog::{self, Actor};
use crate::store::deployments::Place;
use crate::store::{self, Result as StoreResult, tokens};

mod admin;
mod catalog_routes;
mod deployment_routes;
mod observe;
mod openapi;
mod single_routes;
mod token_routes;

/// Longest body of a request, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// State of all handlers.
pub(crate) type App = State<Arc<Shared>>;

/// A refused request.
#[derive(Debug)]
pub struct Refusal(Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        let problem = Problem::from(error);
        if problem.code == Code::Internal {
            tracing::error!(message = problem.message, "request failed");
        }
        Self(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

/// What a handler gives.
pub(crate) type Answer<T> = Result<Json<T>, Refusal>;

/// Who asks, found by the bearer token.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Actor);

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Refusal> {
        let token = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let Some(token) = token else {
            let problem = Problem::new(Code::Unauthenticated, "a bearer token is needed");
            return Err(problem.hint("log in: pdpctl login SERVER --token-file FILE --ca-file FILE").into());
        };
        let hash = store::token_hash(token.trim());
        let actor = shared.store.run(move |c| tokens::actor(c, &hash)).await?;
        actor.map(Self).ok_or_else(|| {
            Problem::new(Code::Unauthenticated, "this token is not known here")
                .hint("was the control plane's store replaced? log in again with its present token")
                .into()
        })
    }
}

impl Caller {
    /// The organization, if this caller may see it.
    pub(crate) fn organization(&self, c: &Connection, handle: &str) -> StoreResult<i64> {
        catalog::organization(c, &self.0, handle)
    }

    /// A project of an organization.
    pub(crate) fn place(&self, c: &Connection, organization: &str, project: &str) -> StoreResult<Place> {
        let id = self.organization(c, organization)?;
        Ok(Place {
            organization: id,
            organization_name: organization.to_owned(),
            project: catalog::project(c, id, project)?,
            project_name: project.to_owned(),
            actor: self.0.name.clone(),
        })
    }

    /// Refuses everybody but the administrator of the installation.
    pub(crate) fn admin(&self) -> Result<(), Problem> {
        match self.0.organization {
            None => Ok(()),
            Some(_) => Err(Problem::new(Code::Forbidden, "only the administrator's token may do this")),
        }
    }
}

/// A JSON body. What is wrong with it is a [`Problem`]; values are not repeated in it.
#[derive(Debug)]
pub(crate) struct Input<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<Shared>> for Input<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, shared).await.map_err(|rejection| {
            Problem::new(Code::Invalid, format!("the body cannot be read: {}", rejection.body_text()))
        })?;
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(bytes).map(Self).map_err(|error| {
            let sentence = crate::component::without_values(&error.to_string());
            Problem::new(Code::Invalid, format!("the body is not what this address takes: {sentence}")).into()
        })
    }
}

/// Runs work in the store and answers with JSON.
pub(crate) async fn answer<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce(&Connection) -> StoreResult<T> + Send + 'static,
) -> Answer<T> {
    Ok(Json(shared.store.run(work).await?))
}

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

/// All routes of people.
pub(crate) fn routes() -> Vec<Route> {
    let mut all = catalog_routes::routes();
    all.extend(deployment_routes::routes());
    all.extend(observe::routes());
    all.extend(single_routes::routes());
    all.extend(token_routes::routes());
    all.extend(admin::routes());
    all
}

/// Everything that the server answers.
pub fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new()
        .route(protocol::enrol::ENROL_PATH, post(crate::server::enrol::enrol))
        .route(protocol::enrol::RENEW_PATH, post(crate::server::enrol::renew))
        .route("/v1/link", get(crate::link::handler))
        .route("/v1/bulk", get(crate::logs::bulk::handler))
        .route(crate::logs::forward::PATH, post(crate::logs::forward::handler))
        .route("/openapi.json", get(openapi::handler))
        .route("/healthz", get(|| async { "ok\n" }));
    for route in routes() {
        router = router.route(route.path, route.handler);
    }
    router
        .fallback(|| async {
            Refusal(Problem::new(Code::NotFound, "there is nothing at this address").hint("see /openapi.json"))
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared)
}

/// The OpenAPI document, as text.
#[must_use]
pub fn openapi_json() -> String {
    serde_json::to_string_pretty(&openapi::document()).unwrap_or_default()
}

//! What handlers have in common: who asks, what comes in, and how a refusal goes out.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use control_plane_model::problem::{Code, Problem};
use http::request::Parts;
use http::{StatusCode, header};
use rusqlite::Connection;
use serde::de::DeserializeOwned;

use crate::domain::organizations::{self, Actor};
use crate::domain::projects;
use crate::domain::scope::Scope;
use crate::domain::tokens;
use crate::gateway::ca::Peer;
use crate::shared::Shared;
use crate::store::{self, Result as StoreResult};

/// State of all handlers.
pub(crate) type App = State<Arc<Shared>>;

/// A refused request.
#[derive(Debug)]
pub struct Refusal(pub(crate) Problem);

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
        organizations::organization(c, &self.0, handle)
    }

    /// A project of an organization.
    pub(crate) fn place(&self, c: &Connection, organization: &str, project: &str) -> StoreResult<Scope> {
        let id = self.organization(c, organization)?;
        Ok(Scope {
            organization: id,
            organization_name: organization.to_owned(),
            project: projects::project(c, id, project)?,
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
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<Shared>> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, shared).await.map_err(|rejection| {
            Problem::new(Code::Invalid, format!("the body cannot be read: {}", rejection.body_text()))
        })?;
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(bytes).map(Self).map_err(|error| {
            let sentence = control_plane_model::component::without_values(&error.to_string());
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

/// The client certificate of a request.
///
/// # Errors
/// `Unauthenticated` without one.
pub(crate) fn peer(request: &axum::extract::Request) -> Result<Arc<Peer>, Problem> {
    request.extensions().get::<Arc<Peer>>().cloned().ok_or_else(|| {
        Problem::new(Code::Unauthenticated, "this address needs the client certificate of a data plane")
            .hint("enrol first: POST /v1/enrol")
    })
}

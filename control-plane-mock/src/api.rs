//! The REST API for people and their tools, below `/api/v1`, with a bearer token.
//!
//! The routes stand in one table ([`routes`]) from which both the router and the OpenAPI document are made, so that none can be
//! missing in the other.

use axum::Json;
use utoipa::openapi::OpenApi;

use route::Route;

mod admin;
mod components;
mod data_planes;
mod deployments;
mod environments;
mod events;
mod logs;
mod named;
mod openapi;
mod organizations;
mod projects;
mod releases;
mod route;
mod status;
mod task_runs;
mod tokens;
mod version;

/// All routes of people.
pub(crate) fn routes() -> Vec<Route> {
    [
        version::routes(),
        organizations::routes(),
        tokens::routes(),
        projects::routes(),
        data_planes::routes(),
        environments::routes(),
        components::routes(),
        releases::routes(),
        deployments::routes(),
        task_runs::routes(),
        status::routes(),
        events::routes(),
        logs::routes(),
        admin::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The OpenAPI document.
#[must_use]
pub fn document() -> OpenApi {
    openapi::document(routes())
}

/// `GET /openapi.json`
pub(crate) async fn openapi() -> Json<OpenApi> {
    Json(document())
}

/// The OpenAPI document, as text.
#[must_use]
pub fn openapi_json() -> String {
    serde_json::to_string_pretty(&document()).unwrap_or_default()
}

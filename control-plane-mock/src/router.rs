//! The router of the whole server: agents, other gateways, people.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use control_plane_model::problem::{Code, Problem};

use crate::api;
use crate::gateway::{enrol, link, logs};
use crate::shared::Shared;
use crate::web::Refusal;

/// Longest body of a request, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// Everything that the server answers.
pub fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new()
        .route(protocol::enrol::ENROL_PATH, post(enrol::enrol))
        .route(protocol::enrol::RENEW_PATH, post(enrol::renew))
        .route("/v1/link", get(link::handler))
        .route("/v1/bulk", get(logs::bulk::handler))
        .route(logs::forward::PATH, post(logs::forward::handler))
        .route("/openapi.json", get(api::openapi))
        .route("/healthz", get(|| async { "ok\n" }));
    for route in api::routes() {
        router = router.route(route.path, route.handler);
    }
    router
        .fallback(|| async {
            Refusal(Problem::new(Code::NotFound, "there is nothing at this address").hint("see /openapi.json"))
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared)
}

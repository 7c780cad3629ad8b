//! The version of the control plane.

use axum::Json;
use axum::routing::get;
use serde_json::{Value, json};

use super::route::{Route, route};

pub(super) fn routes() -> Vec<Route> {
    vec![route!("GET" "/api/v1/version", "Version of the control plane; needs no token", &[], -, (), get(version))]
}

async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

//! For the administrator: the record of what came in, and the script of faults.

use axum::Json;
use axum::extract::{Query, State};
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::route::{Route, route};
use crate::faults::Scripted;
use crate::record::Entry;
use crate::web::{Answer, App, Caller, JsonBody};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/admin/record", "Everything received, after a number", &["after", "what", "dataPlane"], -, (), get(record)),
        route!("GET" "/api/v1/admin/faults", "The script of faults", &[], -, [Scripted], get(faults)),
        route!("POST" "/api/v1/admin/faults", "Add a fault", &[], Scripted, [Scripted], post(add)),
        route!("DELETE" "/api/v1/admin/faults", "Remove all faults", &[], -, [Scripted], delete(clear)),
        route!("GET" "/api/v1/admin/state", "Id of the store, number of links", &[], -, (), get(state)),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    after: u64,
    what: Option<String>,
    data_plane: Option<String>,
}

async fn record(State(shared): App, caller: Caller, Query(filter): Query<Filter>) -> Answer<Vec<Entry>> {
    caller.admin()?;
    let mut entries = shared.record.after(filter.after);
    entries.retain(|entry| {
        filter.what.as_ref().is_none_or(|what| *what == entry.what)
            && (filter.data_plane.is_none() || filter.data_plane == entry.data_plane)
    });
    Ok(Json(entries))
}

async fn faults(State(shared): App, caller: Caller) -> Answer<Vec<Scripted>> {
    caller.admin()?;
    Ok(Json(shared.faults.list()))
}

async fn add(State(shared): App, caller: Caller, JsonBody(fault): JsonBody<Scripted>) -> Answer<Vec<Scripted>> {
    caller.admin()?;
    shared.faults.add(fault);
    Ok(Json(shared.faults.list()))
}

async fn clear(State(shared): App, caller: Caller) -> Answer<Vec<Scripted>> {
    caller.admin()?;
    shared.faults.clear();
    Ok(Json(Vec::new()))
}

async fn state(State(shared): App, caller: Caller) -> Answer<Value> {
    caller.admin()?;
    Ok(Json(json!({ "storeId": shared.store_id, "connected": shared.hub.connected() })))
}

//! Organizations.

use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use control_plane_model::{Named, NewNamed};
use serde_json::{Value, json};

use super::named::{One, one};
use super::route::{Route, route};
use crate::domain::organizations;
use crate::web::{Answer, App, Caller, JsonBody, answer};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/organizations", "List organizations", &[], -, [Named], get(organizations)),
        route!("POST" "/api/v1/organizations", "Create an organization", &[], NewNamed, Named, post(create_organization)),
        route!("DELETE" "/api/v1/organizations/{organization}", "Delete an empty organization", &[], -, (), delete(delete_organization)),
        route!("GET" "/api/v1/organizations/{organization}", "Show an organization", &[], -, Named, get(organization)),
    ]
}

async fn organizations(State(shared): App, caller: Caller) -> Answer<Vec<Named>> {
    answer(&shared, move |c| organizations::organizations(c, &caller.0)).await
}

async fn organization(State(shared): App, caller: Caller, Path(name): One) -> Answer<Named> {
    answer(&shared, move |c| {
        one(organizations::organizations(c, &caller.0)?, "organization", &name, |row| row.name == name)
    })
    .await
}

async fn create_organization(State(shared): App, caller: Caller, JsonBody(new): JsonBody<NewNamed>) -> Answer<Named> {
    caller.admin()?;
    answer(&shared, move |c| organizations::create_organization(c, &new)).await
}

async fn delete_organization(State(shared): App, caller: Caller, Path(name): One) -> Answer<Value> {
    caller.admin()?;
    answer(&shared, move |c| {
        let id = caller.organization(c, &name)?;
        organizations::delete_organization(c, id)?;
        Ok(json!({ "deleted": name }))
    })
    .await
}

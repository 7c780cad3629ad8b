//! Components of a project.

use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use control_plane_model::problem::Problem;
use control_plane_model::{ComponentRow, NewComponent};
use serde_json::{Value, json};

use super::named::{Three, Two, one};
use super::route::{Route, route};
use crate::domain::components;
use crate::web::{Answer, App, Caller, JsonBody, answer};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/components", "List components", &[], -, [ComponentRow], get(components)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components", "Create a component", &[], NewComponent, ComponentRow, post(create_component)),
        route!("DELETE" "/api/v1/organizations/{organization}/projects/{project}/components/{component}", "Delete a component that is deployed nowhere", &[], -, (), delete(delete_component)),
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/components/{component}", "Show a component", &[], -, ComponentRow, get(component)),
    ]
}

async fn components(
    State(shared): App,
    caller: Caller,
    Path((organization, project)): Two,
) -> Answer<Vec<ComponentRow>> {
    answer(&shared, move |c| components::components(c, caller.place(c, &organization, &project)?.project)).await
}

async fn component(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Three,
) -> Answer<ComponentRow> {
    answer(&shared, move |c| {
        let all = components::components(c, caller.place(c, &organization, &project)?.project)?;
        one(all, "component", &name, |row| row.name == name)
    })
    .await
}

async fn create_component(
    State(shared): App,
    caller: Caller,
    Path((organization, project)): Two,
    JsonBody(new): JsonBody<NewComponent>,
) -> Answer<ComponentRow> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        components::create_component(c, place.project, &new)?;
        let all = components::components(c, place.project)?;
        all.into_iter()
            .find(|component| component.name == new.name)
            .ok_or_else(|| Problem::not_found("component").into())
    })
    .await
}

async fn delete_component(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Three,
) -> Answer<Value> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        let (id, _) = components::component(c, place.project, &name)?;
        components::delete_component(c, id)?;
        Ok(json!({ "deleted": name }))
    })
    .await
}

//! Projects of an organization.

use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use control_plane_model::{Named, NewNamed};
use serde_json::{Value, json};

use super::named::{One, Two, one};
use super::route::{Route, route};
use crate::domain::projects;
use crate::web::{Answer, App, Caller, JsonBody, answer};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/organizations/{organization}/projects", "List projects", &[], -, [Named], get(projects)),
        route!("POST" "/api/v1/organizations/{organization}/projects", "Create a project", &[], NewNamed, Named, post(create_project)),
        route!("DELETE" "/api/v1/organizations/{organization}/projects/{project}", "Delete an empty project", &[], -, (), delete(delete_project)),
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}", "Show a project", &[], -, Named, get(project)),
    ]
}

async fn projects(State(shared): App, caller: Caller, Path(organization): One) -> Answer<Vec<Named>> {
    answer(&shared, move |c| projects::projects(c, caller.organization(c, &organization)?)).await
}

async fn project(State(shared): App, caller: Caller, Path((organization, name)): Two) -> Answer<Named> {
    answer(&shared, move |c| {
        let all = projects::projects(c, caller.organization(c, &organization)?)?;
        one(all, "project", &name, |row| row.name == name)
    })
    .await
}

async fn create_project(
    State(shared): App,
    caller: Caller,
    Path(organization): One,
    JsonBody(new): JsonBody<NewNamed>,
) -> Answer<Named> {
    answer(&shared, move |c| projects::create_project(c, caller.organization(c, &organization)?, &new)).await
}

async fn delete_project(State(shared): App, caller: Caller, Path((organization, project)): Two) -> Answer<Value> {
    answer(&shared, move |c| {
        projects::delete_project(c, caller.place(c, &organization, &project)?.project)?;
        Ok(json!({ "deleted": project }))
    })
    .await
}

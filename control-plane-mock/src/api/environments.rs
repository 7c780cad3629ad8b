//! Environments of a project.

use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use control_plane_model::problem::Problem;
use control_plane_model::{Environment, NewEnvironment};
use serde_json::{Value, json};

use super::named::{Three, Two, one};
use super::route::{Route, route};
use crate::domain::environments;
use crate::web::{Answer, App, Caller, JsonBody, answer};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/environments", "List environments in the order of promotion", &[], -, [Environment], get(environments)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/environments", "Create an environment", &[], NewEnvironment, Environment, post(create_environment)),
        route!("DELETE" "/api/v1/organizations/{organization}/projects/{project}/environments/{environment}", "Delete an environment with all that runs in it", &[], -, (), delete(delete_environment)),
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/environments/{environment}", "Show an environment", &[], -, Environment, get(environment)),
    ]
}

async fn environments(
    State(shared): App,
    caller: Caller,
    Path((organization, project)): Two,
) -> Answer<Vec<Environment>> {
    answer(&shared, move |c| environments::environments(c, caller.place(c, &organization, &project)?.project)).await
}

async fn environment(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Three,
) -> Answer<Environment> {
    answer(&shared, move |c| {
        let project = caller.place(c, &organization, &project)?.project;
        // If there is no such environment, this error lists the names that exist.
        environments::environment(c, project, &name)?;
        one(environments::environments(c, project)?, "environment", &name, |row| row.name == name)
    })
    .await
}

async fn create_environment(
    State(shared): App,
    caller: Caller,
    Path((organization, project)): Two,
    JsonBody(new): JsonBody<NewEnvironment>,
) -> Answer<Environment> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        let id = environments::create_environment(c, place.organization, place.project, &new)?;
        environments::publish(c, &place, id)?;
        let all = environments::environments(c, place.project)?;
        all.into_iter()
            .find(|environment| environment.name == new.name)
            .ok_or_else(|| Problem::not_found("environment").into())
    })
    .await
}

async fn delete_environment(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Three,
) -> Answer<Value> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        let id = environments::environment(c, place.project, &name)?;
        environments::delete(c, &place, id)?;
        Ok(json!({ "deleting": name }))
    })
    .await
}

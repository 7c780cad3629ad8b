//! Environments of a project.

use axum::extract::{Path, State};
use axum::routing::{delete, get, post, put};
use control_plane_model::{Environment, EnvironmentSettings, NewEnvironment};
use serde_json::{Value, json};

use super::named::{Three, Two, one};
use super::route::{Route, route};
use crate::domain::environments;
use crate::store::Result as StoreResult;
use crate::web::{Answer, App, Caller, JsonBody, answer};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/environments", "List environments in the order of promotion", &[], -, [Environment], get(environments)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/environments", "Create an environment", &[], NewEnvironment, Environment, post(create_environment)),
        route!("DELETE" "/api/v1/organizations/{organization}/projects/{project}/environments/{environment}", "Delete an environment with all that runs in it", &[], -, (), delete(delete_environment)),
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/environments/{environment}", "Show an environment", &[], -, Environment, get(environment)),
        route!("PUT" "/api/v1/organizations/{organization}/projects/{project}/environments/{environment}/settings", "Replace the settings of an environment", &[], EnvironmentSettings, Environment, put(settings)),
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
        shown(c, project, &name)
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
        let id = environments::create_environment(c, &place, &new)?;
        environments::publish(c, &place, id)?;
        shown(c, place.project, &new.name)
    })
    .await
}

async fn settings(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Three,
    JsonBody(new): JsonBody<EnvironmentSettings>,
) -> Answer<Environment> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        let id = environments::environment(c, place.project, &name)?;
        environments::set(c, &place, id, &new)?;
        environments::publish(c, &place, id)?;
        shown(c, place.project, &name)
    })
    .await
}

fn shown(c: &rusqlite::Connection, project: i64, name: &str) -> StoreResult<Environment> {
    one(environments::environments(c, project)?, "environment", name, |row| row.name == name)
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

//! One thing by its name, what is asked of one release or one run, and the version.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::routing::{delete, get};
use serde::Deserialize;
use serde_json::{Value, json};

use super::catalog_routes::route;
use super::{Answer, App, Caller, Route, answer};
use crate::component::DEFAULT_TRACK;
use crate::model::{ComponentRow, Environment, Named, Release, TaskRun};
use crate::problem::Problem;
use crate::store::{Result as StoreResult, catalog, tasks};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/version", "Version of the control plane; needs no token", &[], None, "", get(version)),
        route!("GET" "/api/v1/organizations/{organization}", "Show an organization", &[], None, "Named", get(organization)),
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}", "Show a project", &[], None, "Named", get(project)),
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/environments/{environment}", "Show an environment", &[], None, "Environment", get(environment)),
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/components/{component}", "Show a component", &[], None, "ComponentRow", get(component)),
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/releases/{number}", "Show a release with what it holds", &["track"], None, "Release", get(release)),
        route!("DELETE" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/releases/{number}", "Delete a release that was never deployed", &["track"], None, "", delete(delete_release)),
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/runs/{run}", "Show a run of a task", &[], None, "TaskRun", get(run)),
    ]
}

async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

fn one<T>(all: Vec<T>, what: &str, name: &str, is_it: impl FnMut(&T) -> bool) -> StoreResult<T> {
    let shown: String = name.chars().take(64).collect();
    all.into_iter().find(is_it).ok_or_else(|| Problem::not_found(format_args!("{what} {shown}")).into())
}

async fn organization(State(shared): App, caller: Caller, Path(name): Path<String>) -> Answer<Named> {
    answer(&shared, move |c| one(catalog::organizations(c, &caller.0)?, "organization", &name, |row| row.name == name))
        .await
}

async fn project(
    State(shared): App,
    caller: Caller,
    Path((organization, name)): Path<(String, String)>,
) -> Answer<Named> {
    answer(&shared, move |c| {
        let all = catalog::projects(c, caller.organization(c, &organization)?)?;
        one(all, "project", &name, |row| row.name == name)
    })
    .await
}

type Three = Path<(String, String, String)>;
type Four = Path<(String, String, String, String)>;

async fn environment(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Three,
) -> Answer<Environment> {
    answer(&shared, move |c| {
        let project = caller.place(c, &organization, &project)?.project;
        // Tells the names that exist if this one does not.
        catalog::environment(c, project, &name)?;
        one(catalog::environments(c, project)?, "environment", &name, |row| row.name == name)
    })
    .await
}

async fn component(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Three,
) -> Answer<ComponentRow> {
    answer(&shared, move |c| {
        let all = catalog::components(c, caller.place(c, &organization, &project)?.project)?;
        one(all, "component", &name, |row| row.name == name)
    })
    .await
}

#[derive(Debug, Deserialize)]
struct Track {
    track: Option<String>,
}

fn number_of(text: &str) -> Result<i64, Problem> {
    text.parse()
        .map_err(|_| Problem::invalid("release", "a release is a number").hint("see pdpctl get releases COMPONENT"))
}

async fn release(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name, number)): Four,
    Query(Track { track }): Query<Track>,
) -> Answer<Release> {
    answer(&shared, move |c| {
        let project = caller.place(c, &organization, &project)?.project;
        let (component, _) = catalog::component(c, project, &name)?;
        let track = track.as_deref().unwrap_or(DEFAULT_TRACK);
        let wanted = number_of(&number)?;
        let all = catalog::releases(c, component, true)?;
        one(all, "release", &number, |row| row.number == wanted && row.track == track)
    })
    .await
}

async fn delete_release(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name, number)): Four,
    Query(Track { track }): Query<Track>,
) -> Answer<Value> {
    answer(&shared, move |c| {
        let project = caller.place(c, &organization, &project)?.project;
        let (component, _) = catalog::component(c, project, &name)?;
        let track = track.as_deref().unwrap_or(DEFAULT_TRACK);
        let number = number_of(&number)?;
        catalog::delete_release(c, component, track, number)?;
        Ok(json!({ "deleted": number }))
    })
    .await
}

async fn run(State(shared): App, caller: Caller, Path((organization, project, name, id)): Four) -> Answer<TaskRun> {
    answer(&shared, move |c| {
        let project = caller.place(c, &organization, &project)?.project;
        let (component, _) = catalog::component(c, project, &name)?;
        one(tasks::task_runs(c, component, Some(&id))?, "run", &id, |_| true)
    })
    .await
}

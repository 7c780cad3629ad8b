//! Runs of tasks: asked for, shown, cancelled.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use control_plane_model::{Action, TaskRun};
use serde::Deserialize;

use super::named::{Four, Three, one};
use super::route::{Route, route};
use crate::domain::{components, task_runs};
use crate::web::{Answer, App, Caller, JsonBody, answer};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/runs/{run}", "Show a run of a task", &[], -, TaskRun, get(show)),
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/runs", "Runs of a task, newest first", &["id", "environment"], -, [TaskRun], get(runs)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/runs/{run}/cancel", "Cancel a run that has not ended", &[], -, TaskRun, post(cancel)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/runs", "Run a task", &[], Action, TaskRun, post(run)),
    ]
}

async fn run(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Three,
    JsonBody(ask): JsonBody<Action>,
) -> Answer<TaskRun> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        task_runs::run_task(c, &place, &name, &ask)
    })
    .await
}

#[derive(Debug, Deserialize)]
struct WhichRun {
    id: Option<String>,
    environment: Option<String>,
}

async fn runs(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Three,
    Query(which): Query<WhichRun>,
) -> Answer<Vec<TaskRun>> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        let (component, _) = components::component(c, place.project, &name)?;
        let mut all = task_runs::task_runs(c, component, which.id.as_deref())?;
        all.retain(|run| which.environment.as_ref().is_none_or(|environment| run.environment == *environment));
        Ok(all)
    })
    .await
}

async fn show(State(shared): App, caller: Caller, Path((organization, project, name, id)): Four) -> Answer<TaskRun> {
    answer(&shared, move |c| {
        let project = caller.place(c, &organization, &project)?.project;
        let (component, _) = components::component(c, project, &name)?;
        one(task_runs::task_runs(c, component, Some(&id))?, "run", &id, |_| true)
    })
    .await
}

async fn cancel(State(shared): App, caller: Caller, Path((organization, project, name, run)): Four) -> Answer<TaskRun> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        let (component, _) = components::component(c, place.project, &name)?;
        task_runs::cancel(c, &place, component, &run)
    })
    .await
}

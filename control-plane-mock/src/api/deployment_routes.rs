//! Deploy, promote, restart, roll back, undeploy, run.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use serde::Deserialize;

use super::catalog_routes::route;
use super::{Answer, App, Caller, Input, Route, answer};
use crate::component;
use crate::model::{Action, Deployment, NewDeployment, TaskRun};
use crate::problem::Problem;
use crate::store::{catalog, deployments, history, tasks};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/deployments", "History of deployments, newest first", &["environment"], None, "[]Deployment", get(past)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/deployments", "Deploy a component file or an existing release", &[], Some("NewDeployment"), "Deployment", post(deploy)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/restart", "Restart the pods of a component", &[], Some("Action"), "Deployment", post(restart)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/rollback", "Bind an earlier release again", &[], Some("Action"), "Deployment", post(rollback)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/undeploy", "Remove a component from an environment", &[], Some("Action"), "Deployment", post(undeploy)),
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/runs", "Runs of a task, newest first", &["id", "environment"], None, "[]TaskRun", get(runs)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/runs/{run}/cancel", "Cancel a run that has not ended", &[], None, "TaskRun", post(cancel)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/runs", "Run a task", &[], Some("Action"), "TaskRun", post(run)),
    ]
}

type Where = Path<(String, String, String)>;

async fn deploy(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Where,
    Input(new): Input<NewDeployment>,
) -> Answer<Deployment> {
    let file = new.file.as_ref().map(component::from_json).transpose().map_err(component::first)?;
    if let Some(file) = &file
        && file.name != name
    {
        return Err(Problem::invalid("/name", format!("the file is of component {}, not of {name}", file.name)).into());
    }
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        deployments::deploy(c, &place, &name, &new, file.as_ref())
    })
    .await
}

async fn act(
    shared: App,
    caller: Caller,
    place: Where,
    ask: Input<Action>,
    action: &'static str,
) -> Answer<Deployment> {
    let (State(shared), Path((organization, project, name)), Input(ask)) = (shared, place, ask);
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        deployments::act(c, &place, &name, action, &ask)
    })
    .await
}

async fn restart(shared: App, caller: Caller, place: Where, ask: Input<Action>) -> Answer<Deployment> {
    act(shared, caller, place, ask, "Restart").await
}

async fn rollback(shared: App, caller: Caller, place: Where, ask: Input<Action>) -> Answer<Deployment> {
    act(shared, caller, place, ask, "Rollback").await
}

async fn undeploy(shared: App, caller: Caller, place: Where, ask: Input<Action>) -> Answer<Deployment> {
    act(shared, caller, place, ask, "Undeploy").await
}

#[derive(Debug, Deserialize)]
struct Filter {
    environment: Option<String>,
}

async fn past(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Where,
    Query(filter): Query<Filter>,
) -> Answer<Vec<Deployment>> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        let (component, _) = catalog::component(c, place.project, &name)?;
        let environment = filter.environment.map(|name| catalog::environment(c, place.project, &name)).transpose()?;
        history::history(c, component, environment)
    })
    .await
}

async fn run(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Where,
    Input(ask): Input<Action>,
) -> Answer<TaskRun> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        tasks::run_task(c, &place, &name, &ask)
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
    Path((organization, project, name)): Where,
    Query(which): Query<WhichRun>,
) -> Answer<Vec<TaskRun>> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        let (component, _) = catalog::component(c, place.project, &name)?;
        let mut all = tasks::task_runs(c, component, which.id.as_deref())?;
        all.retain(|run| which.environment.as_ref().is_none_or(|environment| run.environment == *environment));
        Ok(all)
    })
    .await
}

async fn cancel(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name, run)): Path<(String, String, String, String)>,
) -> Answer<TaskRun> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        let (component, _) = catalog::component(c, place.project, &name)?;
        tasks::cancel(c, &place, component, &run)
    })
    .await
}

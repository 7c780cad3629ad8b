//! Deploy, promote, restart, roll back, undeploy; and the history of all that.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use control_plane_model::component;
use control_plane_model::problem::Problem;
use control_plane_model::{Action, Deployment, NewDeployment};
use serde::Deserialize;

use super::named::Three;
use super::route::{Route, route};
use crate::desired::history;
use crate::domain::{components, deployments, environments};
use crate::web::{Answer, App, Caller, JsonBody, answer};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/deployments", "History of deployments, newest first", &["environment"], -, [Deployment], get(past)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/deployments", "Deploy a component file or an existing release", &[], NewDeployment, Deployment, post(deploy)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/restart", "Restart the pods of a component", &[], Action, Deployment, post(restart)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/rollback", "Bind an earlier release again", &[], Action, Deployment, post(rollback)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/undeploy", "Remove a component from an environment", &[], Action, Deployment, post(undeploy)),
    ]
}

async fn deploy(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Three,
    JsonBody(new): JsonBody<NewDeployment>,
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
    place: Three,
    ask: JsonBody<Action>,
    action: &'static str,
) -> Answer<Deployment> {
    let (State(shared), Path((organization, project, name)), JsonBody(ask)) = (shared, place, ask);
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        deployments::act(c, &place, &name, action, &ask)
    })
    .await
}

async fn restart(shared: App, caller: Caller, place: Three, ask: JsonBody<Action>) -> Answer<Deployment> {
    act(shared, caller, place, ask, "Restart").await
}

async fn rollback(shared: App, caller: Caller, place: Three, ask: JsonBody<Action>) -> Answer<Deployment> {
    act(shared, caller, place, ask, "Rollback").await
}

async fn undeploy(shared: App, caller: Caller, place: Three, ask: JsonBody<Action>) -> Answer<Deployment> {
    act(shared, caller, place, ask, "Undeploy").await
}

#[derive(Debug, Deserialize)]
struct Filter {
    environment: Option<String>,
}

async fn past(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Three,
    Query(filter): Query<Filter>,
) -> Answer<Vec<Deployment>> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        let (component, _) = components::component(c, place.project, &name)?;
        let environment =
            filter.environment.map(|name| environments::environment(c, place.project, &name)).transpose()?;
        history::history(c, component, environment)
    })
    .await
}

//! How the resources of a project are, as their data planes reported them.

use axum::extract::{Path, Query, State};
use axum::routing::get;
use control_plane_model::ResourceStatus;
use serde::Deserialize;

use super::route::{Route, route};
use crate::desired::status::{self, Which};
use crate::domain::{components, environments};
use crate::web::{Answer, App, Caller, answer};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/status", "Status of all resources of a project", &["component", "environment"], -, [ResourceStatus], get(of_project)),
    ]
}

#[derive(Debug, Deserialize)]
struct Filter {
    component: Option<String>,
    environment: Option<String>,
}

async fn of_project(
    State(shared): App,
    caller: Caller,
    Path((organization, project)): Path<(String, String)>,
    Query(filter): Query<Filter>,
) -> Answer<Vec<ResourceStatus>> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        let environment =
            filter.environment.map(|name| environments::environment(c, place.project, &name)).transpose()?;
        let which = match (filter.component, environment) {
            (Some(name), environment) => {
                Which::Component(components::component(c, place.project, &name)?.0, environment)
            }
            (None, Some(environment)) => Which::Environment(environment),
            (None, None) => Which::Project(place.project),
        };
        status::of(c, which)
    })
    .await
}

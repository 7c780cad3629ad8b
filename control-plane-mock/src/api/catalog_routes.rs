//! Organizations, projects, data planes, environments, components, releases.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::routing::{delete, get, post, put};
use jiff::SignedDuration;
use protocol::name::{Kind, ResourceKey};
use protocol::spec::{DataPlaneSpec, Desired, Provenance};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, App, Caller, Input, Route, answer};
use crate::component;
use crate::control_plane::Shared;
use crate::model::{
    ComponentRow, DataPlane, DataPlaneSettings, Enrolment, Environment, Named, NewComponent, NewEnvironment, NewNamed,
    Release,
};
use crate::problem::Problem;
use crate::store::documents::{self, Belongs};
use crate::store::{Result as StoreResult, catalog, deployments, identity, sessions};

macro_rules! route {
    ($method:literal $path:literal, $summary:literal, $query:expr, $body:expr, $answer:literal, $handler:expr) => {
        Route {
            method: $method,
            path: $path,
            summary: $summary,
            query: $query,
            body: $body,
            answer: $answer,
            handler: $handler,
        }
    };
}
pub(super) use route;

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/organizations", "List organizations", &[], None, "[]Named", get(organizations)),
        route!("POST" "/api/v1/organizations", "Create an organization", &[], Some("NewNamed"), "Named", post(create_organization)),
        route!("DELETE" "/api/v1/organizations/{organization}", "Delete an empty organization", &[], None, "", delete(delete_organization)),
        route!("GET" "/api/v1/organizations/{organization}/projects", "List projects", &[], None, "[]Named", get(projects)),
        route!("POST" "/api/v1/organizations/{organization}/projects", "Create a project", &[], Some("NewNamed"), "Named", post(create_project)),
        route!("DELETE" "/api/v1/organizations/{organization}/projects/{project}", "Delete an empty project", &[], None, "", delete(delete_project)),
        route!("GET" "/api/v1/organizations/{organization}/data-planes", "List data planes", &[], None, "[]DataPlane", get(data_planes)),
        route!("POST" "/api/v1/organizations/{organization}/data-planes", "Create a data plane; answers with its enrolment", &[], Some("NewNamed"), "Enrolment", post(create_data_plane)),
        route!("GET" "/api/v1/organizations/{organization}/data-planes/{dataPlane}", "Show a data plane", &[], None, "DataPlane", get(data_plane)),
        route!("DELETE" "/api/v1/organizations/{organization}/data-planes/{dataPlane}", "Delete a data plane that serves nothing", &[], None, "", delete(delete_data_plane)),
        route!("POST" "/api/v1/organizations/{organization}/data-planes/{dataPlane}/token", "Make a new enrolment token", &[], None, "Enrolment", post(enrolment)),
        route!("POST" "/api/v1/organizations/{organization}/data-planes/{dataPlane}/enrolment", "Make a new enrolment token", &[], None, "Enrolment", post(enrolment)),
        route!("POST" "/api/v1/organizations/{organization}/data-planes/{dataPlane}/revoke", "Take a data plane's access away", &[], None, "DataPlane", post(revoke)),
        route!("POST" "/api/v1/organizations/{organization}/data-planes/{dataPlane}/adopt", "Accept what a held data plane has", &[], None, "DataPlane", post(adopt)),
        route!("PUT" "/api/v1/organizations/{organization}/data-planes/{dataPlane}/settings", "Set what the installation lets a control plane set", &[], Some("DataPlaneSettings"), "DataPlane", put(settings)),
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/environments", "List environments in the order of promotion", &[], None, "[]Environment", get(environments)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/environments", "Create an environment", &[], Some("NewEnvironment"), "Environment", post(create_environment)),
        route!("DELETE" "/api/v1/organizations/{organization}/projects/{project}/environments/{environment}", "Delete an environment with all that runs in it", &[], None, "", delete(delete_environment)),
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/components", "List components", &[], None, "[]ComponentRow", get(components)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components", "Create a component", &[], Some("NewComponent"), "ComponentRow", post(create_component)),
        route!("DELETE" "/api/v1/organizations/{organization}/projects/{project}/components/{component}", "Delete a component that is deployed nowhere", &[], None, "", delete(delete_component)),
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/releases", "List releases, newest first", &["full", "track"], None, "[]Release", get(releases)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/releases", "Make a release of a component file", &[], Some(""), "Release", post(create_release)),
    ]
}

type One = Path<String>;
type Two = Path<(String, String)>;
type Three = Path<(String, String, String)>;

async fn organizations(State(shared): App, caller: Caller) -> Answer<Vec<Named>> {
    answer(&shared, move |c| catalog::organizations(c, &caller.0)).await
}

async fn create_organization(State(shared): App, caller: Caller, Input(new): Input<NewNamed>) -> Answer<Named> {
    caller.admin()?;
    answer(&shared, move |c| catalog::create_organization(c, &new)).await
}

async fn delete_organization(State(shared): App, caller: Caller, Path(name): One) -> Answer<Value> {
    caller.admin()?;
    answer(&shared, move |c| {
        let id = caller.organization(c, &name)?;
        catalog::delete_organization(c, id)?;
        Ok(json!({ "deleted": name }))
    })
    .await
}

async fn projects(State(shared): App, caller: Caller, Path(organization): One) -> Answer<Vec<Named>> {
    answer(&shared, move |c| catalog::projects(c, caller.organization(c, &organization)?)).await
}

async fn create_project(
    State(shared): App,
    caller: Caller,
    Path(organization): One,
    Input(new): Input<NewNamed>,
) -> Answer<Named> {
    answer(&shared, move |c| catalog::create_project(c, caller.organization(c, &organization)?, &new)).await
}

async fn delete_project(State(shared): App, caller: Caller, Path((organization, project)): Two) -> Answer<Value> {
    answer(&shared, move |c| {
        catalog::delete_project(c, caller.place(c, &organization, &project)?.project)?;
        Ok(json!({ "deleted": project }))
    })
    .await
}

async fn data_planes(State(shared): App, caller: Caller, Path(organization): One) -> Answer<Vec<DataPlane>> {
    answer(&shared, move |c| identity::data_planes(c, caller.organization(c, &organization)?, None)).await
}

fn shown(c: &rusqlite::Connection, organization: i64, id: &str) -> StoreResult<DataPlane> {
    let found = identity::data_planes(c, organization, Some(id))?.into_iter().next();
    found.ok_or_else(|| Problem::not_found("data plane").into())
}

async fn data_plane(State(shared): App, caller: Caller, Path((organization, name)): Two) -> Answer<DataPlane> {
    answer(&shared, move |c| {
        let organization = caller.organization(c, &organization)?;
        shown(c, organization, &identity::data_plane(c, organization, &name)?)
    })
    .await
}

async fn create_data_plane(
    State(shared): App,
    caller: Caller,
    Path(organization): One,
    Input(new): Input<NewNamed>,
) -> Answer<Enrolment> {
    let state = Arc::clone(&shared);
    answer(&shared, move |c| {
        let organization = caller.organization(c, &organization)?;
        let id = identity::create_data_plane(c, organization, &new)?;
        enrolment_of(&state, c, organization, &id)
    })
    .await
}

async fn enrolment(State(shared): App, caller: Caller, Path((organization, name)): Two) -> Answer<Enrolment> {
    let state = Arc::clone(&shared);
    answer(&shared, move |c| {
        let organization = caller.organization(c, &organization)?;
        let id = identity::data_plane(c, organization, &name)?;
        enrolment_of(&state, c, organization, &id)
    })
    .await
}

fn enrolment_of(shared: &Shared, c: &rusqlite::Connection, organization: i64, id: &str) -> StoreResult<Enrolment> {
    let life = SignedDuration::try_from(shared.config.token_lifetime).unwrap_or(identity::MAX_TOKEN_LIFE);
    let (token, expires) = identity::issue_token(c, id, life)?;
    let command = format!(
        "helm upgrade --install pdp-agent {} \\\n  --namespace pdp-agent --create-namespace \\\n  \
         --set controlPlane.url=https://{} \\\n  --set-file controlPlane.caBundle=ca.crt \\\n  --set enrolment.token={token}",
        shared.config.chart, shared.public_address
    );
    let ca_bundle = shared.authority.bundle.clone();
    Ok(Enrolment { data_plane: shown(c, organization, id)?, token, expires, command, ca_bundle })
}

async fn delete_data_plane(State(shared): App, caller: Caller, Path((organization, name)): Two) -> Answer<Value> {
    answer(&shared, move |c| {
        let id = identity::data_plane(c, caller.organization(c, &organization)?, &name)?;
        identity::delete_data_plane(c, &id)?;
        Ok(json!({ "deleted": name }))
    })
    .await
}

async fn revoke(State(shared): App, caller: Caller, Path((organization, name)): Two) -> Answer<DataPlane> {
    answer(&shared, move |c| {
        let organization = caller.organization(c, &organization)?;
        let id = identity::data_plane(c, organization, &name)?;
        identity::revoke(c, &id)?;
        shown(c, organization, &id)
    })
    .await
}

async fn adopt(State(shared): App, caller: Caller, Path((organization, name)): Two) -> Answer<DataPlane> {
    answer(&shared, move |c| {
        let organization = caller.organization(c, &organization)?;
        let id = identity::data_plane(c, organization, &name)?;
        sessions::adopt(c, &id)?;
        shown(c, organization, &id)
    })
    .await
}

async fn settings(
    State(shared): App,
    caller: Caller,
    Path((organization, name)): Two,
    Input(new): Input<DataPlaneSettings>,
) -> Answer<DataPlane> {
    answer(&shared, move |c| {
        let organization = caller.organization(c, &organization)?;
        let id = identity::data_plane(c, organization, &name)?;
        let spec = DataPlaneSpec { display_name: new.display_name, log_level: new.log_level };
        let key = ResourceKey { kind: Kind::DataPlane, name: "default".into() };
        let provenance = Provenance { actor: Some(caller.0.name), change_id: None, reason: None };
        documents::put(c, &id, &key, Desired::Present, &spec, &provenance, &Belongs::default())?;
        shown(c, organization, &id)
    })
    .await
}

async fn environments(
    State(shared): App,
    caller: Caller,
    Path((organization, project)): Two,
) -> Answer<Vec<Environment>> {
    answer(&shared, move |c| catalog::environments(c, caller.place(c, &organization, &project)?.project)).await
}

async fn create_environment(
    State(shared): App,
    caller: Caller,
    Path((organization, project)): Two,
    Input(new): Input<NewEnvironment>,
) -> Answer<Environment> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        let id = catalog::create_environment(c, place.organization, place.project, &new)?;
        deployments::publish_environment(c, &place, id)?;
        let all = catalog::environments(c, place.project)?;
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
        let id = catalog::environment(c, place.project, &name)?;
        deployments::delete_environment(c, &place, id)?;
        Ok(json!({ "deleting": name }))
    })
    .await
}

async fn components(
    State(shared): App,
    caller: Caller,
    Path((organization, project)): Two,
) -> Answer<Vec<ComponentRow>> {
    answer(&shared, move |c| catalog::components(c, caller.place(c, &organization, &project)?.project)).await
}

async fn create_component(
    State(shared): App,
    caller: Caller,
    Path((organization, project)): Two,
    Input(new): Input<NewComponent>,
) -> Answer<ComponentRow> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        catalog::create_component(c, place.project, &new)?;
        let all = catalog::components(c, place.project)?;
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
        let (id, _) = catalog::component(c, place.project, &name)?;
        catalog::delete_component(c, id)?;
        Ok(json!({ "deleted": name }))
    })
    .await
}

#[derive(Debug, Deserialize)]
struct Full {
    #[serde(default)]
    full: bool,
    track: Option<String>,
}

async fn releases(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Three,
    Query(Full { full, track }): Query<Full>,
) -> Answer<Vec<Release>> {
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        let mut all = catalog::releases(c, catalog::component(c, place.project, &name)?.0, full)?;
        all.retain(|release| track.as_ref().is_none_or(|track| release.track == *track));
        Ok(all)
    })
    .await
}

async fn create_release(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Three,
    Input(file): Input<Value>,
) -> Answer<Release> {
    let content = component::from_json(&file).map_err(component::first)?;
    if content.name != name {
        return Err(
            Problem::invalid("/name", format!("the file is of component {}, not of {name}", content.name)).into()
        );
    }
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        let (_, number, _) = catalog::release(c, place.project, &content, &place.actor)?;
        let all = catalog::releases(c, catalog::component(c, place.project, &name)?.0, true)?;
        let track = content.track();
        let found = all.into_iter().find(|release| release.number == number && release.track == track);
        found.ok_or_else(|| Problem::not_found("release").into())
    })
    .await
}

//! Data planes of an organization, their enrolment and their settings.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{delete, get, post, put};
use control_plane_model::problem::{Problem, check_display_name};
use control_plane_model::{DataPlane, DataPlaneSettings, Enrolment, NewNamed};
use jiff::SignedDuration;
use protocol::document::{DataPlaneSpec, Desired, Provenance};
use protocol::name::{Kind, ResourceKey};
use serde_json::{Value, json};

use super::named::{One, Two};
use super::route::{Route, route};
use crate::desired::documents::{self, Belongs};
use crate::desired::sessions;
use crate::domain::data_planes;
use crate::shared::Shared;
use crate::store::Result as StoreResult;
use crate::web::{Answer, App, Caller, JsonBody, answer};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/organizations/{organization}/data-planes", "List data planes", &[], -, [DataPlane], get(data_planes)),
        route!("POST" "/api/v1/organizations/{organization}/data-planes", "Create a data plane; answers with its enrolment", &[], NewNamed, Enrolment, post(create_data_plane)),
        route!("GET" "/api/v1/organizations/{organization}/data-planes/{dataPlane}", "Show a data plane", &[], -, DataPlane, get(data_plane)),
        route!("DELETE" "/api/v1/organizations/{organization}/data-planes/{dataPlane}", "Delete a data plane that serves nothing", &[], -, (), delete(delete_data_plane)),
        route!("POST" "/api/v1/organizations/{organization}/data-planes/{dataPlane}/token", "Make a new enrolment token", &[], -, Enrolment, post(enrolment)),
        route!("POST" "/api/v1/organizations/{organization}/data-planes/{dataPlane}/enrolment", "Make a new enrolment token", &[], -, Enrolment, post(enrolment)),
        route!("POST" "/api/v1/organizations/{organization}/data-planes/{dataPlane}/revoke", "Take a data plane's access away", &[], -, DataPlane, post(revoke)),
        route!("POST" "/api/v1/organizations/{organization}/data-planes/{dataPlane}/adopt", "Accept what a held data plane has", &[], -, DataPlane, post(adopt)),
        route!("PUT" "/api/v1/organizations/{organization}/data-planes/{dataPlane}/settings", "Set what the installation lets a control plane set", &[], DataPlaneSettings, DataPlane, put(settings)),
    ]
}

async fn data_planes(State(shared): App, caller: Caller, Path(organization): One) -> Answer<Vec<DataPlane>> {
    answer(&shared, move |c| data_planes::data_planes(c, caller.organization(c, &organization)?, None)).await
}

fn shown(c: &rusqlite::Connection, organization: i64, id: &str) -> StoreResult<DataPlane> {
    let found = data_planes::data_planes(c, organization, Some(id))?.into_iter().next();
    found.ok_or_else(|| Problem::not_found("data plane").into())
}

async fn data_plane(State(shared): App, caller: Caller, Path((organization, name)): Two) -> Answer<DataPlane> {
    answer(&shared, move |c| {
        let organization = caller.organization(c, &organization)?;
        shown(c, organization, &data_planes::data_plane(c, organization, &name)?)
    })
    .await
}

async fn create_data_plane(
    State(shared): App,
    caller: Caller,
    Path(organization): One,
    JsonBody(new): JsonBody<NewNamed>,
) -> Answer<Enrolment> {
    let state = Arc::clone(&shared);
    answer(&shared, move |c| {
        let organization = caller.organization(c, &organization)?;
        let id = data_planes::create_data_plane(c, organization, &new)?;
        enrolment_of(&state, c, organization, &id)
    })
    .await
}

async fn enrolment(State(shared): App, caller: Caller, Path((organization, name)): Two) -> Answer<Enrolment> {
    let state = Arc::clone(&shared);
    answer(&shared, move |c| {
        let organization = caller.organization(c, &organization)?;
        let id = data_planes::data_plane(c, organization, &name)?;
        enrolment_of(&state, c, organization, &id)
    })
    .await
}

fn enrolment_of(shared: &Shared, c: &rusqlite::Connection, organization: i64, id: &str) -> StoreResult<Enrolment> {
    let life = SignedDuration::try_from(shared.config.token_lifetime).unwrap_or(data_planes::MAX_TOKEN_LIFE);
    let (token, expires) = data_planes::issue_token(c, id, life)?;
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
        let id = data_planes::data_plane(c, caller.organization(c, &organization)?, &name)?;
        data_planes::delete_data_plane(c, &id)?;
        Ok(json!({ "deleted": name }))
    })
    .await
}

async fn revoke(State(shared): App, caller: Caller, Path((organization, name)): Two) -> Answer<DataPlane> {
    answer(&shared, move |c| {
        let organization = caller.organization(c, &organization)?;
        let id = data_planes::data_plane(c, organization, &name)?;
        data_planes::revoke(c, &id)?;
        shown(c, organization, &id)
    })
    .await
}

async fn adopt(State(shared): App, caller: Caller, Path((organization, name)): Two) -> Answer<DataPlane> {
    answer(&shared, move |c| {
        let organization = caller.organization(c, &organization)?;
        let id = data_planes::data_plane(c, organization, &name)?;
        sessions::adopt(c, &id)?;
        shown(c, organization, &id)
    })
    .await
}

async fn settings(
    State(shared): App,
    caller: Caller,
    Path((organization, name)): Two,
    JsonBody(new): JsonBody<DataPlaneSettings>,
) -> Answer<DataPlane> {
    answer(&shared, move |c| {
        let organization = caller.organization(c, &organization)?;
        let id = data_planes::data_plane(c, organization, &name)?;
        let DataPlaneSettings { display_name, log_level } = new;
        check_display_name("displayName", display_name.as_deref())?;
        let spec = DataPlaneSpec { display_name, log_level };
        let key = ResourceKey { kind: Kind::DataPlane, name: "default".into() };
        let provenance = Provenance { actor: Some(caller.0.name), change_id: None, reason: None };
        documents::put(c, &id, &key, Desired::Present, &spec, &provenance, &Belongs::default())?;
        shown(c, organization, &id)
    })
    .await
}

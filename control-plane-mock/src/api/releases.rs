//! Releases of a component.

use axum::extract::{Path, Query, State};
use axum::routing::{delete, get, post};
use control_plane_model::Release;
use control_plane_model::component::{self, DEFAULT_TRACK};
use control_plane_model::problem::Problem;
use serde::Deserialize;
use serde_json::{Value, json};

use super::named::{Four, Three, one};
use super::route::{Route, route};
use crate::domain::{components, releases};
use crate::web::{Answer, App, Caller, JsonBody, answer};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/releases", "List releases, newest first", &["full", "track"], -, [Release], get(releases)),
        route!("POST" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/releases", "Make a release of a component file", &[], (), Release, post(create_release)),
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/releases/{number}", "Show a release with what it holds", &["track"], -, Release, get(release)),
        route!("DELETE" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/releases/{number}", "Delete a release that was never deployed", &["track"], -, (), delete(delete_release)),
    ]
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
        let mut all = releases::releases(c, components::component(c, place.project, &name)?.0, full)?;
        all.retain(|release| track.as_ref().is_none_or(|track| release.track == *track));
        Ok(all)
    })
    .await
}

async fn create_release(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Three,
    JsonBody(file): JsonBody<Value>,
) -> Answer<Release> {
    let content = component::from_json(&file).map_err(component::first)?;
    if content.name != name {
        return Err(
            Problem::invalid("/name", format!("the file is of component {}, not of {name}", content.name)).into()
        );
    }
    answer(&shared, move |c| {
        let place = caller.place(c, &organization, &project)?;
        let (_, number, _) = releases::release(c, place.project, &content, &place.actor)?;
        let all = releases::releases(c, components::component(c, place.project, &name)?.0, true)?;
        let track = content.track();
        let found = all.into_iter().find(|release| release.number == number && release.track == track);
        found.ok_or_else(|| Problem::not_found("release").into())
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
        let (component, _) = components::component(c, project, &name)?;
        let track = track.as_deref().unwrap_or(DEFAULT_TRACK);
        let wanted = number_of(&number)?;
        let all = releases::releases(c, component, true)?;
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
        let (component, _) = components::component(c, project, &name)?;
        let track = track.as_deref().unwrap_or(DEFAULT_TRACK);
        let number = number_of(&number)?;
        releases::delete_release(c, component, track, number)?;
        Ok(json!({ "deleted": number }))
    })
    .await
}

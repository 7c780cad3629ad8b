//! Access tokens of an organization: the administrator makes, lists and deletes them.

use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use control_plane_model::problem::check_handle;
use control_plane_model::{AccessToken, AccessTokenRow, NewAccessToken};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::route::{Route, route};
use crate::domain::tokens;
use crate::store::{new_token, token_hash};
use crate::web::{Answer, App, Caller, JsonBody, answer};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/organizations/{organization}/tokens", "List access tokens, never the tokens themselves", &[], -, [AccessTokenRow], get(list)),
        route!("POST" "/api/v1/organizations/{organization}/tokens", "Create a token confined to the organization", &[], NewAccessToken, AccessToken, post(create)),
        route!("GET" "/api/v1/organizations/{organization}/tokens/{token}", "Show an access token, never the token itself", &[], -, AccessTokenRow, get(one)),
        route!("DELETE" "/api/v1/organizations/{organization}/tokens/{token}", "End an access token at once", &[], -, (), delete(remove)),
    ]
}

async fn list(State(shared): App, caller: Caller, Path(organization): Path<String>) -> Answer<Vec<AccessTokenRow>> {
    caller.admin()?;
    answer(&shared, move |c| tokens::list(c, caller.organization(c, &organization)?)).await
}

async fn create(
    State(shared): App,
    caller: Caller,
    Path(organization): Path<String>,
    JsonBody(new): JsonBody<NewAccessToken>,
) -> Answer<AccessToken> {
    caller.admin()?;
    let token = new_token("pdpt");
    answer(&shared, move |c| {
        let id = caller.organization(c, &organization)?;
        let NewAccessToken { name, expires_in_seconds } = new;
        check_handle("name", &name)?;
        let life =
            expires_in_seconds.map(|seconds| SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)));
        let expires = tokens::add(c, &token_hash(&token), &name, id, life.unwrap_or(tokens::LIFE))?;
        Ok(AccessToken { name, token, expires })
    })
    .await
}

async fn one(
    State(shared): App,
    caller: Caller,
    Path((organization, name)): Path<(String, String)>,
) -> Answer<AccessTokenRow> {
    caller.admin()?;
    answer(&shared, move |c| {
        let all = tokens::list(c, caller.organization(c, &organization)?)?;
        all.into_iter().find(|token| token.name == name).ok_or_else(|| tokens::not_found(&name).into())
    })
    .await
}

async fn remove(
    State(shared): App,
    caller: Caller,
    Path((organization, name)): Path<(String, String)>,
) -> Answer<Value> {
    caller.admin()?;
    answer(&shared, move |c| {
        tokens::delete(c, caller.organization(c, &organization)?, &name)?;
        Ok(json!({ "deleted": name }))
    })
    .await
}

//! What happened in an organization, in order, for whoever asks what came after a number.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::routing::get;
use control_plane_model::Event;
use serde::Deserialize;

use super::route::{Route, route};
use crate::desired::events;
use crate::web::{Answer, App, Caller, answer};

/// Longest time that an answer waits for events, in seconds.
const MAX_WAIT: u64 = 60;

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/organizations/{organization}/events", "Events after a number; waits for some if there are none", &["after", "wait"], -, [Event], get(after)),
    ]
}

#[derive(Debug, Deserialize)]
struct After {
    after: Option<i64>,
    #[serde(alias = "waitSeconds")]
    wait: Option<u64>,
}

/// Without `after` it answers at once with the newest event, as a place to begin.
async fn after(
    State(shared): App,
    caller: Caller,
    Path(organization): Path<String>,
    Query(After { after, wait }): Query<After>,
) -> Answer<Vec<Event>> {
    let organization = shared.store.run(move |c| caller.organization(c, &organization)).await?;
    let Some(after) = after else {
        return answer(&shared, move |c| {
            let last = events::last(c)?;
            Ok(vec![Event {
                seq: last,
                at: crate::store::now(),
                what: "Now".into(),
                data_plane: None,
                kind: None,
                name: None,
                data: serde_json::Value::Null,
            }])
        })
        .await;
    };
    let mut changed = shared.hub.watch_events();
    let until = tokio::time::Instant::now() + Duration::from_secs(wait.unwrap_or(0).min(MAX_WAIT));
    loop {
        let found = shared.store.run(move |c| events::after(c, organization, after)).await?;
        if !found.is_empty() || shared.supervisor.stopping().is_cancelled() {
            return Ok(Json(found));
        }
        tokio::select! {
            changed = tokio::time::timeout_at(until, changed.changed()) => if changed.is_err() { return Ok(Json(found)) },
            () = shared.supervisor.stopping().cancelled() => {}
        }
    }
}

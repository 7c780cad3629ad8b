//! Log lines of a component, from all data planes where it runs.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use control_plane_model::LogLine;
use control_plane_model::problem::{Code, Problem};
use http::header;
use protocol::name::{Kind, ResourceKey};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::route::{Route, route};
use crate::desired::status::{self, Which};
use crate::domain::{components, data_planes, environments, task_runs};
use crate::gateway::logs::carry::StreamRequest;
use crate::gateway::logs::follow;
use crate::web::{App, Caller, Refusal};

/// Lines buffered for one reader. While the buffer is full no credit is granted, which slows the sender down.
const LINES: usize = 512;

pub(super) fn routes() -> Vec<Route> {
    vec![
        route!("GET" "/api/v1/organizations/{organization}/projects/{project}/components/{component}/logs", "Log lines, as NDJSON or text", &["environment", "follow", "tail", "since", "previous", "failed", "format", "run", "track"], -, [LogLine], get(logs)),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogFilter {
    environment: String,
    #[serde(default)]
    follow: bool,
    tail: Option<u32>,
    #[serde(alias = "sinceSeconds")]
    since: Option<u32>,
    #[serde(default)]
    previous: bool,
    #[serde(default)]
    failed: bool,
    format: Option<String>,
    run: Option<String>,
    track: Option<String>,
}

async fn logs(
    State(shared): App,
    caller: Caller,
    Path((organization, project, name)): Path<(String, String, String)>,
    Query(filter): Query<LogFilter>,
) -> Result<Response, Refusal> {
    let text = match filter.format.as_deref() {
        None | Some("ndjson" | "json") => false,
        Some("text") => true,
        Some(_) => {
            return Err(Problem::invalid("format", "this format is not known here").hint("use ndjson or text").into());
        }
    };
    let requests = shared
        .store
        .run(move |c| {
            let place = caller.place(c, &organization, &project)?;
            let environment = environments::environment(c, place.project, &filter.environment)?;
            let (component, _) = components::component(c, place.project, &name)?;
            let keys: Vec<(String, ResourceKey)> = match &filter.run {
                Some(id) => task_runs::task_runs(c, component, Some(id))?
                    .into_iter()
                    .map(|run| (run.data_plane, ResourceKey { kind: Kind::TaskRun, name: run.name }))
                    .collect(),
                None => status::of(c, Which::Component(component, Some(environment)))?
                    .into_iter()
                    .filter(|status| filter.track.is_none() || status.track == filter.track)
                    .map(|status| (status.data_plane, ResourceKey { kind: Kind::Release, name: status.name }))
                    .collect(),
            };
            if keys.is_empty() {
                let problem = Problem::new(Code::NotFound, format!("{name} is not deployed to {}", filter.environment));
                return Err(problem.hint("deploy it first: pdpctl deploy -f component.yaml --environment NAME").into());
            }
            keys.into_iter()
                .map(|(plane, key)| {
                    Ok(StreamRequest {
                        data_plane: data_planes::data_plane(c, place.organization, &plane)?,
                        data_plane_name: plane,
                        environment: (key.kind == Kind::TaskRun)
                            .then(|| place.environment_key(&filter.environment).name),
                        key,
                        follow: filter.follow,
                        tail: filter.tail,
                        since_seconds: filter.since,
                        previous: filter.previous,
                        stopped: filter.failed,
                    })
                })
                .collect::<crate::store::Result<Vec<_>>>()
        })
        .await?;
    let (out, lines) = mpsc::channel(LINES);
    for request in requests {
        shared.supervisor.spawn("log stream", follow::run(Arc::clone(&shared), request, out.clone()));
    }
    let body = futures::stream::unfold(lines, move |mut lines| async move {
        let line = lines.recv().await?;
        Some((Ok::<_, Infallible>(rendered(&line, text)), lines))
    });
    let kind = if text { "text/plain; charset=utf-8" } else { "application/x-ndjson" };
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(body)).into_response())
}

fn rendered(line: &LogLine, text: bool) -> Bytes {
    let mut out = if text {
        match &line.note {
            Some(note) => format!("# {note}: {}", line.line),
            None => format!("{} {} {}", line.time, line.source, line.line),
        }
    } else {
        serde_json::to_string(line).unwrap_or_default()
    };
    out.push('\n');
    Bytes::from(out)
}

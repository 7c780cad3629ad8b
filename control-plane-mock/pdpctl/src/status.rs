//! status, history, events, version.

use std::collections::BTreeMap;
use std::time::Duration;

use control_plane_model::{DataPlane, Deployment, Event, ResourceStatus};
use serde_json::json;

use super::args::{Events, Global, History, Status};
use super::error::Error;
use super::io::Io;
use super::output;
use super::output::Format;
use super::session::Session;
use super::table::{Table, plain};
use super::views::{View as _, rows_of, short_image, table};

/// `status [COMPONENT]`.
pub(super) async fn status(io: &mut Io, global: &Global, ask: Status) -> Result<(), Error> {
    let Status { component, environment, track } = ask;
    let session = Session::open(io, &global.chosen())?;
    let asked = [("environment", environment), ("component", component.clone()), ("track", track)];
    let query: Vec<_> = asked.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let mut rows: Vec<ResourceStatus> = session.client.get(&session.in_project(&["status"])?, &query).await?;
    if global.output != Format::Table {
        return rows_of(io, global.output, &rows);
    }
    // A ready environment is left out where its components are listed.
    let occupied: Vec<Option<String>> =
        rows.iter().filter(|row| row.kind != "Environment").map(|row| row.environment.clone()).collect();
    rows.retain(|row| row.kind != "Environment" || row.phase != "Ready" || !occupied.contains(&row.environment));
    if let Some(component) = &component
        && rows.iter().all(|row| row.component.is_none())
    {
        let place = session.in_project(&["components", component])?;
        // Says so if there is no such component at all.
        session.client.get::<serde_json::Value>(&place, &[]).await?;
        io.complain(&format!(
            "{component} is deployed nowhere. Deploy it: pdpctl deploy -f component.yaml --environment NAME"
        ));
        if rows.is_empty() {
            return Ok(());
        }
    }
    rows_of(io, global.output, &rows)?;
    if component.is_some() {
        let details: String = rows.iter().filter(|row| row.component.is_some()).map(details).collect();
        io.print(&details)?;
    }
    Ok(())
}

/// What serves, where it answers, and which pods are worth a word.
fn details(row: &ResourceStatus) -> String {
    let Some(state) = &row.state else { return String::new() };
    let mut text = String::new();
    let place = format!("{} on {}", row.environment.as_deref().unwrap_or("-"), row.data_plane);
    let mut say = |line: String| text.push_str(&format!("  {}\n", plain(&line)));
    if let Some(effective) = &state.effective {
        say(format!("serves     {}", short_image(&effective.image)));
    }
    if let Some(namespace) = &state.namespace {
        say(format!("namespace  {namespace}"));
    }
    for endpoint in &state.endpoints {
        say(format!("endpoint   {}  {}", endpoint.name, endpoint.address));
        if let Some(major) = &endpoint.major_address {
            say(format!("           {}  {major}  (newest minor version that serves)", " ".repeat(endpoint.name.len())));
        }
    }
    for pod in &state.pods {
        let reason = pod.reason.as_deref().map(|reason| format!(", {reason}")).unwrap_or_default();
        let code = pod.exit_code.map(|code| format!(", last exit code {code}")).unwrap_or_default();
        say(format!("pod        {}  {} restarts{reason}{code}", pod.name, pod.restarts));
    }
    if text.is_empty() { text } else { format!("\n{place}\n{text}") }
}

/// `history COMPONENT`.
pub(super) async fn history(io: &mut Io, global: &Global, ask: History) -> Result<(), Error> {
    let History { component, environment } = ask;
    let session = Session::open(io, &global.chosen())?;
    let query: Vec<_> = environment.into_iter().map(|name| ("environment", name)).collect();
    let path = session.in_project(&["components", &component, "deployments"])?;
    let rows: Vec<Deployment> = session.client.get(&path, &query).await?;
    rows_of(io, global.output, &rows)
}

/// Seconds of one long poll.
const POLL: u64 = 20;

/// `events`.
pub(super) async fn events(io: &mut Io, global: &Global, ask: Events) -> Result<(), Error> {
    let Events { follow, tail } = ask;
    let session = Session::open(io, &global.chosen())?;
    let planes: Vec<DataPlane> = session.client.get(&session.in_organization(&["data-planes"])?, &[]).await?;
    let handles: BTreeMap<String, String> = planes.into_iter().map(|plane| (plane.id, plane.name)).collect();
    let named = |mut events: Vec<Event>| {
        for event in &mut events {
            let handle = event.data_plane.as_ref().and_then(|id| handles.get(id));
            if let Some(handle) = handle {
                event.data_plane = Some(handle.clone());
            }
        }
        events
    };
    let path = session.in_organization(&["events"])?;
    let mut after = 0;
    let mut past: Vec<Event> = Vec::new();
    loop {
        let page: Vec<Event> = session.client.get(&path, &[("after", after.to_string())]).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        past.extend(page);
        past.drain(..past.len().saturating_sub(tail));
    }
    let past = named(past);
    if !follow {
        return rows_of(io, global.output, &past);
    }
    one_by_one(io, global.output, &past)?;
    loop {
        let query = [("after", after.to_string()), ("waitSeconds", POLL.to_string())];
        let page = tokio::select! {
            page = session.client.get_slow::<Vec<Event>>(&path, &query, Duration::from_secs(POLL)) => page?,
            _ = tokio::signal::ctrl_c() => return Err(Error::Interrupted(String::new())),
        };
        after = page.last().map_or(after, |event| event.seq);
        one_by_one(io, global.output, &named(page))?;
    }
}

/// Followed events: a line each, so that they can be read as they come.
fn one_by_one(io: &mut Io, form: Format, events: &[Event]) -> Result<(), Error> {
    let mut text = String::new();
    match form {
        Format::Table => {
            for event in events {
                let cells = event.cells((io.now)());
                text.push_str(&format!("{}\n", plain(&cells.join("  "))));
            }
        }
        Format::Json => {
            for event in events {
                text.push_str(&serde_json::to_string(event).unwrap_or_default());
                text.push('\n');
            }
        }
        Format::Yaml | Format::Name => return output::print(io, form, &events, &table(events, (io.now)()), &[]),
    }
    if text.is_empty() { Ok(()) } else { io.print(&text) }
}

/// `version`.
pub(super) async fn version(io: &mut Io, global: &Global, only_client: bool) -> Result<(), Error> {
    let client = env!("CARGO_PKG_VERSION");
    let server = if only_client {
        None
    } else {
        Some(async { Session::open(io, &global.chosen())?.client.version().await }.await)
    };
    let mut table = Table::new(&["PART", "VERSION"]);
    table.row(vec!["pdpctl".into(), client.into()]);
    let mut value = json!({ "client": client });
    let failed = match server {
        None => None,
        Some(Ok(server)) => {
            table.row(vec!["control plane".into(), server.clone()]);
            if let Some(object) = value.as_object_mut() {
                object.insert("server".into(), server.into());
            }
            None
        }
        Some(Err(error)) => Some(error),
    };
    output::print(io, global.output, &value, &table, &[format!("pdpctl/{client}")])?;
    failed.map_or(Ok(()), Err)
}

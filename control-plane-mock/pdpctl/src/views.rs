//! What a row of each kind shows.

use control_plane_model::{
    AccessTokenRow, ComponentRow, DataPlane, Deployment, Environment, Event, Named, Release, ResourceStatus, TaskRun,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::age::since;
use super::table::Table;

/// A kind that is listed.
pub(super) trait View: Serialize {
    /// Headings.
    const HEAD: &'static [&'static str];
    /// Whether the last column flows.
    const FLOWS: bool = false;
    /// One cell per heading.
    fn cells(&self, now: Timestamp) -> Vec<String>;
    /// `KIND/NAME`.
    fn named(&self) -> String;
}

/// Table of all of them.
pub(super) fn table<V: View>(rows: &[V], now: Timestamp) -> Table {
    let mut table = Table::new(V::HEAD);
    if V::FLOWS {
        table = table.flowing();
    }
    rows.iter().for_each(|row| table.row(row.cells(now)));
    table
}

fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

fn joined(names: &[String]) -> String {
    if names.is_empty() { "-".into() } else { names.join(",") }
}

/// An organization.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct OrganizationRow(pub(super) Named);

/// A project.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct ProjectRow(pub(super) Named);

fn named_cells(Named { name, display_name, created }: &Named, now: Timestamp) -> Vec<String> {
    vec![name.clone(), since(created, now), or_dash(display_name.as_deref())]
}

impl View for OrganizationRow {
    const HEAD: &'static [&'static str] = &["NAME", "AGE", "DISPLAY NAME"];

    fn cells(&self, now: Timestamp) -> Vec<String> {
        named_cells(&self.0, now)
    }

    fn named(&self) -> String {
        format!("organization/{}", self.0.name)
    }
}

impl View for ProjectRow {
    const HEAD: &'static [&'static str] = &["NAME", "AGE", "DISPLAY NAME"];

    fn cells(&self, now: Timestamp) -> Vec<String> {
        named_cells(&self.0, now)
    }

    fn named(&self) -> String {
        format!("project/{}", self.0.name)
    }
}

impl View for Environment {
    const HEAD: &'static [&'static str] = &["NAME", "ORDER", "DATA PLANES", "EGRESS", "STATUS", "AGE"];

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let egress = match self.settings.egress {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        let status = if self.deleting.is_some() { "Deleting" } else { "Active" };
        vec![
            self.name.clone(),
            self.position.to_string(),
            joined(&self.data_planes),
            egress.into(),
            status.into(),
            since(&self.created, now),
        ]
    }

    fn named(&self) -> String {
        format!("environment/{}", self.name)
    }
}

impl View for DataPlane {
    const HEAD: &'static [&'static str] = &["NAME", "STATUS", "VERSION", "LAST SEEN", "AGE", "ID", "MESSAGE"];
    const FLOWS: bool = true;

    fn cells(&self, now: Timestamp) -> Vec<String> {
        vec![
            self.name.clone(),
            self.status.clone(),
            or_dash(self.version.as_deref()),
            match self.last_seen.as_deref() {
                _ if self.status == "Connected" => "now".into(),
                Some(seen) => since(seen, now),
                None => "never".into(),
            },
            since(&self.created, now),
            self.id.clone(),
            self.message.clone().unwrap_or_default(),
        ]
    }

    fn named(&self) -> String {
        format!("data-plane/{}", self.name)
    }
}

impl View for AccessTokenRow {
    const HEAD: &'static [&'static str] = &["NAME", "AGE", "EXPIRES", "LAST USED"];

    fn cells(&self, now: Timestamp) -> Vec<String> {
        vec![
            self.name.clone(),
            since(&self.created, now),
            self.expires.clone().unwrap_or_else(|| "never".into()),
            self.last_used.as_deref().map_or_else(|| "never".into(), |used| since(used, now)),
        ]
    }

    fn named(&self) -> String {
        format!("token/{}", self.name)
    }
}

impl View for ComponentRow {
    const HEAD: &'static [&'static str] = &["NAME", "TYPE", "RELEASES", "AGE", "DISPLAY NAME"];

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let newest: Vec<String> = self.releases.iter().map(|(track, number)| format!("{track}/{number}")).collect();
        vec![
            self.name.clone(),
            self.component_type.clone(),
            joined(&newest),
            since(&self.created, now),
            or_dash(self.display_name.as_deref()),
        ]
    }

    fn named(&self) -> String {
        format!("component/{}", self.name)
    }
}

impl View for Release {
    const HEAD: &'static [&'static str] = &["RELEASE", "DEPLOYED TO", "ACTOR", "AGE", "IMAGE"];

    fn cells(&self, now: Timestamp) -> Vec<String> {
        vec![
            format!("{}/{}", self.track, self.number),
            joined(&self.deployed_to),
            or_dash(self.actor.as_deref()),
            since(&self.created, now),
            short_image(&self.image),
        ]
    }

    fn named(&self) -> String {
        format!("release/{}/{}", self.track, self.number)
    }
}

/// An image with the first twelve digits of its digest, as other tools show them.
pub(super) fn short_image(image: &str) -> String {
    match image.split_once("@sha256:") {
        Some((name, digest)) => format!("{name}@sha256:{}", digest.chars().take(12).collect::<String>()),
        None => image.to_owned(),
    }
}

impl View for TaskRun {
    const HEAD: &'static [&'static str] = &["ID", "ENVIRONMENT", "DATA PLANE", "RESULT", "EXIT", "AGE", "MESSAGE"];
    const FLOWS: bool = true;

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let running = if self.started.is_some() { "Running" } else { "Waiting" };
        vec![
            // Its beginning names it as well.
            self.id.chars().take(8).collect(),
            self.environment.clone(),
            self.data_plane.clone(),
            self.result.clone().unwrap_or_else(|| running.into()),
            self.exit_code.map_or_else(|| "-".into(), |code| code.to_string()),
            since(&self.created, now),
            self.message.clone().unwrap_or_default(),
        ]
    }

    fn named(&self) -> String {
        format!("run/{}", self.id)
    }
}

impl View for Deployment {
    const HEAD: &'static [&'static str] = &["ID", "ENVIRONMENT", "ACTION", "RELEASE", "ACTOR", "AGE", "REASON"];
    const FLOWS: bool = true;

    fn cells(&self, now: Timestamp) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.environment.clone(),
            self.action.clone(),
            self.release.map_or_else(|| "-".into(), |number| format!("{}/{number}", self.track)),
            or_dash(self.actor.as_deref()),
            since(&self.created, now),
            self.reason.clone().unwrap_or_default(),
        ]
    }

    fn named(&self) -> String {
        format!("deployment/{}", self.id)
    }
}

impl View for ResourceStatus {
    const HEAD: &'static [&'static str] =
        &["ENVIRONMENT", "COMPONENT", "RELEASE", "DATA PLANE", "PHASE", "PODS", "MESSAGE"];
    const FLOWS: bool = true;

    fn cells(&self, _: Timestamp) -> Vec<String> {
        let pods = self.state.as_ref().and_then(|state| state.replicas);
        let release = self.track.as_deref().zip(self.release).map(|(track, number)| format!("{track}/{number}"));
        let link = if self.connected { "" } else { " (off)" };
        vec![
            or_dash(self.environment.as_deref()),
            self.component.clone().unwrap_or_else(|| "-".into()),
            release.unwrap_or_else(|| "-".into()),
            format!("{}{link}", self.data_plane),
            self.phase.clone(),
            pods.map_or_else(|| "-".into(), |pods| format!("{}/{}", pods.ready, pods.desired)),
            untold(&self.message, pods.map(|pods| format!("{}/{} pods ready", pods.ready, pods.desired))),
        ]
    }

    fn named(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }
}

/// What a message says beyond the counts that stand in their own column.
fn untold(message: &str, counts: Option<String>) -> String {
    let rest = counts.and_then(|counts| message.strip_prefix(counts.as_str()).map(str::to_owned));
    rest.unwrap_or_else(|| message.to_owned()).trim_start_matches([';', ' ']).to_owned()
}

impl View for Event {
    const HEAD: &'static [&'static str] = &["TIME", "WHAT", "DATA PLANE", "RESOURCE", "DETAILS"];
    const FLOWS: bool = true;

    fn cells(&self, _: Timestamp) -> Vec<String> {
        // 2026-11-21T12:34:56.789Z shows as 12:34:56: events are young.
        let time = self.at.split_once('T').map_or(self.at.as_str(), |(_, time)| time);
        let resource = self
            .kind
            .as_deref()
            .zip(self.name.as_deref())
            .map(|(kind, name)| format!("{}/{name}", kind.to_lowercase()));
        vec![
            time.chars().take(8).collect(),
            self.what.clone(),
            or_dash(self.data_plane.as_deref()),
            or_dash(resource.as_deref()),
            summary(&self.data),
        ]
    }

    fn named(&self) -> String {
        format!("event/{}", self.seq)
    }
}

/// The telling parts of an event's data, in one line.
fn summary(data: &Value) -> String {
    let Some(object) = data.as_object() else { return String::new() };
    let mut words = Vec::new();
    if let Some(conditions) = object.get("conditions").and_then(Value::as_array) {
        let word =
            |condition: &Value, key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        words.extend(conditions.iter().map(|condition| {
            format!(
                "{}={} {} {}",
                word(condition, "type"),
                word(condition, "status"),
                word(condition, "reason"),
                word(condition, "message")
            )
        }));
        return words.join("; ").trim().to_owned();
    }
    for (key, value) in object {
        match value {
            Value::String(text) if !text.is_empty() && !["hash", "id", "at"].contains(&key.as_str()) => {
                words.push(format!("{key}={text}"))
            }
            Value::Number(number) => words.push(format!("{key}={number}")),
            Value::Bool(flag) => words.push(format!("{key}={flag}")),
            Value::Object(_) => words.push(format!("{key}: {}", summary(value))),
            Value::Null | Value::String(_) | Value::Array(_) => {}
        }
    }
    words.join(" ")
}

//! Lists as tables, and the rows of types that are not in the catalog.

use control_plane_model::{Deployment, Event, ResourceStatus};
use jiff::Timestamp;
use serde::Serialize;

use super::age::since;
use super::error::Error;
use super::events::details;
use super::io::Io;
use super::output::{self, Format};
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

/// Prints a list.
pub(super) fn rows_of<V: View>(io: &mut Io, form: Format, rows: &[V]) -> Result<(), Error> {
    if rows.is_empty() && form == Format::Table {
        io.complain("Nothing found.");
        return Ok(());
    }
    let names: Vec<String> = rows.iter().map(View::named).collect();
    output::print(io, form, &rows, &table(rows, (io.now)()), &names)
}

/// Prints the one thing that was named, or a list when several were.
pub(super) fn one_or_rows<V: View>(io: &mut Io, form: Format, rows: &[V]) -> Result<(), Error> {
    match rows {
        [one] => output::print(io, form, one, &table(rows, (io.now)()), &[one.named()]),
        many => rows_of(io, form, many),
    }
}

pub(super) fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

pub(super) fn joined(names: &[String]) -> String {
    if names.is_empty() { "-".into() } else { names.join(",") }
}

/// An image with the first twelve digits of its digest, as other tools show them.
pub(super) fn short_image(image: &str) -> String {
    match image.split_once("@sha256:") {
        Some((name, digest)) => format!("{name}@sha256:{}", digest.chars().take(12).collect::<String>()),
        None => image.to_owned(),
    }
}

impl View for Deployment {
    const HEAD: &'static [&'static str] =
        &["ID", "ENVIRONMENT", "ACTION", "RELEASE", "OUTCOME", "ACTOR", "AGE", "REASON"];
    const FLOWS: bool = true;

    fn cells(&self, now: Timestamp) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.environment.clone(),
            self.action.clone(),
            self.release.map_or_else(|| "-".into(), |number| format!("{}/{number}", self.track)),
            or_dash(self.outcome.as_deref()),
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
            without_counts(&self.message, pods.map(|pods| format!("{}/{} pods ready", pods.ready, pods.desired))),
        ]
    }

    fn named(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }
}

/// The message without the replica counts, which have a column.
fn without_counts(message: &str, counts: Option<String>) -> String {
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
            details(self),
        ]
    }

    fn named(&self) -> String {
        format!("event/{}", self.seq)
    }
}

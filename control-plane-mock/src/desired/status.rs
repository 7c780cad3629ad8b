//! From the wish to what runs, in words of a developer.
//!
//! The facts of a resource are spread over its document, the answer to it, the last state and the recorded facts; [`explain`]
//! is the one place that makes a phase and a sentence of them.

use control_plane_model::ResourceStatus;
use protocol::document::Desired;
use protocol::message::{DeferReason, FieldError, RefusalClass, Verdict};
use protocol::name::{Kind, ResourceKey};
use protocol::report::{Condition, Fact, FactKind, State};
use rusqlite::{Connection, params_from_iter};

use super::documents::{self, Stored};
use super::{outcomes, reports};
use crate::store::Result;

/// Which resources are meant.
#[derive(Debug, Clone, Copy)]
pub enum Which {
    /// All of a project.
    Project(i64),
    /// One component, in one environment or in all.
    Component(i64, Option<i64>),
    /// All of an environment.
    Environment(i64),
}

/// Status of the resources that are meant, by environment, component, data plane.
///
/// # Errors
/// SQLite's.
pub fn of(c: &Connection, which: Which) -> Result<Vec<ResourceStatus>> {
    let (condition, values): (&str, Vec<Option<i64>>) = match which {
        Which::Project(project) => ("e.project = ?1 AND x.kind IN ('Environment', 'Release')", vec![Some(project)]),
        Which::Component(component, environment) => (
            "x.component = ?1 AND x.kind = 'Release' AND (?2 IS NULL OR e.id = ?2)",
            vec![Some(component), environment],
        ),
        Which::Environment(id) => ("e.id = ?1 AND x.kind IN ('Environment', 'Release')", vec![Some(id)]),
    };
    let sql = format!(
        "SELECT x.data_plane, x.kind, x.name FROM document x JOIN environment e ON e.id = x.environment
         JOIN data_plane d ON d.id = x.data_plane WHERE {condition} ORDER BY e.position, x.kind, x.name, d.handle"
    );
    let mut statement = c.prepare(&sql)?;
    let keys: Vec<(String, String, String)> = statement
        .query_map(params_from_iter(values), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut all = Vec::new();
    for (plane, kind, name) in keys {
        let Some(kind) = Kind::ALL.into_iter().find(|known| known.as_str() == kind) else { continue };
        all.extend(one(c, &plane, &ResourceKey { kind, name })?);
    }
    Ok(all)
}

/// Status of one resource, if it is wanted.
///
/// # Errors
/// SQLite's.
pub fn one(c: &Connection, data_plane: &str, key: &ResourceKey) -> Result<Option<ResourceStatus>> {
    let Some(stored) = documents::find(c, data_plane, key)? else { return Ok(None) };
    let sql = "SELECT d.handle, s.id IS NOT NULL AND s.ended IS NULL, d.last_seen, d.held, p.handle, x.track, e.handle, r.number
               FROM document x JOIN data_plane d ON d.id = x.data_plane LEFT JOIN session s ON s.data_plane = d.id
               LEFT JOIN component p ON p.id = x.component LEFT JOIN environment e ON e.id = x.environment
               LEFT JOIN deployment y ON y.id = x.deployment LEFT JOIN release r ON r.id = y.release
               WHERE x.data_plane = ?1 AND x.kind = ?2 AND x.name = ?3";
    let facts = reports::facts(c, data_plane, key, stored.generation)?;
    let state = reports::state(c, data_plane, key)?;
    let serving = state.as_ref().and_then(|state| state.effective.as_ref()?.generation);
    let serving = serving.filter(|generation| *generation != stored.generation);
    let serving = serving.map(|generation| outcomes::release_of(c, data_plane, generation)).transpose()?.flatten();
    let status = c.query_row(sql, [data_plane, key.kind.as_str(), &key.name], |row| {
        let link = Link { connected: row.get(1)?, last_seen: row.get(2)?, held: row.get(3)? };
        let (phase, message) = explain(&stored, state.as_ref(), &facts, &link, serving.as_deref());
        Ok(ResourceStatus {
            data_plane: row.get(0)?,
            connected: link.connected,
            kind: key.kind.as_str().to_owned(),
            name: key.name.clone(),
            component: row.get(4)?,
            track: row.get(5)?,
            environment: row.get(6)?,
            release: row.get(7)?,
            desired: stored.state.as_str().to_owned(),
            generation: stored.generation,
            answer: stored.answer.clone(),
            state: state.clone(),
            facts: facts.clone(),
            phase: phase.to_owned(),
            message,
        })
    })?;
    Ok(Some(status))
}

/// What is known of the link.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// It is up.
    pub connected: bool,
    /// When it was last up.
    pub last_seen: Option<String>,
    /// Why nothing is accepted, if so.
    pub held: Option<String>,
}

/// Phase and sentence. `serving` is the earlier release that serves, if its number is known.
#[must_use]
pub fn explain(
    wish: &Stored,
    state: Option<&State>,
    facts: &[Fact],
    link: &Link,
    serving: Option<&str>,
) -> (&'static str, String) {
    if wish.quarantined {
        return (
            "Refused",
            "connections ended again and again before this was answered, so it is not sent any more; look at the agent's log, then \
             change it or deploy it again"
                .into(),
        );
    }
    match &wish.answer {
        Some(Verdict::Accepted { .. } | Verdict::Already) => accepted(wish, state, facts, link, serving),
        Some(Verdict::Refused { class, reasons }) => ("Refused", refused(*class, reasons)),
        Some(Verdict::Deferred { reason, message, .. }) => ("Waiting", deferred(*reason, message)),
        Some(Verdict::Stale { .. } | Verdict::Conflict { .. }) => {
            ("Waiting", "the data plane holds a newer document; it is sent again under a new generation".into())
        }
        Some(Verdict::Forgotten { .. }) => ("Removed", "removed and forgotten".into()),
        None if !link.connected => {
            let since = link.last_seen.as_deref().map_or_else(
                || "has never connected; install its agent".to_owned(),
                |time| format!("is not connected (last seen {time})"),
            );
            ("Waiting", format!("the data plane {since}; this is sent as soon as it is there"))
        }
        None => match &link.held {
            Some(why) => ("Waiting", format!("the data plane is held: {why}")),
            None => ("Waiting", "sent; the data plane has not answered yet".into()),
        },
    }
}

fn refused(class: RefusalClass, reasons: &[FieldError]) -> String {
    let lead = match class {
        RefusalClass::Invalid => "the data plane refuses it as invalid",
        RefusalClass::Policy => "the customer's policy forbids it",
        RefusalClass::Quota => "a quota of the cluster is used up",
        RefusalClass::UnknownField => "the agent does not know a field (is it older than this control plane?)",
        RefusalClass::HashMismatch => "it arrived changed (a proxy on the way?)",
    };
    let reasons: Vec<String> = reasons
        .iter()
        .map(
            |FieldError { field, message }| {
                if field.is_empty() { message.clone() } else { format!("{field}: {message}") }
            },
        )
        .collect();
    let tail = match class {
        RefusalClass::Policy | RefusalClass::Quota => ". It is tried again now and then, and when you deploy again",
        RefusalClass::Invalid | RefusalClass::UnknownField | RefusalClass::HashMismatch => "",
    };
    format!("{lead}: {}{tail}", reasons.join("; "))
}

fn deferred(reason: DeferReason, message: &str) -> String {
    let lead = match reason {
        DeferReason::ApiServerUnavailable => "the cluster's API server does not answer",
        DeferReason::WebhookUnavailable => "an admission webhook of the customer does not answer",
        DeferReason::Held => "the data plane is held until a person adopts it",
        DeferReason::FactsPending => "the data plane has reports that were not taken yet",
        DeferReason::Busy => "somebody else writes the same object all the time",
        DeferReason::NotLeading => "the agent is changing its leader",
        DeferReason::NoPolicy => "the customer has not said what is allowed (no DataPlanePolicy)",
    };
    if message.is_empty() {
        format!("{lead}; it is tried again")
    } else {
        format!("{lead}: {message}; it is tried again")
    }
}

fn accepted(
    wish: &Stored,
    state: Option<&State>,
    facts: &[Fact],
    link: &Link,
    serving: Option<&str>,
) -> (&'static str, String) {
    let stale = if link.connected { "" } else { " (the data plane is not connected; this is what it said last)" };
    let fact = |kind: FactKind| facts.iter().rev().find(|fact| fact.kind == kind);
    // What is said of an older generation explains nothing of this one.
    let current = state.filter(|state| state.observed_generation == Some(wish.generation));
    if wish.state == Desired::Absent {
        if fact(FactKind::Deleted).is_some() {
            return ("Removed", "everything was removed".into());
        }
        let why = current.and_then(worst).map_or_else(|| "its objects are being removed".into(), sentence);
        return ("Removing", format!("{why}{stale}"));
    }
    let state = current;
    let is_true = |kind: &str| state.and_then(|state| condition(state, kind));
    // Facts report the first outcome only. If an edit in the cluster made the release ready later, the state's condition counts.
    let fact = |kind: FactKind| fact(kind).filter(|_| is_true("Ready").is_none());
    let changed = ["Modified", "ImageRewritten"].into_iter().filter_map(is_true);
    let changed: String = changed.map(|what| format!("; {}", what.message)).collect();
    let tail = format!("{changed}{stale}");
    let back = fact(FactKind::RolledBack).map(|fact| &fact.message);
    if let Some(back) = back.or_else(|| is_true("RolledBack").map(|condition| &condition.message)) {
        let failed = fact(FactKind::Failed).map(|fact| worded(&fact.reason, &fact.message));
        let why = failed.or_else(|| is_true("Failed").map(sentence)).unwrap_or_else(|| back.clone());
        let serving = serving.unwrap_or("the last good release");
        return ("RolledBack", format!("it failed ({why}); {serving} serves again{tail}"));
    }
    if let Some(failed) = fact(FactKind::Failed) {
        let rest = left(wish, state, serving);
        return ("Failed", format!("{}{rest}{tail}", worded(&failed.reason, &failed.message)));
    }
    let Some(state) = state else {
        return ("Progressing", format!("accepted; the operator has not acted on it yet{tail}"));
    };
    if let Some(failed) = is_true("Failed") {
        return ("Failed", format!("{}{}{tail}", sentence(failed), left(wish, Some(state), serving)));
    }
    if let Some(paused) = is_true("Paused") {
        return ("Paused", format!("{}{tail}", sentence(paused)));
    }
    if let Some(ready) = is_true("Ready") {
        let counts = state.replicas.map(|pods| format!("{}/{} pods ready", pods.ready, pods.desired));
        let words: Vec<String> = counts.into_iter().chain(is_true("Contested").map(sentence)).collect();
        let words = if words.is_empty() { ready.message.clone() } else { words.join("; ") };
        return ("Ready", format!("{words}{tail}"));
    }
    if let Some(stalled) = is_true("Stalled").or_else(|| is_true("PolicyDenied")).or_else(|| is_true("Blocked")) {
        return ("Stalled", format!("{}{tail}", sentence(stalled)));
    }
    let nothing = if wish.key.kind == Kind::TaskRun { "running" } else { "being rolled out" };
    let why = worst(state).map_or_else(|| nothing.into(), sentence);
    let counts =
        state.replicas.map(|pods| format!(", {}/{} pods ready, {} new", pods.ready, pods.desired, pods.updated));
    ("Progressing", format!("{why}{}{tail}", counts.unwrap_or_default()))
}

/// What serves beside a release that failed.
fn left(wish: &Stored, state: Option<&State>, serving: Option<&str>) -> String {
    let Some(state) = state.filter(|_| wish.key.kind == Kind::Release) else { return String::new() };
    match &state.effective {
        Some(effective) if effective.generation != Some(wish.generation) => {
            format!("; {} serves on", serving.unwrap_or("the last good release"))
        }
        Some(_) | None => "; there is no earlier release to go back to".to_owned(),
    }
}

fn condition<'a>(state: &'a State, kind: &str) -> Option<&'a Condition> {
    state.conditions.iter().find(|condition| condition.condition_type == kind && condition.status == "True")
}

/// The condition that says most about why it is not ready.
fn worst(state: &State) -> Option<&Condition> {
    // Conditions that do not explain why it is not ready.
    let other = |c: &Condition| {
        let kind = c.condition_type.as_str();
        matches!(kind, "Ready" | "Prepared" | "Removed" | "Concluded" | "Modified" | "ImageRewritten")
    };
    let wrong = |c: &&Condition| !other(c) && c.status == "True";
    let named = |kind: &str| state.conditions.iter().find(|c| c.condition_type == kind);
    // A run has no `Ready`: what it does stands with its end, which is still open.
    state.conditions.iter().find(wrong).or_else(|| named("Ready")).or_else(|| named("Ended"))
}

fn sentence(condition: &Condition) -> String {
    worded(&condition.reason, &condition.message)
}

fn worded(reason: &str, message: &str) -> String {
    if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") }
}

#[cfg(test)]
mod tests;

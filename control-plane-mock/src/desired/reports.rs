//! What data planes report: states (the latest wins) and facts (once by id), and what follows from them.

use protocol::name::{Kind, ResourceKey};
use protocol::report::{Fact, FactKind, State};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use super::{documents, events, forgotten, outcomes};
use crate::store::{Result, Steps, Wake, execute, now, query_row};

pub(crate) const STEPS: Steps = &[(
    1,
    "
CREATE TABLE resource_state (
  data_plane TEXT NOT NULL REFERENCES data_plane ON DELETE CASCADE, kind TEXT NOT NULL, name TEXT NOT NULL,
  digest TEXT NOT NULL, state TEXT NOT NULL, at TEXT NOT NULL,
  PRIMARY KEY (data_plane, kind, name)) STRICT, WITHOUT ROWID;
CREATE TABLE fact (
  data_plane TEXT NOT NULL REFERENCES data_plane ON DELETE CASCADE, id TEXT NOT NULL, kind TEXT NOT NULL,
  name TEXT NOT NULL, generation INTEGER NOT NULL, what TEXT NOT NULL, fact TEXT NOT NULL, at TEXT NOT NULL,
  PRIMARY KEY (data_plane, id)) STRICT, WITHOUT ROWID;
CREATE INDEX fact_of ON fact (data_plane, kind, name, generation);
",
)];

pub(crate) const WAKES: &[Wake] =
    &[Wake { after: "INSERT ON main.fact WHEN new.what IN ('Deleted', 'TaskEnded')", whom: "new.data_plane" }];

/// Records the latest state of a resource; none removes it.
///
/// # Errors
/// SQLite's.
pub fn record_state(
    c: &Connection,
    data_plane: &str,
    key: &ResourceKey,
    digest: &str,
    state: Option<&State>,
) -> Result<()> {
    let (kind, name) = (key.kind.as_str(), key.name.as_str());
    let Some(state) = state else {
        execute(
            c,
            "DELETE FROM resource_state WHERE data_plane = ?1 AND kind = ?2 AND name = ?3",
            params![data_plane, kind, name],
        )?;
        return events::add(c, data_plane, Some((kind, name)), "State", &json!({ "gone": true }));
    };
    let changed = c
        .prepare_cached(
            "INSERT INTO resource_state (data_plane, kind, name, digest, state, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (data_plane, kind, name) DO UPDATE SET digest = excluded.digest, state = excluded.state, at = excluded.at
             WHERE digest <> excluded.digest",
        )?
        .execute(params![data_plane, kind, name, digest, serde_json::to_string(state)?, now()])?;
    if changed > 0 {
        outcomes::seen(c, data_plane, state)?;
        events::add(c, data_plane, Some((kind, name)), "State", &serde_json::to_value(state)?)?;
    }
    if key.kind == Kind::TaskRun
        && let Some(end) = state.conditions.iter().find(|one| one.condition_type == "Ended" && one.status == "True")
    {
        // The fact about the end may have gone to a store that is lost, so the end is taken from the state. A fact that still comes adds
        // the exit code.
        execute(
            c,
            "UPDATE task_run SET ended = ?3, result = ?4, message = ?5 WHERE data_plane = ?1 AND name = ?2 AND ended IS NULL",
            params![data_plane, name, end.last_transition_time, run_result(&end.reason, None), end.message],
        )?;
    }
    forgotten::seen_again(c, data_plane, key)
}

/// What the data plane does not hold has no state any more.
///
/// # Errors
/// SQLite's.
pub fn forget_state(c: &Connection, data_plane: &str, key: &ResourceKey) -> Result<()> {
    execute(
        c,
        "DELETE FROM resource_state WHERE data_plane = ?1 AND kind = ?2 AND name = ?3",
        params![data_plane, key.kind.as_str(), key.name],
    )?;
    Ok(())
}

/// Removes the states of all resources that are `lost`.
///
/// # Errors
/// SQLite's.
pub fn forget_states(c: &Connection, data_plane: &str, lost: impl Fn(&ResourceKey) -> bool) -> Result<()> {
    let mut statement = c.prepare_cached("SELECT kind, name FROM resource_state WHERE data_plane = ?1")?;
    let rows = statement.query_map([data_plane], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    for row in rows.collect::<rusqlite::Result<Vec<_>>>()? {
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == row.0) else { continue };
        let key = ResourceKey { kind, name: row.1 };
        if lost(&key) {
            forget_state(c, data_plane, &key)?;
        }
    }
    Ok(())
}

/// Records a fact once. False if it was known.
///
/// # Errors
/// SQLite's.
pub fn record_fact(c: &Connection, data_plane: &str, key: &ResourceKey, fact: &Fact) -> Result<bool> {
    let (kind, name) = (key.kind.as_str(), key.name.as_str());
    let text = serde_json::to_string(fact)?;
    let added = c
        .prepare_cached(
            "INSERT INTO fact (data_plane, id, kind, name, generation, what, fact, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (data_plane, id) DO NOTHING",
        )?
        .execute(params![data_plane, fact.id, kind, name, fact.generation, fact.kind.as_str(), text, fact.at])?;
    if added == 0 {
        // A fact that merges several events keeps its id while its count grows.
        let grown =
            "UPDATE fact SET fact = ?3 WHERE data_plane = ?1 AND id = ?2 AND coalesce(fact ->> '$.count', 1) < ?4";
        if let Some(count) = fact.count
            && execute(c, grown, params![data_plane, fact.id, text, count])? > 0
        {
            events::add(c, data_plane, Some((kind, name)), "Fact", &serde_json::to_value(fact)?)?;
        }
        return Ok(false);
    }
    documents::implied(c, data_plane, key, fact.generation)?;
    outcomes::told(c, data_plane, fact.generation, fact.kind)?;
    match fact.kind {
        FactKind::TaskStarted => {
            let sql = "UPDATE task_run SET started = coalesce(started, ?3) WHERE data_plane = ?1 AND name = ?2";
            execute(c, sql, params![data_plane, name, fact.at])?;
        }
        FactKind::TaskEnded => {
            execute(
                c,
                "UPDATE task_run SET ended = ?3, result = ?4, exit_code = ?5, message = ?6
                 WHERE data_plane = ?1 AND name = ?2 AND (ended IS NULL OR result = 'Unknown' OR exit_code IS NULL)",
                params![
                    data_plane,
                    name,
                    fact.at,
                    run_result(&fact.reason, fact.exit_code),
                    fact.exit_code,
                    fact.message
                ],
            )?;
        }
        FactKind::Ready | FactKind::Failed | FactKind::RolledBack | FactKind::Deleted | FactKind::Modified => {}
    }
    events::add(c, data_plane, Some((kind, name)), "Fact", &serde_json::to_value(fact)?)?;
    Ok(true)
}

fn run_result(reason: &str, exit_code: Option<i32>) -> &str {
    match (reason, exit_code) {
        (known @ ("Succeeded" | "Failed" | "Cancelled" | "Unknown"), _) => known,
        ("JobLost", _) => "Unknown",
        // A program that was told to end may do so with success, and its run has failed all the same.
        ("TimedOut" | "Evicted" | "StartGate", _) => "Failed",
        (_, Some(0)) => "Succeeded",
        (_, Some(_) | None) => "Failed",
    }
}

/// What people read of a run that the data plane had and has no more.
pub const RUN_GONE: &str = "the run is not in the cluster any more";

/// A task run of which it is not known whether it ran: its result is Unknown, `why` says so to people, and it is never sent again.
///
/// # Errors
/// SQLite's.
pub fn task_run_lost(c: &Connection, data_plane: &str, name: &str, why: &str) -> Result<()> {
    let id: Option<String> = query_row(
        c,
        "UPDATE task_run SET ended = ?3, result = 'Unknown', message = ?4
             WHERE data_plane = ?1 AND name = ?2 AND ended IS NULL RETURNING id",
        params![data_plane, name, now(), why],
        |row| row.get(0),
    )
    .optional()?;
    if id.is_some() {
        events::add(c, data_plane, Some((Kind::TaskRun.as_str(), name)), "Fact", &json!({ "reason": "Unknown" }))?;
    }
    execute(
        c,
        "DELETE FROM document WHERE data_plane = ?1 AND kind = 'TaskRun' AND name = ?2",
        params![data_plane, name],
    )?;
    forget_state(c, data_plane, &ResourceKey { kind: Kind::TaskRun, name: name.to_owned() })
}

/// Facts of one resource at one generation, oldest first; at most twenty.
///
/// # Errors
/// SQLite's.
pub fn facts(c: &Connection, data_plane: &str, key: &ResourceKey, generation: i64) -> Result<Vec<Fact>> {
    let mut statement = c.prepare_cached(
        "SELECT fact FROM fact WHERE data_plane = ?1 AND kind = ?2 AND name = ?3 AND generation = ?4 ORDER BY at, id LIMIT 20",
    )?;
    let mut rows = statement.query(params![data_plane, key.kind.as_str(), key.name, generation])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(serde_json::from_str(&row.get::<_, String>(0)?)?);
    }
    Ok(all)
}

/// Last state of one resource.
///
/// # Errors
/// SQLite's.
pub fn state(c: &Connection, data_plane: &str, key: &ResourceKey) -> Result<Option<State>> {
    let sql = "SELECT state FROM resource_state WHERE data_plane = ?1 AND kind = ?2 AND name = ?3";
    let text: Option<String> =
        query_row(c, sql, params![data_plane, key.kind.as_str(), key.name], |row| row.get(0)).optional()?;
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_was_ended_from_outside_failed_whatever_its_exit_code() {
        for reason in ["TimedOut", "Evicted", "StartGate", "Failed"] {
            assert_eq!(run_result(reason, Some(0)), "Failed", "{reason}");
        }
        assert_eq!((run_result("Succeeded", Some(0)), run_result("JobLost", None)), ("Succeeded", "Unknown"));
    }
}

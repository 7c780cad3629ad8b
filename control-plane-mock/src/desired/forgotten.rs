//! What may be forgotten, and what was, by key and generation.
//!
//! A slow create may reach the API server's store after its resource was forgotten. The resource that comes back is ours: it gets the
//! same forget once more, which does no harm. If that is refused, it gets an Absent document under a new generation.

use protocol::document::{Desired, Provenance};
use protocol::name::{Kind, ResourceKey};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use super::documents::{self, Belongs, COLUMNS, stored};
use super::events;
use crate::store::{Result, Steps, Wake, execute, query_row};

pub(crate) const STEPS: Steps = &[
    // Forgotten resources stay on record: if a create that was under way brings one back, it must count as ours, not as foreign.
    // `again`: the data plane reported it again, so its forget is due once more.
    (
        2,
        "
CREATE TABLE forgotten (
  data_plane TEXT NOT NULL REFERENCES data_plane ON DELETE CASCADE, kind TEXT NOT NULL, name TEXT NOT NULL,
  generation INTEGER NOT NULL, again INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (data_plane, kind, name)) STRICT, WITHOUT ROWID;
",
    ),
];

pub(crate) const WAKES: &[Wake] =
    &[Wake { after: "UPDATE OF again ON main.forgotten WHEN new.again", whom: "new.data_plane" }];

/// Records that `key` was forgotten at `generation`, and that no second forget is due.
fn keep(c: &Connection, data_plane: &str, key: &ResourceKey, generation: i64) -> Result<()> {
    execute(
        c,
        "INSERT INTO forgotten (data_plane, kind, name, generation) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (data_plane, kind, name) DO UPDATE SET generation = max(generation, excluded.generation), again = 0",
        params![data_plane, key.kind.as_str(), key.name, generation],
    )?;
    Ok(())
}

/// The generation at which `key` was forgotten last.
///
/// # Errors
/// SQLite's.
pub fn generation(c: &Connection, data_plane: &str, key: &ResourceKey) -> Result<Option<i64>> {
    let sql = "SELECT generation FROM forgotten WHERE data_plane = ?1 AND kind = ?2 AND name = ?3";
    Ok(query_row(c, sql, params![data_plane, key.kind.as_str(), key.name], |row| row.get(0)).optional()?)
}

/// The data plane has reported `key`. If that was forgotten and has no document here, its forget is due again.
///
/// # Errors
/// SQLite's.
pub fn seen_again(c: &Connection, data_plane: &str, key: &ResourceKey) -> Result<()> {
    let changed = execute(
        c,
        "UPDATE forgotten SET again = 1 WHERE data_plane = ?1 AND kind = ?2 AND name = ?3 AND again = 0
           AND NOT EXISTS (SELECT 1 FROM document d WHERE d.data_plane = ?1 AND d.kind = ?2 AND d.name = ?3)",
        params![data_plane, key.kind.as_str(), key.name],
    )?;
    if changed > 0 {
        let data = json!({ "message": "it is there again after it was forgotten; it is forgotten once more" });
        events::add(c, data_plane, Some((key.kind.as_str(), &key.name)), "SeenAgain", &data)?;
    }
    Ok(())
}

/// The data plane refused to forget what came back: it is Present, or of another generation. An Absent document removes it first, and it
/// is forgotten after that. A task run needs none, since it ends by itself.
///
/// # Errors
/// SQLite's.
pub fn refused(c: &Connection, data_plane: &str, key: &ResourceKey) -> Result<()> {
    let due = execute(
        c,
        "UPDATE forgotten SET again = 0 WHERE data_plane = ?1 AND kind = ?2 AND name = ?3 AND again = 1",
        params![data_plane, key.kind.as_str(), key.name],
    )?;
    if due == 0 || matches!(key.kind, Kind::TaskRun | Kind::DataPlane) || documents::find(c, data_plane, key)?.is_some()
    {
        return Ok(());
    }
    let provenance =
        Provenance { actor: None, change_id: None, reason: Some("it came back after it was forgotten".into()) };
    let body = json!({ "state": "Absent" });
    documents::put(c, data_plane, key, Desired::Absent, &body, &provenance, &Belongs::default())?;
    Ok(())
}

/// No second forget of `key` is due any more.
///
/// # Errors
/// SQLite's.
pub fn settled(c: &Connection, data_plane: &str, key: &ResourceKey) -> Result<()> {
    execute(
        c,
        "UPDATE forgotten SET again = 0 WHERE data_plane = ?1 AND kind = ?2 AND name = ?3",
        params![data_plane, key.kind.as_str(), key.name],
    )?;
    Ok(())
}

/// What is to be forgotten once more.
fn due_again(c: &Connection, data_plane: &str) -> Result<Vec<(ResourceKey, i64)>> {
    let mut statement = c.prepare_cached(
        "SELECT kind, name, generation FROM forgotten f WHERE data_plane = ?1 AND again = 1
           AND NOT EXISTS (SELECT 1 FROM document d WHERE d.data_plane = f.data_plane AND d.kind = f.kind AND d.name = f.name)
         ORDER BY generation",
    )?;
    let rows = statement.query_map([data_plane], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))?;
    let mut due = Vec::new();
    for row in rows {
        let (kind, name, generation) = row?;
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
        due.extend(kind.map(|kind| (ResourceKey { kind, name }, generation)));
    }
    Ok(due)
}

/// What the data plane may delete for good: Absent resources whose objects are gone in the cluster, ended task runs, and resources that
/// came back after they were forgotten.
///
/// # Errors
/// SQLite's.
pub fn to_forget(c: &Connection, data_plane: &str) -> Result<Vec<(ResourceKey, i64)>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM document d WHERE data_plane = ?1 AND (
           (state = 'Absent' AND EXISTS (SELECT 1 FROM fact f WHERE f.data_plane = d.data_plane AND f.kind = d.kind
              AND f.name = d.name AND f.generation = d.generation AND f.what = 'Deleted'))
           OR (kind = 'TaskRun' AND accepted AND EXISTS (SELECT 1 FROM task_run t WHERE t.id = d.task_run AND t.ended IS NOT NULL)))
         ORDER BY generation"
    );
    let mut statement = c.prepare_cached(&sql)?;
    let rows = statement.query_map([data_plane], stored)?;
    let mut due: Vec<_> =
        rows.map(|row| row.map(|stored| (stored.key, stored.generation))).collect::<rusqlite::Result<_>>()?;
    due.extend(due_again(c, data_plane)?);
    Ok(due)
}

/// Drops a document that the data plane has forgotten, and what hangs on it. Facts stay.
///
/// # Errors
/// SQLite's.
pub fn confirmed(c: &Connection, data_plane: &str, key: &ResourceKey, generation: i64) -> Result<()> {
    let environment: Option<Option<i64>> = query_row(
        c,
            "DELETE FROM document WHERE data_plane = ?1 AND kind = ?2 AND name = ?3 AND generation = ?4 RETURNING environment",
            params![data_plane, key.kind.as_str(), key.name, generation],
            |row| row.get(0),
        )
        .optional()?;
    keep(c, data_plane, key, generation)?;
    let Some(environment) = environment else { return Ok(()) };
    execute(
        c,
        "DELETE FROM resource_state WHERE data_plane = ?1 AND kind = ?2 AND name = ?3",
        params![data_plane, key.kind.as_str(), key.name],
    )?;
    events::add(
        c,
        data_plane,
        Some((key.kind.as_str(), &key.name)),
        "Forgotten",
        &json!({ "generation": generation }),
    )?;
    if key.kind == Kind::Environment {
        execute(
            c,
            "DELETE FROM environment WHERE id = ?1 AND deleting IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM document WHERE environment = ?1)",
            [environment],
        )?;
    }
    Ok(())
}

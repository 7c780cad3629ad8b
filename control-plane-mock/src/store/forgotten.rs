//! What was forgotten, by key and generation.
//!
//! A create that the API server was slow about may land after its resource was forgotten. What comes back then is ours: it gets the
//! same forget once more, which does no harm, and if that is refused an Absent document under a new generation.

use protocol::name::{Kind, ResourceKey};
use protocol::spec::{Desired, Provenance};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use super::documents::{self, Belongs};
use super::{Result, events, execute, query_row};

/// Keeps that `key` was forgotten at `generation`; nothing of it is due any more.
pub(super) fn keep(c: &Connection, data_plane: &str, key: &ResourceKey, generation: i64) -> Result<()> {
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

/// The data plane has shown `key`. If it was forgotten and is not wanted, its forget is due again.
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

/// The data plane does not forget what came back: it is Present, or of another generation. So it is removed in order, and
/// forgotten after that. A run ends by itself.
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

/// Nothing of `key` is due any more.
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
pub(super) fn due_again(c: &Connection, data_plane: &str) -> Result<Vec<(ResourceKey, i64)>> {
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

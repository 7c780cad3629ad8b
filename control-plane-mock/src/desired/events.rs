//! What changed, numbered, for those who wait for it. Old entries are thrown away; they are no history.

use control_plane_model::Event;
use rusqlite::{Connection, params};
use serde_json::Value;

use crate::store::{Result, Steps, Wake, now};

pub(crate) const STEPS: Steps = &[(
    1,
    "
CREATE TABLE event (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, organization INTEGER NOT NULL, data_plane TEXT, kind TEXT, name TEXT,
  what TEXT NOT NULL, data TEXT NOT NULL, at TEXT NOT NULL) STRICT;
CREATE INDEX event_of ON event (organization, seq);
",
)];

pub(crate) const WAKES: &[Wake] = &[Wake { after: "INSERT ON main.event", whom: "''" }];

/// Entries that are kept, over all organizations.
const KEPT: i64 = 20_000;

/// Notes a change of something on a data plane.
///
/// # Errors
/// SQLite's.
pub fn add(c: &Connection, data_plane: &str, key: Option<(&str, &str)>, what: &str, data: &Value) -> Result<()> {
    c.prepare_cached(
        "INSERT INTO event (organization, data_plane, kind, name, what, data, at)
         VALUES ((SELECT organization FROM data_plane WHERE id = ?1), ?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![data_plane, key.map(|key| key.0), key.map(|key| key.1), what, data.to_string(), now()])?;
    let seq = c.last_insert_rowid();
    if seq % 1000 == 0 {
        c.execute("DELETE FROM event WHERE seq <= ?1", [seq - KEPT])?;
    }
    Ok(())
}

/// Number of the newest entry.
///
/// # Errors
/// SQLite's.
pub fn last(c: &Connection) -> Result<i64> {
    Ok(c.query_row("SELECT coalesce(max(seq), 0) FROM event", [], |row| row.get(0))?)
}

/// At most 500 entries of an organization after `seq`.
///
/// # Errors
/// SQLite's.
pub fn after(c: &Connection, organization: i64, seq: i64) -> Result<Vec<Event>> {
    let mut statement = c.prepare_cached(
        "SELECT seq, at, what, data_plane, kind, name, data FROM event
         WHERE organization = ?1 AND seq > ?2 ORDER BY seq LIMIT 500",
    )?;
    let mut rows = statement.query(params![organization, seq])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(Event {
            seq: row.get(0)?,
            at: row.get(1)?,
            what: row.get(2)?,
            data_plane: row.get(3)?,
            kind: row.get(4)?,
            name: row.get(5)?,
            data: serde_json::from_str(&row.get::<_, String>(6)?)?,
        });
    }
    Ok(all)
}

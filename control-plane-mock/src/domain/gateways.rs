//! The processes that serve one store: their names, where each is reached by the others, and which are alive.

use rusqlite::{Connection, OptionalExtension, params};

use super::tokens;
use crate::desired::sessions;
use crate::store::{Result, Steps, now};

pub(crate) const STEPS: Steps = &[(
    3,
    "
CREATE TABLE gateway (
  name TEXT PRIMARY KEY, instance TEXT NOT NULL, address TEXT NOT NULL, token TEXT NOT NULL, live INTEGER NOT NULL,
  started TEXT NOT NULL, seen TEXT NOT NULL) STRICT, WITHOUT ROWID;
",
)];

/// Another gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Its name in the store.
    pub name: String,
    /// `host:port` for the other gateways of this machine.
    pub address: String,
}

/// Registers this process as gateway `name` with the administrator's token, and ends the sessions that an earlier process of that name
/// left open. The tokens of other gateways stay valid.
///
/// # Errors
/// SQLite's.
pub fn enter(c: &Connection, name: &str, instance: &str, token: &str) -> Result<()> {
    sessions::close_left_over(c, name, "the control plane restarted")?;
    c.execute(
        "INSERT INTO gateway (name, instance, address, token, live, started, seen) VALUES (?1, ?2, '', ?3, 1, ?4, ?4)
         ON CONFLICT (name) DO UPDATE SET instance = excluded.instance, address = '', token = excluded.token, live = 1,
           started = excluded.started, seen = excluded.seen",
        params![name, instance, token, now()],
    )?;
    c.execute(
        "DELETE FROM access_token WHERE name = 'admin' AND organization IS NULL AND hash NOT IN (SELECT token FROM gateway)",
        [],
    )?;
    tokens::admit_admin(c, token)
}

/// Records the address that this gateway listens on.
///
/// # Errors
/// SQLite's.
pub fn listens(c: &Connection, name: &str, address: &str) -> Result<()> {
    c.execute("UPDATE gateway SET address = ?2 WHERE name = ?1", [name, address])?;
    Ok(())
}

/// Heartbeat of this gateway: the data planes that it serves count as seen until now.
///
/// # Errors
/// SQLite's.
pub fn beat(c: &Connection, name: &str) -> Result<()> {
    c.execute("UPDATE gateway SET seen = ?2 WHERE name = ?1", [name, &now()])?;
    Ok(())
}

/// Gateways that count as alive, without `own`.
///
/// # Errors
/// SQLite's.
pub fn others(c: &Connection, own: &str) -> Result<Vec<Gateway>> {
    let mut statement =
        c.prepare_cached("SELECT name, address FROM gateway WHERE live AND name <> ?1 ORDER BY name")?;
    let rows = statement.query_map([own], |row| Ok(Gateway { name: row.get(0)?, address: row.get(1)? }))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A gateway has ended, by itself or not: its sessions are over.
///
/// # Errors
/// SQLite's.
pub fn gone(c: &Connection, name: &str, reason: &str) -> Result<()> {
    sessions::close_left_over(c, name, reason)?;
    c.execute("UPDATE gateway SET live = 0 WHERE name = ?1", [name])?;
    Ok(())
}

/// The other gateway that holds the live session of a data plane, if one does.
///
/// # Errors
/// SQLite's.
pub fn holding(c: &Connection, data_plane: &str, own: &str) -> Result<Option<Gateway>> {
    let sql = "SELECT g.name, g.address FROM session s JOIN gateway g ON g.name = s.gateway
               WHERE s.data_plane = ?1 AND s.ended IS NULL AND g.live AND g.name <> ?2 AND g.address <> ''";
    let found = c.query_row(sql, [data_plane, own], |row| Ok(Gateway { name: row.get(0)?, address: row.get(1)? }));
    Ok(found.optional()?)
}

/// How many data planes may connect: those with an active or a pending key.
///
/// # Errors
/// SQLite's.
pub fn enrolled(c: &Connection) -> Result<u64> {
    let sql = "SELECT count(*) FROM data_plane WHERE (key IS NOT NULL OR pending_key IS NOT NULL) AND revoked IS NULL";
    let count: i64 = c.query_row(sql, [], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

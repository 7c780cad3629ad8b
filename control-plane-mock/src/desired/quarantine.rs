//! Quarantine: a document that may be the reason why connections end is not sent any more, so that those waiting behind it arrive.

use protocol::name::ResourceKey;
use rusqlite::{Connection, params};

use crate::store::{Result, execute};

/// Points at which a document is quarantined: three connections that the agent closed over it, three of its processes that died of it, or
/// twelve cuts in a row before an answer, since something on the way may not let it through. An answer resets the points.
const SET_ASIDE: i64 = 12;
const AGENT_ENDED: i64 = 4;
const CUT: i64 = 1;

/// Counts a connection that the agent closed while this document was the oldest one that it had not answered.
///
/// # Errors
/// SQLite's.
pub fn closed(c: &Connection, data_plane: &str, key: &ResourceKey, generation: i64) -> Result<()> {
    execute(
        c,
        "UPDATE document SET closes = closes + ?5, quarantined = closes + ?5 >= ?6
         WHERE data_plane = ?1 AND kind = ?2 AND name = ?3 AND generation = ?4",
        params![data_plane, key.kind.as_str(), key.name, generation, AGENT_ENDED, SET_ASIDE],
    )?;
    Ok(())
}

/// Counts a connection that was cut while this document was the oldest one without an answer. Whether the agent's process died or the
/// network failed shows in the next session: see [`opened`].
///
/// # Errors
/// SQLite's.
pub fn cut(c: &Connection, data_plane: &str, key: &ResourceKey, generation: i64) -> Result<()> {
    execute(
        c,
        "UPDATE document SET closes = closes + ?5, quarantined = closes + ?5 >= ?6,
           cut_from = (SELECT instance FROM session WHERE data_plane = ?1)
         WHERE data_plane = ?1 AND kind = ?2 AND name = ?3 AND generation = ?4",
        params![data_plane, key.kind.as_str(), key.name, generation, CUT, SET_ASIDE],
    )?;
    Ok(())
}

/// A process of the agent opens a session. A document whose connection to another process was cut may have ended that process, so the cut
/// counts like a death of the process.
///
/// # Errors
/// SQLite's.
pub fn opened(c: &Connection, data_plane: &str, instance: &str) -> Result<()> {
    execute(
        c,
        "UPDATE document SET closes = closes + ?3, quarantined = quarantined OR closes + ?3 >= ?4
         WHERE data_plane = ?1 AND cut_from <> ?2",
        params![data_plane, instance, AGENT_ENDED - CUT, SET_ASIDE],
    )?;
    let sql = "UPDATE document SET cut_from = NULL WHERE data_plane = ?1 AND cut_from IS NOT NULL";
    execute(c, sql, [data_plane])?;
    Ok(())
}

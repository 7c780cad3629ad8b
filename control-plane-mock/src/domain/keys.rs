//! Which key speaks for a data plane, and what it means when one does that was replaced.
//!
//! A data plane has at most two keys: the active one, and a pending one that was registered but has not opened a session yet, so that a
//! lost answer can be requested again. The pending key becomes the active one with its first session. Each new key has the next
//! generation, which its certificates carry. A replaced key that is used again was copied, or came back with a backup: nobody here can
//! tell which, so the identity is locked until a person decides. A certificate of ours with a generation above all that this store knows
//! means that the store was restored from a backup: the store takes over that generation.

use jiff::Timestamp;
use protocol::enrol::{EnrolError, EnrolErrorCode};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use crate::desired::events;
use crate::store::{Result, Steps, execute, now, query_row, stamp};

pub(crate) const STEPS: Steps = &[
    (
        1,
        "
CREATE TABLE certificate (
  serial TEXT PRIMARY KEY, data_plane TEXT NOT NULL REFERENCES data_plane ON DELETE CASCADE,
  key TEXT NOT NULL, issued TEXT NOT NULL, not_after TEXT NOT NULL) STRICT;
",
    ),
    (4, "ALTER TABLE certificate ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;"),
];

/// Role of a key for a data plane, after its possession was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented {
    /// The active one, of this generation.
    Active(i64),
    /// The pending one, of this generation.
    Pending(i64),
    /// A certificate of ours says that it is newer than all that are known here.
    Ahead(i64),
    /// It was replaced by a newer one.
    Replaced,
    /// It never was one, or a person has taken it away.
    Unknown,
}

struct Known {
    key: Option<String>,
    pending: Option<String>,
    generation: i64,
    newest: i64,
    dead: i64,
}

fn known(c: &Connection, data_plane: &str) -> Result<Option<Known>> {
    let sql =
        "SELECT key, pending_key, key_generation, newest_generation, dead_generation FROM data_plane WHERE id = ?1";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Known {
            key: row.get(0)?,
            pending: row.get(1)?,
            generation: row.get(2)?,
            newest: row.get(3)?,
            dead: row.get(4)?,
        })
    };
    Ok(query_row(c, sql, [data_plane], read).optional()?)
}

/// Judges a key. `certified`: the generation in a certificate of it that our authority has signed.
///
/// # Errors
/// SQLite's.
pub fn judge(c: &Connection, data_plane: &str, key: &str, certified: Option<i64>) -> Result<Presented> {
    let Some(Known { key: active, pending, generation, newest, dead }) = known(c, data_plane)? else {
        return Ok(Presented::Unknown);
    };
    if active.as_deref() == Some(key) {
        return Ok(Presented::Active(generation));
    }
    if pending.as_deref() == Some(key) {
        return Ok(Presented::Pending(newest));
    }
    let recorded = "SELECT max(generation) FROM certificate WHERE data_plane = ?1 AND key = ?2";
    let recorded: Option<i64> = query_row(c, recorded, [data_plane, key], |row| row.get(0))?;
    Ok(match (certified, recorded) {
        (Some(certified), _) if certified > newest => Presented::Ahead(certified),
        (Some(of), _) | (None, Some(of)) if of > dead => Presented::Replaced,
        (Some(_), _) | (None, _) => Presented::Unknown,
    })
}

/// Takes a data plane's access away: keys, tokens.
///
/// # Errors
/// SQLite's.
pub fn revoke(c: &Connection, data_plane: &str) -> Result<()> {
    c.execute(
        "UPDATE data_plane SET revoked = ?2, key = NULL, pending_key = NULL, cluster = NULL,
           dead_generation = newest_generation WHERE id = ?1",
        params![data_plane, now()],
    )?;
    c.execute("DELETE FROM enrolment_token WHERE data_plane = ?1", [data_plane])?;
    Ok(())
}

/// A refusal of an enrolment or a renewal.
#[must_use]
pub fn no(code: EnrolErrorCode, message: &str) -> EnrolError {
    EnrolError { code, message: message.to_owned(), retry_after_ms: None }
}

/// Whether the data plane may have a certificate or a session at all.
///
/// # Errors
/// The outer one is the store's; the inner one goes back to the agent.
pub fn allowed(c: &Connection, data_plane: &str) -> Result<std::result::Result<(), EnrolError>> {
    let sql = "SELECT revoked IS NOT NULL, locked FROM data_plane WHERE id = ?1";
    let found: Option<(bool, Option<String>)> =
        query_row(c, sql, [data_plane], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(match found {
        None => Err(no(
            EnrolErrorCode::DataPlaneUnknown,
            "this data plane does not exist here; enrol again with a new token",
        )),
        Some((_, Some(why))) => Err(no(EnrolErrorCode::IdentityLocked, &why)),
        Some((true, None)) => Err(no(
            EnrolErrorCode::DataPlaneRevoked,
            "access of this data plane was revoked; a person must enrol it again with a new token",
        )),
        Some((false, None)) => Ok(()),
    })
}

/// Takes every key and token away until a person makes a new token, and keeps why. `what` was done with a replaced key.
///
/// # Errors
/// SQLite's.
pub fn lock(c: &Connection, data_plane: &str, what: &str) -> Result<EnrolError> {
    let why = format!(
        "{what} with a key of this data plane that has been replaced, at {}: its identity Secret was restored from a backup, or \
         somebody has a copy of the key. The identity is locked: find out who has it, then enrol again with a new token: \
         pdpctl create enrolment DATA-PLANE",
        now()
    );
    revoke(c, data_plane)?;
    execute(c, "UPDATE data_plane SET locked = ?2, alarm = NULL WHERE id = ?1", [data_plane, &why])?;
    events::add(c, data_plane, None, "Alarm", &json!({ "message": why }))?;
    Ok(no(EnrolErrorCode::IdentityLocked, &why))
}

/// Registers a key as the pending one and returns its generation. A key that is active or pending already keeps its generation.
///
/// # Errors
/// SQLite's.
pub fn register(c: &Connection, data_plane: &str, key: &str) -> Result<i64> {
    match judge(c, data_plane, key, None)? {
        Presented::Active(generation) | Presented::Pending(generation) => Ok(generation),
        Presented::Ahead(_) | Presented::Replaced | Presented::Unknown => Ok(query_row(
            c,
            "UPDATE data_plane SET pending_key = ?2, newest_generation = newest_generation + 1 WHERE id = ?1
             RETURNING newest_generation",
            [data_plane, key],
            |row| row.get(0),
        )?),
    }
}

/// Registers `key`, which a session of the key `by` wants certified, and returns its generation.
///
/// # Errors
/// The outer one is the store's; the inner one goes back to the agent.
pub fn renew(c: &Connection, data_plane: &str, by: &str, key: &str) -> Result<std::result::Result<i64, EnrolError>> {
    if let Err(error) = allowed(c, data_plane)? {
        return Ok(Err(error));
    }
    if !matches!(judge(c, data_plane, by, None)?, Presented::Active(_)) {
        let message = "the key of this session was replaced meanwhile; connect again";
        return Ok(Err(no(EnrolErrorCode::BadProof, message)));
    }
    match judge(c, data_plane, key, None)? {
        Presented::Replaced => {
            Ok(Err(no(EnrolErrorCode::InvalidRequest, "this key was replaced and is not taken again; make a new one")))
        }
        Presented::Active(_) | Presented::Pending(_) | Presented::Ahead(_) | Presented::Unknown => {
            Ok(Ok(register(c, data_plane, key)?))
        }
    }
}

/// Judges a proof of possession without a session: the key itself may be certified again, and no other. Returns its generation.
///
/// # Errors
/// The outer one is the store's; the inner one goes back to the agent.
pub fn prove(
    c: &Connection,
    data_plane: &str,
    key: &str,
    certified: Option<i64>,
) -> Result<std::result::Result<i64, EnrolError>> {
    if let Err(error) = allowed(c, data_plane)? {
        return Ok(Err(error));
    }
    match judge(c, data_plane, key, certified)? {
        Presented::Active(generation) | Presented::Pending(generation) => Ok(Ok(generation)),
        Presented::Ahead(generation) => {
            follow(c, data_plane, key, generation)?;
            Ok(Ok(generation))
        }
        Presented::Replaced => Ok(Err(lock(c, data_plane, "a renewal was asked for")?)),
        Presented::Unknown => {
            let message = "the request is not signed by the registered key; enrol again with a new token";
            Ok(Err(no(EnrolErrorCode::BadProof, message)))
        }
    }
}

/// A session was opened with this key: a pending one is the active one from now on, and so is one that is ahead of this store.
///
/// # Errors
/// SQLite's.
pub fn activate(c: &Connection, data_plane: &str, key: &str, presented: Presented) -> Result<()> {
    match presented {
        Presented::Pending(generation) | Presented::Ahead(generation) => follow(c, data_plane, key, generation),
        Presented::Active(_) | Presented::Replaced | Presented::Unknown => Ok(()),
    }
}

fn follow(c: &Connection, data_plane: &str, key: &str, generation: i64) -> Result<()> {
    execute(
        c,
        "UPDATE data_plane SET key = ?2, pending_key = NULL, key_generation = ?3, newest_generation = ?3 WHERE id = ?1",
        params![data_plane, key, generation],
    )?;
    Ok(())
}

/// When the newest certificate of a data plane ends.
///
/// # Errors
/// SQLite's.
pub fn not_after(c: &Connection, data_plane: &str) -> Result<Option<Timestamp>> {
    let sql = "SELECT max(not_after) FROM certificate WHERE data_plane = ?1";
    let end: Option<String> = query_row(c, sql, [data_plane], |row| row.get(0))?;
    Ok(end.and_then(|end| end.parse().ok()))
}

/// Notes an issued certificate.
///
/// # Errors
/// SQLite's.
pub fn record_certificate(
    c: &Connection,
    data_plane: &str,
    serial: &str,
    key: &str,
    generation: i64,
    not_after: Timestamp,
) -> Result<()> {
    c.execute(
        "INSERT INTO certificate (serial, data_plane, key, generation, issued, not_after) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![serial, data_plane, key, generation, now(), stamp(not_after)],
    )?;
    c.execute("UPDATE data_plane SET refused = NULL WHERE id = ?1 AND refused IS NOT NULL", [data_plane])?;
    // The last 50 are enough to recognize a replaced key as long as its certificate can be renewed.
    c.execute(
        "DELETE FROM certificate WHERE data_plane = ?1 AND serial NOT IN
           (SELECT serial FROM certificate WHERE data_plane = ?1 ORDER BY issued DESC LIMIT 50)",
        [data_plane],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;

//! Access tokens of people and their tools: whom each stands for, until when, and when it was used last.
//!
//! The administrator's own lives as long as its file and is in no list; all others end. No token is stored, only its digest.

use control_plane_model::AccessTokenRow;
use control_plane_model::problem::{Code, Problem};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::organizations::Actor;
use crate::store::{Result, Steps, execute, now, query_row, stamp};

pub(crate) const STEPS: Steps = &[
    (
        1,
        "
CREATE TABLE access_token (
  hash TEXT PRIMARY KEY, name TEXT NOT NULL,
  organization INTEGER REFERENCES organization ON DELETE CASCADE, created TEXT NOT NULL) STRICT;
",
    ),
    // Tokens expire; those made before this version expire 90 days after the upgrade.
    (
        5,
        "
ALTER TABLE access_token ADD COLUMN expires TEXT;
ALTER TABLE access_token ADD COLUMN last_used TEXT;
UPDATE access_token SET expires = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+90 days') WHERE organization IS NOT NULL;
",
    ),
];

/// Default life of a token.
pub const LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Longest life of a token.
pub const MAX_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Resolution of the recorded last use, so that not every request writes.
const SEEN: SignedDuration = SignedDuration::from_mins(1);

/// Who has this token.
///
/// # Errors
/// `Unauthenticated` when it has ended.
pub fn actor(c: &Connection, hash: &str) -> Result<Option<Actor>> {
    let sql = "SELECT name, organization, expires FROM access_token WHERE hash = ?1";
    let row = |row: &rusqlite::Row<'_>| Ok((Actor { name: row.get(0)?, organization: row.get(1)? }, row.get(2)?));
    let found: Option<(Actor, Option<String>)> = query_row(c, sql, [hash], row).optional()?;
    let Some((actor, expires)) = found else { return Ok(None) };
    if let Some(expires) = expires.filter(|expires| *expires <= now()) {
        let problem = Problem::new(Code::Unauthenticated, format!("this token ended at {expires}"));
        return Err(problem.hint("ask the administrator for a new one: pdpctl create token NAME").into());
    }
    let before = Timestamp::now().checked_sub(SEEN).unwrap_or(Timestamp::MIN);
    let sql = "UPDATE access_token SET last_used = ?2 WHERE hash = ?1 AND coalesce(last_used, '') < ?3";
    execute(c, sql, [hash, &now(), &stamp(before)])?;
    Ok(Some(actor))
}

/// Registers the administrator's token.
///
/// # Errors
/// SQLite's.
pub fn admit_admin(c: &Connection, hash: &str) -> Result<()> {
    execute(
        c,
        "INSERT INTO access_token (hash, name, created) VALUES (?1, 'admin', ?2) ON CONFLICT (hash) DO NOTHING",
        [hash, &now()],
    )?;
    Ok(())
}

/// Registers a token of an organization and returns its end.
///
/// # Errors
/// `Conflict` when there is one of that name, `Invalid` for a life that is too long.
pub fn add(c: &Connection, hash: &str, name: &str, organization: i64, life: SignedDuration) -> Result<String> {
    if life <= SignedDuration::ZERO || life > MAX_LIFE {
        return Err(
            Problem::invalid("expiresInSeconds", "a token lives for a second at least and a year at most").into()
        );
    }
    if list(c, organization)?.iter().any(|token| token.name == name) {
        let problem = Problem::new(Code::Conflict, format!("token {name} exists already")).at("name");
        return Err(problem.hint(format!("take another name, or first: pdpctl delete token {name}")).into());
    }
    let expires = stamp(Timestamp::now().checked_add(life).unwrap_or(Timestamp::MAX));
    execute(
        c,
        "INSERT INTO access_token (hash, name, organization, created, expires) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![hash, name, organization, now(), expires],
    )?;
    Ok(expires)
}

/// Tokens of an organization, by name.
///
/// # Errors
/// SQLite's.
pub fn list(c: &Connection, organization: i64) -> Result<Vec<AccessTokenRow>> {
    let sql =
        "SELECT name, created, expires, last_used FROM access_token WHERE organization = ?1 ORDER BY name, created";
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map([organization], |row| {
        Ok(AccessTokenRow { name: row.get(0)?, created: row.get(1)?, expires: row.get(2)?, last_used: row.get(3)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Ends a token at once.
///
/// # Errors
/// `NotFound`.
pub fn delete(c: &Connection, organization: i64, name: &str) -> Result<()> {
    match execute(c, "DELETE FROM access_token WHERE organization = ?1 AND name = ?2", params![organization, name])? {
        0 => Err(not_found(name).into()),
        _ => Ok(()),
    }
}

/// There is no such token.
#[must_use]
pub fn not_found(name: &str) -> Problem {
    let shown: String = name.chars().take(63).collect();
    Problem::not_found(format_args!("token {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SCHEMA;
    use crate::store::prepare;

    fn store() -> Connection {
        let mut c = Connection::open_in_memory().unwrap();
        prepare(&mut c, SCHEMA).unwrap();
        c.execute("INSERT INTO organization (handle, created) VALUES ('acme', '')", []).unwrap();
        c
    }

    #[test]
    fn a_token_ends_by_itself_and_says_so() {
        let c = store();
        add(&c, "hash", "eve", 1, LIFE).unwrap();
        assert_eq!(actor(&c, "hash").unwrap().unwrap().organization, Some(1));
        assert!(list(&c, 1).unwrap()[0].last_used.is_some());
        c.execute("UPDATE access_token SET expires = ?1", [now()]).unwrap();
        let error = actor(&c, "hash").unwrap_err().to_string();
        assert!(error.contains("this token ended at"), "{error}");
        for life in [SignedDuration::ZERO, MAX_LIFE + SignedDuration::from_secs(1)] {
            assert!(add(&c, "other", "bob", 1, life).is_err(), "{life}");
        }
    }

    #[test]
    fn the_administrators_token_lives_on_and_is_in_no_list() {
        let c = store();
        admit_admin(&c, "admin").unwrap();
        admit_admin(&c, "admin").unwrap();
        assert_eq!(actor(&c, "admin").unwrap().unwrap().organization, None);
        assert_eq!(list(&c, 1).unwrap().len(), 0);
    }
}

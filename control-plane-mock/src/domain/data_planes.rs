//! Data planes and how they come to speak for themselves: one-time tokens, enrolment, revocation. Their keys are in [`super::keys`].

use control_plane_model::problem::{Code, Problem};
use control_plane_model::{DataPlane, NewNamed};
use jiff::{SignedDuration, Timestamp};
use protocol::enrol::{EnrolError, EnrolErrorCode};
use rusqlite::{Connection, OptionalExtension, params};

use super::keys::{self, Presented};
pub use super::keys::{no, revoke};
use crate::store::{Result, Steps, Wake, is_duplicate, new_token, now, stamp, token_hash};

pub(crate) const STEPS: Steps = &[
    (
        1,
        "
CREATE TABLE data_plane (
  id TEXT PRIMARY KEY, organization INTEGER NOT NULL REFERENCES organization,
  handle TEXT NOT NULL, display_name TEXT, created TEXT NOT NULL,
  counter INTEGER NOT NULL DEFAULT 0,
  key TEXT, pending_key TEXT, revoked TEXT, cluster TEXT, alarm TEXT, hello TEXT, last_seen TEXT,
  held TEXT, adopted_store TEXT, adopted_below INTEGER NOT NULL DEFAULT 0,
  UNIQUE (organization, handle)) STRICT;
CREATE TABLE enrolment_token (
  hash TEXT PRIMARY KEY, data_plane TEXT NOT NULL REFERENCES data_plane ON DELETE CASCADE,
  expires TEXT NOT NULL, key TEXT, used TEXT) STRICT;
",
    ),
    // Why an enrolment or renewal was refused last.
    (2, "ALTER TABLE data_plane ADD COLUMN refused TEXT;"),
    // Each key has a generation: the active one's, the newest given, and the newest of those that a person took away.
    // `locked`: why, when a replaced key was used.
    (
        4,
        "
ALTER TABLE data_plane ADD COLUMN key_generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE data_plane ADD COLUMN newest_generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE data_plane ADD COLUMN dead_generation INTEGER NOT NULL DEFAULT -1;
ALTER TABLE data_plane ADD COLUMN locked TEXT;
",
    ),
];

pub(crate) const WAKES: &[Wake] = &[Wake { after: "UPDATE OF revoked, held ON main.data_plane", whom: "new.id" }];

/// Longest life of an enrolment token.
pub const MAX_TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(1);

/// Makes a data plane and returns its id.
///
/// # Errors
/// `Invalid` name, `Conflict` when it exists.
pub fn create_data_plane(c: &Connection, organization: i64, new: &NewNamed) -> Result<String> {
    new.check()?;
    let id = format!("dp-{}", uuid::Uuid::new_v4().simple());
    let id: String = id.chars().take(23).collect();
    let sql = "INSERT INTO data_plane (id, organization, handle, display_name, created) VALUES (?1, ?2, ?3, ?4, ?5)";
    match c.execute(sql, params![id, organization, new.name, new.display_name, now()]) {
        Ok(_) => Ok(id),
        Err(error) if is_duplicate(&error) => {
            let problem = Problem::new(Code::Conflict, format!("data plane {} exists already", new.name)).at("name");
            Err(problem.hint("a new token for it: pdpctl create enrolment NAME").into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Id of a data plane of an organization.
///
/// # Errors
/// `NotFound`.
pub fn data_plane(c: &Connection, organization: i64, handle: &str) -> Result<String> {
    let sql = "SELECT id FROM data_plane WHERE organization = ?1 AND handle = ?2";
    let id = c.query_row(sql, params![organization, handle], |row| row.get(0)).optional()?;
    let shown: String = handle.chars().take(63).collect();
    id.ok_or_else(|| Problem::not_found(format_args!("data plane {shown}")).at("dataPlane").into())
}

/// All data planes of an organization, or one.
///
/// # Errors
/// SQLite's.
pub fn data_planes(c: &Connection, organization: i64, only: Option<&str>) -> Result<Vec<DataPlane>> {
    let sql =
        "SELECT d.handle, d.id, d.display_name, d.created, d.key, d.pending_key, d.revoked, d.held, d.alarm, d.hello,
                 d.cluster, d.last_seen, d.counter, s.ended, s.reason, s.id, d.refused, d.locked
               FROM data_plane d LEFT JOIN session s ON s.data_plane = d.id
               WHERE d.organization = ?1 AND (?2 IS NULL OR d.id = ?2) ORDER BY d.handle";
    let mut statement = c.prepare_cached(sql)?;
    let mut rows = statement.query(params![organization, only])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let (key, pending, revoked): (Option<String>, Option<String>, Option<String>) =
            (row.get(4)?, row.get(5)?, row.get(6)?);
        let (held, alarm): (Option<String>, Option<String>) = (row.get(7)?, row.get(8)?);
        let (ended, reason): (Option<String>, Option<String>) = (row.get(13)?, row.get(14)?);
        let (refused, locked): (Option<String>, Option<String>) = (row.get(16)?, row.get(17)?);
        let live = row.get::<_, Option<String>>(15)?.is_some() && ended.is_none();
        let hello: Option<serde_json::Value> =
            row.get::<_, Option<String>>(9)?.map(|text| serde_json::from_str(&text)).transpose()?;
        let (status, message) = match (revoked, live) {
            (Some(_), _) if locked.is_some() => ("Locked", locked),
            (Some(at), _) => ("Revoked", Some(format!("revoked at {at}"))),
            (None, true) => match held {
                Some(why) => ("Held", Some(format!("{why}; accept it with: pdpctl adopt NAME"))),
                None => ("Connected", None),
            },
            (None, false) if key.is_none() && pending.is_none() => ("NotEnrolled", None),
            (None, false) => ("Disconnected", refused.clone().or(reason)),
        };
        all.push(DataPlane {
            name: row.get(0)?,
            id: row.get(1)?,
            display_name: row.get(2)?,
            created: row.get(3)?,
            status: status.into(),
            message: alarm.or(message).or(refused),
            version: hello.as_ref().and_then(|hello| hello["version"].as_str()).map(str::to_owned),
            cluster: row.get(10)?,
            last_seen: row.get(11)?,
            counter: row.get(12)?,
        });
    }
    Ok(all)
}

/// Deletes a data plane that serves no environment. Its documents are forgotten here; in the cluster nothing changes.
///
/// # Errors
/// `Conflict` while an environment names it.
pub fn delete_data_plane(c: &Connection, id: &str) -> Result<()> {
    let sql = "SELECT count(*) FROM environment_data_plane WHERE data_plane = ?1";
    let count: i64 = c.query_row(sql, [id], |row| row.get(0))?;
    if count > 0 {
        let problem = Problem::new(Code::Conflict, format!("it still serves {count} environments"));
        return Err(problem.hint("delete those environments first; nothing is deleted by the way").into());
    }
    c.execute("DELETE FROM data_plane WHERE id = ?1", [id])?;
    Ok(())
}

/// Makes a one-time token and lifts a revocation or a lock; earlier keys stay unusable. Returns token and expiry.
///
/// # Errors
/// SQLite's.
pub fn issue_token(c: &Connection, data_plane: &str, life: SignedDuration) -> Result<(String, String)> {
    let token = new_token("pdpe");
    let life = life.clamp(SignedDuration::from_secs(1), MAX_TOKEN_LIFE);
    let expires = stamp(Timestamp::now().checked_add(life).unwrap_or(Timestamp::MAX));
    c.execute(
        "INSERT INTO enrolment_token (hash, data_plane, expires) VALUES (?1, ?2, ?3)",
        params![token_hash(&token), data_plane, expires],
    )?;
    c.execute("UPDATE data_plane SET revoked = NULL, locked = NULL, alarm = NULL WHERE id = ?1", [data_plane])?;
    Ok((token, expires))
}

/// Spends a token: binds it to `key` at first use and registers the key. Returns the data plane and the key's generation.
///
/// # Errors
/// The outer one is the store's; the inner one goes back to the agent.
pub fn enrol(c: &Connection, token: &str, key: &str) -> Result<std::result::Result<(String, i64), EnrolError>> {
    let hash = token_hash(token);
    let row: Option<(String, String, Option<String>)> = c
        .query_row("SELECT data_plane, expires, key FROM enrolment_token WHERE hash = ?1", [&hash], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((data_plane, expires, bound)) = row else {
        return Ok(Err(no(
            EnrolErrorCode::TokenUnknown,
            "this enrolment token is not known; make a new one: pdpctl create enrolment DATA-PLANE",
        )));
    };
    if bound.as_deref().is_some_and(|bound| bound != key) {
        let message = "this enrolment token was used by another key; make a new one and find out who used it: pdpctl create enrolment DATA-PLANE";
        return refused(c, &data_plane, "an enrolment", no(EnrolErrorCode::TokenUsed, message)).map(Err);
    }
    if expires < now() {
        let message = "this enrolment token has expired; make a new one: pdpctl create enrolment DATA-PLANE";
        return refused(c, &data_plane, "an enrolment", no(EnrolErrorCode::TokenExpired, message)).map(Err);
    }
    // A backup may hold a replaced key together with a token that is valid for an hour.
    if keys::judge(c, &data_plane, key, None)? == Presented::Replaced {
        return keys::lock(c, &data_plane, "an enrolment was asked for").map(Err);
    }
    c.execute(
        "UPDATE enrolment_token SET key = ?2, used = coalesce(used, ?3) WHERE hash = ?1",
        params![hash, key, now()],
    )?;
    let generation = keys::register(c, &data_plane, key)?;
    Ok(Ok((data_plane, generation)))
}

/// Records why a data plane was refused a certificate; shown to people until it has one. Returns `error` for the agent.
///
/// # Errors
/// SQLite's.
pub fn refused(c: &Connection, data_plane: &str, what: &str, error: EnrolError) -> Result<EnrolError> {
    let message = format!("{what} was refused at {}: {}", now(), error.message);
    c.execute("UPDATE data_plane SET refused = ?2 WHERE id = ?1", params![data_plane, message])?;
    Ok(error)
}

//! The current session of each data plane: one row, ordered by epoch; every write of a session is conditional on it.
//!
//! Two gateways over one store, or two links with one identity, so cannot mix: the row names one session, and the writes of any
//! other fail with `Superseded`.

use std::time::Duration;

use protocol::message::{Epoch, Hello};
use protocol::mutant::{self, Mutant};
use protocol::name::Kind;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use super::{events, quarantine};
use crate::store::{Error, Result, Steps, Wake, execute, now, query_row, setting, stamp};

pub(crate) const STEPS: Steps = &[
    (
        1,
        "
CREATE TABLE session (
  data_plane TEXT PRIMARY KEY REFERENCES data_plane ON DELETE CASCADE, id TEXT NOT NULL,
  lease TEXT NOT NULL, transitions INTEGER NOT NULL, connection INTEGER NOT NULL, instance TEXT NOT NULL,
  gateway TEXT NOT NULL, opened TEXT NOT NULL, ended TEXT, reason TEXT) STRICT;
",
    ),
    // Who had the session before this one.
    (4, "ALTER TABLE session ADD COLUMN previous TEXT;"),
];

pub(crate) const WAKES: &[Wake] =
    &[Wake { after: "UPDATE OF id ON main.session WHEN old.ended IS NULL", whom: "new.data_plane" }];

/// What became of an attempt to open a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// It is the current one. `held` says why nothing may be accepted, if so.
    Current {
        /// Highest generation drawn.
        counter: i64,
        /// Why the session is held.
        held: Option<String>,
    },
    /// A live session of the same lease has a higher epoch, or one of another lease is still live.
    Superseded,
    /// The identity belongs to another cluster.
    OtherCluster,
    /// Access was revoked, or the data plane does not exist.
    Revoked,
}

/// Makes `id` the session of the data plane, if its epoch allows it.
///
/// # Errors
/// SQLite's.
pub fn open(c: &Connection, data_plane: &str, id: &str, hello: &Hello, gateway: &str) -> Result<Opened> {
    struct Known {
        cluster: Option<String>,
        counter: i64,
        adopted_store: Option<String>,
    }
    let known = query_row(
        c,
        "SELECT cluster, counter, adopted_store FROM data_plane WHERE id = ?1 AND revoked IS NULL",
        [data_plane],
        |row| Ok(Known { cluster: row.get(0)?, counter: row.get(1)?, adopted_store: row.get(2)? }),
    )
    .optional()?;
    let Some(Known { cluster, counter, adopted_store }) = known else { return Ok(Opened::Revoked) };
    if let Some(cluster) = cluster
        && cluster != hello.cluster
    {
        let message = format!(
            "the identity of this data plane was used from another cluster ({}); it belongs to {cluster}. If the cluster was \
             replaced, revoke the data plane and enrol it again; if not, find out who has its key, and adopt to end this alarm",
            hello.cluster.chars().take(64).collect::<String>()
        );
        execute(c, "UPDATE data_plane SET alarm = ?2 WHERE id = ?1", params![data_plane, message])?;
        events::add(c, data_plane, None, "Alarm", &json!({ "message": message }))?;
        return Ok(Opened::OtherCluster);
    }
    let current = query_row(
        c,
        "SELECT lease, transitions, connection, ended, instance, previous FROM session WHERE data_plane = ?1",
        [data_plane],
        |row| {
            let epoch = Epoch { lease: row.get(0)?, transitions: row.get(1)?, connection: row.get(2)? };
            Ok(Recorded { epoch, ended: row.get(3)?, instance: row.get(4)?, previous: row.get(5)? })
        },
    )
    .optional()?;
    if let Some(other) = current.as_ref().and_then(|current| current.in_turn_with(hello)) {
        in_turn(c, data_plane, other, &hello.instance)?;
    }
    let previous = current.as_ref().and_then(|current| current.before(hello));
    let recorded = current.as_ref().map(|current| (&current.epoch, current.ended.is_none()));
    if !hello.epoch.is_accepted(recorded) {
        return Ok(Opened::Superseded);
    }
    execute(
        c,
        "INSERT INTO session (data_plane, id, lease, transitions, connection, instance, gateway, opened, previous)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (data_plane) DO UPDATE SET id = excluded.id, lease = excluded.lease, transitions = excluded.transitions,
           connection = excluded.connection, instance = excluded.instance, gateway = excluded.gateway,
           opened = excluded.opened, previous = excluded.previous, ended = NULL, reason = NULL",
        params![
            data_plane,
            id,
            hello.epoch.lease,
            hello.epoch.transitions,
            hello.epoch.connection,
            hello.instance,
            gateway,
            now(),
            previous
        ],
    )?;
    quarantine::opened(c, data_plane, &hello.instance)?;
    let store = setting(c, "store_id")?.unwrap_or_default();
    let held = match &hello.store_id {
        Some(known) if *known != store && adopted_store.as_ref() != Some(known) => Some(
            "the data plane was connected to another store of this control plane: was this one restored from a backup?"
                .into(),
        ),
        Some(_) | None if counter < hello.floor.max(hello.highest) => Some(format!(
            "the data plane holds generation {}, only {counter} were drawn here: was this control plane restored from a backup?",
            hello.floor.max(hello.highest)
        )),
        Some(_) | None => None,
    };
    execute(
        c,
        "UPDATE data_plane SET cluster = ?2, hello = ?3, last_seen = ?4, held = ?5 WHERE id = ?1",
        params![data_plane, hello.cluster, serde_json::to_string(hello)?, now(), held],
    )?;
    events::add(c, data_plane, None, "Connected", &json!({ "version": hello.version }))?;
    Ok(Opened::Current { counter, held })
}

/// The session that stands in the row.
struct Recorded {
    epoch: Epoch,
    ended: Option<String>,
    instance: String,
    /// Leadership of the process that had the session before this process.
    previous: Option<String>,
}

/// Identifies one term of leadership of one process. A process that loses the Lease and gets it again has a new term.
fn leadership(instance: &str, epoch: &Epoch) -> String {
    format!("{instance} {} {}", epoch.lease, epoch.transitions)
}

impl Recorded {
    /// The other process, if two processes use the identity in turn: either both claim the same term of leadership, or the other one had
    /// a session in the middle of this one's term, which this one never lost.
    fn in_turn_with(&self, hello: &Hello) -> Option<&str> {
        let Hello { instance, epoch, .. } = hello;
        let one_leadership = (&self.epoch.lease, self.epoch.transitions) == (&epoch.lease, epoch.transitions);
        let came_back = self.previous.as_ref() == Some(&leadership(instance, epoch));
        (self.instance != *instance && (one_leadership || came_back)).then_some(self.instance.as_str())
    }

    /// Value of `previous` for the session that `hello` opens.
    fn before(&self, hello: &Hello) -> Option<String> {
        let same = self.instance == hello.instance;
        if same { self.previous.clone() } else { Some(leadership(&self.instance, &self.epoch)) }
    }
}

fn in_turn(c: &Connection, data_plane: &str, one: &str, other: &str) -> Result<()> {
    let mut both = [one, other].map(|instance| instance.chars().take(100).collect::<String>());
    both.sort();
    let message = format!(
        "two processes use the identity of this data plane in turn: {}. If its cluster was restored from a backup, or a replica of \
         its link is cut off from the API server, adopt to end this alarm; if not, somebody has its key: revoke it and enrol it again",
        both.join(" and ")
    );
    let sql = "UPDATE data_plane SET alarm = ?2 WHERE id = ?1 AND alarm IS NOT ?2";
    if execute(c, sql, [data_plane, &message])? > 0 {
        events::add(c, data_plane, None, "Alarm", &json!({ "message": message }))?;
    }
    Ok(())
}

/// Refuses writes of a session that is not the current one.
///
/// # Errors
/// `Superseded`.
pub fn require(c: &Connection, data_plane: &str, id: &str) -> Result<()> {
    let current: i64 = c
        .prepare_cached("SELECT count(*) FROM session WHERE data_plane = ?1 AND id = ?2 AND ended IS NULL")?
        .query_row([data_plane, id], |row| row.get(0))?;
    if current == 1 { Ok(()) } else { Err(Error::Superseded) }
}

/// Whether a data plane has, or had not longer ago than this, a session at any gateway.
///
/// # Errors
/// SQLite's.
pub fn was_live_within(c: &Connection, data_plane: &str, age: Duration) -> Result<bool> {
    let since = jiff::Timestamp::now().checked_sub(age).map(stamp).unwrap_or_default();
    let sql = "SELECT count(*) > 0 FROM session WHERE data_plane = ?1 AND (ended IS NULL OR ended >= ?2)";
    Ok(query_row(c, sql, [data_plane, &since], |row| row.get(0))?)
}

/// Ends a session, if it is the current one. `heard` is when anything came last: a silent link ends later than that.
///
/// # Errors
/// SQLite's.
pub fn close(c: &Connection, data_plane: &str, id: &str, heard: jiff::Timestamp, reason: &str) -> Result<()> {
    let ended = execute(
        c,
        "UPDATE session SET ended = ?3, reason = ?4 WHERE data_plane = ?1 AND id = ?2 AND ended IS NULL",
        params![data_plane, id, now(), reason],
    )?;
    if ended > 0 {
        let sql = "UPDATE data_plane SET last_seen = max(coalesce(last_seen, ''), ?2) WHERE id = ?1";
        execute(c, sql, params![data_plane, stamp(heard)])?;
        events::add(c, data_plane, None, "Disconnected", &json!({ "reason": reason }))?;
    }
    Ok(())
}

/// Ends the sessions that a dead process of this gateway left open. Their data planes count as seen until its last heartbeat.
///
/// # Errors
/// SQLite's.
pub fn close_left_over(c: &Connection, gateway: &str, reason: &str) -> Result<()> {
    execute(
        c,
        "UPDATE data_plane SET last_seen = max(coalesce(last_seen, ''), (SELECT seen FROM gateway WHERE name = ?1))
         WHERE id IN (SELECT data_plane FROM session WHERE gateway = ?1 AND ended IS NULL)
           AND EXISTS (SELECT 1 FROM gateway WHERE name = ?1)",
        [gateway],
    )?;
    execute(
        c,
        "UPDATE session SET ended = ?2, reason = ?3 WHERE gateway = ?1 AND ended IS NULL",
        params![gateway, now(), reason],
    )?;
    Ok(())
}

/// Holds the current session for a reason found later, in the inventory.
///
/// # Errors
/// SQLite's.
pub fn hold(c: &Connection, data_plane: &str, why: &str) -> Result<()> {
    execute(c, "UPDATE data_plane SET held = ?2 WHERE id = ?1", params![data_plane, why])?;
    events::add(c, data_plane, None, "Alarm", &json!({ "message": why }))?;
    Ok(())
}

/// Unknown resources of a data plane up to this generation were accepted by a person, and do not hold its session.
///
/// # Errors
/// SQLite's.
pub fn adopted_below(c: &Connection, data_plane: &str) -> Result<i64> {
    Ok(query_row(c, "SELECT adopted_below FROM data_plane WHERE id = ?1", [data_plane], |row| row.get(0))?)
}

/// A person accepts what a held data plane has: the counter is raised above all seen, so that new wishes win.
///
/// # Errors
/// SQLite's.
pub fn adopt(c: &Connection, data_plane: &str) -> Result<()> {
    let hello: Option<String> =
        query_row(c, "SELECT hello FROM data_plane WHERE id = ?1", [data_plane], |row| row.get(0))?;
    let hello: Option<Hello> = hello.map(|text| serde_json::from_str(&text)).transpose()?;
    let seen = hello.as_ref().map_or(0, |hello| hello.floor.max(hello.highest));
    let seen = if mutant::is(Mutant::AdoptedBelowSeen) { 0 } else { seen };
    execute(
        c,
        "UPDATE data_plane SET counter = max(counter, ?2), adopted_below = max(counter, ?2), adopted_store = ?3, held = NULL,
           alarm = NULL
         WHERE id = ?1",
        params![data_plane, seen, hello.and_then(|hello| hello.store_id)],
    )?;
    // What is still wanted is asked for under new generations, above all that the data plane may hold.
    for wish in super::documents::wanted(c, data_plane, 0)? {
        match (wish.key.kind, wish.accepted) {
            // It runs or has run; its generation stands.
            (Kind::TaskRun, true) => {}
            // The data plane may have accepted the run after the copy was made, and it must not run twice.
            (Kind::TaskRun, false) => {
                let why = "it may have run before the control plane was restored; ask for another run if it is needed";
                super::reports::task_run_lost(c, data_plane, &wish.key.name, why)?;
            }
            (Kind::DataPlane | Kind::Environment | Kind::Release, _) => {
                super::documents::redraw(c, data_plane, &wish.key, wish.generation)?;
            }
        }
    }
    Ok(())
}

//! Tables, and how a file of an older version becomes one of this.
//!
//! The version stands in SQLite's `user_version`. Each step is a script that is run once; steps are only ever added.

use rusqlite::{Connection, TransactionBehavior};

use super::{Error, Result};

const STEPS: [&str; 5] = [V1, V2, V3, V4, V5];

/// Access tokens end; those from before end 90 days from now.
const V5: &str = "
ALTER TABLE access_token ADD COLUMN expires TEXT;
ALTER TABLE access_token ADD COLUMN last_used TEXT;
UPDATE access_token SET expires = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+90 days') WHERE organization IS NOT NULL;
";

/// Each key of a data plane has a generation: the active one's, the newest given, and the newest of those that a person took away.
/// `locked`: why, when a replaced key was used. `previous`: who had the session before this one.
const V4: &str = "
ALTER TABLE data_plane ADD COLUMN key_generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE data_plane ADD COLUMN newest_generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE data_plane ADD COLUMN dead_generation INTEGER NOT NULL DEFAULT -1;
ALTER TABLE data_plane ADD COLUMN locked TEXT;
ALTER TABLE certificate ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN previous TEXT;
";

/// Several processes over one file: who they are, and what each changed last, for the others to notice.
const V3: &str = "
CREATE TABLE gateway (
  name TEXT PRIMARY KEY, instance TEXT NOT NULL, address TEXT NOT NULL, token TEXT NOT NULL, live INTEGER NOT NULL,
  started TEXT NOT NULL, seen TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE changed (data_plane TEXT PRIMARY KEY, seq INTEGER NOT NULL, instance TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX changed_at ON changed (seq);
";

/// What was forgotten stays known: a create that was under way may bring it back, and then it is ours and not foreign. `again`: it
/// was seen, and its forget is due once more. `refused`: why an enrolment or renewal for this data plane was refused last.
const V2: &str = "
CREATE TABLE forgotten (
  data_plane TEXT NOT NULL REFERENCES data_plane ON DELETE CASCADE, kind TEXT NOT NULL, name TEXT NOT NULL,
  generation INTEGER NOT NULL, again INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (data_plane, kind, name)) STRICT, WITHOUT ROWID;

ALTER TABLE data_plane ADD COLUMN refused TEXT;
";

const V1: &str = "
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE organization (
  id INTEGER PRIMARY KEY AUTOINCREMENT, handle TEXT NOT NULL UNIQUE, display_name TEXT, created TEXT NOT NULL) STRICT;

CREATE TABLE access_token (
  hash TEXT PRIMARY KEY, name TEXT NOT NULL,
  organization INTEGER REFERENCES organization ON DELETE CASCADE, created TEXT NOT NULL) STRICT;

CREATE TABLE project (
  id INTEGER PRIMARY KEY AUTOINCREMENT, organization INTEGER NOT NULL REFERENCES organization,
  handle TEXT NOT NULL, display_name TEXT, created TEXT NOT NULL, UNIQUE (organization, handle)) STRICT;

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

CREATE TABLE certificate (
  serial TEXT PRIMARY KEY, data_plane TEXT NOT NULL REFERENCES data_plane ON DELETE CASCADE,
  key TEXT NOT NULL, issued TEXT NOT NULL, not_after TEXT NOT NULL) STRICT;

CREATE TABLE session (
  data_plane TEXT PRIMARY KEY REFERENCES data_plane ON DELETE CASCADE, id TEXT NOT NULL,
  lease TEXT NOT NULL, transitions INTEGER NOT NULL, connection INTEGER NOT NULL, instance TEXT NOT NULL,
  gateway TEXT NOT NULL, opened TEXT NOT NULL, ended TEXT, reason TEXT) STRICT;

CREATE TABLE environment (
  id INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL REFERENCES project, handle TEXT NOT NULL,
  position INTEGER NOT NULL, settings TEXT NOT NULL, created TEXT NOT NULL, deleting TEXT,
  UNIQUE (project, handle)) STRICT;

CREATE TABLE environment_data_plane (
  environment INTEGER NOT NULL REFERENCES environment ON DELETE CASCADE,
  data_plane TEXT NOT NULL REFERENCES data_plane, PRIMARY KEY (environment, data_plane)) STRICT, WITHOUT ROWID;

CREATE TABLE component (
  id INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL REFERENCES project, handle TEXT NOT NULL,
  type TEXT NOT NULL, display_name TEXT, created TEXT NOT NULL, UNIQUE (project, handle)) STRICT;

CREATE TABLE release (
  id INTEGER PRIMARY KEY AUTOINCREMENT, component INTEGER NOT NULL REFERENCES component ON DELETE CASCADE,
  track TEXT NOT NULL, number INTEGER NOT NULL, content TEXT NOT NULL, actor TEXT, created TEXT NOT NULL,
  UNIQUE (component, track, number)) STRICT;

CREATE TABLE configuration (
  component INTEGER NOT NULL REFERENCES component ON DELETE CASCADE, track TEXT NOT NULL, environment TEXT NOT NULL,
  content TEXT NOT NULL, PRIMARY KEY (component, track, environment)) STRICT, WITHOUT ROWID;

CREATE TABLE deployment (
  id INTEGER PRIMARY KEY AUTOINCREMENT, environment INTEGER NOT NULL REFERENCES environment ON DELETE CASCADE,
  component INTEGER NOT NULL REFERENCES component ON DELETE CASCADE, track TEXT NOT NULL,
  release INTEGER REFERENCES release, configuration TEXT NOT NULL, restart_token TEXT, action TEXT NOT NULL,
  actor TEXT, reason TEXT, created TEXT NOT NULL) STRICT;
CREATE INDEX deployment_of ON deployment (component, environment, track, id);

CREATE TABLE document (
  data_plane TEXT NOT NULL REFERENCES data_plane ON DELETE CASCADE, kind TEXT NOT NULL, name TEXT NOT NULL,
  generation INTEGER NOT NULL, hash TEXT NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL, provenance TEXT,
  environment INTEGER, component INTEGER, track TEXT, deployment INTEGER, task_run TEXT, changed TEXT NOT NULL,
  answer TEXT, answered TEXT, answer_schema INTEGER, accepted INTEGER NOT NULL DEFAULT 0,
  closes INTEGER NOT NULL DEFAULT 0, quarantined INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (data_plane, kind, name)) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX document_generation ON document (data_plane, generation);

CREATE TABLE resource_state (
  data_plane TEXT NOT NULL REFERENCES data_plane ON DELETE CASCADE, kind TEXT NOT NULL, name TEXT NOT NULL,
  digest TEXT NOT NULL, state TEXT NOT NULL, at TEXT NOT NULL,
  PRIMARY KEY (data_plane, kind, name)) STRICT, WITHOUT ROWID;

CREATE TABLE fact (
  data_plane TEXT NOT NULL REFERENCES data_plane ON DELETE CASCADE, id TEXT NOT NULL, kind TEXT NOT NULL,
  name TEXT NOT NULL, generation INTEGER NOT NULL, what TEXT NOT NULL, fact TEXT NOT NULL, at TEXT NOT NULL,
  PRIMARY KEY (data_plane, id)) STRICT, WITHOUT ROWID;
CREATE INDEX fact_of ON fact (data_plane, kind, name, generation);

CREATE TABLE task_run (
  id TEXT PRIMARY KEY, component INTEGER NOT NULL REFERENCES component ON DELETE CASCADE,
  environment INTEGER NOT NULL REFERENCES environment ON DELETE CASCADE, data_plane TEXT NOT NULL,
  name TEXT NOT NULL, release INTEGER, actor TEXT, created TEXT NOT NULL, started TEXT, ended TEXT, result TEXT,
  exit_code INTEGER, message TEXT) STRICT;

CREATE TABLE event (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, organization INTEGER NOT NULL, data_plane TEXT, kind TEXT, name TEXT,
  what TEXT NOT NULL, data TEXT NOT NULL, at TEXT NOT NULL) STRICT;
CREATE INDEX event_of ON event (organization, seq);
";

/// Brings a database to this version.
///
/// # Errors
/// `TooNew` for a file of a later version, else SQLite's.
pub(super) fn migrate(connection: &mut Connection) -> Result<()> {
    let known = STEPS.len() as i64;
    // The lock comes before the look: two processes may begin on one new file.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known {
        return Err(Error::TooNew { found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for step in STEPS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.execute_batch(&format!("PRAGMA user_version = {known}"))?;
    transaction.commit()?;
    Ok(())
}

//! Changes that other processes made to the same file.
//!
//! Each writer notes in its own transaction whom it concerns; SQLite's `data_version`, asked on a connection that never writes, says
//! cheaply that somebody committed. So a gateway wakes its links for what was wished through another one, at no cost while
//! nothing happens.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use super::{Result, Steps};

pub(crate) const STEPS: Steps = &[
    // Which process changed something last, for the others to notice.
    (
        3,
        "
CREATE TABLE changed (data_plane TEXT PRIMARY KEY, seq INTEGER NOT NULL, instance TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX changed_at ON changed (seq);
",
    ),
];

/// How long a change of another process may go unnoticed.
const LOOK: Duration = Duration::from_millis(50);

/// Notes in the open transaction whom it concerns. Events need none: they are numbered.
pub(super) fn note(c: &Connection, concerned: &[String], instance: &str) -> rusqlite::Result<()> {
    for id in concerned.iter().filter(|id| !id.is_empty()) {
        // By key and by the end of an index: the cost does not grow with the number of data planes.
        c.prepare_cached(
            "INSERT INTO changed (data_plane, seq, instance) VALUES (?1, (SELECT coalesce(max(seq), 0) + 1 FROM changed), ?2)
             ON CONFLICT (data_plane) DO UPDATE SET seq = excluded.seq, instance = excluded.instance",
        )?
        .execute(params![id, instance])?;
    }
    Ok(())
}

/// Looks for changes of others.
pub(super) struct Reader {
    connection: Connection,
    instance: Arc<str>,
    version: i64,
    change: i64,
    event: i64,
}

impl Reader {
    pub(super) fn open(path: &Path, instance: Arc<str>) -> Result<Self> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.execute_batch("PRAGMA query_only=ON; PRAGMA busy_timeout=1000;")?;
        let mut reader = Self { connection, instance, version: -1, change: 0, event: 0 };
        // Skips changes from before: a process that starts reads the store anyway.
        reader.look()?;
        Ok(reader)
    }

    /// Until `ended` has no sender any more.
    pub(super) fn run(mut self, ended: &Receiver<()>, on_change: &dyn Fn(&[String])) {
        while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            match self.look() {
                Ok(concerned) if concerned.is_empty() => {}
                Ok(concerned) => on_change(&concerned),
                Err(error) => tracing::debug!(%error, "changes of other processes could not be read; looking again"),
            }
        }
    }

    fn look(&mut self) -> rusqlite::Result<Vec<String>> {
        let version: i64 = self.connection.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        if version == self.version {
            return Ok(Vec::new());
        }
        let mut changes = self
            .connection
            .prepare_cached("SELECT data_plane, seq, instance FROM changed WHERE seq > ?1 ORDER BY seq")?;
        let mut concerned = Vec::new();
        let mut upto = self.change;
        let mut rows = changes.query([self.change])?;
        while let Some(row) = rows.next()? {
            upto = row.get(1)?;
            // Changes of this process were announced at its commit. If one of them overwrote another process's row, that announcement
            // came after both changes.
            if row.get::<_, String>(2)? != *self.instance {
                concerned.push(row.get(0)?);
            }
        }
        let event = self.connection.query_row("SELECT coalesce(max(seq), 0) FROM event", [], |row| row.get(0))?;
        if event > self.event {
            concerned.push(String::new());
        }
        (self.change, self.event, self.version) = (upto, event, version);
        Ok(concerned)
    }
}

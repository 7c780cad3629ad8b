//! The embedded store: one SQLite database, one writer thread.
//!
//! Work is handed over as closures. The writer takes what has queued up meanwhile into one transaction, each piece in a
//! savepoint of its own, and answers all of them after the commit: many small writes cost one sync of the disk. Other processes
//! may work on the same file: each notes whom its changes concern, and [`elsewhere`] reads that. Whoever opens the database gives its
//! schema: the [`Tables`] of [`crate::domain::SCHEMA`].

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use control_plane_model::problem::{Code, Problem};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use tokio::sync::{mpsc, oneshot};

pub(crate) mod elsewhere;
mod schema;

pub use schema::{Steps, Tables, Wake};

pub(crate) const STEPS: Steps =
    &[(1, "CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;")];

/// Pieces of work that may wait; further callers wait to hand theirs over.
const QUEUE: usize = 1024;

/// Compiled statements that are kept.
const STATEMENTS: usize = 128;

/// Pieces of work in one transaction.
const BATCH: usize = 256;

/// Work on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller asked for something impossible.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// SQLite refused.
    #[error("the store failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored value cannot be read.
    #[error("the store holds a value that cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// The file belongs to a newer version.
    #[error("the store has schema version {found}, this program knows {known}; use the newer program, or another file")]
    TooNew {
        /// What the file says.
        found: i64,
        /// What this program writes.
        known: i64,
    },
    /// A session writes that is not the data plane's current one.
    #[error("another session of this data plane has taken over")]
    Superseded,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Problem(problem) => problem,
            Error::Closed | Error::Superseded => Self::new(Code::Unavailable, error.to_string()),
            Error::Sqlite(_) | Error::Json(_) | Error::TooNew { .. } => Self::new(Code::Internal, error.to_string()),
        }
    }
}

/// What work on the store gives.
pub type Result<T> = std::result::Result<T, Error>;

type Finish = Box<dyn FnOnce(Option<String>) + Send>;
type Job = Box<dyn FnOnce(&mut Connection, Option<&str>) -> Finish + Send>;

/// Pause between looks for the lock of a file that another process writes.
const TURN: Duration = Duration::from_millis(1);

/// Looks for the lock before the work is refused: about half a minute.
const TURNS: i32 = 25_000;

/// Handle of the writer thread. When the last one is dropped, the thread ends after what was queued.
#[derive(Clone)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    /// This process, among those that work on the file.
    instance: Arc<str>,
    /// Another process works on the file now.
    shared: Arc<AtomicBool>,
    /// Ends the thread that looks for changes of others.
    _watching: Option<Arc<std::sync::mpsc::Sender<()>>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens a file, or memory without one, and brings it to `schema`.
    ///
    /// # Errors
    /// The file cannot be opened, is no SQLite database, or belongs to a newer version.
    ///
    /// `on_commit` is told the ids of data planes whose documents changed, and an empty id when an event was noted, by whichever
    /// process it was.
    pub fn open(
        path: Option<&Path>,
        schema: &[Tables],
        on_commit: impl Fn(&[String]) + Send + Sync + 'static,
    ) -> Result<Self> {
        let mut connection = match path {
            Some(path) => {
                private(path)?;
                Connection::open(path)?
            }
            None => Connection::open_in_memory()?,
        };
        // SQLite's own waiting backs off to 100 ms, so a process that writes all the time would get the lock first again and again.
        connection.busy_handler(Some(|turns| {
            std::thread::sleep(TURN);
            turns < TURNS
        }))?;
        // WAL with synchronous=FULL keeps what was answered through a crash of the machine (sqlite.org/pragma.html).
        connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;")?;
        prepare(&mut connection, schema)?;
        let instance: Arc<str> = uuid::Uuid::new_v4().to_string().into();
        let shared = Arc::new(AtomicBool::new(false));
        let on_commit = Arc::new(on_commit);
        let watching = match path {
            Some(path) => {
                let (instance, on_change) = (Arc::clone(&instance), Arc::clone(&on_commit));
                let reader = elsewhere::Reader::open(path, instance)?;
                let (watching, ended) = std::sync::mpsc::channel();
                thread("store-elsewhere", move || reader.run(&ended, &*on_change))?;
                Some(Arc::new(watching))
            }
            None => None,
        };
        let (jobs, queue) = mpsc::channel(QUEUE);
        let noting = path.is_some().then(|| Arc::clone(&instance));
        let writer = Writer { connection, noting, shared: Arc::clone(&shared) };
        thread("store", move || writer.run(queue, &*on_commit))?;
        Ok(Self { jobs, instance, shared, _watching: watching })
    }

    /// Id of this process among those that work on the file.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Sets whether another process works on the file: then this one pauses between batches so that the other gets the lock.
    pub fn set_shared(&self, shared: bool) {
        self.shared.store(shared, Ordering::Relaxed);
    }

    /// Runs `work` in a transaction and returns after the commit. An error of `work` undoes what it wrote.
    ///
    /// Cancel safety: dropping the future leaves it open whether the work was done.
    ///
    /// # Errors
    /// Those of `work`; `Sqlite` when the commit failed; `Closed` after shutdown.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, wait) = oneshot::channel();
        let job: Job = Box::new(move |connection, locked_out| {
            let result = match locked_out {
                None => in_savepoint(connection, work),
                Some(why) => Err(Problem::new(Code::Unavailable, format!("the store is locked: {why}")).into()),
            };
            Box::new(move |failed_commit| {
                let result = match failed_commit {
                    Some(message) if result.is_ok() => {
                        Err(Problem::new(Code::Internal, format!("the store could not commit: {message}")).into())
                    }
                    Some(_) | None => result,
                };
                drop(answer.send(result));
            })
        });
        self.jobs.send(job).await.map_err(|_| Error::Closed)?;
        wait.await.map_err(|_| Error::Closed)?
    }
}

/// Brings a connection to `schema`, and has it note whom changes concern ([`woken`]).
///
/// # Errors
/// `TooNew` for a database of a later version, else SQLite's.
pub fn prepare(connection: &mut Connection, schema: &[Tables]) -> Result<()> {
    // Without it a statement is compiled anew whenever other values are bound (sqlite.org/c3ref/prepare.html, on STAT4).
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let steps: Vec<_> = schema.iter().map(|tables| tables.steps).collect();
    schema::migrate(connection, &steps)?;
    schema::note_wakes(connection, schema)
}

/// Runs `work` in the open transaction; an error of it undoes what it wrote, and nothing else.
///
/// # Errors
/// Those of `work`, SQLite's.
pub fn in_savepoint<T>(c: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    execute(c, "SAVEPOINT work", [])?;
    let done = work(c);
    if done.is_err() {
        execute(c, "ROLLBACK TO work", [])?;
    }
    execute(c, "RELEASE work", [])?;
    done
}

/// The file holds the authority's key: nobody else may read it. SQLite gives its side files the same rights.
fn private(path: &Path) -> Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let made = std::fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    let made = made.and_then(|file| file.set_permissions(std::fs::Permissions::from_mode(0o600)));
    made.map_err(|error| Problem::new(Code::Internal, format!("{} cannot be opened: {error}", path.display())).into())
}

/// Whom the open transaction concerns, asked before its end: ids of data planes whose sessions are to be woken, and an empty id
/// when an event was noted.
///
/// # Errors
/// SQLite's.
pub fn woken(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached("DELETE FROM woken RETURNING data_plane")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    match std::thread::Builder::new().name(name.into()).spawn(work) {
        Ok(_) => Ok(()),
        Err(error) => Err(Problem::new(Code::Internal, format!("no thread for the store: {error}")).into()),
    }
}

struct Writer {
    connection: Connection,
    /// Id under which changes are noted for other processes; none for a store in memory.
    noting: Option<Arc<str>>,
    shared: Arc<AtomicBool>,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Job>, on_commit: &dyn Fn(&[String])) {
        while let Some(first) = queue.blocking_recv() {
            self.batch(first, &mut queue, on_commit);
            if self.shared.load(Ordering::Relaxed) {
                // A pause, since another process polls for the lock and must find it free.
                std::thread::sleep(TURN * 2);
            }
        }
    }

    fn batch(&mut self, first: Job, queue: &mut mpsc::Receiver<Job>, on_commit: &dyn Fn(&[String])) {
        let locked_out = self.connection.execute_batch("BEGIN IMMEDIATE").err().map(|error| error.to_string());
        if let Some(error) = &locked_out {
            tracing::error!(error, "store is locked");
        }
        let mut finished = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next.take() {
            finished.push(job(&mut self.connection, locked_out.as_deref()));
            if finished.len() < BATCH {
                next = queue.try_recv().ok();
            }
        }
        let mut concerned = Vec::new();
        let mut failed = None;
        if locked_out.is_none() {
            let committed = woken(&self.connection).and_then(|ids| {
                concerned = ids;
                if let Some(instance) = &self.noting {
                    elsewhere::note(&self.connection, &concerned, instance)?;
                }
                self.connection.execute_batch("COMMIT")
            });
            failed = committed.err().map(|error| {
                tracing::error!(%error, "store could not commit");
                if !self.connection.is_autocommit() {
                    drop(self.connection.execute_batch("ROLLBACK"));
                }
                error.to_string()
            });
        }
        for finish in finished {
            finish(failed.clone());
        }
        if failed.is_none() && !concerned.is_empty() {
            on_commit(&concerned);
        }
    }
}

/// `Connection::execute` with a statement that is compiled once.
pub(crate) fn execute(c: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<usize> {
    c.prepare_cached(sql)?.execute(values)
}

/// `Connection::query_row` with a statement that is compiled once.
pub(crate) fn query_row<T>(
    c: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    c.prepare_cached(sql)?.query_row(values, read)
}

/// Time as it stands in the store: RFC 3339, UTC, milliseconds.
#[must_use]
pub fn now() -> String {
    stamp(jiff::Timestamp::now())
}

/// A time in the store's form, so that texts compare as times.
#[must_use]
pub fn stamp(time: jiff::Timestamp) -> String {
    format!("{time:.3}")
}

/// A named value of the installation.
///
/// # Errors
/// SQLite's.
pub fn setting(c: &Connection, name: &str) -> Result<Option<String>> {
    Ok(query_row(c, "SELECT value FROM setting WHERE name = ?1", [name], |row| row.get(0)).optional()?)
}

/// Writes a named value.
///
/// # Errors
/// SQLite's.
pub fn set_setting(c: &Connection, name: &str, value: &str) -> Result<()> {
    c.execute(
        "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        [name, value],
    )?;
    Ok(())
}

/// SHA-256 of a token, in hexadecimal: tokens are stored in no other form.
#[must_use]
pub fn token_hash(token: &str) -> String {
    hex(&<sha2::Sha256 as sha2::Digest>::digest(token.as_bytes()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A new token: 244 random bits behind a prefix that secret scanners can recognise.
#[must_use]
pub fn new_token(prefix: &str) -> String {
    format!("{prefix}_{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

pub(crate) fn is_duplicate(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}

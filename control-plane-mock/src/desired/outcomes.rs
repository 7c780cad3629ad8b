//! What became of each deployment where it was sent: which generations it drew, and how each of them ended.
//!
//! A document is overwritten by the next one, and its facts name a generation only; rollbacks and histories have to know afterwards
//! which deployment served. The row of a generation is made with the document; answers, facts and states fill it in.

use protocol::report::{FactKind, State};
use rusqlite::{Connection, OptionalExtension, params};

use crate::store::{Result, Steps, execute, query_row};

pub(crate) const STEPS: Steps = &[(
    7,
    "
CREATE TABLE deployed_as (
  data_plane TEXT NOT NULL REFERENCES data_plane ON DELETE CASCADE, generation INTEGER NOT NULL,
  deployment INTEGER NOT NULL REFERENCES deployment ON DELETE CASCADE, outcome TEXT,
  PRIMARY KEY (data_plane, generation)) STRICT, WITHOUT ROWID;
CREATE INDEX deployed_as_of ON deployed_as (deployment);
",
)];

/// How a deployment ended in its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is from before outcomes were kept, or its environment has no data plane.
    Unknown,
    /// No data plane has told an end.
    Open,
    /// It served, and failed nowhere.
    Ready,
    Failed,
    RolledBack,
    Refused,
}

impl Outcome {
    /// As it is shown; nothing where there is nothing to show.
    #[must_use]
    pub const fn shown(self) -> Option<&'static str> {
        match self {
            Self::Unknown | Self::Open => None,
            Self::Ready => Some("Ready"),
            Self::Failed => Some("Failed"),
            Self::RolledBack => Some("RolledBack"),
            Self::Refused => Some("Refused"),
        }
    }

    /// Whether it ended badly.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::RolledBack | Self::Refused)
    }
}

/// Notes that a generation was drawn for a deployment.
pub(super) fn drawn(c: &Connection, data_plane: &str, generation: i64, deployment: i64) -> Result<()> {
    let sql = "INSERT INTO deployed_as (data_plane, generation, deployment) VALUES (?1, ?2, ?3)";
    execute(c, sql, params![data_plane, generation, deployment])?;
    Ok(())
}

/// Notes that the wish of one generation is now sent under another.
pub(super) fn redrawn(c: &Connection, data_plane: &str, old: i64, new: i64) -> Result<()> {
    let sql = "UPDATE deployed_as SET generation = ?3 WHERE data_plane = ?1 AND generation = ?2";
    execute(c, sql, params![data_plane, old, new])?;
    Ok(())
}

/// Notes an answer: whether it was a refusal. A wish that is accepted later is no refused one.
pub(super) fn answered(c: &Connection, data_plane: &str, generation: i64, refused: bool) -> Result<()> {
    let sql = "UPDATE deployed_as SET outcome = iif(?3, 'Refused', nullif(outcome, 'Refused'))
               WHERE data_plane = ?1 AND generation = ?2";
    execute(c, sql, params![data_plane, generation, refused])?;
    Ok(())
}

/// Notes the first outcome, as facts tell it. What a state has told since is newer.
pub(super) fn told(c: &Connection, data_plane: &str, generation: i64, kind: FactKind) -> Result<()> {
    let replaced = match kind {
        FactKind::Ready | FactKind::Failed => "",
        FactKind::RolledBack => "Failed",
        FactKind::Deleted | FactKind::Modified | FactKind::TaskStarted | FactKind::TaskEnded => return Ok(()),
    };
    let sql = "UPDATE deployed_as SET outcome = ?3
               WHERE data_plane = ?1 AND generation = ?2 AND coalesce(outcome, ?4) = ?4";
    execute(c, sql, params![data_plane, generation, kind.as_str(), replaced])?;
    Ok(())
}

/// Notes what a state says of its generation now: a release that served may die, and one that failed may be mended in the cluster.
pub(super) fn seen(c: &Connection, data_plane: &str, state: &State) -> Result<()> {
    let Some(generation) = state.observed_generation else { return Ok(()) };
    let is_true = |kind: &&str| state.conditions.iter().any(|one| one.condition_type == *kind && one.status == "True");
    let Some(outcome) = ["RolledBack", "Failed", "Ready"].iter().find(|kind| is_true(kind)) else { return Ok(()) };
    let sql = "UPDATE deployed_as SET outcome = ?3 WHERE data_plane = ?1 AND generation = ?2 AND outcome IS NOT ?3";
    execute(c, sql, params![data_plane, generation, outcome])?;
    Ok(())
}

/// How a deployment ended, over all data planes of its environment.
///
/// # Errors
/// SQLite's.
pub fn of(c: &Connection, deployment: i64) -> Result<Outcome> {
    let mut statement = c.prepare_cached("SELECT outcome FROM deployed_as WHERE deployment = ?1")?;
    let rows = statement.query_map([deployment], |row| row.get::<_, Option<String>>(0))?;
    let all: Vec<Option<String>> = rows.collect::<rusqlite::Result<_>>()?;
    let any = |word: &str| all.iter().any(|outcome| outcome.as_deref() == Some(word));
    let mut worst = [Outcome::Refused, Outcome::Failed, Outcome::RolledBack, Outcome::Ready].into_iter();
    let worst = worst.find(|outcome| outcome.shown().is_some_and(any));
    Ok(worst.unwrap_or(if all.is_empty() { Outcome::Unknown } else { Outcome::Open }))
}

/// The release that a generation was drawn for, as `TRACK/NUMBER`.
///
/// # Errors
/// SQLite's.
pub fn release_of(c: &Connection, data_plane: &str, generation: i64) -> Result<Option<String>> {
    let sql = "SELECT r.track || '/' || r.number FROM deployed_as a JOIN deployment d ON d.id = a.deployment
               JOIN release r ON r.id = d.release WHERE a.data_plane = ?1 AND a.generation = ?2";
    Ok(query_row(c, sql, params![data_plane, generation], |row| row.get(0)).optional()?)
}

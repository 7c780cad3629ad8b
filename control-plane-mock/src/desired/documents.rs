//! Desired state: one whole document per resource and data plane, with the memory of what was answered.
//!
//! A generation is drawn from the data plane's counter in the transaction that writes the document, and never again: the
//! counter only grows, also when documents are forgotten.

use control_plane_model::problem::{Code, Problem};
use protocol::document::{Desired, Provenance};
use protocol::message::Verdict;
use protocol::name::{Kind, ResourceKey};
use protocol::{ContentHash, Tree};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::json;

use super::{events, outcomes};
use crate::store::{Result, Steps, Wake, execute, now, query_row};

pub(crate) const STEPS: Steps = &[
    (
        1,
        "
CREATE TABLE document (
  data_plane TEXT NOT NULL REFERENCES data_plane ON DELETE CASCADE, kind TEXT NOT NULL, name TEXT NOT NULL,
  generation INTEGER NOT NULL, hash TEXT NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL, provenance TEXT,
  environment INTEGER, component INTEGER, track TEXT, deployment INTEGER, task_run TEXT, changed TEXT NOT NULL,
  answer TEXT, answered TEXT, answer_schema INTEGER, accepted INTEGER NOT NULL DEFAULT 0,
  closes INTEGER NOT NULL DEFAULT 0, quarantined INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (data_plane, kind, name)) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX document_generation ON document (data_plane, generation);
",
    ),
    // The process of the agent whose connection was cut while the document was the oldest one without an answer.
    (6, "ALTER TABLE document ADD COLUMN cut_from TEXT;"),
];

pub(crate) const WAKES: &[Wake] = &[
    Wake { after: "INSERT ON main.document", whom: "new.data_plane" },
    Wake { after: "UPDATE OF generation, quarantined ON main.document", whom: "new.data_plane" },
];

/// What a document belongs to, for status and clean-up.
#[derive(Debug, Clone, Default)]
pub struct Belongs {
    /// Row of the environment.
    pub environment: Option<i64>,
    /// Row of the component.
    pub component: Option<i64>,
    /// Track.
    pub track: Option<String>,
    /// Row of the deployment.
    pub deployment: Option<i64>,
    /// Id of the task run.
    pub task_run: Option<String>,
}

/// One wanted resource as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    pub key: ResourceKey,
    /// Generation.
    pub generation: i64,
    /// Hash of key and body.
    pub hash: String,
    /// Whether it shall exist.
    pub state: Desired,
    /// The body.
    pub body: String,
    /// Who asked.
    pub provenance: Option<Provenance>,
    /// Last answer to this generation.
    pub answer: Option<Verdict>,
    /// Schema revision that the answer was given at.
    pub answer_schema: Option<u32>,
    /// Whether this or an earlier generation was ever accepted.
    pub accepted: bool,
    /// Not sent any more: too many connections ended while it was waiting for its answer (see [`super::quarantine`]).
    pub quarantined: bool,
}

impl Stored {
    /// Whether the data plane said that it has stored this generation.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        matches!(self.answer, Some(Verdict::Accepted { .. } | Verdict::Already))
    }

    /// Whether this generation was refused at this schema revision, so that sending it again would be refused again.
    #[must_use]
    pub fn is_refused(&self, schema: u32) -> bool {
        matches!(self.answer, Some(Verdict::Refused { .. })) && self.answer_schema == Some(schema)
    }
}

pub(super) fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let bad =
        |index: usize| rusqlite::Error::InvalidColumnType(index, "stored value".into(), rusqlite::types::Type::Text);
    let json = |index: usize| -> rusqlite::Result<Option<String>> { row.get(index) };
    let kind: String = row.get(0)?;
    Ok(Stored {
        key: ResourceKey {
            kind: Kind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(|| bad(0))?,
            name: row.get(1)?,
        },
        generation: row.get(2)?,
        hash: row.get(3)?,
        state: if row.get::<_, String>(4)? == "Absent" { Desired::Absent } else { Desired::Present },
        body: row.get(5)?,
        provenance: json(6)?.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| bad(6))?,
        answer: json(7)?.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| bad(7))?,
        answer_schema: row.get(8)?,
        accepted: row.get(9)?,
        quarantined: row.get(10)?,
    })
}

pub(super) const COLUMNS: &str =
    "kind, name, generation, hash, state, body, provenance, answer, answer_schema, accepted, quarantined";

/// Writes a wanted resource. Returns the generation drawn for it; none if the same was wanted before.
///
/// # Errors
/// `Invalid` when the body cannot be a document (too long, fractions).
pub fn put(
    c: &Connection,
    data_plane: &str,
    key: &ResourceKey,
    state: Desired,
    body: &impl Serialize,
    provenance: &Provenance,
    belongs: &Belongs,
) -> Result<Option<i64>> {
    let body = serde_json::to_string(body)?;
    if body.len() > 256 * 1024 {
        let sentence = format!("the release has {} bytes as a document, 262144 are allowed", body.len());
        return Err(Problem::invalid("", sentence).hint("put large files into the image").into());
    }
    let tree = Tree::parse(body.as_bytes()).map_err(|error| Problem::new(Code::Invalid, error.to_string()))?;
    let hash = ContentHash::of_document(key.kind.as_str(), &key.name, &tree).to_string();
    let same: Option<i64> = query_row(
        c,
        "SELECT generation FROM document WHERE data_plane = ?1 AND kind = ?2 AND name = ?3 AND hash = ?4",
        params![data_plane, key.kind.as_str(), key.name, hash],
        |row| row.get(0),
    )
    .optional()?;
    if same.is_some() {
        return Ok(None);
    }
    let generation = draw(c, data_plane)?;
    c.prepare_cached(
        "INSERT INTO document (data_plane, kind, name, generation, hash, body, state, provenance, environment, component,
           track, deployment, task_run, changed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (data_plane, kind, name) DO UPDATE SET generation = excluded.generation, hash = excluded.hash,
           body = excluded.body, state = excluded.state, provenance = excluded.provenance, deployment = excluded.deployment,
           changed = excluded.changed, answer = NULL, answered = NULL, answer_schema = NULL, closes = 0, quarantined = 0,
           cut_from = NULL",
    )?
    .execute(params![
        data_plane,
        key.kind.as_str(),
        key.name,
        generation,
        hash,
        body,
        state.as_str(),
        serde_json::to_string(provenance)?,
        belongs.environment,
        belongs.component,
        belongs.track,
        belongs.deployment,
        belongs.task_run,
        now(),
    ])?;
    if let Some(deployment) = belongs.deployment {
        outcomes::drawn(c, data_plane, generation, deployment)?;
    }
    let data = json!({ "generation": generation, "state": state.as_str() });
    events::add(c, data_plane, Some((key.kind.as_str(), &key.name)), "Document", &data)?;
    Ok(Some(generation))
}

/// Draws the next generation of a data plane.
fn draw(c: &Connection, data_plane: &str) -> Result<i64> {
    let sql = "UPDATE data_plane SET counter = counter + 1 WHERE id = ?1 RETURNING counter";
    Ok(query_row(c, sql, [data_plane], |row| row.get(0))?)
}

/// Gives an unchanged wish a new generation, because the data plane called the present one stale or in conflict.
///
/// # Errors
/// SQLite's.
pub fn redraw(c: &Connection, data_plane: &str, key: &ResourceKey, generation: i64) -> Result<()> {
    let new = draw(c, data_plane)?;
    execute(
        c,
        "UPDATE document SET generation = ?5, answer = NULL, answered = NULL, answer_schema = NULL, changed = ?6
         WHERE data_plane = ?1 AND kind = ?2 AND name = ?3 AND generation = ?4",
        params![data_plane, key.kind.as_str(), key.name, generation, new, now()],
    )?;
    outcomes::redrawn(c, data_plane, generation, new)
}

/// Gives a task run a new generation and keeps its answer. A lost store had cancelled this run at a higher generation; draw one above it
/// so that the run can be forgotten.
///
/// # Errors
/// SQLite's.
pub fn renumber(c: &Connection, data_plane: &str, key: &ResourceKey, generation: i64) -> Result<()> {
    let new = draw(c, data_plane)?;
    execute(
        c,
        "UPDATE document SET generation = ?5 WHERE data_plane = ?1 AND kind = ?2 AND name = ?3 AND generation = ?4",
        params![data_plane, key.kind.as_str(), key.name, generation, new],
    )?;
    Ok(())
}

/// All wanted resources of a data plane with a generation above `after`, in the order of generations.
///
/// # Errors
/// SQLite's.
pub fn wanted(c: &Connection, data_plane: &str, after: i64) -> Result<Vec<Stored>> {
    let sql = format!("SELECT {COLUMNS} FROM document WHERE data_plane = ?1 AND generation > ?2 ORDER BY generation");
    let mut statement = c.prepare_cached(&sql)?;
    let rows = statement.query_map(params![data_plane, after], stored)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// All wanted resources without an answer to their present generation, in the order of generations.
///
/// # Errors
/// SQLite's.
pub fn unanswered_all(c: &Connection, data_plane: &str) -> Result<Vec<Stored>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM document WHERE data_plane = ?1 AND answer IS NULL AND quarantined = 0 ORDER BY generation"
    );
    let mut statement = c.prepare_cached(&sql)?;
    let rows = statement.query_map([data_plane], stored)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Forgets the answer to a document that turned out not to be stored, or may be tried again.
///
/// # Errors
/// SQLite's.
pub fn unanswered(c: &Connection, data_plane: &str, key: &ResourceKey) -> Result<()> {
    execute(
        c,
        "UPDATE document SET answer = NULL, answered = NULL, answer_schema = NULL
         WHERE data_plane = ?1 AND kind = ?2 AND name = ?3",
        params![data_plane, key.kind.as_str(), key.name],
    )?;
    Ok(())
}

/// One wanted resource.
///
/// # Errors
/// SQLite's.
pub fn find(c: &Connection, data_plane: &str, key: &ResourceKey) -> Result<Option<Stored>> {
    let sql = format!("SELECT {COLUMNS} FROM document WHERE data_plane = ?1 AND kind = ?2 AND name = ?3");
    Ok(query_row(c, &sql, params![data_plane, key.kind.as_str(), key.name], stored).optional()?)
}

/// Records a refusal, deferral or acceptance if it is about the present generation; otherwise it is ignored.
///
/// # Errors
/// SQLite's.
pub fn record_answer(
    c: &Connection,
    data_plane: &str,
    key: &ResourceKey,
    generation: i64,
    verdict: &Verdict,
    schema: u32,
) -> Result<()> {
    let accepted = matches!(verdict, Verdict::Accepted { .. } | Verdict::Already);
    let text = serde_json::to_string(verdict)?;
    let before: Option<Option<String>> = query_row(
        c,
        "SELECT answer FROM document WHERE data_plane = ?1 AND kind = ?2 AND name = ?3 AND generation = ?4",
        params![data_plane, key.kind.as_str(), key.name, generation],
        |row| row.get(0),
    )
    .optional()?;
    let Some(before) = before else { return Ok(()) };
    c.prepare_cached(
        "UPDATE document SET answer = ?5, answered = ?6, answer_schema = ?7, accepted = accepted OR ?8, closes = 0, cut_from = NULL
         WHERE data_plane = ?1 AND kind = ?2 AND name = ?3 AND generation = ?4",
    )?
    .execute(params![data_plane, key.kind.as_str(), key.name, generation, text, now(), schema, accepted])?;
    outcomes::answered(c, data_plane, generation, matches!(verdict, Verdict::Refused { .. }))?;
    if before.as_deref() != Some(text.as_str()) {
        let data = json!({ "generation": generation, "answer": serde_json::to_value(verdict)? });
        events::add(c, data_plane, Some((key.kind.as_str(), &key.name)), "Answer", &data)?;
    }
    Ok(())
}

/// Clears refusals by policy or quota, so that these documents are sent again: the customer may allow them by now. Returns how many.
///
/// # Errors
/// SQLite's.
pub fn ask_policy_again(c: &Connection, data_plane: &str) -> Result<usize> {
    Ok(execute(
        c,
        "UPDATE document SET answer = NULL, answer_schema = NULL, quarantined = 0 WHERE data_plane = ?1
           AND json_extract(answer, '$.answer') = 'refused' AND json_extract(answer, '$.class') IN ('Policy', 'Quota')",
        [data_plane],
    )?)
}

/// A person asked again: clears refusals and lifts quarantines, so that these documents are sent again. Returns how many.
///
/// # Errors
/// SQLite's.
pub fn ask_again(c: &Connection, data_plane: &str, environment: Option<i64>) -> Result<usize> {
    Ok(execute(
        c,
        "UPDATE document SET answer = NULL, answer_schema = NULL, quarantined = 0, closes = 0, cut_from = NULL
         WHERE data_plane = ?1 AND (?2 IS NULL OR environment = ?2)
           AND (quarantined = 1 OR json_extract(answer, '$.answer') = 'refused')",
        params![data_plane, environment],
    )?)
}

/// A fact of a generation proves that it was accepted: records that, even if the answer was lost or was a different one.
///
/// # Errors
/// SQLite's.
pub fn implied(c: &Connection, data_plane: &str, key: &ResourceKey, generation: i64) -> Result<()> {
    match find(c, data_plane, key)? {
        Some(wish) if wish.generation == generation && !wish.is_accepted() => {
            record_answer(c, data_plane, key, generation, &Verdict::Already, 0)
        }
        Some(wish) if !wish.accepted => was_accepted(c, data_plane, key),
        Some(_) | None => Ok(()),
    }
}

/// Some generation of this resource was accepted, whatever was answered to the present one.
///
/// # Errors
/// SQLite's.
pub fn was_accepted(c: &Connection, data_plane: &str, key: &ResourceKey) -> Result<()> {
    let sql = "UPDATE document SET accepted = 1 WHERE data_plane = ?1 AND kind = ?2 AND name = ?3";
    execute(c, sql, params![data_plane, key.kind.as_str(), key.name])?;
    Ok(())
}

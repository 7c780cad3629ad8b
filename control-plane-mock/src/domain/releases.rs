//! Releases of a component: numbered by track, made only when something changed, never changed.

use control_plane_model::component::Component;
use control_plane_model::problem::{Code, Problem};
use control_plane_model::{NewComponent, Release};
use rusqlite::{Connection, OptionalExtension, params};

use super::components::{component, create_component};
use crate::desired::history;
use crate::store::{Error, Result, Steps, now};

pub(crate) const STEPS: Steps = &[(
    1,
    "
CREATE TABLE release (
  id INTEGER PRIMARY KEY AUTOINCREMENT, component INTEGER NOT NULL REFERENCES component ON DELETE CASCADE,
  track TEXT NOT NULL, number INTEGER NOT NULL, content TEXT NOT NULL, actor TEXT, created TEXT NOT NULL,
  UNIQUE (component, track, number)) STRICT;
",
)];

/// Makes a release, or finds the newest one if it holds the same. Returns (row id, number, whether it is new).
///
/// # Errors
/// `Conflict` when the component is of another type.
pub fn release(c: &Connection, project: i64, content: &Component, actor: &str) -> Result<(i64, i64, bool)> {
    let wanted = content.component_type.as_str();
    let id = match component(c, project, &content.name) {
        Ok((id, existing)) if existing == wanted => id,
        Ok((_, existing)) => {
            let problem =
                Problem::new(Code::Conflict, format!("component {} is a {existing}", content.name)).at("/type");
            return Err(problem.hint("a component keeps its type; use another name").into());
        }
        Err(Error::Problem(problem)) if problem.code == Code::NotFound => {
            let display_name = content.display_name.clone();
            let new = NewComponent { name: content.name.clone(), component_type: wanted.to_owned(), display_name };
            create_component(c, project, &new)?
        }
        Err(other) => return Err(other),
    };
    let frozen = content.frozen();
    let text = serde_json::to_string(&frozen)?;
    let sql =
        "SELECT id, number, content FROM release WHERE component = ?1 AND track = ?2 ORDER BY number DESC LIMIT 1";
    let newest: Option<(i64, i64, String)> =
        c.query_row(sql, params![id, frozen.track()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    if let Some((row, number, stored)) = &newest
        && *stored == text
    {
        return Ok((*row, *number, false));
    }
    let number = newest.map_or(1, |(_, number, _)| number + 1);
    c.execute(
        "INSERT INTO release (component, track, number, content, actor, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![id, frozen.track(), number, text, actor, now()],
    )?;
    Ok((c.last_insert_rowid(), number, true))
}

/// Row id and content of a release.
///
/// # Errors
/// `NotFound`.
pub fn find_release(c: &Connection, component: i64, track: &str, number: i64) -> Result<(i64, Component)> {
    let sql = "SELECT id, content FROM release WHERE component = ?1 AND track = ?2 AND number = ?3";
    let row: Option<(i64, String)> =
        c.query_row(sql, params![component, track, number], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((id, content)) = row else {
        let problem = Problem::not_found(format_args!("release {number} of track {track}")).at("release");
        return Err(problem.hint("see pdpctl get releases COMPONENT").into());
    };
    Ok((id, serde_json::from_str(&content)?))
}

/// Releases of a component, newest first; with `full`, their content too.
///
/// # Errors
/// SQLite's.
pub fn releases(c: &Connection, component: i64, full: bool) -> Result<Vec<Release>> {
    let sql = "SELECT r.id, p.handle, r.track, r.number, r.content, r.actor, r.created FROM release r
               JOIN component p ON p.id = r.component WHERE r.component = ?1 ORDER BY r.track, r.number DESC";
    let mut statement = c.prepare_cached(sql)?;
    let mut rows = statement.query([component])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let content: Component = serde_json::from_str(&row.get::<_, String>(4)?)?;
        all.push(Release {
            component: row.get(1)?,
            track: row.get(2)?,
            number: row.get(3)?,
            image: content.image.clone(),
            actor: row.get(5)?,
            created: row.get(6)?,
            deployed_to: history::where_deployed(c, row.get(0)?)?,
            outcomes: history::outcomes(c, row.get(0)?)?,
            content: full.then_some(content),
        });
    }
    Ok(all)
}

/// Deletes a release that was never deployed; deployed ones are what history and rollback stand on.
///
/// # Errors
/// `NotFound`; `Conflict` when it was deployed.
pub fn delete_release(c: &Connection, component: i64, track: &str, number: i64) -> Result<()> {
    let (id, _) = find_release(c, component, track, number)?;
    let count: i64 = c.query_row("SELECT count(*) FROM deployment WHERE release = ?1", [id], |row| row.get(0))?;
    if count > 0 {
        let problem = Problem::new(Code::Conflict, format!("release {track}/{number} was deployed, {count} times"));
        return Err(problem.hint("it stays: history and rollback need it").into());
    }
    c.execute("DELETE FROM release WHERE id = ?1", [id])?;
    Ok(())
}

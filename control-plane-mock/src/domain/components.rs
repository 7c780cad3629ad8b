//! Components of a project.

use control_plane_model::problem::{Code, Problem, check_display_name, check_handle};
use control_plane_model::{ComponentRow, NewComponent};
use protocol::document::ComponentType;
use rusqlite::{Connection, OptionalExtension, params};

use super::handles::{exists_already, short};
use crate::store::{Result, Steps, now};

pub(crate) const STEPS: Steps = &[(
    1,
    "
CREATE TABLE component (
  id INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL REFERENCES project, handle TEXT NOT NULL,
  type TEXT NOT NULL, display_name TEXT, created TEXT NOT NULL, UNIQUE (project, handle)) STRICT;
",
)];

/// Id and type of a component.
///
/// # Errors
/// `NotFound`.
pub fn component(c: &Connection, project: i64, handle: &str) -> Result<(i64, String)> {
    let sql = "SELECT id, type FROM component WHERE project = ?1 AND handle = ?2";
    let found = c.query_row(sql, params![project, handle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    found.ok_or_else(|| Problem::not_found(format_args!("component {}", short(handle))).into())
}

/// Makes a component.
///
/// # Errors
/// `Invalid` name or type, `Conflict` when it exists.
pub fn create_component(c: &Connection, project: i64, new: &NewComponent) -> Result<i64> {
    check_handle("name", &new.name)?;
    check_display_name("displayName", new.display_name.as_deref())?;
    if ComponentType::named(&new.component_type).is_none() {
        let hint = format!("use one of {}", ComponentType::ALL.map(ComponentType::as_str).join(", "));
        return Err(Problem::invalid("type", "this type is not known here").hint(hint).into());
    }
    let sql = "INSERT INTO component (project, handle, type, display_name, created) VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = params![project, new.name, new.component_type, new.display_name, now()];
    exists_already(c.execute(sql, values), "component", &new.name)?;
    Ok(c.last_insert_rowid())
}

/// All components of a project.
///
/// # Errors
/// SQLite's.
pub fn components(c: &Connection, project: i64) -> Result<Vec<ComponentRow>> {
    let sql = "SELECT handle, type, display_name, created, id FROM component WHERE project = ?1 ORDER BY handle";
    let mut statement = c.prepare_cached(sql)?;
    let mut rows = statement.query([project])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let mut newest =
            c.prepare_cached("SELECT track, max(number) FROM release WHERE component = ?1 GROUP BY track")?;
        let releases = newest
            .query_map([row.get::<_, i64>(4)?], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        all.push(ComponentRow {
            name: row.get(0)?,
            component_type: row.get(1)?,
            display_name: row.get(2)?,
            created: row.get(3)?,
            releases,
        });
    }
    Ok(all)
}

/// Deletes a component that is deployed nowhere.
///
/// # Errors
/// `Conflict` while a document of it exists.
pub fn delete_component(c: &Connection, id: i64) -> Result<()> {
    let sql = "SELECT count(*) FROM document WHERE component = ?1 AND kind = 'Release'";
    let count: i64 = c.query_row(sql, [id], |row| row.get(0))?;
    if count > 0 {
        let problem = Problem::new(Code::Conflict, format!("it is still deployed or being removed in {count} places"));
        return Err(problem.hint("undeploy it from each environment and wait: pdpctl undeploy NAME --wait").into());
    }
    c.execute("DELETE FROM component WHERE id = ?1", [id])?;
    Ok(())
}

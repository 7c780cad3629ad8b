//! Projects of an organization.

use control_plane_model::problem::Problem;
use control_plane_model::{Named, NewNamed};
use rusqlite::{Connection, OptionalExtension, params};

use super::handles::{exists_already, named, refuse_if_any, short};
use crate::store::{Result, Steps, now};

pub(crate) const STEPS: Steps = &[(
    1,
    "
CREATE TABLE project (
  id INTEGER PRIMARY KEY AUTOINCREMENT, organization INTEGER NOT NULL REFERENCES organization,
  handle TEXT NOT NULL, display_name TEXT, created TEXT NOT NULL, UNIQUE (organization, handle)) STRICT;
",
)];

/// Id of a project.
///
/// # Errors
/// `NotFound`.
pub fn project(c: &Connection, organization: i64, handle: &str) -> Result<i64> {
    let sql = "SELECT id FROM project WHERE organization = ?1 AND handle = ?2";
    let id = c.query_row(sql, params![organization, handle], |row| row.get(0)).optional()?;
    id.ok_or_else(|| Problem::not_found(format_args!("project {}", short(handle))).into())
}

/// Makes a project.
///
/// # Errors
/// `Invalid` name, `Conflict` when it exists.
pub fn create_project(c: &Connection, organization: i64, new: &NewNamed) -> Result<Named> {
    new.check()?;
    let created = now();
    let sql = "INSERT INTO project (organization, handle, display_name, created) VALUES (?1, ?2, ?3, ?4)";
    exists_already(c.execute(sql, params![organization, new.name, new.display_name, created]), "project", &new.name)?;
    Ok(Named { name: new.name.clone(), display_name: new.display_name.clone(), created })
}

/// All projects of an organization.
///
/// # Errors
/// SQLite's.
pub fn projects(c: &Connection, organization: i64) -> Result<Vec<Named>> {
    let sql = "SELECT handle, display_name, created FROM project WHERE organization = ?1 ORDER BY handle";
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map([organization], named)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Deletes an empty project.
///
/// # Errors
/// `Conflict` while it has environments or components.
pub fn delete_project(c: &Connection, id: i64) -> Result<()> {
    refuse_if_any(c, "SELECT count(*) FROM environment WHERE project = ?1", id, "environments")?;
    refuse_if_any(c, "SELECT count(*) FROM component WHERE project = ?1", id, "components")?;
    c.execute("DELETE FROM project WHERE id = ?1", [id])?;
    Ok(())
}

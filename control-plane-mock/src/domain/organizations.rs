//! Organizations, and who may see them.
//!
//! Every look-up goes through the organization, so that a handle of another organization is simply not found.

use control_plane_model::problem::Problem;
use control_plane_model::{Named, NewNamed};
use rusqlite::{Connection, OptionalExtension, params};

use super::handles::{exists_already, named, refuse_if_any, short};
use crate::store::{Result, Steps, now};

pub(crate) const STEPS: Steps = &[(
    1,
    "
CREATE TABLE organization (
  id INTEGER PRIMARY KEY AUTOINCREMENT, handle TEXT NOT NULL UNIQUE, display_name TEXT, created TEXT NOT NULL) STRICT;
",
)];

/// Who asks: an administrator of the installation, or a token of one organization.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Name in histories.
    pub name: String,
    /// The only organization that exists for this actor.
    pub organization: Option<i64>,
}

/// Id of an organization that `actor` may see.
///
/// # Errors
/// `NotFound`.
pub fn organization(c: &Connection, actor: &Actor, handle: &str) -> Result<i64> {
    let id: Option<i64> =
        c.query_row("SELECT id FROM organization WHERE handle = ?1", [handle], |row| row.get(0)).optional()?;
    match id {
        Some(id) if actor.organization.is_none_or(|own| own == id) => Ok(id),
        Some(_) | None => Err(Problem::not_found(format_args!("organization {}", short(handle))).into()),
    }
}

/// Makes an organization.
///
/// # Errors
/// `Invalid` name, `Conflict` when it exists.
pub fn create_organization(c: &Connection, new: &NewNamed) -> Result<Named> {
    new.check()?;
    let created = now();
    let sql = "INSERT INTO organization (handle, display_name, created) VALUES (?1, ?2, ?3)";
    exists_already(c.execute(sql, params![new.name, new.display_name, created]), "organization", &new.name)?;
    Ok(Named { name: new.name.clone(), display_name: new.display_name.clone(), created })
}

/// All organizations that `actor` may see.
///
/// # Errors
/// SQLite's.
pub fn organizations(c: &Connection, actor: &Actor) -> Result<Vec<Named>> {
    let sql = "SELECT handle, display_name, created FROM organization WHERE ?1 IS NULL OR id = ?1 ORDER BY handle";
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map([actor.organization], named)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Deletes an organization that owns nothing any more.
///
/// # Errors
/// `Conflict` while it has projects or data planes.
pub fn delete_organization(c: &Connection, id: i64) -> Result<()> {
    refuse_if_any(c, "SELECT count(*) FROM project WHERE organization = ?1", id, "projects")?;
    refuse_if_any(c, "SELECT count(*) FROM data_plane WHERE organization = ?1", id, "data planes")?;
    c.execute("DELETE FROM organization WHERE id = ?1", [id])?;
    Ok(())
}

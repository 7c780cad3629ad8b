//! Environments of a project: their rows, and the documents that they are for data planes.

use control_plane_model::component::absent_release;
use control_plane_model::problem::{Code, Problem, check_handle};
use control_plane_model::{Environment, EnvironmentSettings, NewEnvironment};
use protocol::document::{Desired, EnvironmentSpec};
use protocol::name::{Kind, ResourceKey};
use rusqlite::{Connection, OptionalExtension, params};

use super::data_planes;
use super::handles::{check_body, exists_already, short};
use super::scope::Scope;
use crate::desired::documents::{self, Belongs};
use crate::store::{Result, Steps, now};

pub(crate) const STEPS: Steps = &[(
    1,
    "
CREATE TABLE environment (
  id INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL REFERENCES project, handle TEXT NOT NULL,
  position INTEGER NOT NULL, settings TEXT NOT NULL, created TEXT NOT NULL, deleting TEXT,
  UNIQUE (project, handle)) STRICT;
CREATE TABLE environment_data_plane (
  environment INTEGER NOT NULL REFERENCES environment ON DELETE CASCADE,
  data_plane TEXT NOT NULL REFERENCES data_plane, PRIMARY KEY (environment, data_plane)) STRICT, WITHOUT ROWID;
",
)];

/// Id of an environment.
///
/// # Errors
/// `NotFound`, with the names that exist.
pub fn environment(c: &Connection, project: i64, handle: &str) -> Result<i64> {
    let sql = "SELECT id FROM environment WHERE project = ?1 AND handle = ?2";
    let id = c.query_row(sql, params![project, handle], |row| row.get(0)).optional()?;
    if let Some(id) = id {
        return Ok(id);
    }
    let known: Vec<String> = environments(c, project)?.into_iter().map(|environment| environment.name).collect();
    let hint = if known.is_empty() {
        "this project has no environment yet: pdpctl create environment dev".to_owned()
    } else {
        format!("this project has: {}", known.join(", "))
    };
    Err(Problem::not_found(format_args!("environment {}", short(handle))).at("environment").hint(hint).into())
}

/// Writes the row of an environment; its documents are made by [`publish`].
///
/// # Errors
/// `Invalid` name or data plane, `Conflict` when it exists.
pub fn create_environment(c: &Connection, place: &Scope, new: &NewEnvironment) -> Result<i64> {
    check_handle("name", &new.name)?;
    let settings = EnvironmentSettings { egress: new.egress, quota: new.quota.clone() };
    check_body(Kind::Environment, &present(place, &new.name, settings.clone()))?;
    let mut planes = Vec::new();
    for handle in &new.data_planes {
        planes.push(data_planes::data_plane(c, place.organization, handle)?);
    }
    if planes.is_empty() {
        let mut statement = c.prepare_cached("SELECT id FROM data_plane WHERE organization = ?1")?;
        planes =
            statement.query_map([place.organization], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
        if planes.len() != 1 {
            let problem = Problem::invalid("dataPlanes", format!("the organization has {} data planes", planes.len()));
            return Err(problem.hint("name the one that shall serve the environment: --data-plane NAME").into());
        }
    }
    let last: i64 =
        c.query_row("SELECT coalesce(max(position), 0) FROM environment WHERE project = ?1", [place.project], |row| {
            row.get(0)
        })?;
    let settings = serde_json::to_string(&settings)?;
    let sql = "INSERT INTO environment (project, handle, position, settings, created) VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = params![place.project, new.name, new.position.unwrap_or(last + 1), settings, now()];
    exists_already(c.execute(sql, values), "environment", &new.name)?;
    let id = c.last_insert_rowid();
    for plane in planes {
        c.execute(
            "INSERT OR IGNORE INTO environment_data_plane (environment, data_plane) VALUES (?1, ?2)",
            params![id, plane],
        )?;
    }
    Ok(id)
}

/// All environments of a project, in the order of promotion.
///
/// # Errors
/// SQLite's.
pub fn environments(c: &Connection, project: i64) -> Result<Vec<Environment>> {
    let sql = "SELECT e.handle, e.position, e.settings, e.created, e.deleting,
                 (SELECT group_concat(d.handle, ',') FROM environment_data_plane x JOIN data_plane d ON d.id = x.data_plane
                  WHERE x.environment = e.id)
               FROM environment e WHERE e.project = ?1 ORDER BY e.position, e.handle";
    let mut statement = c.prepare_cached(sql)?;
    let mut rows = statement.query([project])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let planes: Option<String> = row.get(5)?;
        all.push(Environment {
            name: row.get(0)?,
            position: row.get(1)?,
            settings: serde_json::from_str(&row.get::<_, String>(2)?)?,
            created: row.get(3)?,
            deleting: row.get(4)?,
            data_planes: planes
                .unwrap_or_default()
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        });
    }
    Ok(all)
}

/// Data planes of an environment: id and handle.
pub(super) fn planes(c: &Connection, environment: i64) -> Result<Vec<(String, String)>> {
    let sql = "SELECT d.id, d.handle FROM environment_data_plane x JOIN data_plane d ON d.id = x.data_plane
               WHERE x.environment = ?1 ORDER BY d.handle";
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map([environment], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Replaces the settings of an environment; its documents are made by [`publish`].
///
/// # Errors
/// `Invalid` settings, `Conflict` while it is being deleted.
pub fn set(c: &Connection, place: &Scope, environment: i64, settings: &EnvironmentSettings) -> Result<()> {
    let (name, _, deleting) = row(c, environment)?;
    if deleting.is_some() {
        let problem = Problem::new(Code::Conflict, format!("environment {name} is being deleted"));
        return Err(problem.hint("create it again once it is gone").into());
    }
    check_body(Kind::Environment, &present(place, &name, settings.clone()))?;
    let settings = serde_json::to_string(settings)?;
    c.execute("UPDATE environment SET settings = ?2 WHERE id = ?1", params![environment, settings])?;
    Ok(())
}

fn present(place: &Scope, name: &str, settings: EnvironmentSettings) -> EnvironmentSpec {
    let EnvironmentSettings { egress, quota } = settings;
    EnvironmentSpec {
        state: Desired::Present,
        organization: Some(place.organization_name.clone()),
        project: Some(place.project_name.clone()),
        environment: Some(name.to_owned()),
        quota,
        egress,
    }
}

/// Handle, settings, and since when it is being deleted.
fn row(c: &Connection, environment: i64) -> Result<(String, EnvironmentSettings, Option<String>)> {
    let sql = "SELECT handle, settings, deleting FROM environment WHERE id = ?1";
    let (name, settings, deleting): (String, String, _) =
        c.query_row(sql, [environment], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok((name, serde_json::from_str(&settings)?, deleting))
}

/// Writes the Environment documents of an environment, on each of its data planes: the one place that does, whatever changed.
///
/// # Errors
/// SQLite's.
pub fn publish(c: &Connection, place: &Scope, environment: i64) -> Result<()> {
    let (name, settings, deleting) = row(c, environment)?;
    let spec = match deleting {
        None => present(place, &name, settings),
        Some(_) => EnvironmentSpec {
            state: Desired::Absent,
            organization: None,
            project: None,
            environment: None,
            quota: None,
            egress: None,
        },
    };
    let provenance = place.provenance(None, None);
    let belongs = Belongs { environment: Some(environment), ..Belongs::default() };
    for (plane, _) in planes(c, environment)? {
        documents::put(c, &plane, &place.environment_key(&name), spec.state, &spec, &provenance, &belongs)?;
    }
    Ok(())
}

/// Begins to delete an environment: everything in it becomes Absent, then it. The row goes when all data planes have forgotten.
///
/// # Errors
/// SQLite's.
pub fn delete(c: &Connection, place: &Scope, environment: i64) -> Result<()> {
    c.execute("UPDATE environment SET deleting = coalesce(deleting, ?2) WHERE id = ?1", params![environment, now()])?;
    let mut statement = c.prepare(
        "SELECT DISTINCT data_plane, name, component, track FROM document WHERE environment = ?1 AND kind = 'Release'",
    )?;
    let releases: Vec<(String, String, Option<i64>, Option<String>)> = statement
        .query_map([environment], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let provenance = place.provenance(None, Some("the environment is deleted"));
    for (plane, name, component, track) in releases {
        let key = ResourceKey { kind: Kind::Release, name };
        let belongs = Belongs { environment: Some(environment), component, track, ..Belongs::default() };
        documents::put(c, &plane, &key, Desired::Absent, &absent_release(), &provenance, &belongs)?;
    }
    publish(c, place, environment)?;
    let sql = "SELECT count(*) FROM document WHERE environment = ?1";
    let count: i64 = c.query_row(sql, [environment], |row| row.get(0))?;
    if count == 0 {
        c.execute("DELETE FROM environment WHERE id = ?1", [environment])?;
    }
    Ok(())
}

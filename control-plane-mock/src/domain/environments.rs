//! Environments of a project: their rows. What they mean for data planes is published by [`super::deployments`].

use control_plane_model::problem::{Problem, check_handle};
use control_plane_model::{Environment, EnvironmentSettings, NewEnvironment};
use rusqlite::{Connection, OptionalExtension, params};

use super::data_planes;
use super::handles::{exists_already, short};
use crate::store::{Result, now};

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

/// Writes the row of an environment; its documents are made by [`super::deployments::publish_environment`].
///
/// # Errors
/// `Invalid` name or data plane, `Conflict` when it exists.
pub fn create_environment(c: &Connection, organization: i64, project: i64, new: &NewEnvironment) -> Result<i64> {
    check_handle("name", &new.name)?;
    let mut planes = Vec::new();
    for handle in &new.data_planes {
        planes.push(data_planes::data_plane(c, organization, handle)?);
    }
    if planes.is_empty() {
        let mut statement = c.prepare_cached("SELECT id FROM data_plane WHERE organization = ?1")?;
        planes = statement.query_map([organization], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
        if planes.len() != 1 {
            let problem = Problem::invalid("dataPlanes", format!("the organization has {} data planes", planes.len()));
            return Err(problem.hint("name the one that shall serve the environment: --data-plane NAME").into());
        }
    }
    let last: i64 =
        c.query_row("SELECT coalesce(max(position), 0) FROM environment WHERE project = ?1", [project], |row| {
            row.get(0)
        })?;
    let settings = serde_json::to_string(&EnvironmentSettings { egress: new.egress, quota: new.quota.clone() })?;
    let sql = "INSERT INTO environment (project, handle, position, settings, created) VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = params![project, new.name, new.position.unwrap_or(last + 1), settings, now()];
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

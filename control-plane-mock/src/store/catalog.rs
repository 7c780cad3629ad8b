//! Organizations, projects, environments, components and releases; and who may see them.
//!
//! Every look-up goes through the organization, so that a handle of another organization is simply not found.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Result, is_duplicate, now};
use crate::component::Component;
use crate::model::{
    ComponentRow, Environment, EnvironmentSettings, Named, NewComponent, NewEnvironment, NewNamed, Release,
};
use crate::problem::{Code, Problem, check_handle};

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

/// Id of a project.
///
/// # Errors
/// `NotFound`.
pub fn project(c: &Connection, organization: i64, handle: &str) -> Result<i64> {
    let sql = "SELECT id FROM project WHERE organization = ?1 AND handle = ?2";
    let id = c.query_row(sql, params![organization, handle], |row| row.get(0)).optional()?;
    id.ok_or_else(|| Problem::not_found(format_args!("project {}", short(handle))).into())
}

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

/// Id and type of a component.
///
/// # Errors
/// `NotFound`.
pub fn component(c: &Connection, project: i64, handle: &str) -> Result<(i64, String)> {
    let sql = "SELECT id, type FROM component WHERE project = ?1 AND handle = ?2";
    let found = c.query_row(sql, params![project, handle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    found.ok_or_else(|| Problem::not_found(format_args!("component {}", short(handle))).into())
}

fn short(handle: &str) -> String {
    handle.chars().take(63).collect()
}

fn exists_already<T>(result: rusqlite::Result<T>, what: &str, handle: &str) -> Result<T> {
    result.map_err(|error| {
        if is_duplicate(&error) {
            Problem::new(Code::Conflict, format!("{what} {handle} exists already")).at("name").into()
        } else {
            error.into()
        }
    })
}

fn named(row: &rusqlite::Row<'_>) -> rusqlite::Result<Named> {
    Ok(Named { name: row.get(0)?, display_name: row.get(1)?, created: row.get(2)? })
}

/// Makes an organization.
///
/// # Errors
/// `Invalid` name, `Conflict` when it exists.
pub fn create_organization(c: &Connection, new: &NewNamed) -> Result<Named> {
    check_handle("name", &new.name)?;
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

fn refuse_if_any(c: &Connection, sql: &str, id: i64, what: &str) -> Result<()> {
    let count: i64 = c.query_row(sql, [id], |row| row.get(0))?;
    if count == 0 {
        return Ok(());
    }
    let problem = Problem::new(Code::Conflict, format!("it still has {count} {what}"));
    Err(problem.hint(format!("delete the {what} first; nothing is deleted by the way")).into())
}

/// Makes a project.
///
/// # Errors
/// `Invalid` name, `Conflict` when it exists.
pub fn create_project(c: &Connection, organization: i64, new: &NewNamed) -> Result<Named> {
    check_handle("name", &new.name)?;
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

/// Writes the row of an environment; its documents are made by [`super::deployments::publish_environment`].
///
/// # Errors
/// `Invalid` name or data plane, `Conflict` when it exists.
pub fn create_environment(c: &Connection, organization: i64, project: i64, new: &NewEnvironment) -> Result<i64> {
    check_handle("name", &new.name)?;
    let mut planes = Vec::new();
    for handle in &new.data_planes {
        planes.push(super::identity::data_plane(c, organization, handle)?);
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

/// Makes a component.
///
/// # Errors
/// `Invalid` name or type, `Conflict` when it exists.
pub fn create_component(c: &Connection, project: i64, new: &NewComponent) -> Result<i64> {
    check_handle("name", &new.name)?;
    if !["Service", "ManualTask"].contains(&new.component_type.as_str()) {
        return Err(Problem::invalid("type", "this type is not known here").hint("use Service or ManualTask").into());
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

/// Makes a release, or finds the newest one if it holds the same. Returns (row id, number, whether it is new).
///
/// # Errors
/// `Conflict` when the component is of another type.
pub fn release(c: &Connection, project: i64, content: &Component, actor: &str) -> Result<(i64, i64, bool)> {
    let wanted = format!("{:?}", content.component_type);
    let id = match component(c, project, &content.name) {
        Ok((id, existing)) if existing == wanted => id,
        Ok((_, existing)) => {
            let problem =
                Problem::new(Code::Conflict, format!("component {} is a {existing}", content.name)).at("/type");
            return Err(problem.hint("a component keeps its type; use another name").into());
        }
        Err(super::Error::Problem(problem)) if problem.code == Code::NotFound => {
            let display_name = content.display_name.clone();
            let new = NewComponent { name: content.name.clone(), component_type: wanted, display_name };
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
            deployed_to: super::history::where_deployed(c, row.get(0)?)?,
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

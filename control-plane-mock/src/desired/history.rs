//! What was deployed where, looked up: for lists of releases and for histories.

use std::collections::BTreeMap;

use control_plane_model::Deployment;
use rusqlite::{Connection, params};

use super::outcomes;
use crate::store::Result;

/// Environments where a release is the deployed one.
///
/// # Errors
/// SQLite's.
pub fn where_deployed(c: &Connection, release: i64) -> Result<Vec<String>> {
    let sql = "SELECT e.handle FROM deployment d JOIN environment e ON e.id = d.environment WHERE d.release = ?1
               AND d.id = (SELECT max(x.id) FROM deployment x WHERE x.environment = d.environment
                           AND x.component = d.component AND x.track = d.track) ORDER BY e.position";
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map([release], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How the last deployment of a release ended in each environment, where that is known.
///
/// # Errors
/// SQLite's.
pub fn outcomes(c: &Connection, release: i64) -> Result<BTreeMap<String, String>> {
    let sql = "SELECT e.handle, max(d.id) FROM deployment d JOIN environment e ON e.id = d.environment
               WHERE d.release = ?1 GROUP BY e.id";
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map([release], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut all = BTreeMap::new();
    for (environment, deployment) in rows.collect::<rusqlite::Result<Vec<(String, i64)>>>()? {
        all.extend(outcomes::of(c, deployment)?.shown().map(|outcome| (environment, outcome.to_owned())));
    }
    Ok(all)
}

/// History of a component, newest first; at most 200 entries.
///
/// # Errors
/// SQLite's.
pub fn history(c: &Connection, component: i64, environment: Option<i64>) -> Result<Vec<Deployment>> {
    let sql =
        "SELECT d.id, p.handle, e.handle, d.track, r.number, d.action, d.actor, d.reason, d.created FROM deployment d
               JOIN component p ON p.id = d.component JOIN environment e ON e.id = d.environment
               LEFT JOIN release r ON r.id = d.release
               WHERE d.component = ?1 AND (?2 IS NULL OR d.environment = ?2) ORDER BY d.id DESC LIMIT 200";
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map(params![component, environment], |row| {
        Ok(Deployment {
            id: row.get(0)?,
            component: row.get(1)?,
            environment: row.get(2)?,
            track: row.get(3)?,
            release: row.get(4)?,
            action: row.get(5)?,
            actor: row.get(6)?,
            reason: row.get(7)?,
            created: row.get(8)?,
            generations: BTreeMap::new(),
            new_release: false,
            unchanged: false,
            outcome: None,
            note: None,
        })
    })?;
    let mut all: Vec<Deployment> = rows.collect::<rusqlite::Result<_>>()?;
    for deployment in &mut all {
        deployment.outcome = outcomes::of(c, deployment.id)?.shown().map(str::to_owned);
    }
    Ok(all)
}

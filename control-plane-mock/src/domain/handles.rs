//! What all things with a handle share: how they are read, what their documents may say, and how a refusal speaks of them.

use control_plane_model::Named;
use control_plane_model::component::first;
use control_plane_model::problem::{Code, Problem};
use protocol::document::breaches;
use protocol::name::Kind;
use rusqlite::Connection;
use serde::Serialize;

use crate::store::{Result, is_duplicate};

pub(super) fn short(handle: &str) -> String {
    handle.chars().take(63).collect()
}

pub(super) fn exists_already<T>(result: rusqlite::Result<T>, what: &str, handle: &str) -> Result<T> {
    result.map_err(|error| {
        if is_duplicate(&error) {
            Problem::new(Code::Conflict, format!("{what} {handle} exists already")).at("name").into()
        } else {
            error.into()
        }
    })
}

pub(super) fn named(row: &rusqlite::Row<'_>) -> rusqlite::Result<Named> {
    Ok(Named { name: row.get(0)?, display_name: row.get(1)?, created: row.get(2)? })
}

pub(super) fn refuse_if_any(c: &Connection, sql: &str, id: i64, what: &str) -> Result<()> {
    let count: i64 = c.query_row(sql, [id], |row| row.get(0))?;
    if count == 0 {
        return Ok(());
    }
    let problem = Problem::new(Code::Conflict, format!("it still has {count} {what}"));
    Err(problem.hint(format!("delete the {what} first; nothing is deleted by the way")).into())
}

/// Refuses a body that every data plane would refuse.
pub(super) fn check_body(kind: Kind, spec: &impl Serialize) -> Result<()> {
    let found: Vec<_> =
        breaches(kind, spec).into_iter().map(|breach| Problem::of(breach.field.clone(), breach)).collect();
    if found.is_empty() { Ok(()) } else { Err(first(found).into()) }
}

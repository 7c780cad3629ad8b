//! How a file of an older version becomes one of this.
//!
//! The version stands in SQLite's `user_version`. Whoever owns a table has its [`Steps`] beside its statements, and
//! says there which of its changes wake somebody; the store is handed all of them when it is opened.

use rusqlite::{Connection, TransactionBehavior};

use super::{Error, Result};

/// Scripts that make and change the tables of one owner, each with the version of the store that brought it.
///
/// A step that was released is never changed; a new one gets a version above all that were released.
pub type Steps = &'static [(i64, &'static str)];

/// A change of a table that somebody waits for.
#[derive(Debug)]
pub struct Wake {
    /// The change, as a trigger of SQLite names it after `AFTER`.
    pub after: &'static str,
    /// Id of the data plane whose session is woken, as an expression over `old` and `new`; `''` wakes those who wait for events.
    pub whom: &'static str,
}

/// Tables of one owner.
#[derive(Debug)]
pub struct Tables {
    pub(super) steps: Steps,
    wakes: &'static [Wake],
}

impl Tables {
    /// Tables whose changes wake nobody.
    #[must_use]
    pub const fn of(steps: Steps) -> Self {
        Self { steps, wakes: &[] }
    }

    /// The same tables, with the changes that wake somebody.
    #[must_use]
    pub const fn waking(self, wakes: &'static [Wake]) -> Self {
        Self { steps: self.steps, wakes }
    }
}

/// Has the connection note in the same transaction whom a change concerns, so that no writer can forget to wake a session. (A
/// conflict clause inside a trigger gives way to that of the statement that fired it, so the triggers look before they insert.)
///
/// # Errors
/// SQLite's.
pub(super) fn note_wakes(connection: &Connection, schema: &[Tables]) -> Result<()> {
    connection.execute_batch("CREATE TEMP TABLE woken (data_plane TEXT PRIMARY KEY)")?;
    for (number, Wake { after, whom }) in schema.iter().flat_map(|tables| tables.wakes).enumerate() {
        connection.execute_batch(&format!(
            "CREATE TEMP TRIGGER woken_{number} AFTER {after}
             BEGIN INSERT INTO woken SELECT {whom} WHERE {whom} NOT IN (SELECT data_plane FROM woken); END"
        ))?;
    }
    Ok(())
}

/// Brings a database to the highest version of `schema`: version by version, within one in the order of the list.
///
/// # Errors
/// `TooNew` for a file of a later version, else SQLite's.
pub(super) fn migrate(connection: &mut Connection, schema: &[Steps]) -> Result<()> {
    let mut steps: Vec<_> = schema.iter().copied().flatten().collect();
    steps.sort_by_key(|(version, _)| *version);
    let known = steps.last().map_or(0, |(version, _)| *version);
    // The lock is taken before the version is read: two processes may start on the same new file.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known {
        return Err(Error::TooNew { found, known });
    }
    for (_, script) in steps.iter().filter(|(version, _)| *version > found) {
        transaction.execute_batch(script)?;
    }
    transaction.execute_batch(&format!("PRAGMA user_version = {known}"))?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::SCHEMA;

    /// What each released version made or changed. Files of it are about, so nothing here is ever changed.
    const RELEASED: &str = include_str!("released.txt");

    fn known() -> i64 {
        SCHEMA.iter().flat_map(|tables| tables.steps).map(|(version, _)| *version).max().unwrap()
    }

    fn migrated(mut c: Connection, version: i64) -> Connection {
        let upto = |tables: &Tables| &tables.steps[..tables.steps.partition_point(|(since, _)| *since <= version)];
        migrate(&mut c, &SCHEMA.iter().map(upto).collect::<Vec<_>>()).unwrap();
        c
    }

    fn fresh(version: i64) -> Connection {
        migrated(Connection::open_in_memory().unwrap(), version)
    }

    /// Tables and indexes, each with its columns.
    fn objects(c: &Connection) -> BTreeSet<String> {
        let sql = "
            SELECT s.type || ' ' || s.name || ': ' || group_concat(x.name || ' ' || x.type || iif(x.\"notnull\", ' NOT NULL', '')
                || coalesce(' DEFAULT ' || x.dflt_value, '') || iif(x.pk, ' KEY ' || x.pk, ''), ', ' ORDER BY x.cid)
            FROM sqlite_schema s JOIN pragma_table_info(s.name) x WHERE s.type = 'table' GROUP BY s.name
            UNION SELECT s.type || ' ' || s.name || ': ' || group_concat(x.name, ', ' ORDER BY x.seqno)
            FROM sqlite_schema s JOIN pragma_index_info(s.name) x WHERE s.type = 'index' GROUP BY s.name";
        let mut statement = c.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn a_file_of_any_older_version_becomes_what_a_new_one_is() {
        let new = objects(&fresh(known()));
        for version in 1..known() {
            assert_eq!(objects(&migrated(fresh(version), known())), new, "from version {version}");
        }
    }

    #[test]
    fn what_was_released_stays_as_it_was() {
        let last: i64 = RELEASED.lines().last().unwrap().split_once(' ').unwrap().0.parse().unwrap();
        let (mut brought, mut before) = (String::new(), BTreeSet::new());
        for version in 1..=last {
            let now = objects(&fresh(version));
            brought.extend(now.difference(&before).map(|object| format!("{version} {object}\n")));
            before = now;
        }
        assert_eq!(brought, RELEASED);
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused() {
        let mut c = fresh(known());
        let older = migrate(&mut c, &[&[(1, "")]]).unwrap_err().to_string();
        assert!(older.contains(&format!("schema version {}, this program knows 1", known())), "{older}");
    }
}

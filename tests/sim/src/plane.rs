//! The control plane's store: the mock's own tables and functions over a connection in memory, and a record of what was really
//! written and sent, for the invariants that ask about the past.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use control_plane_mock::desired::documents::{self, Belongs, Stored};
use control_plane_mock::desired::sessions;
use control_plane_mock::domain::scope::Scope;
use control_plane_mock::domain::{SCHEMA, gateways, task_runs};
use control_plane_mock::store::{self, Result};
use control_plane_model::Action;
use protocol::document::{Desired, Provenance};
use protocol::message::Epoch;
use protocol::name::{Kind, ResourceKey};
use protocol::report::{Fact, State};
use protocol::session::{Delivery, Offer};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::api::Id;

/// The only data plane.
pub(super) const DATA_PLANE: &str = "dp-1";
/// Digest of its key.
pub(super) const KEY: &str = "key";
/// The gateways over the store.
pub(super) const GATEWAYS: [&str; 2] = ["g1", "g2"];

/// What a person has made before anything begins: a data plane, and two tasks that are deployed to it.
const CATALOG: &str = "
INSERT INTO organization (id, handle, created) VALUES (1, 'shop', '');
INSERT INTO data_plane (id, organization, handle, created, key) VALUES ('dp-1', 1, 'dp', '', 'key');
INSERT INTO project (id, organization, handle, created) VALUES (1, 1, 'shop', '');
INSERT INTO environment (id, project, handle, position, settings, created) VALUES (1, 1, 'dev', 1, '{}', '');
INSERT INTO environment_data_plane VALUES (1, 'dp-1');
INSERT INTO component (id, project, handle, type, created) VALUES (1, 1, 't1', 'ManualTask', ''), (2, 1, 't2', 'ManualTask', '');
INSERT INTO release (id, component, track, number, content, created) VALUES (1, 1, 'v1.0', 1, '{}', ''), (2, 2, 'v1.0', 1, '{}', '');
INSERT INTO deployment (environment, component, track, release, configuration, action, created)
  VALUES (1, 1, 'v1.0', 1, '{}', 'Deploy', ''), (1, 2, 'v1.0', 2, '{}', 'Deploy', '');
";

thread_local! {
    /// Stores in which nothing has happened, for the next seeds: their statements are compiled.
    static EMPTY: RefCell<Vec<Connection>> = const { RefCell::new(Vec::new()) };
}

/// The store in memory fails only if the request itself is wrong.
fn sure<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| unreachable!("the store in memory: {error}"))
}

/// A store in which nothing has happened. Whatever happens to it stays in one transaction, which is never committed.
fn empty() -> Connection {
    let open = || {
        let connection = match EMPTY.with_borrow_mut(Vec::pop) {
            Some(connection) => connection,
            None => {
                let mut connection = Connection::open_in_memory()?;
                store::prepare(&mut connection, SCHEMA)?;
                connection.execute_batch(CATALOG)?;
                store::set_setting(&connection, "store_id", "store-0")?;
                enter(&connection)?;
                connection
            }
        };
        connection.execute_batch("BEGIN")?;
        Ok(connection)
    };
    sure(open())
}

/// Both gateways begin to serve the store.
fn enter(c: &Connection) -> Result<()> {
    GATEWAYS.iter().try_for_each(|name| gateways::enter(c, name, name, name))
}

/// A copy of the rows of all tables.
#[derive(Debug)]
struct Rows(Vec<(String, Vec<Vec<Value>>)>);

impl Rows {
    fn of(c: &Connection) -> Result<Self> {
        // Tables are made before those that refer to them.
        let sql =
            "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid";
        let tables: Vec<String> =
            c.prepare_cached(sql)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let copy = |table: String| {
            let mut statement = c.prepare(&format!("SELECT * FROM main.{table}"))?;
            let columns = statement.column_count();
            let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect())?;
            Ok((table, rows.collect::<rusqlite::Result<_>>()?))
        };
        Ok(Self(tables.into_iter().map(copy).collect::<Result<_>>()?))
    }

    fn put_back(&self, c: &Connection) -> Result<()> {
        for (table, _) in self.0.iter().rev() {
            c.execute(&format!("DELETE FROM main.{table}"), [])?;
        }
        for (table, rows) in &self.0 {
            let marks = vec!["?"; rows.first().map_or(0, Vec::len)].join(", ");
            for row in rows {
                let sql = format!("INSERT INTO main.{table} VALUES ({marks})");
                c.prepare_cached(&sql)?.execute(params_from_iter(row))?;
            }
        }
        Ok(())
    }
}

/// What was written and sent since the store began, or was restored.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    /// Everything that was drawn, for repeated deliveries.
    pub(super) drawn: Vec<Stored>,
    /// Highest generation in it.
    drawn_upto: i64,
    /// What the data plane said to have stored.
    pub(super) accepted: BTreeSet<(ResourceKey, i64)>,
    /// Forgets that were sent: only these may delete a resource.
    pub(super) forgets: BTreeSet<(ResourceKey, i64)>,
}

/// A copy of the store, for a restore.
#[derive(Debug)]
pub(super) struct Copy {
    rows: Rows,
    record: Record,
}

/// Durable: outlives gateways.
#[derive(Debug)]
pub(super) struct Plane {
    store: Connection,
    pub(super) record: Record,
    /// The session that was welcomed last, and its connection.
    pub(super) session: Option<(Epoch, u64)>,
    /// How often it was restored from a copy.
    stores: u64,
    /// Documents of a store that was lost: they may still arrive.
    lost: Vec<Stored>,
    /// Facts that a lost store had acknowledged: they are reported once only, so they do not come again.
    pub(super) told_to_the_lost: Vec<(ResourceKey, Fact)>,
}

/// All that the store knows, for the last checks.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) wanted: BTreeMap<ResourceKey, Stored>,
    pub(super) facts: Vec<(ResourceKey, Fact)>,
    pub(super) states: BTreeMap<ResourceKey, State>,
    pub(super) forgotten: BTreeMap<ResourceKey, i64>,
    /// Runs that have ended, or whose end will never be known.
    pub(super) ended: BTreeSet<ResourceKey>,
}

impl Plane {
    pub(super) fn new() -> Self {
        Self {
            store: empty(),
            record: Record::default(),
            session: None,
            stores: 0,
            lost: Vec::new(),
            told_to_the_lost: Vec::new(),
        }
    }

    /// Undoes all that happened, for the next seed.
    pub(super) fn give_back(self) {
        if self.store.execute_batch("ROLLBACK").is_ok() {
            EMPTY.with_borrow_mut(|empty| empty.push(self.store));
        }
    }

    /// Runs `work` in a transaction of its own, as the mock's store does. Whether sessions are to be woken comes with it.
    pub(super) fn run<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<(T, bool)> {
        let (done, woken) = store::in_savepoint(&self.store, |c| Ok((work(c)?, store::woken(c)?)))?;
        let woken = woken.iter().any(|concerned| concerned == DATA_PLANE);
        if woken {
            let drawn = documents::wanted(&self.store, DATA_PLANE, self.record.drawn_upto)?;
            self.record.drawn_upto = drawn.last().map_or(self.record.drawn_upto, |wish| wish.generation);
            self.record.drawn.extend(drawn);
        }
        Ok((done, woken))
    }

    // Restores.

    pub(super) fn copied(&self) -> Copy {
        Copy { rows: sure(Rows::of(&self.store)), record: self.record.clone() }
    }

    /// The store is an older copy of itself from now on, with an id of its own; both gateways start on it.
    pub(super) fn restore(&mut self, from: &Copy) -> Result<()> {
        self.told_to_the_lost.extend(self.facts());
        self.stores += 1;
        self.lost = std::mem::take(&mut self.record.drawn);
        self.record = Record { drawn: Vec::new(), ..from.record.clone() };
        self.session = None;
        let id = format!("store-{}", self.stores);
        self.run(|c| {
            from.rows.put_back(c)?;
            store::set_setting(c, "store_id", &id)?;
            enter(c)
        })?;
        Ok(())
    }

    /// Whether this generation of a resource comes from this store, and not from the one that it is a copy of.
    pub(super) fn drew_since_its_restore(&self, id: &Id, generation: i64) -> bool {
        let drawn = |wish: &Stored| {
            wish.generation == generation && wish.key.name == id.name && wish.key.kind.as_str() == id.kind
        };
        self.record.drawn.iter().any(drawn) && !self.lost.iter().any(drawn)
    }

    // What is asked of the store.

    pub(super) fn store_id(&self) -> String {
        sure(store::setting(&self.store, "store_id")).unwrap_or_default()
    }

    /// Why a person has to decide, if so.
    pub(super) fn held(&self) -> Option<String> {
        let read = || {
            let mut statement = self.store.prepare_cached("SELECT held FROM data_plane WHERE id = ?1")?;
            Ok(statement.query_row([DATA_PLANE], |row| row.get(0))?)
        };
        sure(read())
    }

    pub(super) fn wanted(&self) -> Vec<Stored> {
        sure(documents::wanted(&self.store, DATA_PLANE, 0))
    }

    pub(super) fn picture(&self) -> Picture {
        let runs =
            self.rows("SELECT 'TaskRun', name, 0 FROM task_run WHERE data_plane = ?1 AND ended IS NOT NULL", |_| 0);
        Picture {
            wanted: self.wanted().into_iter().map(|wish| (wish.key.clone(), wish)).collect(),
            facts: self.facts(),
            states: self
                .rows("SELECT kind, name, state FROM resource_state WHERE data_plane = ?1", json::<State>)
                .into_iter()
                .filter_map(|(key, state)| Some((key, state?)))
                .collect(),
            forgotten: self.forgotten(),
            ended: runs.into_iter().map(|(key, _)| key).collect(),
        }
    }

    fn facts(&self) -> Vec<(ResourceKey, Fact)> {
        let facts = self.rows("SELECT kind, name, fact FROM fact WHERE data_plane = ?1 ORDER BY id", json::<Fact>);
        facts.into_iter().filter_map(|(key, fact)| Some((key, fact?))).collect()
    }

    pub(super) fn forgotten(&self) -> BTreeMap<ResourceKey, i64> {
        let sql = "SELECT kind, name, generation FROM forgotten WHERE data_plane = ?1";
        self.rows(sql, |row| row.get(2).unwrap_or_default()).into_iter().collect()
    }

    fn rows<T>(&self, sql: &str, value: impl Fn(&Row<'_>) -> T) -> Vec<(ResourceKey, T)> {
        let read = || {
            let mut statement = self.store.prepare_cached(sql)?;
            let rows = statement.query_map([DATA_PLANE], |row| {
                let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
                let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
                Ok(kind.map(|kind| (ResourceKey { kind, name }, value(row))))
            })?;
            Ok(rows.filter_map(std::result::Result::transpose).collect::<rusqlite::Result<_>>()?)
        };
        sure(read())
    }
}

fn json<T: DeserializeOwned>(row: &Row<'_>) -> Option<T> {
    serde_json::from_str(&row.get::<_, String>(2).ok()?).ok()
}

/// The document as it was sent.
pub(super) fn offer(wish: &Stored) -> Offer {
    Offer {
        key: wish.key.clone(),
        generation: wish.generation,
        delivery: Delivery::Document {
            hash: wish.hash.clone(),
            body: RawValue::from_string(wish.body.clone()).unwrap_or_else(|_| RawValue::NULL.to_owned()),
            provenance: wish.provenance.clone(),
        },
    }
}

// What people ask for.

/// Wants a resource as `body` says.
pub(super) fn wish(c: &Connection, key: &ResourceKey, body: &str) -> Result<()> {
    let body: serde_json::Value = serde_json::from_str(body)?;
    let is_absent = body.get("state").and_then(serde_json::Value::as_str) == Some("Absent");
    let state = if is_absent { Desired::Absent } else { Desired::Present };
    documents::put(c, DATA_PLANE, key, state, &body, &Provenance::default(), &Belongs::default())?;
    Ok(())
}

fn place() -> Scope {
    let shop = || "shop".to_owned();
    Scope { organization: 1, organization_name: shop(), project: 1, project_name: shop(), actor: "somebody".to_owned() }
}

/// The release that is a task.
pub(super) fn release_of_task(task: usize) -> String {
    place().release_key(&format!("t{task}"), "v1.0", "dev").name
}

/// Asks for the run of a task, under an id that was never used.
pub(super) fn run_task(c: &Connection, task: usize, id: &str) -> Result<()> {
    let ask = Action { environment: "dev".to_owned(), track: None, to: None, args: None, reason: None };
    task_runs::run_task_as(c, &place(), &format!("t{task}"), &ask, id.to_owned())?;
    Ok(())
}

/// Cancels the oldest run of a task that is wanted, if it has not ended.
pub(super) fn cancel(c: &Connection, task: usize) -> Result<()> {
    let sql = "SELECT t.id FROM task_run t JOIN document d ON d.task_run = t.id
               WHERE t.component = ?1 AND t.ended IS NULL ORDER BY t.id LIMIT 1";
    let component = i64::try_from(task).unwrap_or(1);
    let id: Option<String> = c.query_row(sql, [component], |row| row.get(0)).optional()?;
    match id {
        Some(id) => task_runs::cancel(c, &place(), component, &id).map(drop),
        None => Ok(()),
    }
}

/// A person accepts what the data plane holds. False if nobody waits for that.
pub(super) fn adopt(c: &Connection) -> Result<bool> {
    let sql = "SELECT held IS NOT NULL FROM data_plane WHERE id = ?1";
    let held: bool = c.query_row(sql, [DATA_PLANE], |row| row.get(0))?;
    if held {
        sessions::adopt(c, DATA_PLANE)?;
    }
    Ok(held)
}

//! What the link remembers of its tables: little per object, fed by the watches and by its own writes.
//!
//! Pure. A watch may bring an older version after an own write, so versions are compared (the API server's resource versions
//! are ordered numbers since 1.35, and were so before in fact; what is no number is taken as it comes).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use protocol::document::{DataPlaneSpec, LogLevel};
use protocol::mutant::{self, Mutant};
use protocol::name::{Kind, ResourceKey};
use protocol::report::Condition;
use serde_json::Value;

use super::intake::{Known, Policy, Stored, body};
use super::reporter::{Report, key_of};
use super::store::{Change, DEFAULT, Table};
use crate::kinds::DataPlanePolicySpec;

mod policy_context;

use policy_context::{Judged, bytes, judged};

/// The tables that are watched.
pub fn watched() -> impl Iterator<Item = Table> {
    Kind::ALL.into_iter().map(Table::Document).chain([Table::DataPlanePolicy])
}

/// What the link needs of `DataPlane/default`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Installation {
    /// Id from enrolment, which labels of objects carry.
    pub id: Option<String>,
    /// Uid of `kube-system`, found by the operator.
    pub cluster: Option<String>,
    /// Schema revision of the installed definitions, found by the operator.
    pub schema: Option<u32>,
    /// Store of the control plane that the last session was held with.
    pub store_id: Option<String>,
    /// Conditions as they stand.
    pub conditions: Vec<Condition>,
    /// Log level that the control plane asks for.
    pub log_level: Option<LogLevel>,
}

/// A change for the session to process.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A resource is there or has changed.
    Report(Box<Report>),
    /// A resource is gone.
    Removed(ResourceKey),
    /// `DataPlane/default` was read.
    Installation,
    /// The floor was raised.
    Floor(i64),
}

#[derive(Debug)]
pub struct Cache {
    objects: HashMap<ResourceKey, Entry>,
    listed: BTreeSet<Table>,
    listing: HashMap<Table, BTreeSet<ResourceKey>>,
    /// Highest version that the watch of a table has shown.
    watched: HashMap<Table, u64>,
    policy: Arc<Policy>,
    policy_found: bool,
    installation: Option<Installation>,
    floor: i64,
}

#[derive(Debug)]
struct Entry {
    stored: Arc<Stored>,
    judged: Judged,
    present: bool,
    bytes: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            objects: HashMap::new(),
            listed: BTreeSet::new(),
            listing: HashMap::new(),
            watched: HashMap::new(),
            policy: Arc::new(no_policy()),
            policy_found: false,
            installation: None,
            floor: 0,
        }
    }
}

impl Cache {
    /// Takes what a watch of `table` brought.
    pub fn apply(&mut self, table: Table, change: Change) -> Vec<News> {
        match change {
            Change::Begin => {
                self.listing.insert(table, BTreeSet::new());
                self.policy_found = self.policy_found && table != Table::DataPlanePolicy;
                Vec::new()
            }
            Change::Found(object) | Change::Applied(object) => {
                self.watched_up_to(table, &object);
                self.take(table, &object)
            }
            Change::Complete => self.complete(table),
            Change::Deleted(object) => match (table, kind_of(table).and_then(|kind| key_of(kind, &object))) {
                (Table::DataPlanePolicy, _) => {
                    self.policy = Arc::new(no_policy());
                    Vec::new()
                }
                (_, Some(key)) => {
                    self.watched_up_to(table, &object);
                    self.deleted(&key, &object)
                }
                (_, None) => Vec::new(),
            },
            Change::Failed(_) => Vec::new(),
        }
    }

    /// Takes the object from the answer to an own write. If the watch is past that version and the object is not in the cache, it
    /// was deleted since: a late answer does not bring it back.
    pub fn observe(&mut self, table: Table, object: &Value) -> Vec<News> {
        let key = kind_of(table).and_then(|kind| key_of(kind, object));
        let passed =
            version(object).is_some_and(|seen| self.watched.get(&table).is_some_and(|watched| seen <= *watched));
        if passed && key.is_some_and(|key| !self.objects.contains_key(&key)) {
            return Vec::new();
        }
        self.take(table, object)
    }

    fn watched_up_to(&mut self, table: Table, object: &Value) {
        if let Some(seen) = version(object) {
            let watched = self.watched.entry(table).or_default();
            *watched = seen.max(*watched);
        }
    }

    fn take(&mut self, table: Table, object: &Value) -> Vec<News> {
        let Some(kind) = kind_of(table) else {
            if table == Table::DataPlanePolicy
                && object.pointer("/metadata/name").and_then(Value::as_str) == Some(DEFAULT)
            {
                self.policy_found = true;
                self.policy = Arc::new(policy(object));
            }
            return Vec::new();
        };
        let Some(key) = key_of(kind, object) else { return Vec::new() };
        if kind == Kind::DataPlane && key.name != DEFAULT {
            return Vec::new();
        }
        if let Some(found) = self.listing.get_mut(&table) {
            found.insert(key.clone());
        }
        let stored = Stored::of(kind, object);
        if self.objects.get(&key).is_some_and(|entry| is_newer(&entry.stored, &stored)) {
            return Vec::new();
        }
        let mut news = Vec::new();
        if kind == Kind::DataPlane {
            self.installation = Some(installation(object));
            news.push(News::Installation);
            let floor = object.pointer("/status/floor").and_then(Value::as_i64).unwrap_or(0);
            news.extend(self.raise_floor(floor));
        }
        let judged = judged(kind, object);
        let report = Report::of(&key, object, &stored);
        let present = object.pointer("/spec/state").and_then(Value::as_str) == Some("Present");
        let bytes = object.get("spec").map_or(0, bytes);
        self.objects.insert(key, Entry { stored: Arc::new(stored), judged, present, bytes });
        news.push(News::Report(Box::new(report)));
        news
    }

    /// Takes a floor that is known from an own write. Never lowers it.
    pub fn raise_floor(&mut self, floor: i64) -> Option<News> {
        if floor <= self.floor {
            return None;
        }
        self.floor = floor;
        Some(News::Floor(floor))
    }

    fn complete(&mut self, table: Table) -> Vec<News> {
        self.listed.insert(table);
        if table == Table::DataPlanePolicy && !self.policy_found {
            self.policy = Arc::new(no_policy());
        }
        let (Some(found), Some(kind)) = (self.listing.remove(&table), kind_of(table)) else { return Vec::new() };
        let is_gone =
            |key: &&ResourceKey| key.kind == kind && !found.contains(*key) && !mutant::is(Mutant::GapsIgnored);
        let gone: Vec<_> = self.objects.keys().filter(is_gone).cloned().collect();
        gone.into_iter().map(|key| self.forget(key)).collect()
    }

    fn deleted(&mut self, key: &ResourceKey, object: &Value) -> Vec<News> {
        if let Some(found) = self.listing.get_mut(&Table::from(key.kind)) {
            found.remove(key);
        }
        // A late delete event may be about an earlier object of that name, which was created again since.
        let deleted = Stored::of(key.kind, object);
        match self.objects.get(key) {
            Some(entry) if entry.stored.uid() == deleted.uid() || !is_newer(&entry.stored, &deleted) => {
                vec![self.forget(key.clone())]
            }
            Some(_) | None => Vec::new(),
        }
    }

    fn forget(&mut self, key: ResourceKey) -> News {
        self.objects.remove(&key);
        if key.kind == Kind::DataPlane {
            self.installation = None;
        }
        News::Removed(key)
    }

    /// Whether every table was listed completely at least once.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        watched().all(|table| self.listed.contains(&table))
    }

    /// What is known of one resource.
    #[must_use]
    pub fn known(&self, key: &ResourceKey) -> Known {
        if !self.listed.contains(&Table::from(key.kind)) {
            return Known::Unknown;
        }
        Known::Watched(self.objects.get(key).map(|entry| Arc::clone(&entry.stored)))
    }

    /// The customer's policy.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy)
    }

    /// `DataPlane/default`, if there is one.
    #[must_use]
    pub const fn installation(&self) -> Option<&Installation> {
        self.installation.as_ref()
    }

    /// Highest generation that was really deleted.
    #[must_use]
    pub const fn floor(&self) -> i64 {
        self.floor
    }

    /// Number of resources.
    #[must_use]
    pub fn count(&self) -> usize {
        self.objects.len()
    }
}

const fn kind_of(table: Table) -> Option<Kind> {
    match table {
        Table::Document(kind) => Some(kind),
        Table::DataPlanePolicy | Table::Secret => None,
    }
}

fn version(object: &Value) -> Option<u64> {
    object.get("metadata")?.get("resourceVersion")?.as_str()?.parse().ok()
}

/// Whether `known` is a later version than `seen`.
fn is_newer(known: &Stored, seen: &Stored) -> bool {
    match (known.resource_version().parse::<u64>(), seen.resource_version().parse::<u64>()) {
        (Ok(known), Ok(seen)) => known > seen,
        (Ok(_) | Err(_), _) => false,
    }
}

fn no_policy() -> Policy {
    Policy::Missing {
        why: format!(
            "there is no DataPlanePolicy/{DEFAULT} in the agent's namespace: nothing new is accepted until the platform team makes one"
        ),
    }
}

fn policy(object: &Value) -> Policy {
    match serde_json::from_value::<DataPlanePolicySpec>(object.get("spec").cloned().unwrap_or_default()) {
        Ok(spec) => Policy::Given(Box::new(spec)),
        Err(error) => Policy::Missing {
            why: format!(
                "DataPlanePolicy/{DEFAULT} cannot be read ({error}): nothing new is accepted until it is mended"
            ),
        },
    }
}

fn installation(object: &Value) -> Installation {
    let status = object.get("status").unwrap_or(&Value::Null);
    let text = |field: &str| status.get(field).and_then(Value::as_str).map(str::to_owned);
    let spec = object.get("spec").cloned().unwrap_or_default();
    Installation {
        id: text("id"),
        cluster: text("cluster"),
        schema: status.get("schema").and_then(Value::as_u64).and_then(|schema| u32::try_from(schema).ok()),
        store_id: text("storeId"),
        conditions: status
            .get("conditions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|condition| serde_json::from_value(condition.clone()).ok())
            .collect(),
        log_level: serde_json::from_value::<DataPlaneSpec>(body(&spec)).ok().and_then(|spec| spec.log_level),
    }
}

#[cfg(test)]
mod tests;

//! What was seen during a run, apart from how: by an independent watch, in the API server's audit log, in the control plane's store.
//!
//! Plain data. A version that two sources saw is there twice and means the same.

use std::collections::{BTreeMap, BTreeSet};

/// Kind and name of one of our resources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// `Release`, `Environment`, `TaskRun`, `DataPlane`.
    pub kind: String,
    pub name: String,
}

impl Key {
    /// From its two parts.
    #[must_use]
    pub fn new(kind: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), name: name.to_owned() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// One version of a stored resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub key: Key,
    /// Of the object: another one after it was made again.
    pub uid: String,
    /// Order of all writes of the cluster.
    pub resource_version: u64,
    /// Counts changes of the spec.
    pub changes: i64,
    /// Generation of the document in it; none for a local one.
    pub document: Option<i64>,
    /// Ids of the facts that wait in its status.
    pub facts: Vec<String>,
}

/// One write of a role to one of our resources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Written {
    /// To which object.
    pub key: Key,
    /// Of the object.
    pub uid: String,
    /// Version after the write.
    pub resource_version: u64,
    /// `link` or `operator`.
    pub role: String,
    /// Whose account token was used.
    pub pod: String,
}

/// A Lease with a holder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// `link` or `operator`.
    pub role: String,
    /// When, as the API server counts.
    pub resource_version: u64,
    /// Pod of the holder.
    pub pod: String,
}

/// A Job of a task run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    /// Of the object.
    pub uid: String,
    pub name: String,
    /// Name of the run.
    pub run: String,
}

/// A container of the agent that ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ended {
    pub pod: String,
    /// Id of the container.
    pub container: String,
    pub code: i32,
    /// As the kubelet says.
    pub reason: String,
}

/// A resource at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Generation of the document in it.
    pub document: Option<i64>,
    pub hash: String,
    /// Digest of the state that the link makes of it.
    pub digest: String,
}

/// What the control plane wants at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Drawn for it.
    pub generation: i64,
    /// Hash of the document.
    pub hash: String,
    /// Not Absent.
    pub present: bool,
    /// Its last answer was that it is stored.
    pub accepted: bool,
    /// One word of the answer, for people.
    pub answer: String,
}

/// A fact as the control plane recorded it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    pub id: String,
    pub key: Key,
    /// To which generation it happened.
    pub generation: i64,
    /// `Ready`, `Failed`, `RolledBack`, `Deleted`, `TaskStarted`, `TaskEnded`, `Modified`.
    pub what: String,
}

/// Everything that the rules look at.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Versions of our resources.
    pub versions: BTreeSet<Version>,
    /// Those among them that came after everything was settled.
    pub late: BTreeSet<Version>,
    /// Who wrote them.
    pub written: BTreeSet<Written>,
    /// Who led.
    pub held: BTreeSet<Held>,
    /// Jobs of runs.
    pub jobs: BTreeSet<Job>,
    /// Containers of the agent that ended.
    pub ended: BTreeSet<Ended>,
    /// Processes that were made to end by a failpoint.
    pub failpoints: usize,
    /// Lines of the agent's logs that tell of a panic.
    pub panics: BTreeSet<String>,
    /// Accepted by the data plane, as the control plane recorded it in any of its stores.
    pub accepted: BTreeSet<(Key, i64)>,
    /// Recorded in any of its stores.
    pub facts: BTreeSet<Fact>,
    /// Our resources at the end.
    pub cluster: BTreeMap<Key, Resource>,
    /// Wishes at the end.
    pub wanted: BTreeMap<Key, Wanted>,
    /// Digests of the states that the control plane holds at the end.
    pub states: BTreeMap<Key, String>,
    /// Results of runs at the end.
    pub runs: BTreeMap<String, Option<String>>,
    /// Labels `pdp-agent.dev/release` of objects at the end: release, and the objects that carry its name.
    pub objects: BTreeMap<String, BTreeSet<String>>,
    /// Stored renderings by release at the end.
    pub renderings: BTreeMap<String, usize>,
    /// Namespaces at the end, by the Environment that they carry the name of.
    pub namespaces: BTreeMap<String, String>,
    /// Resources that a restored control plane did not know when a person adopted them.
    pub strangers: BTreeSet<Key>,
}

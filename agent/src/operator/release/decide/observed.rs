//! What a decision about one release looks at: who it is, what is recorded, what is in the cluster, and what shall run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::kinds::conditions::Reason;
use crate::kinds::{ObjectRef, ReleaseStatus};
use crate::operator::object::{self, ObjectKind};
use crate::operator::reconcile::modified::Modified;
use crate::operator::reconcile::rendering::Rendering;
use crate::operator::reconcile::write::Live;
use crate::operator::world::workload::Workload;

/// Which release, and which content of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub uid: String,
    /// Generation of its document, or `metadata.generation` of a local object.
    pub generation: i64,
    /// Whether there is no document.
    pub local: bool,
    /// Hash of the stored spec without `document`.
    pub content_hash: String,
    /// Name of the rendering of that content.
    pub revision: String,
    /// How the stored spec differs from the document that came.
    pub modified: Option<Modified>,
}

impl Identity {
    /// Generation that facts carry: 0 for local objects.
    #[must_use]
    pub const fn fact_generation(&self) -> i64 {
        if self.local { 0 } else { self.generation }
    }
}

/// All that one decision looks at.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    pub identity: &'a Identity,
    /// Its status as stored.
    pub status: &'a ReleaseStatus,
    /// Why the newest content cannot be tried now, if so.
    pub blocked: Option<&'a Reason>,
    /// Why the newest content can never work, if so.
    pub invalid: Option<&'a Reason>,
    /// Until when a person stopped writes, and where they said so.
    pub paused: Option<&'a str>,
    /// What shall run: the rendering of [`target`] and its bound objects. None before the first generation was admitted.
    pub target: Option<Target<'a>>,
    /// Objects in the cluster: everything wanted and everything recorded.
    pub live: &'a BTreeMap<ObjectRef, Live>,
    /// Stored renderings of this release.
    pub revisions: &'a BTreeMap<ObjectRef, Live>,
    /// The stored rendering of what shall run, where somebody deleted it and it is still remembered.
    pub lost: Option<&'a Value>,
    /// Names of ConfigMaps and Secrets that replica sets, pods or jobs use. None: not looked up, nothing of them is pruned.
    pub in_use: Option<&'a BTreeSet<String>>,
    /// Pods, counts, addresses.
    pub workload: &'a Workload,
    /// Whether anybody may read the last lines of pods before they are stopped.
    pub last_lines: bool,
    /// Why the Service of its major version is left as somebody else keeps making it, if so.
    pub contested: Option<&'a Reason>,
}

#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// As stored.
    pub rendering: &'a Rendering,
    /// Its objects with slots bound, in order.
    pub objects: &'a [Value],
    /// Name of its Secret, if it has one.
    pub secret: Option<&'a str>,
}

impl Target<'_> {
    /// Whether it has pods that serve: a task has pods only while it runs.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.objects.iter().filter_map(object::reference).any(|(kind, _)| kind == ObjectKind::Deployment)
    }
}

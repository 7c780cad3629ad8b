//! What the cluster holds of a release: its objects, the pods they made, and its stored renderings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Work;
use super::binding::Bound;
use super::decide::{Observed, Target, prune};
use crate::kinds::ObjectRef;
use crate::kinds::conditions::Reason;
use crate::operator::cluster::ApiError;
use crate::operator::object::{self, ObjectKind};
use crate::operator::reconcile::may_run;
use crate::operator::reconcile::observe;
use crate::operator::reconcile::shared::Pause;
use crate::operator::reconcile::write::Live;
use crate::operator::world::workload::Workload;

/// What was bound, and how much of it is there.
pub(super) struct Seen {
    pub(super) bound: Bound,
    /// Where its objects are; empty if nothing of it was ever made.
    pub(super) namespace: String,
    live: BTreeMap<ObjectRef, Live>,
    revisions: BTreeMap<ObjectRef, Live>,
    /// The stored rendering of what shall run, where it is remembered and not there.
    lost: Option<Value>,
    /// Names of what pods use; not looked at while a rollout is under way.
    in_use: Option<BTreeSet<String>>,
    workload: Workload,
    last_lines: bool,
    contested: Option<Reason>,
}

impl Seen {
    /// All that the decision looks at.
    pub(super) fn observed<'a>(&'a self, work: &'a Work<'_>, pause: Option<&'a Pause>) -> Observed<'a> {
        Observed {
            identity: &work.identity,
            status: &work.status,
            blocked: self.bound.blocked.as_ref(),
            invalid: self.bound.invalid.as_ref(),
            paused: pause.map(|pause| pause.message.as_str()),
            target: self.bound.running.as_ref().map(|running| Target {
                rendering: &running.rendering,
                objects: &running.objects,
                secret: running.secret.as_deref(),
            }),
            live: &self.live,
            revisions: &self.revisions,
            lost: self.lost.as_ref(),
            in_use: self.in_use.as_ref(),
            workload: &self.workload,
            last_lines: self.last_lines,
            contested: self.contested.as_ref(),
        }
    }
}

impl Work<'_> {
    /// Looks at what shall run, and at what is left of earlier revisions once nothing is rolled out.
    pub(super) async fn observe(&self, bound: Bound, pause: Option<&Pause>) -> Result<Seen, ApiError> {
        let namespace = self.status.namespace.clone().unwrap_or_default();
        let running = bound.running.as_ref();
        let mut live = BTreeMap::new();
        for object in running.iter().flat_map(|running| &running.objects) {
            if let (Some((_, reference)), Some(found)) =
                (object::reference(object), observe::wanted(self.shared, self.owner(), object).await?)
            {
                live.insert(reference, found);
            }
        }
        if let Some(secret) = running.and_then(|running| running.secret.as_deref())
            && let Some(found) = observe::secret(self.shared, self.owner(), &namespace, secret).await?
        {
            live.insert(ObjectKind::Secret.named(secret), found);
        }
        let settled = self.status.rollout.is_none() && pause.is_none();
        let mut in_use = None;
        if settled {
            for reference in &self.status.objects {
                if !live.contains_key(reference)
                    && let Some(found) = observe::existing(self.shared, self.owner(), &namespace, reference).await?
                {
                    live.insert(reference.clone(), found);
                }
            }
            if running.is_some_and(|running| prune::needs_use(&self.status, &running.rendering)) {
                let kinds = [ObjectKind::ReplicaSet, ObjectKind::Pod, ObjectKind::Job];
                in_use = Some(observe::in_use(self.shared, &namespace, &kinds, self.owner()).await?);
            }
        }
        let majors = running.map_or(&[][..], |running| &running.rendering.majors);
        let contested = self.contested_major(&namespace, majors).await?;
        let contents = self.shared.index.lock();
        let revisions: BTreeMap<_, _> = contents
            .of_owner(self.owner())
            .filter(|(place, _)| place.kind == ObjectKind::ControllerRevision && *place.namespace == *namespace)
            .map(|(place, tracked)| (place.reference(), observe::plain(self.shared, self.owner(), tracked)))
            .collect();
        let workload = contents.workload(&self.identity.name, &namespace);
        let last_lines = may_run::logs_leave(&contents);
        drop(contents);
        let lost = running
            .filter(|running| !revisions.contains_key(&ObjectKind::ControllerRevision.named(&running.revision)))
            .map(|running| self.stored_again(&namespace, running));
        Ok(Seen { bound, namespace, live, revisions, lost, in_use, workload, last_lines, contested })
    }
}

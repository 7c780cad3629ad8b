//! One release: a round from what is stored to what runs, stage by stage.
//!
//! `admission` takes up new content (`resolve` → `render` → `check` → stored → recorded as being rolled out); `binding` fills the slots of
//! what shall run; `observation` looks at the cluster; `decide` (pure) says what to write; `reconcile::apply` writes it; `majors` leads
//! callers of the major version to the newest minor one. Each stage takes what the one before gives. What an absent release made is removed in `removal`. A round remembers nothing; the watches say when the
//! next one is due.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use protocol::document::Desired;
use protocol::mutant::{self, Mutant};
use protocol::name::{Kind, ResourceKey};
use serde_json::json;

use super::cluster::{ApiError, Class};
use super::object::owner::{Owner, OwnerKind};
use super::reconcile::apply::{self, Material, Subject};
use super::reconcile::halt::INVALID;
use super::reconcile::modified::{self, Ledger, Modified, note};
use super::reconcile::rendering;
use super::reconcile::round::Reconcile;
use super::reconcile::shared::{self, Pause, Shared};
use super::reconcile::write::{Decision, Write};
use super::world::own_kind::OwnKind as _;
use crate::kinds::conditions::{Conditions, Reason};
use crate::kinds::{Release, ReleaseStatus};
use decide::{Identity, Observed};
use observation::Seen;

mod admission;
mod binding;
pub mod check;
pub mod decide;
mod majors;
mod observation;
pub mod parsed;
pub mod progress;
mod removal;
pub mod render;
pub mod resolve;
mod runs;
#[cfg(test)]
mod tests;

/// Slot under which the ConfigMap of a revision is recorded, so that pruning knows what belongs to a kept revision.
const CONFIG: &str = "config";

/// How long a refusal is cached before admission tries again.
const REFUSAL_WAIT: Duration = Duration::from_secs(10);

/// One release on its way through the stages.
struct Work<'a> {
    shared: &'a Shared,
    release: &'a Release,
    identity: Identity,
    status: ReleaseStatus,
    subject: Subject,
    now: Timestamp,
}

/// Result of the admission: new content is being rolled out, or is blocked for a reason.
#[derive(Default)]
struct Admitted {
    blocked: Option<Reason>,
    /// Why the newest content can never work.
    invalid: Option<Reason>,
    wake: Option<Duration>,
    /// Values of its Secret, as the vault has just given them.
    material: Option<Material>,
}

impl Reconcile for Release {
    async fn reconcile(
        shared: &Shared,
        _name: &str,
        release: &Self,
        now: Timestamp,
    ) -> Result<Option<Duration>, ApiError> {
        let mut work = Work::new(shared, release, now);
        let environment = release.spec.body.environment.as_deref();
        let pause = {
            let contents = shared.index.lock();
            let pause = shared::pause_of("Release", release, now);
            pause.or_else(|| shared::pause_above(&contents, environment, now))
        };
        match release.spec.body.state {
            Desired::Present => work.present(pause).await,
            Desired::Absent => work.absent(pause).await,
        }
    }

    fn vanished(shared: &Shared, name: &str) {
        shared.forget_refusal(&Self::key(name.to_owned()));
    }
}

impl<'a> Work<'a> {
    fn new(shared: &'a Shared, release: &'a Release, now: Timestamp) -> Self {
        let document = release.spec.document.as_ref();
        let content_hash = rendering::content_hash(&release.spec.body);
        let name = release.name_any();
        let key = ResourceKey { kind: Kind::Release, name: name.clone() };
        let identity = Identity {
            uid: release.uid().unwrap_or_default(),
            generation: document
                .map_or_else(|| release.metadata.generation.unwrap_or(1), |document| document.generation),
            local: document.is_none(),
            revision: rendering::revision_name(&name, &content_hash),
            content_hash,
            modified: Modified::of(&key, document, note(release), &release.spec.body),
            name: name.clone(),
        };
        let subject = Subject {
            name,
            uid: identity.uid.clone(),
            resource_version: release.metadata.resource_version.clone().unwrap_or_default(),
        };
        Self { shared, release, identity, status: release.status.clone().unwrap_or_default(), subject, now }
    }

    const fn owner(&self) -> Owner<'_> {
        OwnerKind::Release.named(self.identity.name.as_str())
    }

    async fn present(&mut self, pause: Option<Pause>) -> Result<Option<Duration>, ApiError> {
        let paused = pause.as_ref();
        let admitted = self.admit(paused).await?;
        let bound = self.bind(admitted, paused).await?;
        let seen = self.observe(bound, paused).await?;
        let decision = decide::decide(&seen.observed(self, paused), self.now);
        let again = self.apply(&seen, &decision, paused).await?;
        if let Some(pause) = pause {
            return Ok([pause.left, seen.bound.wake, again].into_iter().flatten().min());
        }
        let led = self.lead(&seen).await?;
        let runs = self.remove_runs(&seen.namespace).await?;
        Ok([seen.bound.wake, again, led, runs].into_iter().flatten().min())
    }

    /// Writes what was decided. Returns when to look again.
    async fn apply(
        &mut self,
        seen: &Seen,
        decision: &Decision<ReleaseStatus>,
        pause: Option<&Pause>,
    ) -> Result<Option<Duration>, ApiError> {
        if !decision.writes.is_empty() {
            tracing::debug!(release = self.identity.name, writes = ?decision.writes, "decided");
        }
        match self.perform(&seen.namespace, seen.bound.material.as_ref(), &decision.writes).await {
            // The first release is not tried before it is made.
            Err(error) if error.class() == Class::Invalid && self.status.rollout.is_some() => {
                let why = Reason::new(INVALID, format!("the API server refuses it: {}", error.message()));
                let failed = decide::decide(&Observed { invalid: Some(&why), ..seen.observed(self, pause) }, self.now);
                self.perform(&seen.namespace, None, &failed.writes).await?;
                return Ok(failed.wake);
            }
            done => done?,
        }
        let made = decision.writes.iter().any(|write| match write {
            Write::Create(_) | Write::CreateSecret(_) | Write::Apply { .. } => true,
            Write::Status(_) | Write::Delete { .. } => false,
        });
        // The watch event of our own write does not requeue the release, so requeue it now.
        let again = made && !mutant::is(Mutant::NotLookedAtAgain);
        Ok(if again { Some(Duration::ZERO) } else { decision.wake })
    }

    async fn perform(
        &mut self,
        namespace: &str,
        material: Option<&Material>,
        writes: &[Write<ReleaseStatus>],
    ) -> Result<(), ApiError> {
        let done = apply::perform::<Release, _>(self.shared, &mut self.subject, namespace, material, writes).await;
        // A policy may have come at the last moment.
        if let Some(why) = done.as_ref().err().and_then(apply::refusal) {
            self.say(&why).await?;
        }
        done
    }

    /// Writes a reason into the conditions and nothing else: the other conditions stay as they were set for this generation.
    async fn say(&mut self, why: &Reason) -> Result<(), ApiError> {
        let mut status = self.status.clone();
        let mut conditions = Conditions::new(&self.status.conditions, self.identity.generation, self.now);
        conditions.set("Ready", false, why);
        conditions.set("Stalled", true, why);
        let ledger = Ledger { uid: &self.identity.uid, facts: &mut status.facts, last: &mut status.last_fact };
        modified::tell(self.identity.modified.as_ref(), &mut conditions, ledger);
        let said = conditions.finish();
        status.conditions.retain(|before| said.iter().all(|said| said.condition_type != before.condition_type));
        status.conditions.extend(said);
        status.conditions.sort_by(|a, b| a.condition_type.cmp(&b.condition_type));
        if status == self.status { Ok(()) } else { self.record(status).await }
    }

    async fn record(&mut self, status: ReleaseStatus) -> Result<(), ApiError> {
        apply::status::<Release>(self.shared, &mut self.subject, &json!(status)).await?;
        self.status = status;
        Ok(())
    }
}

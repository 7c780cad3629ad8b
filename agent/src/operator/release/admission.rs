//! Taking up new content: `resolve` → `render` → `check` → stored once → recorded as being rolled out. Nothing of the workload is
//! touched before.

use std::sync::Arc;

use protocol::mutant::{self, Mutant};

use super::binding::filled;
use super::decide::{self, ContentState};
use super::render::{self, Input};
use super::{Admitted, REFUSAL_WAIT, Work};
use super::{check, resolve};
use crate::kinds::DataPlanePolicySpec;
use crate::kinds::conditions::Reason;
use crate::operator::cluster::ApiError;
use crate::operator::environment::pull;
use crate::operator::object::ObjectKind;
use crate::operator::reconcile::apply::Material;
use crate::operator::reconcile::halt::Halt;
use crate::operator::reconcile::may_run::Prepared;
use crate::operator::reconcile::observe;
use crate::operator::reconcile::rendering::{Rendering, SECRETS};
use crate::operator::reconcile::shared::Pause;
use crate::operator::world::index;

impl Work<'_> {
    /// Takes up the newest content, unless that was done or somebody paused it.
    pub(super) async fn admit(&mut self, pause: Option<&Pause>) -> Result<Admitted, ApiError> {
        let due = match decide::content_state(&self.status, &self.identity) {
            ContentState::New => true,
            // If the release was removed and is wanted again, a deletion that was under way may have removed its rendering.
            ContentState::Rolling => self.rendering_is_gone().await?,
            ContentState::Effective | ContentState::Failed => false,
        };
        if !due || pause.is_some() {
            return Ok(Admitted::default());
        }
        match self.take_up().await {
            Ok(material) => Ok(Admitted { material, ..Admitted::default() }),
            Err(Halt::Blocked(why, again)) => {
                let wake = again.or(Some(REFUSAL_WAIT));
                Ok(Admitted { blocked: Some(why), wake, ..Admitted::default() })
            }
            Err(Halt::Invalid(why)) => Ok(Admitted { invalid: Some(why), ..Admitted::default() }),
            Err(Halt::Api(error)) => Err(error),
        }
    }

    async fn rendering_is_gone(&self) -> Result<bool, ApiError> {
        let Some(namespace) = &self.status.namespace else { return Ok(false) };
        Ok(self.stored(namespace, &self.identity.revision).await?.is_none())
    }

    async fn take_up(&mut self) -> Result<Option<Material>, Halt> {
        let (admissible, policy, about) = {
            let mut contents = self.shared.index.lock();
            let policy = contents.policy.as_ref();
            let about = format!(
                "{} {} {}",
                self.identity.generation,
                self.identity.content_hash,
                policy.and_then(|policy| policy.metadata.resource_version.clone()).unwrap_or_default(),
            );
            let policy = policy.map(|policy| policy.spec.clone()).unwrap_or_default();
            // The rules are evaluated every time: that is cheap, and an event comes when what they wait for changes.
            let admissible = resolve::admissible(&contents, &self.identity.name, &self.release.spec.body)?;
            contents.claim(self.release.metadata.uid.as_ref());
            (admissible, policy, about)
        };
        if let Some((why, left)) = self.shared.refusal(&self.owner().into(), &about) {
            return Err(Halt::Blocked(why, Some(left)));
        }
        let taken_up = self.roll_out(&admissible, &policy).await;
        match &taken_up {
            Ok(_) => self.shared.forget_refusal(&self.owner().into()),
            Err(Halt::Blocked(why, _)) => {
                tracing::info!(release = self.identity.name, why.reason, "a release cannot be taken up now");
                self.shared.remember_refusal(self.owner().into(), about, why.clone(), REFUSAL_WAIT);
            }
            Err(Halt::Invalid(_) | Halt::Api(_)) => {}
        }
        taken_up
    }

    async fn roll_out(
        &mut self,
        admissible: &resolve::Admissible,
        policy: &DataPlanePolicySpec,
    ) -> Result<Option<Material>, Halt> {
        let place = &admissible.place;
        // The remembered rendering may be from before a removal: only the stored one counts.
        self.shared.forget_rendering(&place.namespace, &self.identity.revision);
        if let Some(before) = self.status.namespace.as_ref().filter(|before| **before != place.namespace)
            && !self.status.objects.is_empty()
        {
            let message =
                format!("its objects are still in namespace {before}; make it Absent and wait until it is Deleted");
            return Err(Reason::new("StillElsewhere", message).into());
        }
        let rendering = self.rendered(admissible).await?;
        let (slots, material) = self.slots(&rendering, policy, place).await?;
        let (objects, job) = filled(&rendering, &self.identity.revision, &slots)?;
        let all: Vec<_> = objects.iter().cloned().chain(job).collect();
        check::check(self.shared, self.owner(), &all, self.status.effective.is_some()).await?;
        for source in &admissible.pull_secrets {
            pull::ensure(self.shared, place, source).await?;
        }
        self.store(place, &rendering).await?;
        let secret = slots.get(SECRETS).map(String::as_str);
        let workload = self.shared.index.lock().workload(&self.identity.name, &place.namespace);
        let admission = decide::Admission {
            identity: &self.identity,
            status: &self.status,
            namespace: &place.namespace,
            slots: &slots,
            target: decide::Target { rendering: &rendering, objects: &objects, secret },
            workload: &workload,
        };
        let status = decide::admit(&admission, self.now);
        self.record(status).await?;
        tracing::info!(release = self.identity.name, generation = self.identity.generation, "a release is rolled out");
        Ok(material)
    }

    /// The rendering of the newest content: the stored one, else a new one.
    async fn rendered(&self, admissible: &resolve::Admissible) -> Result<Arc<Rendering>, ApiError> {
        let place = &admissible.place;
        // If the watch does not show it yet, the creation fails, and the next try finds it.
        let shown = self.shared.index.lock().of_owner(self.owner()).any(|(shown, _)| {
            shown.kind == ObjectKind::ControllerRevision
                && *shown.namespace == *place.namespace
                && *shown.name == *self.identity.revision
        });
        let kept = if shown { self.stored(&place.namespace, &self.identity.revision).await? } else { None };
        let rendered = || {
            Arc::new(render::build(&Input {
                data_plane: &self.shared.id,
                name: &self.identity.name,
                environment: &place.environment,
                project: &place.owner[1],
                namespace: &place.namespace,
                content_hash: &self.identity.content_hash,
                level: place.level,
                pull_secrets: &admissible.pull_secrets.iter().map(|source| pull::name(source)).collect::<Vec<_>>(),
                gate: admissible.gate.as_ref(),
                release: &admissible.release,
            }))
        };
        Ok(kept.unwrap_or_else(rendered))
    }

    async fn store(&self, place: &Prepared, rendering: &Rendering) -> Result<(), ApiError> {
        let (namespace, revision) = (&place.namespace, &self.identity.revision);
        if self.shared.rendering(namespace, revision).is_some() {
            return Ok(());
        }
        let labels = self.labels(&place.environment);
        let object = rendering.stored(revision, namespace, self.identity.generation, &labels);
        let answer = self.shared.cluster.create(&object).await?;
        if !mutant::is(Mutant::RenderingNotSeen) {
            // If the release became Absent meanwhile, only this entry shows that an object of it exists.
            observe::absorb(
                self.shared,
                &index::Place::new(ObjectKind::ControllerRevision, namespace, revision),
                &answer,
            );
        }
        self.shared.remember_rendering(namespace, revision, rendering);
        Ok(())
    }
}

//! What shall run, with the slots of its rendering filled: names of objects whose names depend on secret values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;

use super::{Admitted, CONFIG, REFUSAL_WAIT, Work, decide, resolve};
use crate::kinds::DataPlanePolicySpec;
use crate::kinds::conditions::Reason;
use crate::kinds::labels::{ENVIRONMENT, RELEASE};
use crate::operator::cluster::ApiError;
use crate::operator::environment::KEY_SECRET;
use crate::operator::object::{self, ObjectKind};
use crate::operator::reconcile::apply::Material;
use crate::operator::reconcile::halt::Halt;
use crate::operator::reconcile::may_run::{self, Prepared};
use crate::operator::reconcile::observe;
use crate::operator::reconcile::rendering::{Rendering, SECRETS, Slots, Unbound};
use crate::operator::reconcile::shared::Pause;
use crate::operator::reconcile::write::Live;
use crate::operator::world::index::Place;

/// What shall run now, and what stands in the way of it or of newer content.
pub(super) struct Bound {
    pub(super) blocked: Option<Reason>,
    /// Why the newest content can never work.
    pub(super) invalid: Option<Reason>,
    pub(super) wake: Option<Duration>,
    /// None: nothing was ever taken up, or it cannot be bound.
    pub(super) running: Option<Running>,
    /// Values of its Secret, where that has to be made.
    pub(super) material: Option<Material>,
}

/// A rendering with its slots filled.
pub(super) struct Running {
    pub(super) revision: String,
    pub(super) rendering: Arc<Rendering>,
    pub(super) objects: Vec<Value>,
    pub(super) secret: Option<String>,
}

impl Work<'_> {
    /// Binds what shall run: the revision that is rolled out, else the last good one.
    pub(super) async fn bind(&mut self, admitted: Admitted, pause: Option<&Pause>) -> Result<Bound, ApiError> {
        let Admitted { blocked, invalid, wake, material } = admitted;
        let mut bound = Bound { blocked, invalid, wake, running: None, material: None };
        if let Some(revision) = decide::target(&self.status).map(str::to_owned)
            && let Some(namespace) = self.status.namespace.clone()
        {
            match self.running(&namespace, &revision, material, pause).await {
                Ok((running, material)) => {
                    bound.running = Some(running);
                    bound.material = material;
                }
                // What it waits for need not be an event of this release, such as the key of its environment.
                Err(Halt::Blocked(why, again)) => {
                    bound.blocked = bound.blocked.or(Some(why));
                    bound.wake = bound.wake.or(again).or(Some(REFUSAL_WAIT));
                }
                Err(Halt::Invalid(why)) => bound.blocked = bound.blocked.or(Some(why)),
                Err(Halt::Api(error)) => return Err(error),
            }
        }
        Ok(bound)
    }

    async fn running(
        &mut self,
        namespace: &str,
        revision: &str,
        read: Option<Material>,
        pause: Option<&Pause>,
    ) -> Result<(Running, Option<Material>), Halt> {
        let Some(rendering) = self.stored(namespace, revision).await? else {
            let message = format!(
                "ControllerRevision {revision} in namespace {namespace} is gone; what runs goes on without repair until a new generation"
            );
            return Err(Reason::new("RenderingLost", message).into());
        };
        let mut slots = decide::binding(&self.status, revision).cloned().unwrap_or_default();
        // Admission has read values and named the Secret by them: under another name they are not the ones that are bound.
        let mut material = read.filter(|read| slots.get(SECRETS) == Some(&read.name));
        if let Some(name) = slots.get(SECRETS).cloned()
            && pause.is_none()
            && material.is_none()
            && self.secret(namespace, &name).await?.is_none()
        {
            let (place, policy) = {
                let contents = self.shared.index.lock();
                let policy = contents.policy.as_ref().map(|policy| policy.spec.clone()).unwrap_or_default();
                let environment = self.release.spec.body.environment.as_deref().unwrap_or_default();
                (may_run::place(&contents, environment, &policy)?, policy)
            };
            // Its spec may name another environment already, while its pods are still here: that one's values are not for them.
            if place.namespace != namespace {
                let message = format!(
                    "its Secret is gone, and its objects are still in namespace {namespace}; make it Absent and wait until it is Deleted"
                );
                return Err(Reason::new("StillElsewhere", message).into());
            }
            let (rebound, values) = self.slots(&rendering, &policy, &place).await?;
            if rebound != slots {
                // The values in the vault have changed since, so the Secret of the old name cannot be made again.
                let mut status = decide::bind(&self.status, revision, &rebound);
                if let Some(secret) = rebound.get(SECRETS) {
                    status.objects.push(ObjectKind::Secret.named(secret));
                    status.objects.sort();
                    status.objects.dedup();
                }
                self.record(status).await?;
                slots = rebound;
            }
            material = values;
        }
        let (objects, _) = filled(&rendering, revision, &slots)?;
        let secret = slots.get(SECRETS).cloned();
        Ok((Running { revision: revision.to_owned(), rendering, objects, secret }, material))
    }

    /// Whether its Secret is there. No watch follows Secrets, so it is asked anew where a pod waits for what it shall be given.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Live>, ApiError> {
        let rolling = self.status.rollout.is_some();
        {
            let mut contents = self.shared.index.lock();
            if contents.workload(&self.identity.name, namespace).pods.iter().any(|pod| pod.lacks_its_secret(rolling)) {
                contents.forget_verified(&Place::new(ObjectKind::Secret, namespace, name));
            }
        }
        observe::secret(self.shared, self.owner(), namespace, name).await
    }

    /// The ControllerRevision of what runs, as it was stored.
    pub(super) fn stored_again(&self, namespace: &str, running: &Running) -> Value {
        let Running { revision, rendering, .. } = running;
        let rollout = self.status.rollout.as_ref().filter(|rollout| rollout.revision == *revision);
        let effective = self.status.effective.as_ref().and_then(|effective| effective.generation);
        let generation = rollout.map(|rollout| rollout.generation).or(effective).unwrap_or(self.identity.generation);
        let first = rendering.objects.first().or(rendering.job.as_ref());
        let environment = first.and_then(|object| object::label(object, ENVIRONMENT)).unwrap_or_default();
        rendering.stored(revision, namespace, generation, &self.labels(environment))
    }

    /// Labels of what belongs to the release and is made for no rendering in particular.
    pub(super) fn labels(&self, environment: &str) -> BTreeMap<String, String> {
        let mut labels = object::environment_labels(&self.shared.id, environment);
        labels.insert(RELEASE.to_owned(), self.identity.name.clone());
        labels
    }

    /// The stored rendering of `revision`.
    pub(super) async fn stored(&self, namespace: &str, revision: &str) -> Result<Option<Arc<Rendering>>, ApiError> {
        observe::rendering(self.shared, &self.identity.name, namespace, revision).await
    }

    /// Resolves what is bound late: names by slot, and the values of the Secret.
    pub(super) async fn slots(
        &self,
        rendering: &Rendering,
        policy: &DataPlanePolicySpec,
        place: &Prepared,
    ) -> Result<(Slots, Option<Material>), Halt> {
        let mut slots = Slots::new();
        let config =
            rendering.objects.iter().filter_map(object::reference).find(|(kind, _)| *kind == ObjectKind::ConfigMap);
        if let Some((_, config)) = config {
            slots.insert(CONFIG.to_owned(), config.name);
        }
        if rendering.secrets.is_empty() {
            return Ok((slots, None));
        }
        let Some(key) = self.key(&place.namespace).await? else {
            return Err(Reason::new("EnvironmentNotReady", "the environment's key is not there yet").into());
        };
        let values = resolve::secrets(self.shared, policy, place, &rendering.secrets).await.map_err(|error| {
            let release = &self.identity.name;
            tracing::warn!(release, namespace = place.namespace, %error, "secret values cannot be read");
            Reason::new(error.reason, error.outside)
        })?;
        let name = resolve::secret_name(&self.identity.name, &key, &values);
        slots.insert(SECRETS.to_owned(), name.clone());
        let labels = self.labels(&place.environment);
        Ok((slots, Some(Material { name, labels, values })))
    }

    async fn key(&self, namespace: &str) -> Result<Option<SecretString>, ApiError> {
        let secret = self.shared.cluster.get(ObjectKind::Secret, namespace, KEY_SECRET).await?;
        Ok(secret.and_then(|secret| secret_data(&secret, "key")))
    }
}

/// Objects, and the Job of a run if it is a task.
pub(super) fn filled(
    rendering: &Rendering,
    revision: &str,
    slots: &Slots,
) -> Result<(Vec<Value>, Option<Value>), Reason> {
    let lost = |error: Unbound| Reason::new("BindingLost", error.to_string());
    Ok((rendering.bound(revision, slots).map_err(lost)?, rendering.bound_job(revision, slots).map_err(lost)?))
}

/// Data of a Secret by key, decoded and wrapped.
fn secret_data(secret: &Value, key: &str) -> Option<SecretString> {
    use base64::Engine as _;
    let text = secret.get("data")?.get(key)?.as_str()?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    String::from_utf8(bytes).ok().map(SecretString::from)
}

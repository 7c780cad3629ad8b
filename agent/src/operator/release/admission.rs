//! Taking up new content: `resolve` → `build` → `check` → stored once → recorded as being rolled out. Nothing of the workload is
//! touched before.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;

use super::super::apply::Material;
use super::super::build::{self, Input};
use super::super::check;
use super::super::cluster::ApiError;
use super::super::decide;
use super::super::environment::{KEY_SECRET, pull};
use super::super::object::{self, ObjectKind, RELEASE};
use super::super::rendering::{Rendering, SECRETS, Slots};
use super::super::report::Trouble;
use super::super::resolve::{self, Place};
use super::{CONFIG, REFUSAL_WAIT, Work};
use crate::kinds::DataPlanePolicySpec;

impl Work<'_> {
    /// Takes up the newest content: resolve, build, check, store, record. Inside: why it cannot be, and when to try again.
    pub(super) async fn admit(&mut self) -> Result<Result<(), (Trouble, Duration)>, ApiError> {
        let (admissible, policy, about) = {
            let mut contents = self.shared.index.lock();
            let policy = contents.policy.as_ref();
            let about = format!(
                "{} {} {}",
                self.identity.generation,
                self.identity.content_hash,
                policy.and_then(|policy| policy.metadata.resource_version.clone()).unwrap_or_default(),
            );
            let admissible = resolve::admissible(&contents, &self.identity.name, &self.release.spec.body);
            let policy = policy.map(|policy| policy.spec.clone());
            if admissible.is_ok() {
                contents.claim(self.release.metadata.uid.as_ref());
            }
            (admissible, policy, about)
        };
        let admissible = match (admissible, self.shared.refusal(&self.identity.name, &about)) {
            // Rules are asked anew every time: they cost nothing, and what they wait for comes as an event.
            (Err(trouble), _) => return Ok(Err((trouble, REFUSAL_WAIT))),
            (Ok(_), Some(remembered)) => return Ok(Err(remembered)),
            (Ok(admissible), None) => admissible,
        };
        let policy = policy.unwrap_or_default();
        match self.take_up(&admissible, &policy).await? {
            Ok(()) => {
                self.shared.forget_refusal(&self.identity.name);
                Ok(Ok(()))
            }
            Err(trouble) => {
                tracing::info!(
                    release = self.identity.name,
                    reason = trouble.reason,
                    "a release cannot be taken up now"
                );
                self.shared.remember_refusal(&self.identity.name, about, trouble.clone(), REFUSAL_WAIT);
                Ok(Err((trouble, REFUSAL_WAIT)))
            }
        }
    }

    async fn take_up(
        &mut self,
        admissible: &resolve::Admissible,
        policy: &DataPlanePolicySpec,
    ) -> Result<Result<(), Trouble>, ApiError> {
        let place = &admissible.place;
        // What is remembered may be of before a removal: only what is stored counts.
        self.shared.forget_rendering(&place.namespace, &self.identity.revision);
        if let Some(before) = self.status.namespace.as_ref().filter(|before| **before != place.namespace)
            && !self.status.objects.is_empty()
        {
            return Ok(Err(Trouble::new(
                "StillElsewhere",
                format!("its objects are still in namespace {before}; make it Absent and wait until it is Deleted"),
            )));
        }
        // One that the watch does not show yet makes the creation fail, and is found at the next try.
        let shown = self.shared.index.lock().of_release(&self.identity.name).any(|(shown, _)| {
            shown.kind == ObjectKind::ControllerRevision
                && *shown.namespace == *place.namespace
                && *shown.name == *self.identity.revision
        });
        let kept = if shown { self.stored(&place.namespace, &self.identity.revision).await? } else { None };
        let rendering = match kept {
            Some(kept) => kept,
            None => build::build(&Input {
                data_plane: &self.shared.id,
                name: &self.identity.name,
                environment: &place.environment,
                project: &place.owner[1],
                namespace: &place.namespace,
                content_hash: &self.identity.content_hash,
                level: place.level,
                pull_secrets: admissible.pull_secret.as_deref().map(pull::name).as_slice(),
                release: &admissible.release,
            }),
        };
        let slots = match self.bind(&rendering, policy, place).await? {
            Ok((slots, _)) => slots,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let (mut objects, job) = match self.bound(&rendering, &self.identity.revision, &slots) {
            Ok(bound) => bound,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let recorded = objects.clone();
        objects.extend(job);
        if let Err(trouble) = check::check(self.shared, self.owner(), &objects).await? {
            return Ok(Err(trouble));
        }
        if let Some(source) = &admissible.pull_secret {
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
            target: decide::Target { rendering: &rendering, objects: &recorded, secret },
            workload: &workload,
        };
        let status = decide::admit(&admission, self.now);
        self.record(status).await?;
        tracing::info!(release = self.identity.name, generation = self.identity.generation, "a release is rolled out");
        Ok(Ok(()))
    }

    async fn store(&self, place: &Place, rendering: &Rendering) -> Result<(), ApiError> {
        let (namespace, revision) = (&place.namespace, &self.identity.revision);
        if self.shared.rendering(namespace, revision).is_some() {
            return Ok(());
        }
        let mut labels = object::environment_labels(&self.shared.id, &place.environment);
        labels.insert(RELEASE.to_owned(), self.identity.name.clone());
        let object = rendering.stored(revision, namespace, self.identity.generation, &labels);
        self.shared.cluster.create(&object).await?;
        self.shared.remember_rendering(namespace, revision, rendering);
        Ok(())
    }

    /// Resolves what is bound late: names by slot, and the values of the Secret.
    pub(super) async fn bind(
        &self,
        rendering: &Rendering,
        policy: &DataPlanePolicySpec,
        place: &Place,
    ) -> Result<Result<(Slots, Option<Material>), Trouble>, ApiError> {
        let mut slots = Slots::new();
        let config =
            rendering.objects.iter().filter_map(object::reference).find(|(kind, _)| *kind == ObjectKind::ConfigMap);
        if let Some((_, config)) = config {
            slots.insert(CONFIG.to_owned(), config.name);
        }
        if rendering.secrets.is_empty() {
            return Ok(Ok((slots, None)));
        }
        let Some(key) = self.key(&place.namespace).await? else {
            return Ok(Err(Trouble::new("EnvironmentNotReady", "the environment's key is not there yet")));
        };
        let values = match resolve::secrets(self.shared, policy, place, &rendering.secrets).await {
            Ok(values) => values,
            Err(error) => {
                let release = &self.identity.name;
                tracing::warn!(release, namespace = place.namespace, %error, "the vault gives no secret values");
                return Ok(Err(Trouble::new(error.reason(), error.outside())));
            }
        };
        let name = resolve::secret_name(&self.identity.name, &key, &values);
        slots.insert(SECRETS.to_owned(), name.clone());
        let mut labels = object::environment_labels(&self.shared.id, &place.environment);
        labels.insert(RELEASE.to_owned(), self.identity.name.clone());
        let material = Material { name, labels, values };
        Ok(Ok((slots, Some(material))))
    }

    pub(super) async fn key(&self, namespace: &str) -> Result<Option<SecretString>, ApiError> {
        let secret = self.shared.cluster.get(ObjectKind::Secret, namespace, KEY_SECRET).await?;
        Ok(secret.and_then(|secret| secret_data(&secret, "key")))
    }
}

/// Data of a Secret by key, decoded and wrapped.
fn secret_data(secret: &Value, key: &str) -> Option<SecretString> {
    use base64::Engine as _;
    let text = secret.get("data")?.get(key)?.as_str()?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    String::from_utf8(bytes).ok().map(SecretString::from)
}

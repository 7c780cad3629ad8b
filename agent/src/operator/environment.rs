//! Environments: one namespace each, prepared before anything runs in it.
//!
//! The driver: policy → `objects` → observe → `decide` → apply; then `secrets`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use protocol::document::Desired;
use protocol::name::{Kind, ResourceKey};
use serde_json::Value;

use super::cluster::{ApiError, Class};
use super::object::owner::{Owner, OwnerKind};
use super::object::{self, ObjectKind};
use super::reconcile::apply::{self, Subject};
use super::reconcile::fights;
use super::reconcile::halt::INVALID;
use super::reconcile::may_run;
use super::reconcile::modified::{Modified, note};
use super::reconcile::observe;
use super::reconcile::round::Reconcile;
use super::reconcile::shared::{self, Pause, Shared};
use super::reconcile::write::{Live, Write};
use super::world::index::Place;
use crate::kinds::conditions::Reason;
use crate::kinds::labels::{AGENT, DATA_PLANE, ENVIRONMENT, INSTALLATION};
use crate::kinds::{DataPlanePolicy, Environment, LogMode, ObjectRef};
use crate::settings::Settings;
use adopt::Adoption;
use decide::Observed;
use objects::Wanted;

mod adopt;
pub mod decide;
mod foreign;
mod network;
pub mod objects;
pub mod pull;
mod removal;
mod secrets;

pub use secrets::KEY_SECRET;

/// How soon a namespace is looked at again that is in the way or going away.
const AGAIN: Duration = Duration::from_secs(10);

/// How soon rights that were just bound are in effect.
const RIGHTS: Duration = Duration::from_secs(1);

impl Reconcile for Environment {
    async fn reconcile(
        shared: &Shared,
        name: &str,
        environment: &Self,
        now: Timestamp,
    ) -> Result<Option<Duration>, ApiError> {
        let (policy, pause) = {
            let contents = shared.index.lock();
            let pause = shared::pause_of("Environment", environment, now);
            (contents.policy.clone(), pause.or_else(|| shared::pause_above(&contents, None, now)))
        };
        let round = Round { shared, name, environment, policy: policy.as_ref(), pause: pause.as_ref(), now };
        let again = match environment.spec.body.state {
            Desired::Present => round.present().await?,
            Desired::Absent => round.absent().await?,
        };
        Ok([again, pause.as_ref().and_then(|pause| pause.left)].into_iter().flatten().min())
    }
}

struct Round<'a> {
    shared: &'a Shared,
    name: &'a str,
    environment: &'a Environment,
    policy: Option<&'a DataPlanePolicy>,
    pause: Option<&'a Pause>,
    now: Timestamp,
}

impl Round<'_> {
    async fn present(&self) -> Result<Option<Duration>, ApiError> {
        let Some(owner) = may_run::owner(&self.environment.spec.body) else {
            return self.without_owner().await;
        };
        let [organization, project, handle] = &owner;
        let namespace = object::fixed::namespace_name(organization, project, handle);
        let wanted = self.wanted(&owner, &namespace);
        let mut live = BTreeMap::new();
        self.look_at_namespace(&namespace, wanted.as_ref().ok(), &mut live).await?;
        let ours = live.values().all(|live: &Live| live.ours && !live.terminating) && !live.is_empty();
        let (wanted, ours) = match self.adopt(&namespace, ours).await? {
            Adoption::Done => return Ok(Some(Duration::ZERO)),
            Adoption::Refused(why) => (Err(why), false),
            Adoption::NotNeeded => (wanted, ours),
        };
        if ours && let Ok(wanted) = &wanted {
            match self.look_into(&namespace, wanted, &mut live).await {
                // Somebody removed or emptied the binding, or the process that made the namespace ended before it bound its rights.
                // Without them nothing that no watch shows can be looked at.
                Err(error) if error.class() == Class::Rights && self.pause.is_none() => {
                    return if self.take_rights(&namespace).await? { Ok(Some(RIGHTS)) } else { Err(error) };
                }
                other => other?,
            }
        }
        let warning = if ours {
            match self.secrets(&namespace).await {
                // The binding went after everything else was looked at.
                Err(error) if error.class() == Class::Rights && self.pause.is_none() => {
                    return if self.take_rights(&namespace).await? { Ok(Some(RIGHTS)) } else { Err(error) };
                }
                Err(error) => Some(apply::refusal(&error).ok_or(error)?),
                Ok(missing) => missing,
            }
        } else {
            None
        };
        let status = self.environment.status.clone().unwrap_or_default();
        let modified = self.modified();
        let holder = self.holder(&namespace);
        let observed =
            Observed { holder: holder.as_deref(), ..self.observed(&status, modified.as_ref(), &namespace, &live) };
        let decision = decide::decide(&observed, wanted.as_ref(), warning.as_ref(), self.now);
        let mut subject = self.subject();
        let done =
            apply::perform::<Environment, _>(self.shared, &mut subject, &namespace, None, &decision.writes).await;
        if let Err(error) = done {
            if let Some(why) = apply::refusal(&error) {
                let written = decision.writes.iter().find_map(Write::status).unwrap_or(&status);
                let refused =
                    decide::decide(&Observed { status: written, ..observed }, Err(&why), warning.as_ref(), self.now);
                apply::perform::<Environment, _>(self.shared, &mut subject, &namespace, None, &refused.writes).await?;
            }
            return Err(error);
        }
        let made_objects = decision.writes.iter().any(|write| write.status().is_none());
        // The namespace was just made: its key and pull Secrets come in the next round.
        Ok(Some(match (made_objects, !ours || warning.is_some()) {
            (true, _) => Duration::ZERO,
            (false, true) => AGAIN,
            (false, false) => shared::GLANCE,
        }))
    }

    /// What is there of what is wanted in its namespace, and of what is not wanted there any more.
    async fn look_into(
        &self,
        namespace: &str,
        wanted: &Wanted,
        live: &mut BTreeMap<ObjectRef, Live>,
    ) -> Result<(), ApiError> {
        for object in wanted.present.iter().skip(1) {
            if let (Some((_, reference)), Some(found)) =
                (object::reference(object), observe::wanted(self.shared, self.owner(), object).await?)
            {
                live.insert(reference, found);
            }
        }
        for reference in &wanted.absent {
            if let Some(found) = observe::existing(self.shared, self.owner(), namespace, reference).await? {
                live.insert(reference.clone(), found);
            }
        }
        Ok(())
    }

    /// Its handles name the namespace, so without them nothing can be prepared. The definition refuses such an object, and may be
    /// missing or older.
    async fn without_owner(&self) -> Result<Option<Duration>, ApiError> {
        let why = "organization, project and environment name the namespace and one of them is missing; set all three";
        let (why, live) = (Reason::new(INVALID, why), BTreeMap::new());
        let status = self.environment.status.clone().unwrap_or_default();
        let modified = self.modified();
        let observed = self.observed(&status, modified.as_ref(), "", &live);
        let decision = decide::decide(&observed, Err(&why), None, self.now);
        apply::perform::<Environment, _>(self.shared, &mut self.subject(), "", None, &decision.writes).await?;
        Ok(None)
    }

    fn wanted(&self, owner: &[String; 3], namespace: &str) -> Result<Wanted, Reason> {
        let policy = &self.policy.ok_or_else(may_run::no_policy)?.spec;
        let rule = may_run::rule(policy, owner)?;
        {
            let mut contents = self.shared.index.lock();
            may_run::room::for_environment(&contents, policy, self.name)?;
            contents.claim(self.environment.metadata.uid.as_ref());
        }
        let [organization, project, handle] = owner;
        let spec = &self.environment.spec.body;
        Ok(objects::wanted(&objects::Input {
            data_plane: &self.shared.id,
            agent: &self.shared.settings.agent,
            name: self.name,
            namespace,
            owner: [organization, project, handle],
            agent_namespace: &self.shared.settings.namespace,
            fullname: &self.shared.settings.fullname,
            level: rule.level(),
            quota: rule.quota(spec.quota.as_ref(), policy.default_quota.as_ref()).as_ref(),
            egress: spec.egress.unwrap_or(false) && rule.egress != Some(false),
            internal_ranges: policy.internal_ranges.as_deref(),
            reachable_ranges: policy.reachable_ranges.as_deref().unwrap_or_default(),
            dns: policy.dns(),
            logs: policy.logs.mode == LogMode::ThroughLink,
        }))
    }

    /// A foreign namespace carries none of our labels, so no watch shows it: it is asked for by name.
    async fn look_at_namespace(
        &self,
        namespace: &str,
        wanted: Option<&Wanted>,
        live: &mut BTreeMap<ObjectRef, Live>,
    ) -> Result<(), ApiError> {
        let reference = ObjectKind::Namespace.named(namespace);
        if let Some(object) = wanted.and_then(|wanted| wanted.present.first())
            && let Some(found) = observe::wanted(self.shared, self.owner(), object).await?
        {
            live.insert(reference, found);
            return Ok(());
        }
        let Some(found) = self.shared.cluster.get(ObjectKind::Namespace, namespace, namespace).await? else {
            return Ok(());
        };
        observe::absorb(self.shared, &Place::new(ObjectKind::Namespace, "", namespace), &found);
        let label = |key: &str| object::label(&found, key);
        let text = |pointer: &str| found.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let ours = label(AGENT).is_none_or(|agent| object::names(Some(agent), &self.shared.settings.agent))
            && self.shared.is_ours(label(DATA_PLANE))
            && self.shared.is_ours(label(INSTALLATION))
            && label(ENVIRONMENT) == Some(self.name);
        live.insert(
            reference,
            Live {
                uid: text("/metadata/uid"),
                resource_version: text("/metadata/resourceVersion"),
                ours,
                terminating: !text("/metadata/deletionTimestamp").is_empty(),
                drift: Vec::new(),
                was_equal: false,
                repairs: 0,
                rival: None,
                autoscaled: None,
            },
        );
        Ok(())
    }

    /// Binds the rights in its namespace, or makes the binding what it shall be. False where it is that already: its rights are not in
    /// effect yet, or not enough.
    async fn take_rights(&self, namespace: &str) -> Result<bool, ApiError> {
        let Settings { namespace: agent_namespace, fullname, .. } = &self.shared.settings;
        let (data_plane, name) = (&self.shared.id, self.name);
        let binding = objects::rights(&objects::Grant { data_plane, name, namespace, agent_namespace, fullname });
        match observe::wanted(self.shared, self.owner(), &binding).await? {
            None => match apply::create(self.shared, &binding).await {
                Err(error) if error.class() == Class::Conflict => Ok(false),
                made => made.map(|()| true),
            },
            Some(live) if !live.ours || live.terminating || live.drift.is_empty() => Ok(false),
            Some(live) if fights::contested(ObjectKind::RoleBinding, name, &live).is_some() => Ok(false),
            Some(live) => {
                apply::update(self.shared, &binding, &live.uid, &live.resource_version, live.was_equal).await?;
                Ok(true)
            }
        }
    }

    const fn owner(&self) -> Owner<'_> {
        OwnerKind::Environment.named(self.name)
    }

    fn subject(&self) -> Subject {
        Subject {
            name: self.name.to_owned(),
            uid: self.environment.uid().unwrap_or_default(),
            resource_version: self.environment.metadata.resource_version.clone().unwrap_or_default(),
        }
    }

    fn modified(&self) -> Option<Modified> {
        let spec = &self.environment.spec;
        let key = ResourceKey { kind: Kind::Environment, name: self.name.to_owned() };
        Modified::of(&key, spec.document.as_ref(), note(self.environment), &spec.body)
    }

    fn observed<'b>(
        &'b self,
        status: &'b crate::kinds::EnvironmentStatus,
        modified: Option<&'b Modified>,
        namespace: &'b str,
        live: &'b BTreeMap<ObjectRef, Live>,
    ) -> Observed<'b> {
        let document = self.environment.spec.document.as_ref();
        Observed {
            uid: self.environment.metadata.uid.as_deref().unwrap_or_default(),
            generation: document
                .map_or_else(|| self.environment.metadata.generation.unwrap_or(1), |document| document.generation),
            fact_generation: document.map_or(0, |document| document.generation),
            modified,
            status,
            namespace,
            holder: None,
            paused: self.pause.map(|pause| pause.message.as_str()),
            settles: self.shared.cluster.settles(self.owner()),
            live,
        }
    }
}

#[cfg(test)]
mod tests;

//! The driver of one release: the stages in order.
//!
//! `resolve` → `build` → `check` for content that is new; then, for whatever shall run, observe → `decide` → `apply`. The
//! decision holds `switch`, `prune` and `report`. It ends after one round; the watches say when to look again.
//! What an absent release made is removed in `removal`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use protocol::name::{Kind, ResourceKey};
use protocol::spec::Desired;
use serde_json::{Value, json};

use super::apply::{self, Material, Subject};
use super::cluster::{ApiError, Class};
use super::decide::{self, Identity, Observed, Standing, Target};
use super::index::Own;
use super::modified::{self, Ledger, Modified, note};
use super::object::{self, DATA_PLANE, ObjectKind, RELEASE};
use super::observe::{self, Owner};
use super::prune;
use super::rendering::{self, Rendering, SECRETS, Slots};
use super::report::Trouble;
use super::resolve;
use super::shared::{self, Pause, Shared};
use super::write::Live;
use crate::kinds::{ObjectRef, Release, ReleaseStatus};

mod admission;
mod removal;

/// Slot under which the ConfigMap of a revision is recorded, so that pruning knows what belongs to a kept revision.
const CONFIG: &str = "config";

/// How long a refusal is believed before the same is tried again.
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

/// One round. Returns when to look again without an event.
///
/// # Errors
/// A call failed; what was done before it stands, and the next round goes on from there.
pub async fn reconcile(shared: &Shared, name: &str, now: Timestamp) -> Result<Option<Duration>, ApiError> {
    let found = shared.index.lock().releases.get(name).cloned();
    let release = match found {
        Some(Own::Read(release)) => release,
        Some(Own::Unreadable { metadata, error }) => {
            return super::unreadable::mark::<Release>(shared, &metadata, &error, now).await.map(|()| None);
        }
        // Its object vanished: nobody asked for removal, so what runs goes on.
        None => {
            shared.forget_refusal(name);
            return Ok(None);
        }
    };
    let mut work = Work::new(shared, &release, now);
    let environment = release.spec.body.environment.as_deref();
    let pause = {
        let contents = shared.index.lock();
        shared::pause_of("Release", release.as_ref(), now).or_else(|| shared::pause_above(&contents, environment, now))
    };
    match release.spec.body.state {
        Desired::Present => work.present(pause).await,
        Desired::Absent => work.absent(pause).await,
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
        Owner::Release(self.identity.name.as_str())
    }

    async fn present(&mut self, pause: Option<Pause>) -> Result<Option<Duration>, ApiError> {
        let mut blocked = None;
        let mut wake = pause.as_ref().and_then(|pause| pause.left);
        let due = match decide::standing(&self.status, &self.identity) {
            Standing::New => true,
            // A removal that was under way when the release was wanted again may have taken its rendering.
            Standing::Rolling => self.rendering_is_gone().await?,
            Standing::Effective | Standing::Failed => false,
        };
        if due && pause.is_none() {
            match self.admit().await? {
                Ok(()) => {}
                Err((trouble, again)) => {
                    blocked = Some(trouble);
                    wake = Some(again);
                }
            }
        }
        let mut material = None;
        let mut bound = None;
        if let Some(revision) = decide::target(&self.status).map(str::to_owned)
            && let Some(namespace) = self.status.namespace.clone()
        {
            match self.target(&namespace, &revision, pause.is_some()).await? {
                Ok((found, values)) => {
                    bound = Some(found);
                    material = values;
                }
                Err(trouble) => blocked = blocked.or(Some(trouble)),
            }
        }
        let again = self.decide_and_apply(bound.as_ref(), blocked.as_ref(), pause.as_ref(), material.as_ref()).await?;
        Ok([wake, again].into_iter().flatten().min())
    }

    async fn rendering_is_gone(&self) -> Result<bool, ApiError> {
        let Some(namespace) = &self.status.namespace else { return Ok(false) };
        Ok(self.stored(namespace, &self.identity.revision).await?.is_none())
    }

    /// The rendering of `revision`, from memory or from its ControllerRevision.
    async fn stored(&self, namespace: &str, revision: &str) -> Result<Option<Rendering>, ApiError> {
        if let Some(known) = self.shared.rendering(namespace, revision) {
            return Ok(Some(known));
        }
        let Some(object) = self.shared.cluster.get(ObjectKind::ControllerRevision, namespace, revision).await? else {
            return Ok(None);
        };
        // Of another release, or not readable: not ours to use. A new one would have the same name, so its creation will say so.
        let ours = object::label(&object, RELEASE) == Some(&self.identity.name)
            && self.shared.is_ours(object::label(&object, DATA_PLANE));
        let Some(rendering) = Rendering::read(&object).ok().filter(|_| ours) else { return Ok(None) };
        self.shared.remember_rendering(namespace, revision, &rendering);
        Ok(Some(rendering))
    }

    /// What shall run now, bound; with the values of its Secret if that has to be made. Inside: why it cannot be told.
    async fn target(
        &mut self,
        namespace: &str,
        revision: &str,
        paused: bool,
    ) -> Result<Result<(Bound, Option<Material>), Trouble>, ApiError> {
        let Some(rendering) = self.stored(namespace, revision).await? else {
            return Ok(Err(Trouble::new(
                "RenderingLost",
                format!(
                    "ControllerRevision {revision} in namespace {namespace} is gone; what runs goes on without repair until a new generation"
                ),
            )));
        };
        let mut slots = decide::binding(&self.status, revision).cloned().unwrap_or_default();
        let mut material = None;
        if let Some(name) = slots.get(SECRETS).cloned()
            && !paused
            && observe::secret(self.shared, self.owner(), namespace, &name).await?.is_none()
        {
            let found = {
                let contents = self.shared.index.lock();
                let policy = contents.policy.as_ref().map(|policy| policy.spec.clone()).unwrap_or_default();
                let environment = self.release.spec.body.environment.as_deref().unwrap_or_default();
                resolve::place(&contents, environment, &policy).map(|place| (place, policy))
            };
            let (place, policy) = match found {
                Ok(found) => found,
                Err(trouble) => return Ok(Err(trouble)),
            };
            let (rebound, values) = match self.bind(&rendering, &policy, &place).await? {
                Ok(bound) => bound,
                Err(trouble) => return Ok(Err(trouble)),
            };
            if rebound != slots {
                // Its values changed in the vault since: the old name cannot be made again.
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
        let objects = match self.bound(&rendering, revision, &slots) {
            Ok((objects, _)) => objects,
            Err(trouble) => return Ok(Err(trouble)),
        };
        Ok(Ok((Bound { rendering, objects, secret: slots.get(SECRETS).cloned() }, material)))
    }

    fn bound(
        &self,
        rendering: &Rendering,
        revision: &str,
        slots: &Slots,
    ) -> Result<(Vec<Value>, Option<Value>), Trouble> {
        let lost = |error: rendering::Unbound| Trouble::new("BindingLost", error.to_string());
        Ok((rendering.bound(revision, slots).map_err(lost)?, rendering.bound_job(revision, slots).map_err(lost)?))
    }

    async fn decide_and_apply(
        &mut self,
        bound: Option<&Bound>,
        blocked: Option<&Trouble>,
        pause: Option<&Pause>,
        material: Option<&Material>,
    ) -> Result<Option<Duration>, ApiError> {
        let namespace = self.status.namespace.clone().unwrap_or_default();
        let mut live = BTreeMap::new();
        for object in bound.iter().flat_map(|bound| &bound.objects) {
            if let (Some((_, reference)), Some(found)) =
                (object::reference(object), observe::wanted(self.shared, self.owner(), object).await?)
            {
                live.insert(reference, found);
            }
        }
        if let Some(secret) = bound.and_then(|bound| bound.secret.as_deref())
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
            if bound.is_some_and(|bound| prune::needs_use(&self.status, &bound.rendering)) {
                let kinds = [ObjectKind::ReplicaSet, ObjectKind::Pod, ObjectKind::Job];
                let selector = format!("{RELEASE}={}", self.identity.name);
                in_use = Some(observe::in_use(self.shared, &namespace, &kinds, &selector).await?);
            }
        }
        let (workload, revisions) = {
            let contents = self.shared.index.lock();
            let revisions: BTreeMap<ObjectRef, Live> = contents
                .of_release(&self.identity.name)
                .filter(|(place, _)| place.kind == ObjectKind::ControllerRevision && *place.namespace == *namespace)
                .map(|(place, tracked)| (place.reference(), observe::plain(self.shared, self.owner(), tracked)))
                .collect();
            (contents.workload(&self.identity.name, &namespace), revisions)
        };
        let fights = self.shared.fights(&namespace, self.now);
        let decision = decide::decide(
            &Observed {
                identity: &self.identity,
                status: &self.status,
                blocked,
                paused: pause.map(|pause| pause.words.as_str()),
                target: bound.map(|bound| Target {
                    rendering: &bound.rendering,
                    objects: &bound.objects,
                    secret: bound.secret.as_deref(),
                }),
                live: &live,
                revisions: &revisions,
                in_use: in_use.as_ref(),
                workload: &workload,
                fights: &fights,
            },
            self.now,
        );
        if !decision.writes.is_empty() {
            tracing::debug!(release = self.identity.name, writes = ?decision.writes, "decided");
        }
        self.shared.remember_fights(&namespace, decision.repaired, self.now);
        self.perform(&namespace, material, &decision.writes).await?;
        Ok(decision.wake)
    }

    async fn perform(
        &mut self,
        namespace: &str,
        material: Option<&Material>,
        writes: &[super::write::Write<ReleaseStatus>],
    ) -> Result<(), ApiError> {
        let done = apply::perform::<Release, _>(self.shared, &mut self.subject, namespace, material, writes).await;
        match done {
            // What the cluster refuses at the last moment (a policy that came meanwhile) is said in status, not only in our log.
            Err(error) if matches!(error.class(), Class::Policy | Class::Quota | Class::Invalid) => {
                let reason = match error.class() {
                    Class::Quota => "Quota",
                    Class::Invalid => "Invalid",
                    Class::Policy
                    | Class::NotLeading
                    | Class::Conflict
                    | Class::Missing
                    | Class::Rights
                    | Class::Transient => "PolicyDenied",
                };
                self.say(&Trouble::new(reason, format!("the cluster refuses a write: {}", error.words()))).await?;
                Err(error)
            }
            other => other,
        }
    }

    /// Writes a trouble into the conditions and nothing else: what else they say was said of this generation and stands.
    async fn say(&mut self, trouble: &Trouble) -> Result<(), ApiError> {
        let mut status = self.status.clone();
        let mut conditions =
            super::report::Conditions::new(&self.status.conditions, self.identity.generation, self.now);
        conditions.set("Ready", false, trouble);
        conditions.set("Stalled", true, trouble);
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

/// What shall run, with its slots filled.
struct Bound {
    rendering: Rendering,
    objects: Vec<Value>,
    secret: Option<String>,
}

//! Copies of pull Secrets: in an environment's namespace while a release of it is pulled with them, and no longer.
//!
//! A copy is made by the first release that needs it, before its pods are; its environment keeps it fresh and removes it again.
//! Reads those Secrets of the agent's namespace that the policy names, and writes into environments' namespaces.

use std::collections::BTreeMap;

use protocol::document::Desired;
use serde_json::json;

use crate::kinds::conditions::Reason;
use crate::operator::cluster::{ApiError, Class};
use crate::operator::object::owner::OwnerKind;
use crate::operator::object::{self, ObjectKind};
use crate::operator::reconcile::apply;
use crate::operator::reconcile::fights;
use crate::operator::reconcile::may_run;
use crate::operator::reconcile::observe;
use crate::operator::reconcile::shared::Shared;
use crate::operator::world::index::{Contents, Own};
use crate::policy;

/// Types that the admission policies let a copy have.
const TYPES: [&str; 2] = ["kubernetes.io/dockerconfigjson", "Opaque"];

/// Name of the copy of a pull Secret in an environment.
#[must_use]
pub fn name(source: &str) -> String {
    format!("pdp-pull-{}", object::short_digest(source.as_bytes(), 10))
}

/// All pull Secrets that the policy names, and whether a release of the environment needs it: by the image that it asks for, by
/// the one that serves until that is rolled out, or by the start gate of its pods.
fn sources(contents: &Contents, environment: &str) -> BTreeMap<String, bool> {
    let Some(policy) = contents.policy.as_ref().map(|policy| &policy.spec) else {
        return BTreeMap::new();
    };
    let gate = policy.start_gate.as_ref().map(|gate| gate.image.as_str());
    let mut needed: BTreeMap<String, bool> =
        policy.registries.iter().filter_map(|registry| Some((registry.pull_secret.clone()?, false))).collect();
    for own in contents.releases.values() {
        let Own::Read(release) = own else { continue };
        let spec = &release.spec.body;
        if spec.state != Desired::Present || spec.environment.as_deref() != Some(environment) {
            continue;
        }
        let serving = release.status.as_ref().and_then(|status| Some(status.effective.as_ref()?.image.as_str()));
        for image in spec.image.as_deref().into_iter().chain(serving).chain(gate) {
            let registry = policy::registry(policy, image).ok();
            if let Some(name) = registry.and_then(|registry| registry.pull_secret.as_ref()) {
                needed.insert(name.clone(), true);
            }
        }
    }
    needed
}

/// Brings the copies in an environment in line. Returns what is missing, if anything.
pub(super) async fn keep(shared: &Shared, environment: &str, namespace: &str) -> Result<Option<Reason>, ApiError> {
    let all = sources(&shared.index.lock(), environment);
    for (source, needed) in all {
        if !needed && let_go(shared, environment, namespace, &source).await? {
            continue;
        }
        if let Some(why) = copy(shared, environment, namespace, &source).await? {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

/// Removes a copy that no release here needs. False if it is still needed: by what runs, or by a release that was admitted
/// meanwhile.
async fn let_go(shared: &Shared, environment: &str, namespace: &str, source: &str) -> Result<bool, ApiError> {
    let name = name(source);
    let reference = ObjectKind::Secret.named(&name);
    let owner = OwnerKind::Environment.named(environment);
    let found = observe::existing(shared, owner, namespace, &reference).await?;
    let Some(live) = found.filter(|live| live.ours && !live.terminating) else { return Ok(true) };
    let kinds = [ObjectKind::Deployment, ObjectKind::Pod, ObjectKind::Job];
    if observe::in_use(shared, namespace, &kinds, owner).await?.contains(&name) {
        return Ok(false);
    }
    apply::delete(shared, namespace, &reference, &live.uid, &live.resource_version).await?;
    // A release that was admitted since the first look may have found the copy, and relies on it.
    Ok(sources(&shared.index.lock(), environment).get(source) != Some(&true))
}

/// Ensures that a pull Secret exists in the namespace before anything there pulls with it. Problems with it are reported by the
/// environment.
///
/// # Errors
/// A call failed.
pub async fn ensure(shared: &Shared, place: &may_run::Prepared, source: &str) -> Result<(), ApiError> {
    let may_run::Prepared { environment, namespace, .. } = place;
    if observe::secret(shared, OwnerKind::Environment.named(environment), namespace, &name(source)).await?.is_none() {
        copy(shared, environment, namespace, source).await?;
    }
    Ok(())
}

/// Creates or updates the copy of a pull Secret. Returns what is wrong, if anything.
#[expect(clippy::indexing_slicing, reason = "members of JSON objects that are made here")]
async fn copy(shared: &Shared, environment: &str, namespace: &str, source: &str) -> Result<Option<Reason>, ApiError> {
    let agent = &shared.settings.namespace;
    let missing = |why: &str| {
        let message = format!(
            "pull secret {source} of DataPlanePolicy {why} in namespace {agent}; images that need it cannot be pulled"
        );
        Reason::new("PullSecret", message)
    };
    let found = match shared.cluster.get(ObjectKind::Secret, agent, source).await {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Some(missing("is missing"))),
        Err(error) if error.class() == Class::Rights => {
            return Ok(Some(missing("may not be read by the operator")));
        }
        Err(error) => return Err(error),
    };
    let labels = object::environment_labels(&shared.id, environment);
    let mut copy = object::head(ObjectKind::Secret, &name(source), Some(namespace), &labels);
    copy["type"] = found.get("type").cloned().unwrap_or_else(|| json!(TYPES[0]));
    // Of any other none could be made, and the one that is there would be gone.
    if !TYPES.iter().any(|known| copy["type"] == *known) {
        return Ok(Some(missing("is not of type kubernetes.io/dockerconfigjson")));
    }
    copy["data"] = found.get("data").cloned().unwrap_or_default();
    match observe::wanted(shared, OwnerKind::Environment.named(environment), &copy).await? {
        None => match apply::create(shared, &copy).await {
            // The release and its environment may both come to it.
            Err(error) if error.class() == Class::Conflict => {}
            made => made?,
        },
        Some(live) if live.drift.is_empty() || !live.ours => {}
        Some(live) => match fights::contested(ObjectKind::Secret, &name(source), &live) {
            Some(contested) => return Ok(Some(contested)),
            // The type of a Secret cannot be changed.
            None if live.drift.iter().any(|path| path == "/type") => {
                let reference = ObjectKind::Secret.named(&name(source));
                apply::delete(shared, namespace, &reference, &live.uid, &live.resource_version).await?;
                apply::create(shared, &copy).await?;
            }
            None => apply::update(shared, &copy, &live.uid, &live.resource_version, live.was_equal).await?,
        },
    }
    Ok(None)
}

#[cfg(test)]
mod tests;

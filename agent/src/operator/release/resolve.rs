//! First stage: may this release run, where, and with which secrets.

use std::collections::{BTreeMap, BTreeSet};

use hmac::{Hmac, KeyInit, Mac};
use protocol::document::{ReleaseSpec, SecretRef};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;

use super::parsed::ValidRelease;
use crate::kinds::conditions::Reason;
use crate::kinds::{DataPlanePolicySpec, StartGate};
use crate::operator::object;
use crate::operator::object::fixed::VAULT_ACCOUNT;
use crate::operator::reconcile::halt::INVALID;
use crate::operator::reconcile::may_run::{Prepared, denied, may_run, no_policy, room};
use crate::operator::reconcile::shared::Shared;
use crate::operator::world::index::Contents;
use crate::policy;
use crate::policy::secrets::Pod;
use crate::secrets::{SecretError, Source};

/// A release that may run, and where.
#[derive(Debug, Clone)]
pub struct Admissible {
    /// Its spec, parsed.
    pub release: ValidRelease,
    pub place: Prepared,
    /// Secrets of the agent's namespace by which its images are pulled.
    pub pull_secrets: BTreeSet<String>,
    /// What holds its pods back until they are closed.
    pub gate: Option<StartGate>,
}

/// Whether the present release `name` may run. Pure.
///
/// # Errors
/// Why not, with what to do.
pub fn admissible(contents: &Contents, name: &str, spec: &ReleaseSpec) -> Result<Admissible, Reason> {
    let Some(policy) = &contents.policy else {
        return Err(no_policy());
    };
    let release = ValidRelease::parse(spec).map_err(|wrong| Reason::new(INVALID, wrong.join("; ")))?;
    let environment = spec.environment.as_deref().unwrap_or_default();
    let (place, pull_secret) = may_run(contents, &policy.spec, environment, &Pod::of_release(spec))?;
    room::for_release(contents, &policy.spec, name, environment)?;
    if release.secret_refs().next().is_some() && Source::of(&policy.spec).is_none() {
        return Err(denied(format!(
            "secretRef is used and DataPlanePolicy names {}; set {}",
            Source::LACKING,
            Source::SETTINGS
        )));
    }
    let gate = policy::start_gate(&policy.spec).map_err(denied)?;
    let of_gate = gate.and_then(|(_, registry)| registry.pull_secret.as_deref());
    let pull_secrets = pull_secret.into_iter().chain(of_gate).map(str::to_owned).collect();
    Ok(Admissible { release, place, pull_secrets, gate: gate.map(|(gate, _)| gate.clone()) })
}

/// Reads secret values as the environment.
///
/// # Errors
/// Source, account, missing path or key.
pub async fn secrets(
    shared: &Shared,
    policy: &DataPlanePolicySpec,
    place: &Prepared,
    references: &BTreeMap<String, SecretRef>,
) -> Result<BTreeMap<String, SecretSlice<u8>>, SecretError> {
    let account = |audience: String| {
        let namespace = place.namespace.clone();
        async move { shared.cluster.token(&namespace, VAULT_ACCOUNT, &audience, TOKEN_SECONDS).await }
    };
    shared.secrets.read(policy, &place.reader(), references, account).await
}

/// Life of the account's token: the shortest that the API server gives.
const TOKEN_SECONDS: i64 = 600;

/// Name of a Secret by its content: equal content, equal name; nobody without the environment's key can try values against it.
#[must_use]
pub fn secret_name(release: &str, key: &SecretString, values: &BTreeMap<String, SecretSlice<u8>>) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes()) else {
        // HMAC takes keys of any length.
        return format!("{release}-secret");
    };
    for (name, value) in values {
        for part in [name.as_bytes(), value.expose_secret()] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
    }
    let digest: String = object::hex(&mac.finalize().into_bytes()).chars().take(16).collect();
    format!("{release}-secret-{digest}")
}

#[cfg(test)]
mod tests;

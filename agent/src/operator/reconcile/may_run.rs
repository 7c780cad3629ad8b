//! Whether the customer's policy lets something run in an environment now: asked of releases, of runs and of environments. Pure.
//!
//! The policy is the customer's and is asked first; without one nothing new is accepted and what runs goes on.

use protocol::document::{Desired, EnvironmentSpec};
use protocol::mutant::{self, Mutant};
use serde_json::Value;

use crate::kinds::conditions::{self, Reason};
use crate::kinds::labels::ENVIRONMENT;
use crate::kinds::{DataPlanePolicySpec, EnvironmentRule, LogMode, SecurityLevel};
use crate::operator::object;
use crate::operator::object::fixed::namespace_name;
use crate::operator::world::index::{Contents, Own};
use crate::policy::{self, secrets::Pod};
use crate::secrets::Reader;

pub mod room;

/// An environment that is prepared: a release may run there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Name of the Environment.
    pub environment: String,
    pub namespace: String,
    /// Handles of organization, project and environment.
    pub owner: [String; 3],
    /// Pod Security level.
    pub level: SecurityLevel,
}

impl Prepared {
    /// As whom its secrets are read.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        let [organization, project, environment] = &self.owner;
        Reader { namespace: &self.namespace, organization, project, environment }
    }
}

/// Whether the customer allows a pod to run in an environment now: asked for every release that is admitted and for every run that
/// starts. Returns the environment's place and the name of the pull Secret.
///
/// # Errors
/// The environment is missing, not ready or not allowed, or the image's registry is not allowed, or the pod is given secrets and
/// the policy does not allow that for such a pod.
pub fn may_run<'a>(
    contents: &Contents,
    policy: &'a DataPlanePolicySpec,
    environment: &str,
    pod: &Pod,
) -> Result<(Prepared, Option<&'a str>), Reason> {
    let place = place(contents, environment, policy)?;
    let registry =
        policy::registry(policy, &pod.image).map_err(|sentence| denied(format!("spec.image: {sentence}")))?;
    let rule = rule(policy, &place.owner)?;
    rule.disk(pod.on_disk.iter().map(String::as_str))
        .map_err(|sentence| denied(format!("spec.volumes: {sentence}")))?;
    let objections = policy::secrets::objections(rule, pod);
    if !objections.is_empty() {
        let sentences: Vec<_> = objections.into_iter().map(|objection| objection.sentence).collect();
        return Err(denied(sentences.join("; ")));
    }
    Ok((place, registry.pull_secret.as_deref()))
}

/// Whether exit codes of pods in this environment are reported to the control plane: not if the customer forbids it, nor if the
/// environment or its policy is no longer there to allow it.
#[must_use]
pub fn tells_exit_codes(contents: &Contents, environment: Option<&str>) -> bool {
    let rule = || {
        let policy = &contents.policy.as_ref()?.spec;
        Some(rule(policy, &find_owner(contents, environment?)?).ok()?.tells_exit_codes())
    };
    rule().unwrap_or(false)
}

/// Whether the customer lets logs through the link: the last lines of pods can be read before they are stopped.
#[must_use]
pub fn logs_leave(contents: &Contents) -> bool {
    contents.policy.as_ref().is_some_and(|policy| policy.spec.logs.mode == LogMode::ThroughLink)
}

fn find_owner(contents: &Contents, environment: &str) -> Option<[String; 3]> {
    match contents.environments.get(environment)? {
        Own::Read(found) => owner(&found.spec.body),
        Own::Unreadable { .. } => None,
    }
}

/// Whether the customer allows this Job to start now, whatever its release was allowed before. `args`: the run brings its own.
///
/// # Errors
/// Why not, with what to do.
pub fn job_may_start(contents: &Contents, job: &Value, args: bool) -> Result<(), Reason> {
    let Some(policy) = &contents.policy else {
        return Err(no_policy());
    };
    let environment = object::label(job, ENVIRONMENT).unwrap_or_default();
    let mut pod = Pod::of_rendered(job);
    // Arguments of a run replace the release's, and a rule of their own covers them.
    pod.args = pod.args && !args;
    let (place, _) = may_run(contents, &policy.spec, environment, &pod)?;
    let rule = rule(&policy.spec, &place.owner)?;
    if args { policy::secrets::task_args(rule, pod.secrets).map_err(denied) } else { Ok(()) }
}

/// The place that `environment` is, once it is prepared.
///
/// # Errors
/// It is missing, not ready, or not allowed.
pub fn place(contents: &Contents, environment: &str, policy: &DataPlanePolicySpec) -> Result<Prepared, Reason> {
    let waiting =
        |what: &str| Reason::new("EnvironmentNotReady", format!("Environment {environment} {what}; it is waited for"));
    let Some(Own::Read(found)) = contents.environments.get(environment) else {
        return Err(waiting("does not exist"));
    };
    if found.spec.body.state == Desired::Absent {
        return Err(waiting("is absent"));
    }
    let Some(owner) = owner(&found.spec.body) else {
        return Err(waiting("has no organization, project or environment"));
    };
    let level = rule(policy, &owner)?.level();
    let status = found.status.as_ref();
    let ready = status.is_some_and(|status| conditions::is_true(&status.conditions, "Ready"));
    // Whoever can write a status must not choose whose secrets are read: the namespace is computed from the handles, and the status
    // must agree.
    let [organization, project, handle] = &owner;
    let namespace = namespace_name(organization, project, handle);
    match status.and_then(|status| status.namespace.as_deref()).filter(|_| ready) {
        Some(told) if told == namespace => {
            Ok(Prepared { environment: environment.to_owned(), namespace, owner, level })
        }
        Some(told) if mutant::is(Mutant::StatusBelieved) => {
            Ok(Prepared { environment: environment.to_owned(), namespace: told.to_owned(), owner, level })
        }
        Some(_) => {
            Err(waiting(&format!("names another namespace in its status than {namespace}, which its handles give")))
        }
        None => Err(waiting("is not ready")),
    }
}

/// Handles of organization, project and environment.
#[must_use]
pub fn owner(spec: &EnvironmentSpec) -> Option<[String; 3]> {
    Some([spec.organization.clone()?, spec.project.clone()?, spec.environment.clone()?])
}

/// What the policy says of an environment that it allows.
///
/// # Errors
/// It does not allow it.
pub fn rule<'a>(policy: &'a DataPlanePolicySpec, owner: &[String; 3]) -> Result<&'a EnvironmentRule, Reason> {
    policy::environment(policy, owner.each_ref().map(String::as_str)).map_err(denied)
}

/// Why nothing new is accepted.
#[must_use]
pub fn no_policy() -> Reason {
    Reason::new(
        "NoPolicy",
        "DataPlanePolicy/default is missing or cannot be read, so nothing new is accepted and what runs goes on; create it",
    )
}

pub(in crate::operator) fn denied(message: String) -> Reason {
    Reason::new("PolicyDenied", message)
}

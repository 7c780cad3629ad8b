//! First stage: may it run here, where, and with which secrets.
//!
//! The policy is the customer's and is asked first; without one nothing new is accepted and what runs goes on.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use protocol::mutant::{self, Mutant};
use protocol::spec::{Desired, EnvironmentSpec, ReleaseSpec, SecretRef};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde_json::Value;
use sha2::Sha256;

use super::environment::objects::namespace_name;
use super::index::{Contents, Own};
use super::object::{self, ENVIRONMENT};
use super::report::{self, Trouble};
use super::shared::Shared;
use super::validated::ValidRelease;
use crate::kinds::{DataPlanePolicySpec, EnvironmentRule, SecurityLevel};
use crate::policy::{self, secrets::Pod};
use crate::vault::{Reader, VaultError};

pub mod room;

/// Where a release runs: its environment, prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name of the Environment.
    pub environment: String,
    /// Its namespace.
    pub namespace: String,
    /// Handles of organization, project and environment.
    pub owner: [String; 3],
    /// Pod Security level.
    pub level: SecurityLevel,
}

impl Place {
    /// As the vault knows it.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        let [organization, project, environment] = &self.owner;
        Reader { namespace: &self.namespace, organization, project, environment }
    }
}

/// A release that may run, and where.
#[derive(Debug, Clone)]
pub struct Admissible {
    /// Its spec, parsed.
    pub release: ValidRelease,
    /// Its place.
    pub place: Place,
    /// The Secret of the agent's namespace by which its image is pulled, if its registry has one.
    pub pull_secret: Option<String>,
}

/// Whether the present release `name` may run. Pure.
///
/// # Errors
/// Why not, with what to do.
pub fn admissible(contents: &Contents, name: &str, spec: &ReleaseSpec) -> Result<Admissible, Trouble> {
    let Some(policy) = &contents.policy else {
        return Err(no_policy());
    };
    let release = ValidRelease::parse(spec).map_err(|wrong| Trouble::new("Invalid", wrong.join("; ")))?;
    let environment = spec.environment.as_deref().unwrap_or_default();
    let (place, pull_secret) = may_run(contents, &policy.spec, environment, &Pod::of_release(spec))?;
    room::for_release(contents, &policy.spec, name, environment)?;
    if release.secret_refs().next().is_some() && policy.spec.vault.is_none() {
        return Err(denied("secretRef is used and DataPlanePolicy names no vault; set spec.vault".to_owned()));
    }
    Ok(Admissible { release, place, pull_secret: pull_secret.map(str::to_owned) })
}

/// Whether the customer lets a pod run in an environment now: asked of every release that is taken up and of every run that
/// starts. Gives the place and the name of the pull Secret.
///
/// # Errors
/// The environment is missing, not ready or not allowed, or the image's registry is not, or the pod is given secrets and is not
/// one that may be.
pub fn may_run<'a>(
    contents: &Contents,
    policy: &'a DataPlanePolicySpec,
    environment: &str,
    pod: &Pod,
) -> Result<(Place, Option<&'a str>), Trouble> {
    let place = place(contents, environment, policy)?;
    let registry =
        policy::registry(policy, &pod.image).map_err(|sentence| denied(format!("spec.image: {sentence}")))?;
    let objections = policy::secrets::objections(rule(policy, &place.owner)?, pod);
    if !objections.is_empty() {
        let sentences: Vec<_> = objections.into_iter().map(|objection| objection.sentence).collect();
        return Err(denied(sentences.join("; ")));
    }
    Ok((place, registry.pull_secret.as_deref()))
}

/// Whether the control plane is told exit codes of pods in this environment: not where the customer says so, nor where nothing says
/// any more that it may.
#[must_use]
pub fn tells_exit_codes(contents: &Contents, environment: Option<&str>) -> bool {
    let rule = || {
        let policy = &contents.policy.as_ref()?.spec;
        Some(rule(policy, &find_owner(contents, environment?)?).ok()?.tells_exit_codes())
    };
    rule().unwrap_or(false)
}

fn find_owner(contents: &Contents, environment: &str) -> Option<[String; 3]> {
    match contents.environments.get(environment)? {
        Own::Read(found) => owner(&found.spec.body),
        Own::Unreadable { .. } => None,
    }
}

/// Whether the customer lets this Job start now, whatever its release was allowed before. `args`: the run brings its own.
///
/// # Errors
/// Why not, with what to do.
pub fn job_may_start(contents: &Contents, job: &Value, args: bool) -> Result<(), Trouble> {
    let Some(policy) = &contents.policy else {
        return Err(no_policy());
    };
    let environment = object::label(job, ENVIRONMENT).unwrap_or_default();
    let mut pod = Pod::of_rendered(job);
    // Those of a run stand in place of the release's, and have a word of their own.
    pod.args = pod.args && !args;
    let (place, _) = may_run(contents, &policy.spec, environment, &pod)?;
    let rule = rule(&policy.spec, &place.owner)?;
    if args { policy::secrets::task_args(rule, pod.secrets).map_err(denied) } else { Ok(()) }
}

/// The place that `environment` is, once it is prepared.
///
/// # Errors
/// It is missing, not ready, or not allowed.
pub fn place(contents: &Contents, environment: &str, policy: &DataPlanePolicySpec) -> Result<Place, Trouble> {
    let waiting =
        |what: &str| Trouble::new("EnvironmentNotReady", format!("Environment {environment} {what}; it is waited for"));
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
    let ready = status.is_some_and(|status| report::is_true(&status.conditions, "Ready"));
    // Who can write a status must not choose whose secrets are read: the namespace comes of the handles, and the status only agrees.
    let [organization, project, handle] = &owner;
    let namespace = namespace_name(organization, project, handle);
    match status.and_then(|status| status.namespace.as_deref()).filter(|_| ready) {
        Some(told) if told == namespace => Ok(Place { environment: environment.to_owned(), namespace, owner, level }),
        Some(told) if mutant::is(Mutant::StatusBelieved) => {
            Ok(Place { environment: environment.to_owned(), namespace: told.to_owned(), owner, level })
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
pub fn rule<'a>(policy: &'a DataPlanePolicySpec, owner: &[String; 3]) -> Result<&'a EnvironmentRule, Trouble> {
    policy::environment(policy, owner.each_ref().map(String::as_str)).map_err(denied)
}

/// Why nothing new is accepted.
#[must_use]
pub fn no_policy() -> Trouble {
    Trouble::new(
        "NoPolicy",
        "DataPlanePolicy/default is missing or cannot be read, so nothing new is accepted and what runs goes on; create it",
    )
}

fn denied(message: String) -> Trouble {
    Trouble::new("PolicyDenied", message)
}

/// Reads secret values as the environment.
///
/// # Errors
/// Vault, account, missing path or key.
pub async fn secrets(
    shared: &Shared,
    policy: &DataPlanePolicySpec,
    place: &Place,
    references: &BTreeMap<String, SecretRef>,
) -> Result<BTreeMap<String, SecretSlice<u8>>, VaultError> {
    let Some(vault) = &policy.vault else {
        return Err(VaultError::Settings("DataPlanePolicy names no vault".to_owned()));
    };
    let account = || {
        let namespace = place.namespace.clone();
        let audience = vault.audience.clone();
        async move {
            shared.cluster.token(&namespace, super::environment::objects::VAULT_ACCOUNT, &audience, TOKEN_SECONDS).await
        }
    };
    shared.vault.read(vault, &place.reader(), references, account).await
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
mod tests {
    use serde_json::json;

    use super::super::fixture;
    use super::*;
    use crate::kinds::Environment;

    fn policy(spec: serde_json::Value) -> DataPlanePolicy {
        DataPlanePolicy::new("default", serde_json::from_value(spec).unwrap())
    }

    fn open() -> serde_json::Value {
        json!({
            "registries": [{"prefix": "registry.example.com/", "pullSecret": "reg"}, {"prefix": "registry.example.com/acme"}],
            "logs": {"mode": "Disabled"},
            "vault": {"address": "https://v", "mount": "m", "authMount": "k", "role": "r", "audience": "vault", "prefix": ""},
        })
    }

    fn contents(policy: Option<DataPlanePolicy>, ready: bool) -> Contents {
        let environment: Environment = serde_json::from_value(json!({
            "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Environment", "metadata": {"name": "shop-dev"},
            "spec": {"state": "Present", "organization": "acme", "project": "shop", "environment": "dev"},
            "status": {"namespace": namespace_name("acme", "shop", "dev"), "conditions": [{"type": "Ready", "status": if ready {"True"} else {"False"},
                "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }))
        .unwrap();
        let mut contents = Contents::default();
        contents.policy = policy;
        contents.environments.insert("shop-dev".to_owned(), Own::Read(Box::new(environment)));
        contents
    }

    #[test]
    fn what_the_customer_does_not_allow_is_refused_with_what_to_do() {
        let with = |key: &str, value: serde_json::Value| {
            let mut spec = open();
            spec[key] = value;
            Some(policy(spec))
        };
        let no_vault = || {
            let mut spec = open();
            spec.as_object_mut().unwrap().remove("vault");
            Some(policy(spec))
        };
        for (policy, ready, reason, part) in [
            (None, true, "NoPolicy", "nothing new is accepted"),
            (
                with("registries", json!([])),
                true,
                "PolicyDenied",
                "spec.image: registry.example.com/acme/web is in no registry",
            ),
            (with("registries", json!([{"prefix": "registry.example.com/ac"}])), true, "PolicyDenied", "no registry"),
            (
                with("environments", json!([{"environment": "prod"}])),
                true,
                "PolicyDenied",
                "does not allow environment dev",
            ),
            (no_vault(), true, "PolicyDenied", "names no vault"),
            (Some(policy(open())), false, "EnvironmentNotReady", "Environment shop-dev is not ready"),
        ] {
            let trouble = admissible(&contents(policy, ready), "web", &fixture::service()).unwrap_err();
            assert_eq!(trouble.reason, reason);
            assert!(trouble.message.contains(part), "{part} in {}", trouble.message);
        }
    }

    #[test]
    fn a_namespace_that_a_status_claims_is_believed_only_if_the_handles_give_the_same() {
        for forged in [namespace_name("acme", "shop", "prod"), "kube-system".to_owned(), "a/b?x=".to_owned()] {
            let mut contents = contents(Some(policy(open())), true);
            let Some(Own::Read(environment)) = contents.environments.get_mut("shop-dev") else { panic!("none") };
            environment.status.as_mut().unwrap().namespace = Some(forged);
            let trouble = admissible(&contents, "web", &fixture::service()).unwrap_err();
            assert_eq!(trouble.reason, "EnvironmentNotReady");
            assert!(trouble.message.contains("names another namespace in its status"), "{}", trouble.message);
        }
    }

    #[test]
    fn a_status_that_is_believed_is_found() {
        let mut forged = contents(Some(policy(open())), true);
        let Some(Own::Read(environment)) = forged.environments.get_mut("shop-dev") else { panic!("none") };
        environment.status.as_mut().unwrap().namespace = Some("kube-system".to_owned());
        mutant::choose(Some(Mutant::StatusBelieved));
        let mistaken = admissible(&forged, "web", &fixture::service()).map(|admitted| admitted.place.namespace);
        mutant::choose(None);
        assert_eq!(mistaken.as_deref(), Ok("kube-system"));
        assert!(admissible(&forged, "web", &fixture::service()).is_err());
    }

    #[test]
    fn a_pod_with_secrets_is_one_that_the_customer_allows_whenever_it_starts() {
        let strict = |more: serde_json::Value| {
            let mut spec = open();
            let mut rule = json!({"command": "Forbidden", "taskArgs": "Forbidden", "exitCodes": "Class"});
            for (key, value) in more.as_object().unwrap() {
                rule[key] = value.clone();
            }
            spec["environments"] = json!([{"environment": "dev", "secrets": rule}]);
            contents(Some(policy(spec)), true)
        };
        let denied = |contents: &Contents| admissible(contents, "web", &fixture::service()).unwrap_err().message;
        let said = denied(&strict(json!({"env": ["PASSWORD"], "files": ["/etc/app/token"]})));
        for part in ["args of its own", "variable GREETING", "file /etc/app/settings.yaml"] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert!(!said.contains("PASSWORD") && !said.contains("/etc/app/token"), "{said}");
        assert_eq!(admissible(&strict(json!({})), "import", &fixture::task()).map(drop), Ok(()));

        let job = |container: serde_json::Value| {
            let mut container = container;
            container["image"] = json!(fixture::IMAGE);
            container["env"] = json!([{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
            json!({
                "metadata": {"labels": {ENVIRONMENT: "shop-dev"}},
                "spec": {"template": {"spec": {"containers": [container]}}},
            })
        };
        let contents = strict(json!({}));
        assert_eq!(job_may_start(&contents, &job(json!({})), false), Ok(()));
        for (job, args, part) in [
            (job(json!({"args": ["exit 7"]})), true, "arguments of a run"),
            (job(json!({})), true, "arguments of a run"),
            (job(json!({"args": ["exit 7"]})), false, "args of its own"),
            (job(json!({"command": ["sh"]})), false, "command of its own"),
        ] {
            let trouble = job_may_start(&contents, &job, args).unwrap_err();
            assert_eq!(trouble.reason, "PolicyDenied");
            assert!(trouble.message.contains(part), "{part} in {}", trouble.message);
        }
    }

    #[test]
    fn exit_codes_are_told_only_where_the_customer_lets_them() {
        let with = |rules: serde_json::Value| {
            let mut spec = open();
            spec["environments"] = rules;
            contents(Some(policy(spec)), true)
        };
        for (contents, told) in [
            (contents(Some(policy(open())), true), true),
            (with(json!([{"secrets": {"exitCodes": "Full"}}])), true),
            (with(json!([{"secrets": {"exitCodes": "Class"}}])), false),
            (with(json!([{"environment": "prod"}])), false),
            (contents(None, true), false),
        ] {
            assert_eq!(tells_exit_codes(&contents, Some("shop-dev")), told, "{:?}", contents.policy);
            assert!(!tells_exit_codes(&contents, None));
        }
    }

    #[test]
    fn a_run_is_asked_what_its_release_was_asked_whenever_it_starts() {
        let job = json!({
            "metadata": {"labels": {ENVIRONMENT: "shop-dev"}},
            "spec": {"template": {"spec": {"containers": [{"image": fixture::IMAGE}]}}},
        });
        assert_eq!(job_may_start(&contents(Some(policy(open())), true), &job, false), Ok(()));
        let with = |key: &str, value: serde_json::Value| {
            let mut spec = open();
            spec[key] = value;
            Some(policy(spec))
        };
        for (policy, ready, reason) in [
            (None, true, "NoPolicy"),
            (with("registries", json!([{"prefix": "other.example.com/"}])), true, "PolicyDenied"),
            (with("environments", json!([])), true, "PolicyDenied"),
            (with("environments", json!([{"environment": "prod"}])), true, "PolicyDenied"),
            (Some(policy(open())), false, "EnvironmentNotReady"),
        ] {
            let revoked = contents(policy, ready);
            assert_eq!(job_may_start(&revoked, &job, false).unwrap_err().reason, reason);
            assert_eq!(
                admissible(&revoked, "import", &fixture::task()).unwrap_err().reason,
                reason,
                "a release is asked the same"
            );
        }
    }

    #[test]
    fn an_allowed_release_gets_its_place_and_the_most_particular_registry() {
        let mut spec = open();
        spec["environments"] = json!([{"environment": "prod"}, {"organization": "acme", "security": "Baseline"}]);
        let admitted = admissible(&contents(Some(policy(spec)), true), "web", &fixture::service()).unwrap();
        assert_eq!((admitted.place.level, admitted.pull_secret), (SecurityLevel::Baseline, None));
        let mut spec = open();
        spec["registries"].as_array_mut().unwrap().pop();
        let admitted = admissible(&contents(Some(policy(spec)), true), "web", &fixture::service()).unwrap();
        assert_eq!(admitted.pull_secret.as_deref(), Some("reg"));
    }

    #[test]
    fn secrets_are_named_by_content_and_key() {
        let values = |text: &str| BTreeMap::from([("env.A".to_owned(), SecretSlice::from(text.as_bytes().to_vec()))]);
        let (one, two) = (SecretString::from("k1"), SecretString::from("k2"));
        let name = secret_name("web", &one, &values("a"));
        assert_eq!(name, secret_name("web", &one, &values("a")));
        assert_ne!(name, secret_name("web", &one, &values("b")));
        assert_ne!(name, secret_name("web", &two, &values("a")));
        assert_eq!(name.len(), "web-secret-".len() + 16);
    }
}

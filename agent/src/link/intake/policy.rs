//! What the customer's `DataPlanePolicy` says of a document before it is stored.
//!
//! The operator enforces the same limits on what is stored; here they only speak early, so that the sender hears at once and
//! in one answer. What cannot be known here (the owner of an environment that is not stored yet) is left to the operator.

use protocol::message::Reason;
use protocol::spec::Body;
use protocol::spec::{Desired, EnvironmentSpec, ReleaseSpec};

use crate::kinds::{DataPlanePolicySpec, EnvironmentRule};

/// The policy as it stands in the cluster.
#[derive(Debug, Clone, PartialEq)]
pub enum Policy {
    /// There is none, or it cannot be read: nothing new is accepted.
    Missing {
        /// What to do about it.
        why: String,
    },
    /// The customer has said what is allowed.
    Given(Box<DataPlanePolicySpec>),
}

/// Who an environment belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Handle of the organization.
    pub organization: String,
    /// Handle of the project.
    pub project: String,
    /// Handle of the environment.
    pub environment: String,
}

impl Owner {
    /// The owner that an Environment document names.
    #[must_use]
    pub fn of(spec: &EnvironmentSpec) -> Option<Self> {
        Some(Self {
            organization: spec.organization.clone()?,
            project: spec.project.clone()?,
            environment: spec.environment.clone()?,
        })
    }
}

/// Every reason for which `policy` forbids `body`; none means allowed. Removal is always allowed.
#[must_use]
pub fn objections(policy: &DataPlanePolicySpec, body: &Body, environment: Option<&Owner>) -> Vec<Reason> {
    if body.desired() == Desired::Absent {
        return Vec::new();
    }
    match body {
        Body::DataPlane(_) | Body::TaskRun(_) => Vec::new(),
        Body::Environment(spec) => {
            Owner::of(spec).iter().filter_map(|owner| environment_objection(policy, owner, "")).collect()
        }
        Body::Release(spec) => release(policy, spec, environment),
    }
}

fn release(policy: &DataPlanePolicySpec, spec: &ReleaseSpec, environment: Option<&Owner>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    reasons.extend(environment.and_then(|owner| environment_objection(policy, owner, "/environment")));
    if let Some(image) = &spec.image
        && !policy.registries.iter().any(|registry| image_is_below(image, &registry.prefix))
    {
        let allowed: Vec<_> = policy.registries.iter().map(|registry| registry.prefix.as_str()).collect();
        reasons.push(Reason {
            field: "/image".to_owned(),
            message: format!(
                "DataPlanePolicy/default allows images from [{}] only, this one is from {}; push it there or ask the platform team to allow its registry",
                allowed.join(", "),
                image.split_once('@').map_or(image.as_str(), |(name, _)| name),
            ),
        });
    }
    if policy.vault.is_none() {
        let env = spec.env.iter().flatten().enumerate();
        let files = spec.files.iter().flatten().enumerate();
        let fields =
            env.filter(|(_, one)| one.secret_ref.is_some()).map(|(index, _)| format!("/env/{index}/secretRef")).chain(
                files.filter(|(_, one)| one.secret_ref.is_some()).map(|(index, _)| format!("/files/{index}/secretRef")),
            );
        reasons.extend(fields.map(|field| Reason {
            field,
            message: "DataPlanePolicy/default names no vault, so secret references cannot be resolved; ask the platform team to set spec.vault".to_owned(),
        }));
    }
    reasons
}

/// Whether `image` lies in `prefix`: whole path segments, so that `registry/team` does not allow `registry/team-evil`.
fn image_is_below(image: &str, prefix: &str) -> bool {
    image.strip_prefix(prefix).is_some_and(|rest| {
        // After a bare host a colon is a port, that is another registry; after a repository it is a tag.
        prefix.ends_with('/') || rest.starts_with(['/', '@']) || (prefix.contains('/') && rest.starts_with(':'))
    })
}

fn environment_objection(policy: &DataPlanePolicySpec, owner: &Owner, field: &str) -> Option<Reason> {
    let rules = policy.environments.as_ref()?;
    if rules.iter().any(|rule| matches(rule, owner)) {
        return None;
    }
    let Owner { organization, project, environment } = owner;
    Some(Reason {
        field: field.to_owned(),
        message: format!(
            "DataPlanePolicy/default does not allow environment {environment} of project {project} of organization {organization} on this data plane; ask the platform team to add it to spec.environments"
        ),
    })
}

fn matches(rule: &EnvironmentRule, owner: &Owner) -> bool {
    let part = |rule: &Option<String>, value: &str| rule.as_deref().is_none_or(|rule| rule == value);
    part(&rule.organization, &owner.organization)
        && part(&rule.project, &owner.project)
        && part(&rule.environment, &owner.environment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Registry;

    #[test]
    fn a_prefix_allows_whole_path_segments() {
        for (image, prefix, allowed) in [
            ("r.example/team/web@sha256:0", "r.example/team/", true),
            ("r.example/team/web@sha256:0", "r.example/team", true),
            ("r.example/team@sha256:0", "r.example/team", true),
            ("r.example/team-evil/web@sha256:0", "r.example/team", false),
            ("r.example.evil/web@sha256:0", "r.example", false),
            ("r.example:5000/web@sha256:0", "r.example:5000/", true),
            ("r.example:5000/web@sha256:0", "r.example", false),
            ("r.example/web:v1@sha256:0", "r.example/web", true),
            ("other/web@sha256:0", "r.example/", false),
        ] {
            assert_eq!(image_is_below(image, prefix), allowed, "{image} {prefix}");
        }
    }

    #[test]
    fn every_objection_to_a_release_is_named_at_once() {
        let policy = DataPlanePolicySpec {
            registries: vec![Registry { prefix: "r.example/".into(), pull_secret: None }],
            environments: Some(vec![EnvironmentRule {
                organization: Some("acme".into()),
                project: None,
                environment: Some("dev".into()),
                security: None,
            }]),
            ..DataPlanePolicySpec::default()
        };
        let body: ReleaseSpec = serde_json::from_value(serde_json::json!({
            "state": "Present",
            "image": "evil.example/web@sha256:0",
            "env": [{"name": "A", "value": "1"}, {"name": "B", "secretRef": {"path": "p", "key": "k"}}],
            "files": [{"path": "/f", "secretRef": {"path": "p", "key": "k"}}],
        }))
        .unwrap();
        let owner = |environment: &str| Owner {
            organization: "acme".into(),
            project: "shop".into(),
            environment: environment.into(),
        };
        let fields = |owner: Option<&Owner>| -> Vec<String> {
            objections(&policy, &Body::Release(Box::new(body.clone())), owner)
                .into_iter()
                .map(|reason| reason.field)
                .collect()
        };
        assert_eq!(fields(Some(&owner("prod"))), ["/environment", "/image", "/env/1/secretRef", "/files/0/secretRef"]);
        assert_eq!(fields(Some(&owner("dev"))), ["/image", "/env/1/secretRef", "/files/0/secretRef"]);
        assert_eq!(fields(None), ["/image", "/env/1/secretRef", "/files/0/secretRef"]);
    }
}

//! Checks a document against the customer's `DataPlanePolicy` before it is stored.
//!
//! The operator enforces the same limits on what is stored; here they are only checked early, so that the sender gets the refusal
//! at once and in one answer. What cannot be known here (the owner of an environment that is not stored yet) is left to the
//! operator.

use protocol::document::Body;
use protocol::document::{Desired, EnvironmentSpec, ReleaseSpec, TaskRunSpec};
use protocol::message::FieldError;
use serde_json::Value;

use crate::kinds::{DataPlanePolicySpec, Limits};
use crate::policy::limits::{self, Beside};
use crate::policy::{self, secrets};
use crate::secrets::Source;

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
pub struct Handles {
    /// Handle of the organization.
    pub organization: String,
    /// Handle of the project.
    pub project: String,
    /// Handle of the environment.
    pub environment: String,
}

impl Handles {
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

/// What the rules need to know beside a document's body, as far as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Handles of the environment in which it runs.
    pub owner: Option<Handles>,
    /// For a run: the image that its release runs.
    pub image: Option<String>,
    /// For a run: whether its release is given secrets.
    pub secrets: bool,
    /// What is stored beside it.
    pub beside: Beside,
}

/// Every reason for which `policy` forbids `body`; none means allowed. Removal is always allowed, and so is to end a run.
#[must_use]
pub fn objections(policy: &DataPlanePolicySpec, body: &Body, about: &About) -> Vec<FieldError> {
    if body.desired() == Desired::Absent {
        return Vec::new();
    }
    let About { owner, image, secrets, beside: _ } = about;
    match body {
        Body::DataPlane(_) => Vec::new(),
        Body::TaskRun(TaskRunSpec { cancel: Some(true), .. }) => Vec::new(),
        // A run has the image of its release.
        Body::TaskRun(run) => {
            let args = run.args.as_ref().filter(|args| !args.is_empty()).and_then(|_| {
                let message = policy::secrets::task_args(rule(policy, owner.as_ref()?)?, *secrets).err()?;
                Some(FieldError { field: "/args".to_owned(), message })
            });
            let environment = owner.as_ref().and_then(|owner| environment_objection(policy, owner, "/release"));
            let image = image.as_ref().and_then(|image| image_objection(policy, image, "/release"));
            environment.into_iter().chain(image).chain(args).collect()
        }
        Body::Environment(spec) => self::environment(policy, spec),
        Body::Release(spec) => release(policy, spec, owner.as_ref()),
    }
}

/// Every limit of the customer that storing `document` would exceed. `new`: nothing of its name is stored yet, so it counts as one
/// more. A document that takes no room has no limit: a removal, the end of a run, the settings of the installation.
#[must_use]
pub fn beyond(
    policy: &DataPlanePolicySpec,
    body: &Body,
    document: &Value,
    about: &About,
    new: bool,
) -> Vec<FieldError> {
    let ends_a_run = matches!(body, Body::TaskRun(TaskRunSpec { cancel: Some(true), .. }));
    if body.desired() == Desired::Absent || ends_a_run || matches!(body, Body::DataPlane(_)) {
        return Vec::new();
    }
    let Beside { of_kind, in_environment, .. } = about.beside;
    let none = Limits::default();
    let most = policy.limits.as_ref().unwrap_or(&none);
    let mut found = vec![limits::bytes(&about.beside, weight(document), most.stored_bytes)];
    if new {
        match body {
            Body::Environment(_) => {
                found.push(limits::one_more(of_kind, most.environments, "environments", "spec.limits.environments"));
            }
            Body::Release(_) => {
                let here =
                    about.owner.as_ref().and_then(|owner| rule(policy, owner)).and_then(|rule| rule.max_releases);
                found.push(limits::one_more(of_kind, most.releases, "releases", "spec.limits.releases"));
                let setting = "maxReleases of this environment";
                found.push(limits::one_more(in_environment, here, "releases in this environment", setting));
            }
            Body::DataPlane(_) | Body::TaskRun(_) => {}
        }
    }
    found.into_iter().filter_map(Result::err).map(|message| FieldError { field: String::new(), message }).collect()
}

/// Bytes of a document, as JSON without white space and without what escapes add.
#[must_use]
pub fn weight(document: &Value) -> u64 {
    let size = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    match document {
        Value::Null => 4,
        Value::Bool(_) => 5,
        Value::Number(number) => size(number.to_string().len()),
        Value::String(text) => size(text.len() + 2),
        Value::Array(items) => items.iter().map(|item| weight(item) + 1).sum::<u64>() + 1,
        Value::Object(members) => {
            members.iter().map(|(key, value)| size(key.len() + 4) + weight(value)).sum::<u64>() + 1
        }
    }
}

fn rule<'a>(policy: &'a DataPlanePolicySpec, owner: &Handles) -> Option<&'a crate::kinds::EnvironmentRule> {
    let Handles { organization, project, environment } = owner;
    policy::environment(policy, [organization, project, environment]).ok()
}

fn environment(policy: &DataPlanePolicySpec, spec: &EnvironmentSpec) -> Vec<FieldError> {
    let Some(owner) = Handles::of(spec) else { return Vec::new() };
    let Some(rule) = rule(policy, &owner) else {
        return environment_objection(policy, &owner, "").into_iter().collect();
    };
    let egress = (rule.egress == Some(false) && spec.egress == Some(true)).then(|| FieldError {
        field: "/egress".to_owned(),
        message:
            "DataPlanePolicy/default does not open the world outside to this environment; leave egress out or ask the \
             platform team for it"
                .to_owned(),
    });
    let above = spec.quota.iter().flat_map(|quota| rule.above_quota(quota)).map(|(part, most)| FieldError {
        field: format!("/quota/{part}"),
        message: format!(
            "DataPlanePolicy/default allows this environment {most} at most; ask for no more or ask the platform team to raise \
             maxQuota of this environment"
        ),
    });
    egress.into_iter().chain(above).collect()
}

fn release(policy: &DataPlanePolicySpec, spec: &ReleaseSpec, environment: Option<&Handles>) -> Vec<FieldError> {
    let mut reasons = Vec::new();
    reasons.extend(environment.and_then(|owner| environment_objection(policy, owner, "/environment")));
    reasons.extend(spec.image.as_ref().and_then(|image| image_objection(policy, image, "/image")));
    if let Some(rule) = environment.and_then(|owner| rule(policy, owner)) {
        let pod = secrets::Pod::of_release(spec);
        let disk = rule.disk(pod.on_disk.iter().map(String::as_str)).err();
        reasons.extend(disk.map(|message| FieldError { field: "/volumes".to_owned(), message }));
        let objections = secrets::objections(rule, &pod).into_iter();
        reasons
            .extend(objections.map(|secrets::Objection { field, sentence }| FieldError { field, message: sentence }));
    }
    if Source::of(policy).is_none() {
        let env = spec.env.iter().flatten().enumerate();
        let files = spec.files.iter().flatten().enumerate();
        let fields =
            env.filter(|(_, one)| one.secret_ref.is_some()).map(|(index, _)| format!("/env/{index}/secretRef")).chain(
                files.filter(|(_, one)| one.secret_ref.is_some()).map(|(index, _)| format!("/files/{index}/secretRef")),
            );
        reasons.extend(fields.map(|field| FieldError {
            field,
            message: format!(
                "DataPlanePolicy/default names {}, so secret references cannot be resolved; ask the platform team to set {}",
                Source::LACKING,
                Source::SETTINGS
            ),
        }));
    }
    reasons
}

fn image_objection(policy: &DataPlanePolicySpec, image: &str, field: &str) -> Option<FieldError> {
    policy::registry(policy, image).err().map(|message| FieldError { field: field.to_owned(), message })
}

fn environment_objection(policy: &DataPlanePolicySpec, owner: &Handles, field: &str) -> Option<FieldError> {
    let Handles { organization, project, environment } = owner;
    let message = policy::environment(policy, [organization, project, environment]).err()?;
    Some(FieldError { field: field.to_owned(), message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{EnvironmentRule, Registry};

    #[test]
    fn every_objection_to_a_release_is_named_at_once() {
        let policy = DataPlanePolicySpec {
            registries: vec![Registry { prefix: "r.example/".into(), pull_secret: None }],
            environments: Some(vec![EnvironmentRule {
                organization: Some("acme".into()),
                project: None,
                environment: Some("dev".into()),
                max_disk: Some("1Gi".into()),
                ..EnvironmentRule::default()
            }]),
            ..DataPlanePolicySpec::default()
        };
        let body: ReleaseSpec = serde_json::from_value(serde_json::json!({
            "state": "Present",
            "image": "evil.example/web@sha256:0",
            "env": [{"name": "A", "value": "1"}, {"name": "B", "secretRef": {"path": "p", "key": "k"}}],
            "files": [{"path": "/f", "secretRef": {"path": "p", "key": "k"}}],
            "volumes": [{"path": "/data", "size": "1Gi"}, {"path": "/tmp", "size": "1Mi"}],
        }))
        .unwrap();
        let owner = |environment: &str| Handles {
            organization: "acme".into(),
            project: "shop".into(),
            environment: environment.into(),
        };
        let fields = |owner: Option<&Handles>| -> Vec<String> {
            let about = About { owner: owner.cloned(), ..About::default() };
            objections(&policy, &Body::Release(Box::new(body.clone())), &about)
                .into_iter()
                .map(|reason| reason.field)
                .collect()
        };
        assert_eq!(fields(Some(&owner("prod"))), ["/environment", "/image", "/env/1/secretRef", "/files/0/secretRef"]);
        assert_eq!(fields(Some(&owner("dev"))), ["/image", "/volumes", "/env/1/secretRef", "/files/0/secretRef"]);
        assert_eq!(fields(None), ["/image", "/env/1/secretRef", "/files/0/secretRef"]);
    }

    #[test]
    fn where_all_that_is_allowed_is_stored_a_run_can_be_ended_and_the_log_level_set() {
        let spec = serde_json::json!({"registries": [], "logs": {"mode": "Disabled"}, "limits": {"storedBytes": 100}});
        let policy: DataPlanePolicySpec = serde_json::from_value(spec).unwrap();
        let about = About { beside: Beside { bytes: 1000, ..Beside::default() }, ..About::default() };
        let run = |cancel| Body::TaskRun(TaskRunSpec { release: "shop-import".into(), args: None, cancel });
        for (body, reasons) in
            [(run(None), 1), (run(Some(true)), 0), (Body::DataPlane(protocol::document::DataPlaneSpec::default()), 0)]
        {
            assert_eq!(beyond(&policy, &body, &Value::Null, &about, false).len(), reasons, "{body:?}");
        }
    }

    #[test]
    fn a_run_may_start_only_what_its_release_might() {
        let policy = DataPlanePolicySpec {
            registries: vec![Registry { prefix: "r.example/".into(), pull_secret: None }],
            environments: Some(vec![EnvironmentRule {
                organization: None,
                project: None,
                environment: Some("dev".into()),
                ..EnvironmentRule::default()
            }]),
            ..DataPlanePolicySpec::default()
        };
        let run = |cancel| Body::TaskRun(TaskRunSpec { release: "shop-import".into(), args: None, cancel });
        let about = |environment: &str, image: &str| About {
            owner: Some(Handles {
                organization: "acme".into(),
                project: "shop".into(),
                environment: environment.into(),
            }),
            image: Some(image.into()),
            ..About::default()
        };
        for (about, cancel, objections_expected) in [
            (about("dev", "r.example/web@sha256:0"), None, 0),
            (about("prod", "r.example/web@sha256:0"), None, 1),
            (about("prod", "evil.example/web@sha256:0"), None, 2),
            (about("prod", "evil.example/web@sha256:0"), Some(true), 0),
            (About::default(), None, 0),
        ] {
            let found = objections(&policy, &run(cancel), &about);
            assert_eq!(found.len(), objections_expected, "{about:?} {cancel:?}: {found:?}");
            assert!(found.iter().all(|reason| reason.field == "/release"), "{found:?}");
        }
    }
}

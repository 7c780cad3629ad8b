//! A release's spec, parsed once into a type that cannot be wrong.
//!
//! The API server has checked bounds and rules already; what it cannot check (and what a cluster without the rules let in) is
//! found here, all of it at once, each with field, rule and fix.

use std::collections::BTreeSet;

use protocol::spec::{
    ComponentType, ConfigFile, Endpoint, EnvVar, Probes, ReleaseOwner, ReleaseSpec, Resources, SecretRef,
    SecurityOverrides, TaskSettings,
};

/// A present release whose fields are there and fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidRelease {
    /// Component and track.
    pub owner: ReleaseOwner,
    /// What it becomes.
    pub component_type: ComponentType,
    /// Image by digest.
    pub image: String,
    /// Entry point and arguments in place of the image's.
    pub command: Option<Vec<String>>,
    /// Arguments in place of the image's.
    pub args: Option<Vec<String>>,
    /// Environment variables, names unique.
    pub env: Vec<Setting>,
    /// Files, paths unique.
    pub files: Vec<Setting>,
    /// Endpoints, names unique.
    pub endpoints: Vec<Endpoint>,
    /// Number of pods.
    pub replicas: i32,
    /// As asked for; defaults are made when rendering.
    pub resources: Option<Resources>,
    /// As asked for.
    pub probes: Option<Probes>,
    /// User and group ids.
    pub security: Option<SecurityOverrides>,
    /// Seconds between SIGTERM and SIGKILL.
    pub termination_grace_seconds: i64,
    /// Seconds until a rollout counts as failed.
    pub progress_deadline_seconds: i32,
    /// Changing it restarts the pods.
    pub restart_token: Option<String>,
    /// Settings of a task.
    pub task: TaskSettings,
}

/// One variable or file: where it goes and where its value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Name of the variable or path of the file.
    pub target: String,
    /// Its value.
    pub source: Source,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Plain.
    Plain(String),
    /// From the vault.
    Secret(SecretRef),
}

/// Seconds that a generation may take to become ready when the document says nothing.
const DEFAULT_DEADLINE: i32 = 300;

/// Seconds between SIGTERM and SIGKILL when the document says nothing, as in Kubernetes.
const DEFAULT_GRACE: i64 = 30;

impl ValidRelease {
    /// Parses a present spec.
    ///
    /// # Errors
    /// Everything that is wrong, one sentence each: field, rule, fix.
    pub fn parse(spec: &ReleaseSpec) -> Result<Self, Vec<String>> {
        let ReleaseSpec {
            state: _,
            environment: _,
            owner,
            component_type,
            image,
            command,
            args,
            env,
            files,
            endpoints,
            scaling,
            resources,
            probes,
            security,
            termination_grace_seconds,
            progress_deadline_seconds,
            restart_token,
            task,
        } = spec;
        let mut wrong = Vec::new();
        if image.as_ref().is_some_and(|image| !by_digest(image)) {
            wrong.push(
                "spec.image: must name the image by digest, registry/repository@sha256:<64 hexadecimal digits>; `skopeo inspect \
                 --format '{{.Digest}}' docker://<image>` shows it"
                    .to_owned(),
            );
        }
        let env = settings("spec.env", "value", env.iter().flatten().map(from_variable), &mut wrong);
        let files = settings("spec.files", "content", files.iter().flatten().map(from_file), &mut wrong);
        let endpoints: Vec<Endpoint> = endpoints.clone().unwrap_or_default();
        unique("spec.endpoints", endpoints.iter().map(|endpoint| endpoint.name.as_str()), &mut wrong);
        let ports = endpoints
            .iter()
            .map(|endpoint| (endpoint.port, matches!(endpoint.kind, protocol::spec::EndpointKind::Udp)));
        let mut seen = BTreeSet::new();
        for (port, udp) in ports {
            if !seen.insert((port, udp)) {
                wrong.push(format!("spec.endpoints: port {port} stands twice; give each endpoint a port of its own"));
            }
        }
        let (Some(owner), Some(component_type), Some(image)) = (owner, component_type, image) else {
            wrong.push("spec: with state Present, environment, owner, type and image are required".to_owned());
            return Err(wrong);
        };
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Self {
            owner: owner.clone(),
            component_type: *component_type,
            image: image.clone(),
            command: command.clone(),
            args: args.clone(),
            env,
            files,
            endpoints,
            replicas: scaling.as_ref().and_then(|scaling| scaling.replicas).unwrap_or(1),
            resources: resources.clone(),
            probes: probes.clone(),
            security: security.clone(),
            termination_grace_seconds: termination_grace_seconds.unwrap_or(DEFAULT_GRACE),
            progress_deadline_seconds: progress_deadline_seconds.unwrap_or(DEFAULT_DEADLINE),
            restart_token: restart_token.clone(),
            task: task.clone().unwrap_or(TaskSettings { retries: None, timeout_seconds: None }),
        })
    }

    /// Every secret reference, in order.
    pub fn secret_refs(&self) -> impl Iterator<Item = &SecretRef> {
        self.env.iter().chain(&self.files).filter_map(|setting| match &setting.source {
            Source::Secret(reference) => Some(reference),
            Source::Plain(_) => None,
        })
    }
}

/// Whether `image` is `name@sha256:` and 64 lower-case hexadecimal digits.
fn by_digest(image: &str) -> bool {
    image.split_once("@sha256:").is_some_and(|(name, digest)| {
        !name.is_empty() && digest.len() == 64 && digest.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
    })
}

type Raw<'a> = (&'a str, Option<&'a String>, Option<&'a SecretRef>);

const fn from_variable(variable: &EnvVar) -> Raw<'_> {
    (variable.name.as_str(), variable.value.as_ref(), variable.secret_ref.as_ref())
}

const fn from_file(file: &ConfigFile) -> Raw<'_> {
    (file.path.as_str(), file.content.as_ref(), file.secret_ref.as_ref())
}

fn settings<'a>(field: &str, plain: &str, raw: impl Iterator<Item = Raw<'a>>, wrong: &mut Vec<String>) -> Vec<Setting> {
    let mut parsed = Vec::new();
    for (target, value, secret) in raw {
        let source = match (value, secret) {
            (Some(value), None) => Source::Plain(value.clone()),
            (None, Some(secret)) => Source::Secret(secret.clone()),
            (Some(_), Some(_)) => {
                wrong.push(format!("{field} {target}: has both {plain} and secretRef; leave one out"));
                continue;
            }
            (None, None) => {
                wrong.push(format!("{field} {target}: has neither {plain} nor secretRef; give one"));
                continue;
            }
        };
        if let Source::Secret(reference) = &source
            && reference.path.split('/').any(|part| part.is_empty() || part == "." || part == "..")
        {
            wrong.push(format!("{field} {target}: secretRef.path {} must not step out of its prefix", reference.path));
        }
        parsed.push(Setting { target: target.to_owned(), source });
    }
    unique(field, parsed.iter().map(|setting| setting.target.as_str()), wrong);
    parsed
}

fn unique<'a>(field: &str, names: impl Iterator<Item = &'a str>, wrong: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            wrong.push(format!("{field}: {name} stands twice; names are unique"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn a_full_spec_is_read() {
        let valid = ValidRelease::parse(&fixture::service()).unwrap();
        assert_eq!((valid.replicas, valid.termination_grace_seconds, valid.progress_deadline_seconds), (2, 30, 300));
        assert_eq!(valid.secret_refs().count(), 2);
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let mut spec = fixture::service();
        spec.image = Some("registry.example.com/web:latest".to_owned());
        let doubled = spec.env.as_ref().unwrap()[0].clone();
        spec.env.as_mut().unwrap().push(doubled);
        spec.env.as_mut().unwrap().push(EnvVar { name: "NONE".to_owned(), value: None, secret_ref: None });
        spec.endpoints.as_mut().unwrap()[1].port = 8080;
        let wrong = ValidRelease::parse(&spec).unwrap_err();
        for part in ["by digest", "GREETING stands twice", "NONE: has neither", "port 8080 stands twice"] {
            assert!(wrong.iter().any(|sentence| sentence.contains(part)), "{part} in {wrong:?}");
        }
    }

    #[test]
    fn secret_paths_stay_below_their_prefix() {
        let mut spec = fixture::service();
        let secret = SecretRef { path: "a/../b".to_owned(), key: "k".to_owned(), version: None };
        spec.env = Some(vec![EnvVar { name: "A".to_owned(), value: None, secret_ref: Some(secret) }]);
        assert!(ValidRelease::parse(&spec).unwrap_err()[0].contains("step out"));
    }
}

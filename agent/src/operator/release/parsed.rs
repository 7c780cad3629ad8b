//! A release's spec, parsed once into a type that cannot be wrong.
//!
//! The API server has checked bounds and forms already; what it cannot check is found here by the rules of documents, all of it at
//! once, each with field, rule and fix. Only rules count that a working release cannot have broken: a running release that an older
//! version accepted goes on.

use protocol::document::{
    Breach, ComponentType, ConfigFile, Encoding, Endpoint, EnvVar, PROGRESS_DEADLINE_SECONDS, Probes, ReleaseOwner,
    ReleaseSpec, Resources, SecretRef, SecurityOverrides, TaskSettings, Volume, Weight, rules,
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
    /// Folders that the program may write to.
    pub volumes: Vec<Volume>,
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
    /// Seconds for which a new pod has to stay ready before it counts.
    pub min_ready_seconds: i32,
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
    pub source: Source,
    /// Permissions of a file.
    pub mode: Option<u32>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Plain.
    Plain(String),
    /// Plain, in base64.
    Bytes(String),
    /// From the vault.
    Secret(SecretRef),
}

/// Seconds between SIGTERM and SIGKILL when the document says nothing, as in Kubernetes.
const DEFAULT_GRACE: i64 = 30;

/// Seconds for which a pod has to stay ready when nothing but an open port, or nothing at all, says that it works.
const DEFAULT_MIN_READY: i32 = 5;

/// Whether readiness is what the program itself answers.
fn asks_the_program(probes: Option<&Probes>) -> bool {
    let readiness = probes.and_then(|probes| probes.readiness.as_ref());
    readiness.is_some_and(|probe| probe.path.is_some() || probe.grpc.is_some() || probe.exec.is_some())
}

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
            volumes,
            endpoints,
            scaling,
            resources,
            probes,
            security,
            termination_grace_seconds,
            progress_deadline_seconds,
            min_ready_seconds,
            restart_token,
            task,
        } = spec;
        let broken = rules::of_release(spec).into_iter().filter(|breach| breach.weight == Weight::Always);
        let mut wrong: Vec<String> = broken.map(|breach| sentence(&breach)).collect();
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
            env: env.iter().flatten().filter_map(variable).collect(),
            files: files.iter().flatten().filter_map(file).collect(),
            volumes: volumes.clone().unwrap_or_default(),
            endpoints: endpoints.clone().unwrap_or_default(),
            replicas: scaling.as_ref().and_then(|scaling| scaling.replicas).unwrap_or(1),
            resources: resources.clone(),
            probes: probes.clone(),
            security: security.clone(),
            termination_grace_seconds: termination_grace_seconds.unwrap_or(DEFAULT_GRACE),
            progress_deadline_seconds: progress_deadline_seconds.unwrap_or(PROGRESS_DEADLINE_SECONDS),
            min_ready_seconds: min_ready_seconds
                .unwrap_or_else(|| if asks_the_program(probes.as_ref()) { 0 } else { DEFAULT_MIN_READY }),
            restart_token: restart_token.clone(),
            task: task.clone().unwrap_or(TaskSettings { retries: None, timeout_seconds: None }),
        })
    }

    /// Every secret reference, in order.
    pub fn secret_refs(&self) -> impl Iterator<Item = &SecretRef> {
        self.env.iter().chain(&self.files).filter_map(|setting| match &setting.source {
            Source::Secret(reference) => Some(reference),
            Source::Plain(_) | Source::Bytes(_) => None,
        })
    }
}

fn variable(EnvVar { name, value, secret_ref }: &EnvVar) -> Option<Setting> {
    let source = source(value.clone().map(Source::Plain), secret_ref.as_ref())?;
    Some(Setting { target: name.clone(), source, mode: None })
}

fn file(ConfigFile { path, content, encoding, secret_ref, mode }: &ConfigFile) -> Option<Setting> {
    let plain = content.clone().map(|content| match encoding {
        Some(Encoding::Base64) => Source::Bytes(content),
        None => Source::Plain(content),
    });
    let mode = mode.as_deref().and_then(|mode| u32::from_str_radix(mode, 8).ok());
    Some(Setting { target: path.clone(), source: source(plain, secret_ref.as_ref())?, mode })
}

/// The one source that there is; both, or none, is among the broken rules.
fn source(plain: Option<Source>, secret: Option<&SecretRef>) -> Option<Source> {
    match (plain, secret) {
        (Some(plain), None) => Some(plain),
        (None, Some(secret)) => Some(Source::Secret(secret.clone())),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// With the field as `kubectl` shows it: `spec.env[1].name`.
fn sentence(breach: &Breach) -> String {
    let parts = breach.field.split('/').skip(1).map(|part| match part.parse::<usize>() {
        Ok(index) => format!("[{index}]"),
        Err(_) => format!(".{part}"),
    });
    format!("spec{}: {}", parts.collect::<String>(), breach.sentence())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::fixture;

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
        let wrong = ValidRelease::parse(&spec).unwrap_err();
        for part in ["spec.image: ", "by digest", "GREETING stands twice", "NONE has neither"] {
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

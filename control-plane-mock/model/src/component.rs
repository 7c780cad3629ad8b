//! Component files: what a developer writes, and how it becomes a release and the body of a document.
//!
//! A file says what a component is in all environments, and under `environments` what differs in one. The first becomes an
//! immutable release, the second the configuration of a deployment; where both speak, the environment wins. Checks here are
//! the ones that need no cluster; `pdpctl` runs them with line numbers, the server runs them again.

use std::collections::{BTreeMap, BTreeSet};

use protocol::document::{
    ComponentType, ConfigFile, Desired, Endpoint, EnvVar, Probes, ReleaseOwner, ReleaseSpec, Resources, Scaling,
    SecurityOverrides, TaskSettings, Volume,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

mod beside;
mod check;
mod foreign;
mod overrides;
mod read;
mod shape;
mod tree;

pub use beside::Beside;
pub use check::{check, check_track};
pub use foreign::Foreign;
pub use overrides::Override;
pub use read::{from_json, from_json_beside, from_yaml, from_yaml_beside, from_yaml_with};
pub use shape::known_keys;
pub use tree::{Located, decoded, yaml_words};

/// `apiVersion` of component files.
pub const API_VERSION: &str = "pdp-agent.dev/v1alpha1";

/// `kind` of component files.
pub const KIND: &str = "Component";

/// Track of a file that names none.
pub const DEFAULT_TRACK: &str = "v1.0";

/// One component: what it runs and what it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Version of this format: `pdp-agent.dev/v1alpha1`.
    pub api_version: String,
    /// `Component`.
    pub kind: String,
    /// Name of the component, unique in its project.
    #[schemars(regex(pattern = protocol::document::pattern::LABEL))]
    pub name: String,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Deployment track, `v1.0` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = protocol::document::pattern::TRACK))]
    pub track: Option<String>,
    /// What it becomes in the cluster.
    #[serde(rename = "type")]
    pub component_type: ComponentType,
    /// Image by digest: `registry/repository@sha256:…`.
    pub image: String,
    /// In place of the image's entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// In place of the image's arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Environment variables. One with neither `value` nor `secretRef` must get one from each environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<EnvVar>>,
    /// Files. One with neither content nor `secretRef` must get one from each environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<ConfigFile>>,
    /// Empty folders that the program may write to; they live as long as the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Vec<Volume>>,
    /// Where it can be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<Endpoint>>,
    /// How many pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// CPU and memory of one pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Health checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<Probes>,
    /// Numeric user and group, where the image needs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<SecurityOverrides>,
    /// Seconds between SIGTERM and SIGKILL, the drain included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_grace_seconds: Option<i64>,
    /// Seconds a new release may take to become ready before it counts as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline_seconds: Option<i32>,
    /// Seconds for which a new pod has to stay ready before it counts, and an old one goes. Without it: 0 where a readiness probe asks
    /// the program, else 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ready_seconds: Option<i32>,
    /// Settings of tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskSettings>,
    /// What differs in one environment, by the environment's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environments: BTreeMap<String, Configuration>,
}

/// What one environment adds or replaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Environment variables; one of the same name is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<EnvVar>>,
    /// Files; one at the same path is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<ConfigFile>>,
    /// How many pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// CPU and memory of one pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

impl Component {
    /// The track it belongs to.
    #[must_use]
    pub fn track(&self) -> &str {
        self.track.as_deref().unwrap_or(DEFAULT_TRACK)
    }

    /// The part that is the same in all environments: the content of a release.
    #[must_use]
    pub fn frozen(&self) -> Self {
        Self { environments: BTreeMap::new(), display_name: None, track: Some(self.track().to_owned()), ..self.clone() }
    }

    /// The body of the Release document for one environment.
    ///
    /// # Errors
    /// Declared variables and files that have no value in this environment, all named.
    pub fn body(
        &self,
        configuration: &Configuration,
        environment: &str,
        release: i64,
        restart_token: Option<&str>,
    ) -> Result<ReleaseSpec, Problem> {
        let body = self.merged(configuration, environment, release, restart_token);
        missing(body.env.as_deref().unwrap_or_default(), body.files.as_deref().unwrap_or_default())?;
        Ok(body)
    }

    /// The body, whether or not each variable and file has a value.
    fn merged(
        &self,
        configuration: &Configuration,
        environment: &str,
        release: i64,
        restart_token: Option<&str>,
    ) -> ReleaseSpec {
        let Self {
            api_version: _,
            kind: _,
            name,
            display_name: _,
            track: _,
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
            task,
            environments: _,
        } = self.clone();
        ReleaseSpec {
            state: Desired::Present,
            environment: Some(environment.to_owned()),
            owner: Some(ReleaseOwner { component: name, track: self.track().to_owned(), release: Some(release) }),
            component_type: Some(component_type),
            image: Some(image),
            command,
            args,
            env: merged(env.as_deref(), configuration.env.as_deref(), |variable| &variable.name),
            files: merged(files.as_deref(), configuration.files.as_deref(), |file| &file.path),
            volumes,
            endpoints,
            scaling: configuration.scaling.clone().or(scaling),
            resources: merged_resources(resources, configuration.resources.clone()),
            probes,
            security,
            termination_grace_seconds,
            progress_deadline_seconds,
            min_ready_seconds,
            restart_token: restart_token.map(str::to_owned),
            task,
        }
    }
}

/// The body of an Absent release: nothing but its state.
#[must_use]
pub const fn absent_release() -> ReleaseSpec {
    ReleaseSpec {
        state: Desired::Absent,
        environment: None,
        owner: None,
        component_type: None,
        image: None,
        command: None,
        args: None,
        env: None,
        files: None,
        volumes: None,
        endpoints: None,
        scaling: None,
        resources: None,
        probes: None,
        security: None,
        termination_grace_seconds: None,
        progress_deadline_seconds: None,
        min_ready_seconds: None,
        restart_token: None,
        task: None,
    }
}

fn missing(env: &[EnvVar], files: &[ConfigFile]) -> Result<(), Problem> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    names.extend(env.iter().filter(|v| v.value.is_none() && v.secret_ref.is_none()).map(|v| format!("env {}", v.name)));
    names.extend(
        files.iter().filter(|f| f.content.is_none() && f.secret_ref.is_none()).map(|f| format!("file {}", f.path)),
    );
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = names.into_iter().collect();
    Err(Problem::invalid(
        "/environments",
        format!("declared without a value in this environment: {}", names.join(", ")),
    )
    .hint("give each a value or a secretRef, under environments.<name> or for all"))
}

/// The items of `base` that `over` does not replace, then all of `over`.
fn merged<T: Clone>(base: Option<&[T]>, over: Option<&[T]>, key: impl Fn(&T) -> &String) -> Option<Vec<T>> {
    let Some(items) = over else { return base.map(<[T]>::to_vec) };
    let stay = kept(base, over, key);
    let base = base.unwrap_or_default();
    Some(stay.into_iter().filter_map(|index| base.get(index)).chain(items).cloned().collect())
}

/// Indexes of the items of `base` that `over` does not replace.
fn kept<T>(base: Option<&[T]>, over: Option<&[T]>, key: impl Fn(&T) -> &String) -> Vec<usize> {
    let replaced: BTreeSet<&String> = over.unwrap_or_default().iter().map(&key).collect();
    let all = base.unwrap_or_default().iter().enumerate();
    all.filter(|(_, item)| !replaced.contains(key(item))).map(|(index, _)| index).collect()
}

fn merged_resources(base: Option<Resources>, over: Option<Resources>) -> Option<Resources> {
    let (base, over) = match (base, over) {
        (base, None) => return base,
        (None, over) => return over,
        (Some(base), Some(over)) => (base, over),
    };
    Some(Resources {
        cpu_request: over.cpu_request.or(base.cpu_request),
        memory_request: over.memory_request.or(base.memory_request),
        cpu_limit: over.cpu_limit.or(base.cpu_limit),
        memory_limit: over.memory_limit.or(base.memory_limit),
    })
}

/// JSON Schema of component files, for editors.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Component).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".into(), "Component file of pdpctl".into());
        object.insert("$id".into(), "https://pdp-agent.dev/schemas/component.json".into());
    }
    beside::schema(&mut schema);
    close_objects(&mut schema);
    schema
}

/// Unknown keys are refused, so the schema says so for every object with properties.
fn close_objects(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(object) => {
            if object.contains_key("properties") {
                object.insert("additionalProperties".into(), false.into());
            }
            object.values_mut().for_each(close_objects);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(close_objects),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

/// An answer of the API holds one problem: the first of several, whose message lists the others.
#[must_use]
pub fn first(problems: Vec<Problem>) -> Problem {
    let more = problems.len().saturating_sub(1);
    let mut all = problems.into_iter();
    let Some(mut problem) = all.next() else { return Problem::invalid("", "the component file is wrong") };
    if more > 0 {
        let others: Vec<String> =
            all.map(|other| format!("{}: {}", other.field.unwrap_or_default(), other.message)).collect();
        problem.message = format!("{} (and {more} more: {})", problem.message, others.join("; "));
    }
    problem
}

/// A sentence of a JSON or YAML reader without the values that it quotes: they may be secret.
#[must_use]
pub fn without_values(sentence: &str) -> String {
    let Some((head, tail)) = sentence.split_once("string \"") else { return sentence.to_owned() };
    let rest = tail.rfind("\", ").and_then(|end| tail.get(end + 1..)).unwrap_or_default();
    format!("{head}a string{rest}")
}

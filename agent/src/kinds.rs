//! The agent's own custom resources: what `kubectl` shows and all that the roles share.
//!
//! A spec is the body of a document (`protocol::document`) beside `document`, which the link writes. An object without `document`
//! is local: somebody made it with kubectl or Flux; it is run and reported, and the link never touches it. Status is written
//! on transitions only. No defaults stand in the schema; bounds and rules do, so that the API server refuses what does not fit.

use kube::CustomResource;
use protocol::document::{DataPlaneSpec, DocumentStamp, EnvironmentSpec, ReleaseSpec, TaskRunSpec};
use protocol::report::{Condition, Effective, EndpointState, Fact, PodState, Replicas};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod conditions;
pub mod fields;
pub mod labels;
mod policy;
mod schema;

pub use policy::*;
pub use schema::{REVISION_ANNOTATION, crds};

/// API group of every kind here.
pub const GROUP: &str = "pdp-agent.dev";

/// Schema revision of the kinds in this build; the operator refuses to lead below it.
pub const SCHEMA_REVISION: u32 = 1;

/// Id in labels while the installation is not enrolled. Objects with it belong to every data plane, so no data plane is named so.
pub const LOCAL: &str = "local";

/// Whether `id` may be the id of a data plane: it stands in labels and label selectors, where a comma or a bracket would ask for
/// other objects.
#[must_use]
pub fn is_data_plane_id(id: &str) -> bool {
    protocol::name::is_label(id) && id != LOCAL
}

/// Facts of one resource that may wait for acknowledgement before its documents have to wait too.
pub const PENDING_FACTS: usize = 32;

/// Annotation by which a person stops the operator's writes to workloads until that time (RFC 3339), on a Release, an
/// Environment or the DataPlane.
pub const PAUSED_UNTIL: &str = "pdp-agent.dev/paused-until";

/// One component of one deployment track in one environment.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "pdp-agent.dev",
    version = "v1alpha1",
    kind = "Release",
    namespaced,
    status = "ReleaseStatus",
    shortname = "rel",
    category = "pdp",
    printcolumn = r#"{"name":"Component","type":"string","jsonPath":".spec.owner.component"}"#,
    printcolumn = r#"{"name":"Track","type":"string","jsonPath":".spec.owner.track"}"#,
    printcolumn = r#"{"name":"Environment","type":"string","jsonPath":".spec.environment"}"#,
    printcolumn = r#"{"name":"Generation","type":"integer","jsonPath":".spec.document.generation"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseObject {
    /// Written by the link for documents of the control plane; absent on local objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentStamp>,
    /// The body as received.
    #[serde(flatten)]
    pub body: ReleaseSpec,
}

/// What the operator knows of a release. Everything that must survive a restart of the agent stands here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// Document generation (or `metadata.generation` of a local object) that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions, sorted by type.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Namespace of the workloads: kept when the spec becomes Absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Counts of pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Replicas>,
    /// What serves now: the last good revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<Effective>,
    /// The generation being rolled out, until it serves or fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// What served before, while the newest revision has served for less than a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probation: Option<Probation>,
    /// The generation that failed: not tried again until a newer one comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedGeneration>,
    /// Slots of each kept revision and the objects they are bound to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<Binding>,
    /// Objects that were applied, for pruning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectRef>,
    /// Facts that the control plane has not acknowledged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    /// Number of the last fact, so that ids are never reused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_fact: Option<i64>,
    /// Pods worth a word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodState>,
    /// Addresses by endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointState>,
}

/// A rollout under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Generation being rolled out.
    pub generation: i64,
    /// Name of its rendering.
    pub revision: String,
    /// When its workload was first applied or its last new pod came, RFC 3339; the progress deadline counts from here.
    pub since: String,
}

/// The first minute of a revision that serves: if it dies meanwhile, the one before comes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probation {
    /// Since when it serves, RFC 3339.
    pub since: String,
    /// Restarts of its pods until then: a dependency may have been late.
    pub restarts: i32,
    /// What served before.
    pub previous: Effective,
}

/// A generation that did not become ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedGeneration {
    /// The generation that failed.
    pub generation: i64,
    /// Hash of the stored spec without `document`: an edit by a person is tried again.
    pub hash: String,
    /// One word in PascalCase.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// What the late-bound slots of one revision are bound to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// Name of the rendering.
    pub revision: String,
    /// Slot name to object name.
    pub slots: std::collections::BTreeMap<String, String>,
}

/// One object in an environment's namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// `v1`, `apps/v1`, …
    pub api_version: String,
    /// `Deployment`, …
    pub kind: String,
    /// Name.
    pub name: String,
}

/// One project in one environment on this cluster.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "pdp-agent.dev",
    version = "v1alpha1",
    kind = "Environment",
    namespaced,
    status = "EnvironmentStatus",
    shortname = "env",
    category = "pdp",
    printcolumn = r#"{"name":"Organization","type":"string","jsonPath":".spec.organization"}"#,
    printcolumn = r#"{"name":"Project","type":"string","jsonPath":".spec.project"}"#,
    printcolumn = r#"{"name":"Environment","type":"string","jsonPath":".spec.environment"}"#,
    printcolumn = r#"{"name":"Namespace","type":"string","jsonPath":".status.namespace"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentObject {
    /// Written by the link for documents of the control plane; absent on local objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentStamp>,
    /// The body as received.
    #[serde(flatten)]
    pub body: EnvironmentSpec,
}

/// What the operator knows of an environment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentStatus {
    /// Document generation that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions, sorted by type.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Facts that the control plane has not acknowledged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    /// Number of the last fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_fact: Option<i64>,
}

/// One execution of a task.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "pdp-agent.dev",
    version = "v1alpha1",
    kind = "TaskRun",
    namespaced,
    status = "TaskRunStatus",
    shortname = "trun",
    category = "pdp",
    printcolumn = r#"{"name":"Release","type":"string","jsonPath":".spec.release"}"#,
    printcolumn = r#"{"name":"Result","type":"string","jsonPath":".status.result"}"#,
    printcolumn = r#"{"name":"Exit","type":"integer","jsonPath":".status.exitCode"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct TaskRunObject {
    /// Written by the link for documents of the control plane; absent on local objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentStamp>,
    /// The body as received.
    #[serde(flatten)]
    pub body: TaskRunSpec,
}

/// What the operator knows of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskRunStatus {
    /// Document generation that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions, sorted by type.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Namespace of its Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of its Job, written before the Job is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Rendering that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// `Succeeded`, `Failed`, `Cancelled` or `Unknown`, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Exit code of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Start of the first pod, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// End, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Facts that the control plane has not acknowledged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    /// Number of the last fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_fact: Option<i64>,
}

/// This installation. One object, `default`, made by the chart.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "pdp-agent.dev",
    version = "v1alpha1",
    kind = "DataPlane",
    namespaced,
    status = "DataPlaneStatus",
    shortname = "dp",
    category = "pdp",
    printcolumn = r#"{"name":"Id","type":"string","jsonPath":".status.id"}"#,
    printcolumn = r#"{"name":"Connected","type":"string","jsonPath":".status.conditions[?(@.type==\"Connected\")].status"}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".status.version"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct DataPlaneObject {
    /// Written by the link for documents of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentStamp>,
    /// The body as received.
    #[serde(flatten)]
    pub body: DataPlaneSpec,
}

/// What both roles know of the installation. The operator writes `cluster`, `schema` and `ready` conditions; the link the rest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataPlaneStatus {
    /// Id from enrolment; the same after a new installation. Labels of objects carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Version of the link that leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Uid of the namespace `kube-system`, found by the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Schema revision of the installed definitions, found by the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<u32>,
    /// Highest generation that was really deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<i64>,
    /// Store of the control plane that the last session was held with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<String>,
    /// Conditions, sorted by type: `CaProposed`, `Confined`, `Connected`, `OperatorReady`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Facts that the control plane has not acknowledged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
}

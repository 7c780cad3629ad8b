//! Body of `Release`: one component of one deployment track in one environment, as it shall run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Desired, Probes, pattern};

/// Seconds that a generation may take to become ready when the document says nothing.
pub const PROGRESS_DEADLINE_SECONDS: i32 = 300;

/// Memory limit where the document gives none and asks for no more.
pub const MEMORY_LIMIT: &str = "512Mi";

/// Self-contained: nothing has to be asked of the control plane to run it or to restart the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSpec {
    /// Whether it shall run. An `Absent` document carries nothing else.
    pub state: Desired,
    /// Name of the Environment resource it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = pattern::LABEL))]
    pub environment: Option<String>,
    /// Component and track, for labels and names of objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<ReleaseOwner>,
    /// What it becomes in the cluster.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub component_type: Option<ComponentType>,
    /// Image by digest: `registry/repository@sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = pattern::IMAGE))]
    pub image: Option<String>,
    /// In place of the image's entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Option<Vec<String>>,
    /// In place of the image's arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub args: Option<Vec<String>>,
    /// Environment variables. Names are unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub env: Option<Vec<EnvVar>>,
    /// Files. Paths are unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub files: Option<Vec<ConfigFile>>,
    /// Folders that the program may write to. Paths are unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub volumes: Option<Vec<Volume>>,
    /// Where it can be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
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
    /// The only parts of the security context that a document may set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<SecurityOverrides>,
    /// Seconds between SIGTERM and SIGKILL, the drain included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub termination_grace_seconds: Option<i64>,
    /// Seconds a new generation may take to become ready before it counts as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 3600))]
    pub progress_deadline_seconds: Option<i32>,
    /// Seconds for which a new pod has to stay ready before it counts, and an old one goes. Without it: 0 where a readiness probe asks
    /// the program, else 5, since an open port alone says little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 300))]
    pub min_ready_seconds: Option<i32>,
    /// Changing it restarts the pods and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub restart_token: Option<String>,
    /// Settings of tasks. Only for task types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskSettings>,
}

/// Handles of what a release belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseOwner {
    /// Handle of the component.
    #[schemars(regex(pattern = pattern::LABEL))]
    pub component: String,
    /// Deployment track, `v1.0` for instance.
    #[schemars(regex(pattern = pattern::TRACK))]
    pub track: String,
    /// Number of the release in its track.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_i64))]
    pub release: Option<i64>,
}

/// What a component becomes in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ComponentType {
    /// Serves requests on its endpoints.
    Service,
    /// Runs all the time, and nobody calls it.
    Worker,
    /// Runs once per TaskRun.
    ManualTask,
}

/// One environment variable: a value or a secret, never both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Name, a C identifier.
    #[schemars(length(max = 256), regex(pattern = pattern::VARIABLE))]
    pub name: String,
    /// Plain value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub value: Option<String>,
    /// Value from the vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// One file: content or a secret, never both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigFile {
    /// Absolute path in the container.
    #[schemars(length(max = 512), regex(pattern = pattern::FILE))]
    pub path: String,
    /// Plain content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 131_072))]
    pub content: Option<String>,
    /// How `content` is written. Without it: as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// Content from the vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Who may read, write and run it, in octal as `chmod` takes it. Without it: 0644 for content, 0440 for a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = pattern::MODE))]
    pub mode: Option<String>,
}

/// How the content of a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Encoding {
    /// RFC 4648, section 4, padded, without line breaks: for what is no text.
    Base64,
}

/// An empty folder that the program may write to. It lives as long as the pod: nothing in it outlives a restart of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Absolute path in the container.
    #[schemars(length(max = 512), regex(pattern = pattern::FILE))]
    pub path: String,
    /// Where its content is. Without it: `Disk`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium: Option<Medium>,
    /// Most that it may hold. What is in memory counts against the memory limit too.
    #[schemars(length(max = 32), regex(pattern = pattern::QUANTITY))]
    pub size: String,
}

/// Where the content of a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Medium {
    /// On a disk of the node.
    Disk,
    /// In memory.
    Memory,
}

/// Where a secret value lies in the customer's vault. The value itself never crosses the link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Path below the environment's own prefix. No segment is made of dots alone.
    #[schemars(length(max = 512), regex(pattern = pattern::SECRET))]
    pub path: String,
    /// Key at that path.
    #[schemars(length(max = 256))]
    pub key: String,
    /// Version of the value; the newest when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub version: Option<i64>,
}

/// One port on which the component serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Name, unique in the release.
    #[schemars(regex(pattern = pattern::ENDPOINT))]
    pub name: String,
    /// Port in the container.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Protocol.
    pub kind: EndpointKind,
    /// First part of every path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = pattern::ROOTED))]
    pub base_path: Option<String>,
    /// Who may reach it. Project when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 3))]
    pub visibility: Option<Vec<Visibility>>,
}

/// Protocols of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EndpointKind {
    /// HTTP/1.1 or HTTP/2.
    #[serde(rename = "HTTP")]
    Http,
    /// GraphQL over HTTP.
    #[serde(rename = "GraphQL")]
    GraphQl,
    /// gRPC.
    #[serde(rename = "gRPC")]
    Grpc,
    /// WebSocket.
    WebSocket,
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
}

/// Circles of callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Visibility {
    /// The project's own namespace.
    Project,
    /// The organization's other projects in the same environment.
    Organization,
    /// Everybody.
    Public,
}

/// Number of pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Fixed number of pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
}

/// Requests and limits of one pod, in Kubernetes quantities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Guaranteed CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = pattern::QUANTITY))]
    pub cpu_request: Option<String>,
    /// Guaranteed memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = pattern::QUANTITY))]
    pub memory_request: Option<String>,
    /// Upper limit of CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = pattern::QUANTITY))]
    pub cpu_limit: Option<String>,
    /// Upper limit of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = pattern::QUANTITY))]
    pub memory_limit: Option<String>,
}

/// Numeric identities only; everything else is fixed by the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecurityOverrides {
    /// User id of the process; root is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_user: Option<i64>,
    /// Group id of the process. Without it: what the image says, or 0 where `runAsUser` is a user that the image does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_group: Option<i64>,
    /// Group id of mounted files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub fs_group: Option<i64>,
}

/// Settings of tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskSettings {
    /// Attempts after the first; 0 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub retries: Option<i32>,
    /// Seconds that one attempt may take; it counts as failed then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604_800))]
    pub timeout_seconds: Option<i64>,
}

//! `DataPlanePolicy`: the customer's limits. Neither role can write it; the operator enforces it, the link refuses early.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the customer allows. One object, `default`, made by the chart from its values and kept on uninstall.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "pdp-agent.dev",
    version = "v1alpha1",
    kind = "DataPlanePolicy",
    namespaced,
    shortname = "dpp",
    category = "pdp",
    printcolumn = r#"{"name":"Logs","type":"string","jsonPath":".spec.logs.mode"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DataPlanePolicySpec {
    /// Registries that images may come from.
    #[schemars(length(max = 64))]
    pub registries: Vec<Registry>,
    /// Environments that may be used. None means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub environments: Option<Vec<EnvironmentRule>>,
    /// What may leave the cluster of pods' logs.
    pub logs: LogPolicy,
    /// The vault that secret references point into. None means that secret references are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultPolicy>,
    /// Address ranges inside the customer's network that pods never reach, whatever a document says: pods, services, nodes,
    /// metadata, API server. CIDR. Private ranges of both address families are left out beside them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 64)))]
    pub internal_ranges: Option<Vec<String>>,
    /// Private ranges that pods of environments with egress may reach all the same, but for what `internalRanges` names. CIDR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(max = 64)))]
    pub reachable_ranges: Option<Vec<String>>,
    /// Where the pods of the cluster's DNS are: pods of environments may ask them for names, and nobody else. None means pods of
    /// `kube-system` on port 53. A DNS cache on the node is open to them beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// Limits of an environment that asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_quota: Option<protocol::document::Quota>,
    /// Holds each new pod back until the network plugin has closed it. None means that pods start at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_gate: Option<StartGate>,
    /// Objects that the cluster puts into every namespace, as `Kind/name`: they do not keep an environment from being removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 320), regex(pattern = "^[A-Z][A-Za-z]+/[a-z0-9][a-z0-9.-]*$")))]
    pub cluster_objects: Option<Vec<String>>,
    /// The most that the control plane may have here, in sum and over time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// Where the pods of the cluster's DNS are, and the port that they listen on: not that of their Service, which is 53.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dns {
    /// Their namespace. `kube-system` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
    /// The port, by UDP and TCP. 53 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u16>,
}

impl DataPlanePolicySpec {
    /// Namespace and port of the pods of the cluster's DNS.
    #[must_use]
    pub fn dns(&self) -> (&str, u16) {
        let said = self.dns.as_ref();
        let namespace = said.and_then(|dns| dns.namespace.as_deref()).unwrap_or(DNS.0);
        (namespace, said.and_then(|dns| dns.port).unwrap_or(DNS.1))
    }
}

/// Namespace and port of the pods of the cluster's DNS where the policy names no others. Source: Kubernetes documentation, "DNS for
/// Services and Pods"; kubeadm and k3s have them there.
pub const DNS: (&str, u16) = ("kube-system", 53);

/// An init container that the operator puts before the program of every pod. It ends once an address is refused that NetworkPolicies
/// close.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartGate {
    /// The agent's image by digest, in one of `registries`.
    #[schemars(length(max = 512), regex(pattern = "^[^@ ]+@sha256:[0-9a-f]{64}$"))]
    pub image: String,
    /// What it tries, as IP:PORT: something that answers and that no pod may reach. The API server when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = r"^([0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$"))]
    pub address: Option<String>,
}

/// The most that may be stored and done; a limit that is left out does not hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Environments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub environments: Option<u32>,
    /// Releases in all environments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub releases: Option<u32>,
    /// Bytes of all documents that are stored, as JSON. What is rendered from a release takes about twice as much again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub stored_bytes: Option<u64>,
    /// Runs of tasks that start within a minute; others wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub task_runs_per_minute: Option<u32>,
    /// Removals of releases and environments that begin within an hour; others wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub deletions_per_hour: Option<u32>,
}

/// One allowed registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registry {
    /// Start of allowed image names, up to a `/`: `registry.example.com/team/`.
    #[schemars(length(min = 1, max = 256))]
    pub prefix: String,
    /// Secret of type `kubernetes.io/dockerconfigjson` in the agent's namespace, copied to the environments that pull from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pull_secret: Option<String>,
}

/// One allowed environment; a missing part matches everything, and a limit that is left out does not hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvironmentRule {
    /// Handle of the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub organization: Option<String>,
    /// Handle of the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub project: Option<String>,
    /// Handle of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub environment: Option<String>,
    /// Pod Security level of its namespace. `Restricted` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<SecurityLevel>,
    /// What pods may be that are given secrets here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<SecretRule>,
    /// False: no document opens the world outside. Left out or true: a document may, but for internal and private ranges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<bool>,
    /// The most that a document's quota may ask for. A limit that it does not ask for is set to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_quota: Option<protocol::document::Quota>,
    /// The most that the volumes on disk of one pod may hold together, as a Kubernetes quantity. With the number of pods in `maxQuota` it
    /// bounds what volumes hold on nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = protocol::document::pattern::QUANTITY))]
    pub max_disk: Option<String>,
    /// Releases in one environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub max_releases: Option<u32>,
}

/// Rules for pods that receive secrets: whoever chooses what they run can make them reveal the values, by exit codes, timing or DNS
/// queries. With all of this set, a document chooses none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRule {
    /// Images that may be given secrets: starts of names as in `registries`, or digests `sha256:…`. Left out: every image that
    /// `registries` allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 256)))]
    pub images: Option<Vec<String>>,
    /// The only environment variables allowed beside secrets: `LD_PRELOAD` and `NODE_OPTIONS` load code. Left out: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 256)))]
    pub env: Option<Vec<String>>,
    /// Paths of the only files and writable folders that may be put into the container; a path that ends in `/` means all below it.
    /// Left out: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 512), regex(pattern = "^/")))]
    pub files: Option<Vec<String>>,
    /// Whether a release may set command and arguments, and have commands as probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Permission>,
    /// Whether a run of a task may bring arguments of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_args: Option<Permission>,
    /// What the control plane is told of how a process of this environment ended, with secrets or without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_codes: Option<ExitCodes>,
}

/// The customer's word on one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Permission {
    /// As if nothing was said.
    Allowed,
    /// A document with it is refused.
    Forbidden,
}

/// How much of an exit code is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExitCodes {
    /// The number.
    Full,
    /// Success or failure.
    Class,
}

/// Pod Security levels that may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SecurityLevel {
    /// The default and the aim.
    Restricted,
    /// For images that cannot run without root.
    Baseline,
}

/// What may leave the cluster of pods' logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogPolicy {
    /// Disabled, or through the link.
    pub mode: LogMode,
}

/// Ways of logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LogMode {
    /// The agent cannot read logs at all: no role is bound.
    #[default]
    Disabled,
    /// Read in the cluster only.
    InCluster,
    /// Streamed to the control plane on request.
    ThroughLink,
}

/// Where and how secrets are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VaultPolicy {
    /// `https://vault.example.com:8200`.
    #[schemars(length(max = 512), regex(pattern = r"^(https://|http://(localhost|127\.0\.0\.1|\[::1\])(:|/|$))"))]
    pub address: String,
    /// CA bundle of that address, PEM; platform roots when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub ca_bundle: Option<String>,
    /// Mount of the KV version 2 engine.
    #[schemars(length(min = 1, max = 256))]
    pub mount: String,
    /// Mount of the Kubernetes auth method.
    #[schemars(length(min = 1, max = 256))]
    pub auth_mount: String,
    /// Role to log in with.
    #[schemars(length(min = 1, max = 256))]
    pub role: String,
    /// Audience of the ServiceAccount token.
    #[schemars(length(min = 1, max = 256))]
    pub audience: String,
    /// Prefix of every path. `{namespace}`, `{organization}`, `{project}` and `{environment}` are replaced.
    #[schemars(length(max = 256))]
    pub prefix: String,
}

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
    /// metadata, API server. CIDR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 64)))]
    pub internal_ranges: Option<Vec<String>>,
    /// Limits of an environment that asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_quota: Option<protocol::spec::Quota>,
}

/// One allowed registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registry {
    /// Start of allowed image names, up to a `/`: `registry.example.com/team/`.
    #[schemars(length(min = 1, max = 256))]
    pub prefix: String,
    /// Secret of type `kubernetes.io/dockerconfigjson` in the agent's namespace, copied to each environment for pulling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pull_secret: Option<String>,
}

/// One allowed environment; a missing part matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

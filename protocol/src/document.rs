//! Bodies of documents: what a control plane may ask for.
//!
//! A body is the `spec` of a custom resource without `document`. Fields have no defaults here: what is left out is decided by
//! the agent when it renders, so that the stored document stays what was sent. Every list and string has a bound; the
//! agent's custom resource definitions repeat the bounds, so that the API server refuses what does not fit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod breach;
mod check;
mod environment;
pub mod pattern;
mod probe;
mod release;
pub mod rules;
mod schema;
mod shape;
mod task;

pub use breach::{Breach, Weight};
pub use check::{
    Body, Checked, CheckedDocument, DATA_PLANE_NAME, MAX_BODY, MAX_REASONS, Refusal, breaches, check, check_document,
};
pub use environment::{DataPlaneSpec, EnvironmentSpec, LogLevel, Quota};
pub use probe::{ExecCheck, GrpcCheck, Header, Probe, Probes};
pub use release::{
    ComponentType, ConfigFile, Encoding, Endpoint, EndpointKind, EnvVar, MEMORY_LIMIT, Medium,
    PROGRESS_DEADLINE_SECONDS, ReleaseOwner, ReleaseSpec, Resources, Scaling, SecretRef, SecurityOverrides,
    TaskSettings, Visibility, Volume,
};
pub use shape::{Shape, Workload};
pub use task::TaskRunSpec;

/// Whether a resource shall exist. Only a document with `Absent` at a higher generation removes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Desired {
    /// It shall run.
    Present,
    /// It shall be removed. Such a document carries nothing else.
    Absent,
}

impl Desired {
    /// As in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Present => "Present",
            Self::Absent => "Absent",
        }
    }
}

/// Who asked for a change. Carried on every resource, because the cluster's audit log sees only the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Provenance {
    /// Person or machine that asked, as the control plane knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub actor: Option<String>,
    /// Change, ticket or build at the control plane.
    #[serde(default, rename = "changeId", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub change_id: Option<String>,
    /// Why, in the actor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
}

/// What the agent writes beside a body when it stores a document (`spec.document`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentStamp {
    /// One counter per data plane, never reused. At most 2^53 − 1.
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_i64))]
    pub generation: i64,
    /// Hash of resource key and body as received, 64 hexadecimal digits.
    #[schemars(regex(pattern = pattern::HASH))]
    pub hash: String,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

//! Documents, forgets and their answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::document::Provenance;
use crate::name::ResourceKey;

/// One whole document of one resource.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Chosen by the control plane, unique in the session; the answer names it.
    pub id: u64,
    /// Kind, as text: an unknown one is answered, not fatal.
    pub kind: String,
    /// Name of the resource.
    pub name: String,
    /// Generation drawn with the desired state.
    pub generation: i64,
    /// Hash of resource key and body.
    pub hash: String,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// The spec, byte for byte as it was hashed.
    #[schemars(with = "serde_json::Value")]
    pub body: Box<RawValue>,
}

/// Really delete.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forget {
    /// As in [`Document`].
    pub id: u64,
    /// What to forget.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// Only if this generation is stored.
    pub generation: i64,
}

/// What became of a document or a forget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Id of the document or forget.
    pub to: u64,
    /// The answer itself.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "answer", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Verdict {
    /// In the API server.
    Accepted {
        /// Hash of what is stored, if the cluster changed it on the way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stored_hash: Option<String>,
        /// JSON pointers that the cluster changed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        modified: Vec<String>,
    },
    /// The same generation and hash were there before.
    Already,
    /// Older than what is stored or than the floor.
    Stale {
        /// Stored generation; none when only the floor speaks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        generation: Option<i64>,
        /// Stored hash.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hash: Option<String>,
        /// Highest generation that was really deleted here.
        floor: i64,
    },
    /// The same generation with another hash is stored.
    Conflict {
        /// Stored generation.
        generation: i64,
        /// Stored hash.
        hash: String,
    },
    /// Not now. The control plane sends it again.
    Deferred {
        /// Why, one word.
        reason: DeferReason,
        /// A sentence for people.
        message: String,
        /// Earliest next try, in milliseconds.
        retry_after_ms: u64,
    },
    /// Not like this. The control plane does not send the same again.
    Refused {
        /// Class of the refusal.
        class: RefusalClass,
        /// Every reason at once.
        reasons: Vec<FieldError>,
    },
    /// A forget was carried out, or there was nothing to forget.
    Forgotten {
        /// The floor after it.
        floor: i64,
    },
}

/// Why a document waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeferReason {
    /// The API server does not answer, or asks to slow down.
    ApiServerUnavailable,
    /// A webhook of the customer does not answer.
    WebhookUnavailable,
    /// The control plane was restored; a person must adopt.
    Held,
    /// Thirty-two facts of this resource are unacknowledged.
    FactsPending,
    /// Somebody else wrote at the same time, again and again.
    Busy,
    /// This agent does not hold the lease.
    NotLeading,
    /// There is no DataPlanePolicy: the customer has not said what is allowed.
    NoPolicy,
}

/// Classes of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RefusalClass {
    /// Breaks a rule of the schema.
    Invalid,
    /// The customer's policy forbids it.
    Policy,
    /// A quota is used up.
    Quota,
    /// A field is not known here.
    UnknownField,
    /// The hash is not that of key and body.
    HashMismatch,
}

/// One reason of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldError {
    /// JSON pointer into the body; empty for the whole.
    pub field: String,
    /// What is wrong, by which rule, and what to do. Never a value that may be secret.
    pub message: String,
}

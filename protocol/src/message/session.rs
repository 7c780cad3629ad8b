//! Messages that open, keep and end a session.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::enrol::EnrolErrorCode;
use crate::name::Kind;

/// Who dials, and what it can do.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// Id of the data plane, from enrolment.
    pub data_plane: String,
    /// Version of the agent.
    pub version: String,
    /// Unique per process.
    pub instance: String,
    /// Orders the sessions of one data plane.
    pub epoch: Epoch,
    /// Uid of the namespace `kube-system`: the same identity from another cluster is refused.
    pub cluster: String,
    /// Highest schema revision that can be stored and run, by kind.
    pub schema: BTreeMap<Kind, u32>,
    /// Minor features.
    pub capabilities: Vec<String>,
    /// Highest generation that was really deleted here.
    pub floor: i64,
    /// Highest generation stored here.
    pub highest: i64,
    /// Store that the last session was held with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<String>,
    /// What may be unanswered towards the agent.
    pub window: Window,
}

/// (Lease uid, transitions), with the number of the connection under that lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Epoch {
    /// Uid of the Lease object.
    pub lease: String,
    /// `leaseTransitions` of the same.
    pub transitions: i64,
    /// Counts the connections of one leadership.
    pub connection: i64,
}

/// Bound on unanswered messages in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Number of messages.
    pub messages: u32,
    /// Their bytes, envelopes included.
    pub bytes: u64,
}

/// The session is open.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// Id of the session, for bulk connections.
    pub session: String,
    /// Id of the control plane's store; a restore makes a new one.
    pub store_id: String,
    /// Highest generation drawn so far for this data plane.
    pub counter: i64,
    /// Minor features of this gateway.
    pub capabilities: Vec<String>,
    /// What may be unanswered towards the control plane.
    pub window: Window,
    /// `wss://` address of bulk connections: the gateway that holds this session.
    pub bulk: String,
    /// First delay after a lost session is spread over this time, in milliseconds.
    pub reconnect_spread_ms: u64,
    /// Time at the control plane, RFC 3339; to warn about clocks.
    pub time: String,
}

/// Certificate request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Renew {
    /// PKCS #10, PEM.
    pub csr: String,
}

/// New certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Renewed {
    /// Chain in PEM, leaf first.
    pub certificate: String,
    /// Authorities of the control plane, PEM: as in the answer to an enrolment, shown and not trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
}

/// The certificate request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenewRefused {
    /// For programs.
    pub code: EnrolErrorCode,
    /// A sentence for people.
    pub message: String,
}

/// A message of a type that this side does not know was left aside. Never answered itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unsupported {
    /// Its `type`, at most 64 characters of it.
    pub message_type: String,
}

/// Dial again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// After this time, in milliseconds.
    pub after_ms: u64,
}

//! Messages of the control connection, and how they are framed.
//!
//! Every message is one JSON object with a `type`. One that is longer than [`MAX_FRAME`] is sent as several text frames, all but
//! the last led by `+`; frames of two messages never mix. Fields that a reader does not know are ignored in messages and
//! refused in document bodies: silently dropped intent is the worst failure.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::name::{Kind, ResourceKey};
use crate::report::{Fact, State};
use crate::spec::Provenance;

/// WebSocket sub-protocol: the major version of this wire.
pub const SUBPROTOCOL: &str = "pdp-agent.v1";

/// Largest text frame, in bytes.
pub const MAX_FRAME: usize = 32 * 1024;

/// Largest message after its frames are joined, in bytes. A Release may have 256 KiB.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// What an agent says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum AgentMessage {
    /// First message of a session.
    Hello(Box<Hello>),
    /// Answer to a document or a forget.
    Answer(Answer),
    /// Root of what is stored here; opens the comparison.
    Inventory(Inventory),
    /// The 256 bucket digests, when asked for.
    InventoryBuckets(InventoryBuckets),
    /// All entries of the buckets asked for.
    InventoryEntries(InventoryEntries),
    /// Latest state of one resource.
    State(StateReport),
    /// Something that happened once.
    Fact(FactReport),
    /// Certificate request over the link.
    Renew(Renew),
    /// A log stream could not start or has ended before its bulk connection stood.
    StreamEnded(StreamEnded),
    /// Free rows of one listing request (events).
    Listing(Listing),
}

/// What a control plane says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum ControlMessage {
    /// Answer to hello.
    Welcome(Box<Welcome>),
    /// One whole document.
    Document(Document),
    /// Really delete an absent resource or an ended task run.
    Forget(Forget),
    /// Asks for the digests of all buckets.
    InventoryNeedBuckets,
    /// Asks for the entries of some buckets.
    InventoryNeedEntries(InventoryNeedEntries),
    /// The comparison is over; `held` says that nothing will be accepted until a person adopts.
    InventoryDone(InventoryDone),
    /// A state was recorded.
    StateAck(StateAck),
    /// A fact was recorded.
    FactAck(FactAck),
    /// New certificate chain.
    Renewed(Renewed),
    /// Dial the same name again after some time.
    Drain(Drain),
    /// Start a log stream on the bulk connection.
    StreamStart(StreamStart),
    /// Stop it.
    StreamStop(StreamStop),
    /// List events of one resource's workloads.
    List(List),
}

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
    /// W3C traceparent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
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
        reasons: Vec<Reason>,
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
pub struct Reason {
    /// JSON pointer into the body; empty for the whole.
    pub field: String,
    /// What is wrong, by which rule, and what to do. Never a value that may be secret.
    pub message: String,
}

/// Root digest of stored documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// Over the 256 bucket digests.
    pub root: String,
    /// Number of resources.
    pub count: u64,
}

/// All bucket digests, 256 of them, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryBuckets {
    /// Hexadecimal digests; an empty bucket is an empty string.
    pub digests: Vec<String>,
}

/// Entries of some buckets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryEntries {
    /// By bucket number.
    pub buckets: BTreeMap<u8, Vec<InventoryEntry>>,
}

/// One stored resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryEntry {
    /// Which.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// Stored generation.
    pub generation: i64,
    /// Hash as received.
    pub hash: String,
    /// `Present` or `Absent`.
    pub state: crate::spec::Desired,
}

/// Asks for entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryNeedEntries {
    /// Numbers of buckets.
    pub buckets: Vec<u8>,
}

/// The comparison is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryDone {
    /// Nothing will be accepted until a person at the control plane adopts.
    pub held: bool,
}

/// Latest state of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StateReport {
    /// Which.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// SHA-256 of the state's canonical bytes.
    pub digest: String,
    /// The state; none when the resource is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

/// A state was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StateAck {
    /// Which.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// Digest of the recorded state.
    pub digest: String,
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FactReport {
    /// Which resource.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// What happened.
    pub fact: Fact,
}

/// A fact was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FactAck {
    /// Which resource.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// Id of the fact.
    pub id: String,
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
    /// CA bundle for the control plane's own certificate, if it is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
}

/// Dial again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// After this time, in milliseconds.
    pub after_ms: u64,
}

/// Start a log stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamStart {
    /// Number chosen by the control plane, unique in the session.
    pub stream: u32,
    /// Whose pods: a Release or a TaskRun.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// Keep sending what comes.
    pub follow: bool,
    /// Lines from the end to start with; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Only lines not older than this many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_seconds: Option<u32>,
    /// The container instance before the running one.
    #[serde(default)]
    pub previous: bool,
    /// Bytes that may be sent before more credit comes.
    pub credit: u64,
}

/// Stop a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamStop {
    /// Which.
    pub stream: u32,
}

/// A stream is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamEnded {
    /// Which.
    pub stream: u32,
    /// Why, one word: `NotFound`, `NotAllowed`, `ContainerEnded`, `PodDeleted`, `ServerCut`, `Stopped`, `AgentStopping`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// Asks for events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct List {
    /// Number of the request.
    pub id: u64,
    /// Whose workloads.
    #[serde(flatten)]
    pub key: ResourceKey,
}

/// Events, newest last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// Number of the request.
    pub to: u64,
    /// One line each.
    pub lines: Vec<String>,
}

//! Messages of the control connection, and how they are framed.
//!
//! Every message is one JSON object with a `type`. One that is longer than [`MAX_FRAME`] is sent as several text frames, all but
//! the last led by `+`; frames of two messages never mix. Fields that a reader does not know are ignored in messages and
//! refused in document bodies: silently dropped intent is the worst failure.
//!
//! Reading takes two steps, `type` first and then the struct it names: serde's tagged enums buffer what they read and cannot
//! hold a body byte for byte.

use schemars::JsonSchema;
use serde::Serialize;

mod decode;
mod document;
mod frame;
mod inventory;
mod number;
mod report;
mod session;
mod stream;

pub use decode::{DecodeError, decode_agent, decode_control, encode};
pub use document::{Answer, DeferReason, Document, FieldError, Forget, RefusalClass, Verdict};
pub use frame::{FrameError, Joiner, split};
pub use inventory::{
    Adopted, Inventory, InventoryBuckets, InventoryDone, InventoryEntries, InventoryEntry, InventoryNeedEntries,
};
pub use report::{FactAck, FactReport, StateAck, StateReport};
pub use session::{Drain, Epoch, Hello, Renew, RenewRefused, Renewed, Unsupported, Welcome, Window};
pub use stream::{EndReason, LAST_LINES, StreamEnded, StreamStart, StreamStop};

/// WebSocket sub-protocol: the major version of this wire.
pub const SUBPROTOCOL: &str = "pdp-agent.v1";

/// Largest text frame, in bytes.
pub const MAX_FRAME: usize = 32 * 1024;

/// Longest frame that is read at all, in bytes. A connection that is closed with bytes unread is reset, and the close frame may be lost with
/// its reason; so what is somewhat too long is read to its end, and refused then.
pub const LONGEST_READ: usize = 4 * MAX_FRAME;

/// Largest message after its frames are joined, in bytes. A Release may have 256 KiB.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// What an agent says.
#[derive(Debug, Clone, Serialize, JsonSchema)]
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
    /// A message was not understood and left aside.
    Unsupported(Unsupported),
}

/// What a control plane says.
#[derive(Debug, Clone, Serialize, JsonSchema)]
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
    /// The data plane was adopted: nothing is held any more.
    Adopted(Adopted),
    /// A state was recorded.
    StateAck(StateAck),
    /// A fact was recorded.
    FactAck(FactAck),
    /// New certificate chain.
    Renewed(Renewed),
    /// No new certificate.
    RenewRefused(RenewRefused),
    /// Dial the same name again after some time.
    Drain(Drain),
    /// Start a log stream on the bulk connection.
    StreamStart(StreamStart),
    /// Stop it.
    StreamStop(StreamStop),
    /// A message was not understood and left aside.
    Unsupported(Unsupported),
}

//! What happens at some time, and whose process must be awake for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::message::FactReport;
use protocol::name::ResourceKey;
use protocol::session::{Disconnect, Millis, Transmit};

use super::Fault;
use super::api::{Answer, Change, Id, Request};
use super::gateway::{Recorded, Wire};
use super::people::User;

/// Who calls the API server: a process that may be gone when the answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Caller {
    Link(u64),
    Operator(u64),
}

impl Caller {
    pub(super) const fn incarnation(self) -> u64 {
        match self {
            Self::Link(incarnation) | Self::Operator(incarnation) => incarnation,
        }
    }
}

/// A watch: the link's of all that it follows, or one of an operator's, which has one for each kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stream {
    pub(super) caller: Caller,
    pub(super) kind: String,
}

/// What happens at some time.
#[derive(Debug)]
pub(super) enum Event {
    Execute {
        caller: Caller,
        token: u64,
        request: Request,
        answers: bool,
        since: Millis,
        /// How often the API server had been restored when the call was made.
        restores: u64,
    },
    Reply {
        caller: Caller,
        token: u64,
        answer: Answer,
    },
    /// A request that a sleeping process made is sent when it wakes.
    Ask {
        incarnation: u64,
        token: u64,
        request: Request,
    },
    /// One event of a watch, in one of its rounds.
    Watch {
        stream: Stream,
        round: u64,
        change: Arc<Change>,
    },
    /// A watch that begins, or got 410, lists.
    List {
        stream: Stream,
        round: u64,
    },
    /// That list arrives.
    Listed {
        stream: Stream,
        round: u64,
        objects: Vec<Arc<serde_json::Value>>,
    },
    ToControl {
        wire: u64,
        transmit: Transmit,
    },
    ToAgent {
        wire: u64,
        transmit: Transmit,
    },
    Disconnected {
        wire: u64,
        cause: Disconnect,
    },
    Dialled {
        incarnation: u64,
    },
    /// A gateway looks into the store, since something has changed there.
    Look {
        wire: u64,
    },
    /// A gateway records that a session has ended.
    Left {
        wire: u64,
    },
    /// A gateway that was away is there again.
    GatewayBack {
        at: usize,
    },
    /// What was recorded is acknowledged.
    Acknowledge {
        wire: u64,
        recorded: Recorded,
    },
    /// A report that should have been recorded before its acknowledgement is recorded now.
    Record {
        report: Box<FactReport>,
        wire: u64,
    },
    StartLink,
    StartOperator,
    /// A process wakes.
    Wakes {
        incarnation: u64,
    },
    /// The lease of a sleeping leader has run out.
    TakeOver {
        caller: Caller,
        wake: Millis,
    },
    /// A process that leads no more ends.
    Leave {
        caller: Caller,
    },
    /// A process has noticed that the API server went back in time, and starts anew.
    Rewound {
        caller: Caller,
    },
    /// The finalizers of a deleted object are removed.
    Finalize {
        id: Id,
    },
    /// What the customer's policy refused is asked again after a while.
    AskAgain,
    /// Somebody edits an object once more, who will have it their way.
    Insist {
        id: Id,
        left: u64,
    },
    Controllers {
        id: Id,
    },
    RemoveFacts {
        incarnation: u64,
        key: ResourceKey,
    },
    User(User),
    Break(Fault),
    /// The control plane's store is copied.
    Backup,
    /// The API server's store is copied.
    Snapshot,
    /// A person at the control plane adopts the data plane.
    Adopt,
}

impl Event {
    /// Whether a session may have messages to send after it. What the API server and the operator do reaches the link as separate events.
    pub(super) const fn concerns_sessions(&self) -> bool {
        match self {
            Self::Execute { .. }
            | Self::Ask { .. }
            | Self::List { .. }
            | Self::Controllers { .. }
            | Self::Finalize { .. }
            | Self::Insist { .. }
            | Self::Snapshot
            | Self::Wakes { .. } => false,
            Self::Reply { caller, .. } => matches!(caller, Caller::Link(_)),
            Self::Watch { stream, .. } | Self::Listed { stream, .. } => matches!(stream.caller, Caller::Link(_)),
            Self::ToControl { .. }
            | Self::ToAgent { .. }
            | Self::Disconnected { .. }
            | Self::Dialled { .. }
            | Self::Look { .. }
            | Self::Left { .. }
            | Self::GatewayBack { .. }
            | Self::Acknowledge { .. }
            | Self::Record { .. }
            | Self::StartLink
            | Self::StartOperator
            | Self::TakeOver { .. }
            | Self::Leave { .. }
            | Self::Rewound { .. }
            | Self::AskAgain
            | Self::RemoveFacts { .. }
            | Self::User(_)
            | Self::Break(_)
            | Self::Backup
            | Self::Adopt => true,
        }
    }

    /// The process that must be awake for it.
    pub(super) fn process(&self, wires: &BTreeMap<u64, Wire>) -> Option<u64> {
        let of_wire = |wire: &u64| wires.get(wire).map(|wire| wire.link);
        match self {
            Self::Reply { caller, .. } | Self::Leave { caller } | Self::Rewound { caller } => {
                Some(caller.incarnation())
            }
            Self::Watch { stream, .. } | Self::Listed { stream, .. } => Some(stream.caller.incarnation()),
            Self::ToAgent { wire, .. } | Self::Disconnected { wire, .. } => of_wire(wire),
            Self::Dialled { incarnation } | Self::Ask { incarnation, .. } | Self::RemoveFacts { incarnation, .. } => {
                Some(*incarnation)
            }
            Self::Execute { .. }
            | Self::List { .. }
            | Self::ToControl { .. }
            | Self::Look { .. }
            | Self::Left { .. }
            | Self::GatewayBack { .. }
            | Self::Acknowledge { .. }
            | Self::Record { .. }
            | Self::StartLink
            | Self::StartOperator
            | Self::Wakes { .. }
            | Self::TakeOver { .. }
            | Self::Controllers { .. }
            | Self::Finalize { .. }
            | Self::AskAgain
            | Self::Insist { .. }
            | Self::User(_)
            | Self::Break(_)
            | Self::Backup
            | Self::Snapshot
            | Self::Adopt => None,
        }
    }
}

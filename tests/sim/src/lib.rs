//! A whole data plane and its control plane in one process, on a virtual clock, driven by a seed.
//!
//! The decisions are the real ones: both sessions, the link's intake and reporter, and what gateways decide over their store, which is
//! the mock's SQLite database in memory and may be restored from a copy. The operator is the real one whole: its watches, its queue,
//! its rounds, its writes in their order. Around them stand models: an API server that loses answers and lags behind, replicas that
//! sleep and take over, controllers that start pods and end Jobs. Faults are drawn from the seed for two minutes; then they stop, everything has to converge and to fall silent, and
//! the invariants are checked all the way. The same seed gives the same trace.
//!
//! A [`Mistake`] is built in at run time to show that the checks find it. How to run it: `make sim`, and `tests/sim.rs`.

pub mod api;
mod calls;
mod check;
mod clock;
mod control;
mod dice;
mod edits;
mod event;
mod gateway;
mod link;
mod memory;
mod operator;
mod owner;
mod people;
mod plane;
mod pods;
mod rates;
mod remote;
mod restore;
mod rival;
mod scenario;
mod trace;
mod truth;
mod world;

pub use check::Violation;
use protocol::mutant::Mutant;
pub use scenario::{Outcome, broken_by, run, traced};

/// What goes wrong around the agent. Each must be reached by some seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The connection ends with an error on both sides.
    LinkCut,
    /// The connection carries nothing more, and nobody is told.
    LinkSilent,
    /// A gateway is gone and back; the store stays.
    GatewayRestart,
    /// The link's process is killed and starts again.
    LinkCrash,
    /// The link's process sleeps; another replica may take over before it wakes.
    LinkPaused,
    /// The link's process hands over in order.
    LinkHandover,
    /// The operator's process is killed and starts again.
    OperatorCrash,
    /// The operator's process sleeps; another replica may take over before it wakes.
    OperatorPaused,
    /// A watch is answered 410: what happened meanwhile is known from a list only.
    WatchGone,
    /// An old document is delivered once more.
    OldDocument,
    /// The control plane's store is an older copy of itself.
    StoreRestored,
    /// Somebody deletes one of our objects in the cluster.
    ObjectDeleted,
    /// Somebody deletes the Job of a run.
    JobDeleted,
    /// The API server's store is an older copy of itself: versions go back, watches stay silent, and processes that notice start anew.
    ApiRestored,
    /// Somebody puts a finalizer on one of our objects, for a while.
    FinalizerAdded,
    /// Somebody edits a stored document.
    DocumentEdited,
    /// Somebody edits an object that the operator made.
    WorkloadEdited,
    /// A call never reached the API server.
    CallLost,
    /// A call was carried out, its answer never came.
    AnswerLost,
    /// The API server asks to slow down.
    TooManyRequests,
    /// The API server answers 500; the write may have happened.
    ServerError,
    /// A call takes seconds, perhaps more than its caller waits.
    SlowCall,
    /// A watch lags behind by seconds.
    LateWatch,
    /// A webhook of the customer refuses a write.
    WebhookRefuses,
    /// A webhook of the customer does not answer.
    WebhookUnavailable,
    /// A webhook of the customer changes a document on its way into the store.
    WebhookMutates,
    /// A finalizer holds an object that was deleted.
    SlowDeletion,
    /// The clock of a process is fast or slow.
    ClockWrong,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 28] = [
        Self::LinkCut,
        Self::LinkSilent,
        Self::GatewayRestart,
        Self::LinkCrash,
        Self::LinkPaused,
        Self::LinkHandover,
        Self::OperatorCrash,
        Self::OperatorPaused,
        Self::WatchGone,
        Self::OldDocument,
        Self::StoreRestored,
        Self::ObjectDeleted,
        Self::JobDeleted,
        Self::ApiRestored,
        Self::FinalizerAdded,
        Self::DocumentEdited,
        Self::WorkloadEdited,
        Self::CallLost,
        Self::AnswerLost,
        Self::TooManyRequests,
        Self::ServerError,
        Self::SlowCall,
        Self::LateWatch,
        Self::WebhookRefuses,
        Self::WebhookUnavailable,
        Self::WebhookMutates,
        Self::SlowDeletion,
        Self::ClockWrong,
    ];

    /// Whether it happens at a time of its own; the others happen to calls and watches.
    const fn is_an_event(self) -> bool {
        match self {
            Self::LinkCut
            | Self::LinkSilent
            | Self::GatewayRestart
            | Self::LinkCrash
            | Self::LinkPaused
            | Self::LinkHandover
            | Self::OperatorCrash
            | Self::OperatorPaused
            | Self::WatchGone
            | Self::OldDocument
            | Self::StoreRestored
            | Self::ObjectDeleted
            | Self::JobDeleted
            | Self::ApiRestored
            | Self::FinalizerAdded
            | Self::DocumentEdited
            | Self::WorkloadEdited => true,
            Self::CallLost
            | Self::AnswerLost
            | Self::TooManyRequests
            | Self::ServerError
            | Self::SlowCall
            | Self::LateWatch
            | Self::WebhookRefuses
            | Self::WebhookUnavailable
            | Self::WebhookMutates
            | Self::SlowDeletion
            | Self::ClockWrong => false,
        }
    }
}

/// A mistake that somebody could make, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// In the product.
    Product(Mutant),
    /// In what stands around it: the premises of the product.
    Around(Bug),
}

impl Mistake {
    /// Every mistake.
    pub fn all() -> impl Iterator<Item = Self> {
        Mutant::ALL.into_iter().map(Self::Product).chain(Bug::ALL.into_iter().map(Self::Around))
    }

    /// The fault without which it shows too rarely: it comes in every run with the mistake.
    #[must_use]
    pub fn stirred_by(self) -> Option<Fault> {
        let stirred = [
            (Mutant::AdoptedBelowSeen, Fault::StoreRestored),
            (Mutant::AnswerOfAnOlderConnection, Fault::LinkCut),
            (Mutant::FailureOfAnother, Fault::DocumentEdited),
            (Mutant::GapsIgnored, Fault::WatchGone),
            (Mutant::LateObjectForgotten, Fault::ObjectDeleted),
        ];
        stirred.into_iter().find_map(|(mutant, fault)| (self == Self::Product(mutant)).then_some(fault))
    }
}

/// A mistake in what stands around the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The API server checks no precondition and no transition rule.
    NoPreconditions,
    /// The control plane acknowledges facts before it has recorded them.
    AcknowledgedBeforeRecorded,
    /// A process does not look at its lease before it writes.
    LeadershipUnchecked,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 3] = [Self::NoPreconditions, Self::AcknowledgedBeforeRecorded, Self::LeadershipUnchecked];
}

//! A whole data plane and its control plane in one process, on a virtual clock, driven by a seed.
//!
//! The decisions are the real ones: both sessions, the link's intake and reporter, the operator's build and decision. Around them
//! stand models: an API server that loses answers and lags behind, controllers that start pods, a control plane's store. Faults
//! are drawn from the seed for two minutes; then they stop, everything has to converge and to fall silent, and the
//! invariants are checked all the way. The same seed gives the same trace.
//!
//! `SIM_SEED=17` runs one seed and prints its trace; `SIM_SEEDS=10000` says how many. A [`Bug`] is built in at run time to show
//! that the checks find it.

pub mod api;
mod check;
mod dice;
mod gateway;
mod link;
mod operator;
mod plane;
mod pods;
mod scenario;
mod world;

pub use check::Violation;
pub use scenario::{Outcome, run};

/// What goes wrong around the agent. Each must be reached by some seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The connection ends with an error on both sides.
    LinkCut,
    /// The connection carries nothing more, and nobody is told.
    LinkSilent,
    /// The gateway is gone and back; its store stays.
    GatewayRestart,
    /// The link's process is killed and starts again.
    LinkCrash,
    /// The operator's process is killed and starts again.
    OperatorCrash,
    /// A call never reached the API server.
    CallLost,
    /// A call was carried out, its answer never came.
    AnswerLost,
    /// The API server asks to slow down.
    TooManyRequests,
    /// A call takes seconds.
    SlowCall,
    /// A watch lags behind by seconds.
    LateWatch,
    /// An old document is delivered once more.
    OldDocument,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 11] = [
        Self::LinkCut,
        Self::LinkSilent,
        Self::GatewayRestart,
        Self::LinkCrash,
        Self::OperatorCrash,
        Self::CallLost,
        Self::AnswerLost,
        Self::TooManyRequests,
        Self::SlowCall,
        Self::LateWatch,
        Self::OldDocument,
    ];
}

/// A mistake that somebody could make, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The link answers *accepted* before the API server has answered.
    AcceptedBeforeWrite,
    /// The link takes a lost answer for a success.
    LostIsSuccess,
    /// The link forgets without raising the floor.
    ForgetWithoutFloor,
    /// The link takes facts out of the status when it has sent them, not when they are acknowledged.
    FactsRemovedWhenSent,
    /// The API server checks no precondition and no transition rule.
    NoPreconditions,
    /// The control plane acknowledges facts before it has recorded them.
    AcknowledgedBeforeRecorded,
    /// The operator keeps its decision about a failure to itself.
    FailureNotRecorded,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 7] = [
        Self::AcceptedBeforeWrite,
        Self::LostIsSuccess,
        Self::ForgetWithoutFloor,
        Self::FactsRemovedWhenSent,
        Self::NoPreconditions,
        Self::AcknowledgedBeforeRecorded,
        Self::FailureNotRecorded,
    ];
}

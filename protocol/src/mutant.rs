//! Deliberate mistakes, chosen at run time, to prove that the simulation can fail.
//!
//! A check that never fails proves nothing. Each place in the product that is named here asks [`is`] and does the wrong thing if
//! its mistake is chosen in this thread. A build without debug assertions contains none of it: [`is`] is constant false there.

use std::cell::Cell;

/// One mistake. The sentence says what goes wrong, in the words of the rule that it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutant {
    /// The agent's session answers *accepted* when a document arrives.
    AcceptedOnReceipt,
    /// The agent's session gives an answer of an older connection to whatever has the same number now.
    AnswerOfAnOlderConnection,
    /// The agent does not notice that nothing comes back after a ping.
    SilenceIgnored,
    /// The agent does not count its connections, so its epoch does not grow.
    ConnectionNotCounted,
    /// Documents are sent and stored while the session is held.
    HeldIgnored,
    /// The agent sends more reports than the control plane's window allows.
    ReportWindowIgnored,
    /// A fact that was in flight when the connection ended counts as acknowledged.
    FactInFlightIsAcknowledged,
    /// A state that was in flight when the connection ended counts as acknowledged.
    StateInFlightIsAcknowledged,
    /// Of several facts of one resource only the newest is sent, and all count as acknowledged with it.
    FactsCoalesced,
    /// The digest of an inventory bucket leaves out generation and hash.
    InventoryOfNames,
    /// The control plane takes any epoch.
    EpochIgnored,
    /// The control plane sends more documents than the agent's window allows.
    OfferWindowIgnored,
    /// The control plane sends a document while an older one of the same resource is unanswered.
    TwoOfOneResource,
    /// The intake takes a lost answer for a success.
    LostIsSuccess,
    /// The intake creates what is at or below the floor.
    FloorIgnored,
    /// A forget does not raise the floor.
    ForgetWithoutFloor,
    /// A forget deletes whatever has the name.
    ForgetWithoutPrecondition,
    /// With the acknowledged fact all facts leave the status.
    AllFactsRemoved,
    /// An acknowledged fact leaves the status also when it was merged with a later one since.
    MergedFactRemoved,
    /// A change of a stored document is reported again at each round.
    ChangeToldAgain,
    /// A change of a stored document is a condition and no fact.
    ChangeNotTold,
    /// The cache keeps what a new list does not contain.
    GapsIgnored,
    /// The operator does not record its decision about a failure.
    FailureNotRecorded,
    /// The operator tries a failed generation again.
    FailedIsTriedAgain,
    /// The operator calls a rollout done before it serves.
    ReadyTooEarly,
    /// The operator reports each outcome again in every round.
    OutcomeSaidAgain,
    /// The operator calls a removal done while a create that had no answer may still come.
    CreateForgotten,
    /// The operator makes the Job of a run again when it is gone.
    JobMadeAgain,
    /// A run that was put off is not sent again by the next session.
    RunPutOffForEver,
    /// A forget that was put off is not sent again.
    ForgetPutOffForEver,
    /// A forget waits for the answer to its document, and is not woken by it.
    ForgetBehindDocument,
    /// The comparison counts as stored what was issued after the inventory was read.
    ComparedUnseen,
    /// The answer to an older generation is recorded for the newer one.
    AnswerOfAnOlderGeneration,
    /// An adopted control plane draws generations that the data plane has already seen.
    AdoptedBelowSeen,
    /// A run that is not in the cluster any more is sent again.
    LostRunSentAgain,
    /// A session that is not the current one any more writes into the store.
    UnfencedWrites,
    /// A resource that became due during its own round is forgotten.
    CauseLost,
    /// A repair counts as a fight before it is done.
    FightCountedEarly,
    /// A late watch event overwrites what the answer to a newer write has shown.
    OlderEventTaken,
    /// A release has no further round after its objects were written.
    NotLookedAtAgain,
    /// The answer to the creation of a rendering is not put into the index.
    RenderingNotSeen,
    /// What was found in a namespace still counts for the next namespace of that name.
    FoundInAnotherNamespace,
    /// A Service whose selector reaches no pod is not repaired until the new pods serve, which wait for the Service.
    SelectorWaits,
    /// The failure of an earlier generation is reported as an outcome of one that waits for its admission.
    FailureOfAnother,
    /// Objects that a deleted and recreated release left behind are found by renderings only.
    LateObjectForgotten,
    /// The operator never stops fighting over an object of an environment.
    EnvironmentFoughtForEver,
    /// The exit code of a run is that of its first attempt.
    ExitCodeOfFirstAttempt,
    /// The operator starts a run without asking the customer's policy. No policy changes in the simulation: a test of the
    /// decision finds it.
    PolicyNotAskedForRuns,
    /// The operator takes the namespace of an environment from its status. A test of that function finds this mistake; so it is
    /// with the mistakes that follow.
    StatusBelieved,
    /// The answer to a write brings back an object that the watch has shown to be deleted.
    AnswerOverDeletion,
    /// A late delete event removes the object that was created since under the same name.
    DeletionOfAnother,
    /// Pods that are given secrets are not checked against the customer's rules.
    SecretRuleNotAsked,
    /// A budget counts something only once it is done.
    BudgetCountedLate,
    /// Arguments reach the kubelet as they were sent, which then expands variables in them.
    ArgumentsExpanded,
    /// A renewal over the link is for the existing key.
    KeyKept,
    /// An object that has the label of an owner counts as ours, whatever its value.
    LabelWithoutValue,
    /// A major version leads to a newer minor version before that serves.
    MajorTakenEarly,
    /// A major version leads on to a minor version of which no pod is ready.
    MajorNotGivenBack,
}

impl Mutant {
    /// Every mistake that the simulation finds.
    pub const ALL: [Self; 49] = [
        Self::AcceptedOnReceipt,
        Self::AnswerOfAnOlderConnection,
        Self::SilenceIgnored,
        Self::ConnectionNotCounted,
        Self::HeldIgnored,
        Self::ReportWindowIgnored,
        Self::FactInFlightIsAcknowledged,
        Self::StateInFlightIsAcknowledged,
        Self::FactsCoalesced,
        Self::InventoryOfNames,
        Self::EpochIgnored,
        Self::OfferWindowIgnored,
        Self::TwoOfOneResource,
        Self::LostIsSuccess,
        Self::FloorIgnored,
        Self::ForgetWithoutFloor,
        Self::ForgetWithoutPrecondition,
        Self::AllFactsRemoved,
        Self::MergedFactRemoved,
        Self::ChangeToldAgain,
        Self::ChangeNotTold,
        Self::GapsIgnored,
        Self::FailureNotRecorded,
        Self::FailedIsTriedAgain,
        Self::ReadyTooEarly,
        Self::OutcomeSaidAgain,
        Self::CreateForgotten,
        Self::JobMadeAgain,
        Self::RunPutOffForEver,
        Self::ForgetPutOffForEver,
        Self::ForgetBehindDocument,
        Self::ComparedUnseen,
        Self::AnswerOfAnOlderGeneration,
        Self::AdoptedBelowSeen,
        Self::LostRunSentAgain,
        Self::UnfencedWrites,
        Self::CauseLost,
        Self::FightCountedEarly,
        Self::OlderEventTaken,
        Self::NotLookedAtAgain,
        Self::RenderingNotSeen,
        Self::FoundInAnotherNamespace,
        Self::SelectorWaits,
        Self::FailureOfAnother,
        Self::LateObjectForgotten,
        Self::EnvironmentFoughtForEver,
        Self::ExitCodeOfFirstAttempt,
        Self::MajorTakenEarly,
        Self::MajorNotGivenBack,
    ];
}

thread_local! {
    static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Chooses the mistake of this thread; none makes the product right again.
pub fn choose(mutant: Option<Mutant>) {
    CHOSEN.set(mutant);
}

/// Whether this mistake is to be made.
#[must_use]
#[inline]
pub fn is(mutant: Mutant) -> bool {
    cfg!(debug_assertions) && CHOSEN.get() == Some(mutant)
}

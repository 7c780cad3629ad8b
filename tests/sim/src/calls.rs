//! Calls to the API server with their faults, and what watches bring back.

use std::rc::Rc;

use pdp_agent::link::store::{ApiError, ApiStatus};
use protocol::session::Millis;
use serde_json::Value;

use super::Fault;
use super::api::{Answer, Change, Request};
use super::world::{Caller, Event, World};

/// Answers that do not come within this time are lost for the caller.
const CALL_DEADLINE: Millis = 5_000;

fn status(code: u16, reason: &str) -> Answer {
    Err(ApiError::Answered(ApiStatus { code, reason: reason.to_owned(), ..ApiStatus::default() }))
}

impl World {
    pub(super) fn is_running(&self, caller: Caller) -> bool {
        match caller {
            Caller::Link(incarnation) => self.links.contains_key(&incarnation),
            Caller::Operator(incarnation) => self.operators.contains_key(&incarnation),
        }
    }

    /// Sends a request on its way; the answer comes as `Reply`, perhaps *lost*.
    pub(super) fn call(&mut self, caller: Caller, token: u64, request: Request) {
        let lost = || Err(ApiError::Lost { detail: "no answer in time".to_owned() });
        let mut way = self.dice.between(1, 20);
        if self.dice.per_mille(self.rates.throttled) {
            self.reached.insert(Fault::TooManyRequests);
            let answer = status(429, "TooManyRequests");
            return self.after(1, 20, Event::Reply { caller, token, answer });
        }
        if self.dice.per_mille(self.rates.lost) {
            self.reached.insert(Fault::CallLost);
            self.note(&format!("{caller:?} {} {} is lost", request.verb(), request.id()));
            return self.after(CALL_DEADLINE, CALL_DEADLINE, Event::Reply { caller, token, answer: lost() });
        }
        let mut answers = true;
        if self.dice.per_mille(self.rates.failing) {
            // What an error of the server's own means for the write, only the server knows.
            self.reached.insert(Fault::ServerError);
            let answer = status(500, "InternalError");
            self.after(1, 20, Event::Reply { caller, token, answer });
            if self.dice.per_mille(500) {
                return;
            }
            let since = self.now;
            return self.after(way, way, Event::Execute { caller, token, request, answers: false, since });
        }
        if self.dice.per_mille(self.rates.lost) {
            self.reached.insert(Fault::AnswerLost);
            answers = false;
        }
        if self.dice.per_mille(self.rates.slow) {
            self.reached.insert(Fault::SlowCall);
            way = self.dice.between(1_000, CALL_DEADLINE + 3_000);
            // The caller gives up; the call goes on.
            answers &= way < CALL_DEADLINE;
        }
        if !answers {
            self.after(CALL_DEADLINE, CALL_DEADLINE, Event::Reply { caller, token, answer: lost() });
        }
        let since = self.now;
        self.after(way, way, Event::Execute { caller, token, request, answers, since });
    }

    pub(super) fn execute(&mut self, caller: Caller, token: u64, request: &Request, (answers, since): (bool, Millis)) {
        let (answer, change) = self.api.execute(request);
        if !matches!(request, Request::Get(_)) {
            let said = match &answer {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.to_string(),
            };
            let lost = if answers { "" } else { " (answer lost)" };
            self.note(&format!("{caller:?} {} {}: {said}{lost}", request.verb(), request.id()));
        }
        if let Some(change) = change {
            let moment = super::check::Moment { now: self.now, since, by: Some(caller) };
            self.checks.changed(&change, &moment, &self.plane, &self.api);
            self.spread(change);
        }
        if answers {
            self.after(1, 10, Event::Reply { caller, token, answer });
        }
    }

    /// Somebody else does something in the cluster.
    pub(super) fn by_hand(&mut self, request: &Request) {
        self.note(&format!("by hand: {} {}", request.verb(), request.id()));
        if let (_, Some(change)) = self.api.execute(request) {
            let moment = super::check::Moment { now: self.now, since: self.now, by: None };
            self.checks.changed(&change, &moment, &self.plane, &self.api);
            self.spread(change);
        }
    }

    /// A change goes to the watches, each in order and perhaps late, and to the controllers.
    fn spread(&mut self, change: Change) {
        if matches!(change.id.kind.as_str(), "Deployment" | "Job") {
            self.pods.changed(&change.id, change.after.as_deref());
            self.after(50, 2_000, Event::Controllers { id: change.id.clone() });
        }
        let change = Rc::new(change);
        let links = self.links.keys().map(|incarnation| Caller::Link(*incarnation));
        let operators = self.operators.keys().map(|incarnation| Caller::Operator(*incarnation));
        for caller in links.chain(operators).collect::<Vec<_>>() {
            let mut delay = self.dice.between(2, 30);
            if self.dice.per_mille(self.rates.late) {
                self.reached.insert(Fault::LateWatch);
                delay = self.dice.between(500, 6_000);
            }
            let (last, round) = self.watches.get(&caller.incarnation()).copied().unwrap_or_default();
            let at = (self.now + delay).max(last);
            self.watches.insert(caller.incarnation(), (at, round));
            self.at(at, Event::Watch { caller, round, change: Rc::clone(&change) });
            if self.dice.per_mille(self.rates.gone) {
                self.reached.insert(Fault::WatchGone);
                self.watch_gone(caller);
            }
        }
    }

    pub(super) fn watched(&mut self, caller: Caller, round: u64, change: &Change) {
        if !self.is_running(caller) || self.round(caller) != round {
            return;
        }
        match caller {
            Caller::Link(incarnation) => self.link_watch(incarnation, change),
            Caller::Operator(incarnation) => self.operator_watch(incarnation, change),
        }
    }

    fn round(&self, caller: Caller) -> u64 {
        self.watches.get(&caller.incarnation()).map_or(0, |(_, round)| *round)
    }

    /// The API server has compacted what the watch would need: 410, and all changes on their way are lost.
    pub(super) fn watch_gone(&mut self, caller: Caller) {
        let (at, round) = self.watches.get(&caller.incarnation()).copied().unwrap_or_default();
        self.watches.insert(caller.incarnation(), (at, round + 1));
        self.after(50, 3_000, Event::List { caller, round: round + 1 });
    }

    pub(super) fn list(&mut self, caller: Caller, round: u64) {
        if !self.is_running(caller) || self.round(caller) != round {
            return;
        }
        // A new round: what changed before the list must not come after it.
        let round = round + 1;
        let at = self.now + self.dice.between(5, 500);
        self.watches.insert(caller.incarnation(), (at, round));
        let objects = self.api.iter().map(|(_, object)| Rc::clone(object)).collect();
        self.at(at, Event::Listed { caller, round, objects, version: self.api.version() });
    }

    pub(super) fn listed(&mut self, caller: Caller, round: u64, objects: &[Rc<Value>], version: u64) {
        if !self.is_running(caller) || self.round(caller) != round {
            return;
        }
        self.note(&format!("{caller:?} has listed anew"));
        match caller {
            Caller::Link(incarnation) => self.link_listed(incarnation, objects),
            Caller::Operator(incarnation) => self.operator_listed(incarnation, objects, version),
        }
    }

    pub(super) fn reply(&mut self, caller: Caller, token: u64, answer: Answer) {
        if !self.is_running(caller) {
            return;
        }
        match caller {
            Caller::Link(incarnation) => self.link_reply(incarnation, token, answer),
            Caller::Operator(incarnation) => self.operator_reply(incarnation, token, answer),
        }
    }

    pub(super) fn controllers(&mut self, id: &super::api::Id) {
        let more = self.pods.step(id);
        match self.api.get(id).and_then(super::operator::owner_of) {
            Some(owner) => self.wake(&owner, 10),
            // One that is gone: whose it was is not known here, so all look.
            None => self.wake_all(10),
        }
        if more {
            self.after(50, 2_000, Event::Controllers { id: id.clone() });
        }
    }
}

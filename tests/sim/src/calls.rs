//! Calls to the API server with their faults, and what watches bring back.

use std::rc::Rc;

use pdp_agent::link::store::{ApiError, ApiStatus};
use protocol::session::Millis;
use serde_json::{Value, json};

use super::Fault;
use super::api::{Answer, Change, Id, Request, is_terminating};
use super::event::{Caller, Event};
use super::trace::note;
use super::world::World;

/// Answers that do not come within this time are lost for the caller.
pub(super) const CALL_DEADLINE: Millis = 5_000;

fn refusal(code: u16, reason: &str, message: &str) -> Answer {
    let (reason, message) = (reason.to_owned(), message.to_owned());
    Err(ApiError::Answered(ApiStatus { code, reason, message, ..ApiStatus::default() }))
}

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
        if let Some(answer) = self.webhook(&request) {
            return self.after(1, 20, Event::Reply { caller, token, answer });
        }
        if self.dice.per_mille(self.rates.throttled) {
            self.reached.insert(Fault::TooManyRequests);
            let answer = status(429, "TooManyRequests");
            return self.after(1, 20, Event::Reply { caller, token, answer });
        }
        if self.dice.per_mille(self.rates.lost) {
            self.reached.insert(Fault::CallLost);
            note!(self, "{caller:?} {} {} is lost", request.verb(), request.id());
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
            let restores = self.restores;
            return self.after(way, way, Event::Execute { caller, token, request, answers: false, since, restores });
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
        let (since, restores) = (self.now, self.restores);
        self.after(way, way, Event::Execute { caller, token, request, answers, since, restores });
    }

    /// What the customer's webhook says to a write, if it says anything.
    fn webhook(&mut self, request: &Request) -> Option<Answer> {
        let changes = matches!(request, Request::Create(_) | Request::Update(_) | Request::Apply(_));
        if changes && self.dice.per_mille(self.rates.refused) {
            self.reached.insert(Fault::WebhookRefuses);
            let message = "admission webhook \"policy.example\" denied the request: not now";
            return Some(refusal(403, "Forbidden", message));
        }
        if !matches!(request, Request::Get(_)) && self.dice.per_mille(self.rates.unanswered) {
            self.reached.insert(Fault::WebhookUnavailable);
            let message = "failed calling webhook \"policy.example\": context deadline exceeded";
            return Some(refusal(500, "InternalError", message));
        }
        None
    }

    /// A webhook may change a document on its way into the store.
    fn mutate(&mut self, request: &mut Request) {
        let (kind, body) = match request {
            Request::Create(body) | Request::Update(body) => (Id::of(body).kind, body),
            Request::Get(_)
            | Request::UpdateStatus(_)
            | Request::Apply(_)
            | Request::Delete { .. }
            | Request::Finalizers { .. } => return,
        };
        let present = body.pointer("/spec/state").and_then(Value::as_str) == Some("Present");
        if kind == "Release" && present && self.dice.per_mille(self.rates.mutated) {
            self.reached.insert(Fault::WebhookMutates);
            if let Some(spec) = body.get_mut("spec").and_then(Value::as_object_mut) {
                spec.insert("restartToken".to_owned(), json!("mutated"));
            }
        }
    }

    pub(super) fn execute(
        &mut self,
        caller: Caller,
        token: u64,
        mut request: Request,
        (answers, since): (bool, Millis),
    ) {
        self.mutate(&mut request);
        let request = &request;
        let (answer, change) = self.api.execute(request);
        if !matches!(request, Request::Get(_)) {
            let said = match &answer {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.to_string(),
            };
            let lost = if answers { "" } else { " (answer lost)" };
            note!(self, "{caller:?} {} {}: {said}{lost}", request.verb(), request.id());
        }
        if let Some(change) = change {
            let moment = super::check::Moment { now: self.now, since, by: Some(caller) };
            self.checks.changed(&change, &moment, &self.plane, &self.api);
            self.spread(change);
            self.linger(request);
        }
        if answers {
            self.after(1, 10, Event::Reply { caller, token, answer });
        }
    }

    /// Namespaces, and now and then other objects, go some time after they were deleted.
    fn linger(&mut self, request: &Request) {
        let id = request.id();
        if matches!(request, Request::Create(_)) {
            let held = match id.kind.as_str() {
                "Namespace" => true,
                "Deployment" | "Job" => self.dice.per_mille(self.rates.held),
                _ => false,
            };
            if held {
                self.by_hand(&Request::Finalizers { id, names: vec!["example.com/held"] });
            }
        } else if matches!(request, Request::Delete { .. }) && self.api.get(&id).is_some_and(is_terminating) {
            self.after(100, 8_000, Event::Finalize { id });
        }
    }

    /// Somebody else does something in the cluster.
    pub(super) fn by_hand(&mut self, request: &Request) {
        note!(self, "by hand: {} {}", request.verb(), request.id());
        if let (_, Some(change)) = self.api.execute(request) {
            let moment = super::check::Moment { now: self.now, since: self.now, by: None };
            self.checks.changed(&change, &moment, &self.plane, &self.api);
            self.spread(change);
        }
        if matches!(request, Request::Delete { .. }) {
            self.linger(request);
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
        note!(self, "{caller:?} has listed anew");
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

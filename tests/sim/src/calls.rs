//! Calls to the API server with their faults, and what watches bring back.

use std::sync::Arc;

use pdp_agent::api::{ApiStatus, CallError};
use pdp_agent::kinds::labels::DATA_PLANE;
use pdp_agent::link::cache::watched;
use pdp_agent::operator::object;
use protocol::session::Millis;
use serde_json::{Value, json};

use super::Fault;
use super::api::{Answer, Change, Id, Request, is_terminating};
use super::event::{Caller, Event, Stream};
use super::pods::{self, Deed};
use super::remote::News;
use super::trace::note;
use super::world::World;

/// Answers that do not come within this time are lost for the caller.
const CALL_DEADLINE: Millis = 5_000;

/// How long an operator waits for an answer.
const OPERATOR_WAITS: Millis = 20_000;

fn refusal(code: u16, reason: &str, message: &str) -> Answer {
    let (reason, message) = (reason.to_owned(), message.to_owned());
    Err(CallError::Refused(ApiStatus { code, reason, message, ..ApiStatus::default() }))
}

fn status(code: u16, reason: &str) -> Answer {
    Err(CallError::Refused(ApiStatus { code, reason: reason.to_owned(), ..ApiStatus::default() }))
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
        let lost = || Err(CallError::NoAnswer("no answer in time".to_owned()));
        let mut way = self.dice.between(1, 20);
        if let Some(answer) = self.webhook(&request) {
            return self.after(1, 20, Event::Reply { caller, token, answer });
        }
        let slowly = matches!(request, Request::Delete { .. }) && self.now < self.deletes_slowly;
        if self.dice.per_mille(if slowly { 600 } else { self.rates.throttled }) {
            self.reached.insert(Fault::TooManyRequests);
            let answer = status(429, "TooManyRequests");
            return self.after(1, 20, Event::Reply { caller, token, answer });
        }
        // An operator has its own time limit, so no reply is made up for it when an answer is lost.
        let waits = if let Caller::Operator(_) = caller { OPERATOR_WAITS } else { CALL_DEADLINE };
        let gives_up = matches!(caller, Caller::Link(_));
        if self.dice.per_mille(self.rates.lost) {
            self.reached.insert(Fault::CallLost);
            note!(self, "{caller:?} {} {} is lost", request.verb(), request.id());
            if gives_up {
                self.after(waits, waits, Event::Reply { caller, token, answer: lost() });
            }
            return;
        }
        let mut answers = true;
        if self.dice.per_mille(self.rates.failing) {
            // After a 500 the write may have happened or not.
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
            way = self.dice.between(1_000, waits + 3_000);
            // The caller gives up; the call goes on.
            answers &= way < waits;
        }
        if !answers && gives_up {
            self.after(waits, waits, Event::Reply { caller, token, answer: lost() });
        }
        let (since, restores) = (self.now, self.restores);
        self.after(way, way, Event::Execute { caller, token, request, answers, since, restores });
    }

    /// What the customer's webhook says to a write, if it says anything.
    fn webhook(&mut self, request: &Request) -> Option<Answer> {
        let changes = matches!(request, Request::Create(_) | Request::Update(_) | Request::Apply(_) | Request::Try(_));
        if changes && self.dice.per_mille(self.rates.refused) {
            self.reached.insert(Fault::WebhookRefuses);
            let message = "admission webhook \"policy.example\" denied the request: not now";
            return Some(refusal(403, "Forbidden", message));
        }
        if !request.reads() && self.dice.per_mille(self.rates.unanswered) {
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
            | Request::List { .. }
            | Request::Apply(_)
            | Request::Merge { .. }
            | Request::Convert { .. }
            | Request::Try(_)
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
        if let (Caller::Operator(process), Request::Create(_), Some(found)) =
            (caller, request, self.api.get(&request.id()))
            && answer.is_err()
        {
            let again = self.checks.told.exists(process, found, since);
            again.into_iter().for_each(|what| self.checks.broken("forgets", what));
        }
        if !request.reads() {
            let said = match &answer {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.to_string(),
            };
            let lost = if answers { "" } else { " (answer lost)" };
            note!(self, "{caller:?} {} {}: {said}{lost}", request.verb(), request.id());
        }
        if let Some(change) = change {
            let unaware = caller.incarnation() <= self.before_restore;
            let moment = super::check::Moment { now: self.now, since, by: Some(caller), unaware };
            self.checks.changed(&change, &moment, &self.plane, &self.api);
            self.spread(change);
            self.linger(request);
        }
        if answers {
            self.after(1, 10, Event::Reply { caller, token, answer });
        }
    }

    /// Namespaces, and sometimes Deployments and Jobs, have finalizers, and are removed some time after their deletion.
    fn linger(&mut self, request: &Request) {
        let id = request.id();
        if matches!(request, Request::Create(_)) {
            let held = match id.kind.as_str() {
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
            let moment = super::check::Moment { now: self.now, since: self.now, by: None, unaware: false };
            self.checks.changed(&change, &moment, &self.plane, &self.api);
            self.spread(change);
        }
        if matches!(request, Request::Delete { .. }) {
            self.linger(request);
        }
    }

    /// A change goes to the watches that follow its kind, to each in order and perhaps late, and to the controllers.
    fn spread(&mut self, change: Change) {
        let (before, after) = (change.before.as_deref(), change.after.as_deref());
        if pods::concerns(&change.id.kind, before, after) {
            self.after(50, 2_000, Event::Controllers { id: change.id.clone() });
        }
        let kind = &change.id.kind;
        let own = watched().any(|table| table.kind() == kind);
        let ours = own || after.or(before).is_some_and(|object| object::label(object, DATA_PLANE).is_some());
        let links =
            self.links.keys().filter(|_| own).map(|link| Stream { caller: Caller::Link(*link), kind: String::new() });
        let follow = self.operators.iter().filter(|(_, operator)| ours && operator.follows.contains_key(kind));
        let operators = follow.map(|(one, _)| Stream { caller: Caller::Operator(*one), kind: kind.clone() });
        let streams: Vec<Stream> = links.chain(operators).collect();
        let change = Arc::new(change);
        for stream in streams {
            let mut delay = self.dice.between(2, 30);
            if self.dice.per_mille(self.rates.late) {
                self.reached.insert(Fault::LateWatch);
                delay = self.dice.between(500, 6_000);
            }
            let (last, round) = self.watches.get(&stream).copied().unwrap_or_default();
            let at = (self.now + delay).max(last);
            self.watches.insert(stream.clone(), (at, round));
            self.at(at, Event::Watch { stream: stream.clone(), round, change: Arc::clone(&change) });
            if self.dice.per_mille(self.rates.gone) {
                self.reached.insert(Fault::WatchGone);
                self.watch_gone(stream);
            }
        }
    }

    pub(super) fn watched(&mut self, stream: &Stream, round: u64, change: &Change) {
        if !self.is_running(stream.caller) || self.round(stream) != round {
            return;
        }
        let incarnation = stream.caller.incarnation();
        match (stream.caller, &change.after, &change.before) {
            (Caller::Link(_), _, _) => self.link_watch(incarnation, change),
            (Caller::Operator(_), Some(object), _) => {
                self.tell_operator(incarnation, &stream.kind, News::Changed(Arc::clone(object)));
            }
            (Caller::Operator(_), None, Some(object)) => {
                self.tell_operator(incarnation, &stream.kind, News::Gone(Arc::clone(object)));
            }
            (Caller::Operator(_), None, None) => {}
        }
    }

    fn round(&self, stream: &Stream) -> u64 {
        self.watches.get(stream).map_or(0, |(_, round)| *round)
    }

    /// The watches of a process.
    pub(super) fn streams(&self, caller: Caller) -> Vec<Stream> {
        match caller {
            Caller::Link(_) => vec![Stream { caller, kind: String::new() }],
            Caller::Operator(incarnation) => {
                let kinds = self.operators.get(&incarnation).into_iter().flat_map(|one| one.follows.keys());
                kinds.map(|kind| Stream { caller, kind: kind.clone() }).collect()
            }
        }
    }

    /// An operator's process begins to follow a kind.
    pub(super) fn begin_watch(&mut self, caller: Caller, kind: &str) {
        self.after(1, 100, Event::List { stream: Stream { caller, kind: kind.to_owned() }, round: 0 });
    }

    /// The API server has compacted the versions that the watch needs: it gets 410, and all events on their way are lost.
    pub(super) fn watch_gone(&mut self, stream: Stream) {
        let (at, round) = self.watches.get(&stream).copied().unwrap_or_default();
        self.watches.insert(stream.clone(), (at, round + 1));
        self.after(50, 3_000, Event::List { stream, round: round + 1 });
    }

    pub(super) fn list(&mut self, stream: Stream, round: u64) {
        if !self.is_running(stream.caller) || self.round(&stream) != round {
            return;
        }
        // A new round: events from before the list must not arrive after it.
        let round = round + 1;
        let at = self.now + self.dice.between(5, 500);
        self.watches.insert(stream.clone(), (at, round));
        let of_link = matches!(stream.caller, Caller::Link(_));
        let ours = |object: &Value| object::label(object, DATA_PLANE).is_some();
        let own = |kind: &str| watched().any(|table| table.kind() == kind);
        let listed = |(id, object): &(&Id, &Arc<Value>)| {
            if of_link { own(&id.kind) } else { id.kind == stream.kind && (own(&id.kind) || ours(object)) }
        };
        let objects = self.api.iter().filter(listed).map(|(_, object)| Arc::clone(object)).collect();
        if let Caller::Operator(incarnation) = stream.caller {
            self.tell_operator(incarnation, &stream.kind, News::Asked);
        }
        self.at(at, Event::Listed { stream, round, objects });
    }

    pub(super) fn listed(&mut self, stream: &Stream, round: u64, objects: Vec<Arc<Value>>) {
        if !self.is_running(stream.caller) || self.round(stream) != round {
            return;
        }
        match stream.caller {
            Caller::Link(incarnation) => {
                note!(self, "{:?} has listed anew", stream.caller);
                self.link_listed(incarnation, &objects);
            }
            Caller::Operator(incarnation) => {
                note!(self, "{:?} has listed {}", stream.caller, stream.kind);
                self.tell_operator(incarnation, &stream.kind, News::Listed(objects));
            }
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

    /// One step of the controllers for one object.
    pub(super) fn controllers(&mut self, id: &Id) {
        let now = self.wall_clock().to_string();
        let (mut deeds, more) = pods::step(&self.api, id, &now);
        if !deeds.is_empty() && id.kind == "Deployment" {
            deeds.iter().for_each(|deed| self.deed(deed));
            deeds = pods::services(&self.api, &id.namespace)
                .iter()
                .flat_map(|service| pods::step(&self.api, service, &now).0)
                .collect();
        }
        deeds.iter().for_each(|deed| self.deed(deed));
        if more {
            self.after(50, 2_000, Event::Controllers { id: id.clone() });
        }
    }

    fn deed(&mut self, deed: &Deed) {
        let change = match deed {
            Deed::Set(object) => self.api.set(object.clone()),
            Deed::Take(id) => self.api.take(id),
        };
        if let Some(change) = change {
            let moment = super::check::Moment { now: self.now, since: self.now, by: None, unaware: false };
            self.checks.changed(&change, &moment, &self.plane, &self.api);
            self.spread(change);
        }
    }
}

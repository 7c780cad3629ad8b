//! The world: clock, queue of events, calls to the API server with their faults, watches, the wire and the gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pdp_agent::link::store::{ApiError, ApiStatus};
use protocol::message::Epoch;
use protocol::name::ResourceKey;
use protocol::report::Fact;
use protocol::session::{CloseCode, ControlSession, Disconnect, Millis, Offer, Transmit};
use serde_json::Value;

use super::api::{Answer, Api, Change, Id, Request};
use super::check::Checks;
use super::dice::Dice;
use super::link::Link;
use super::operator::Operator;
use super::plane::{Issued, Plane, offer};
use super::pods::Pods;
use super::{Bug, Fault};

/// Who calls the API server: a process that may be gone when the answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Link(u64),
    Operator(u64),
}

/// What happens at some time.
#[derive(Debug)]
pub(super) enum Event {
    Execute { caller: Caller, token: u64, request: Request, answers: bool, since: Millis },
    Reply { caller: Caller, token: u64, answer: Answer },
    Watch { caller: Caller, change: Rc<Change> },
    ToControl { wire: u64, transmit: Transmit },
    ToAgent { wire: u64, transmit: Transmit },
    Dialled { incarnation: u64 },
    StartLink,
    StartOperator,
    StartGateway,
    Controllers { id: Id },
    Reconcile { incarnation: u64, release: String },
    RemoveFacts { incarnation: u64, key: ResourceKey },
    Record { key: ResourceKey, fact: Box<Fact>, gateway: u64 },
    User(User),
    Break(Fault),
}

/// What people at the control plane do.
#[derive(Debug, Clone)]
pub(super) enum User {
    Deploy { release: usize, content: u64, bad: bool },
    Undeploy { release: usize },
}

/// Answers that do not come within this time are lost for the caller.
const CALL_DEADLINE: Millis = 5_000;

/// More than any run needs by far: something turns in circles.
const MAX_STEPS: u64 = 30_000;

/// How often things go wrong, of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rates {
    pub(super) lost: u64,
    pub(super) throttled: u64,
    pub(super) slow: u64,
    pub(super) late: u64,
}

pub(super) struct World {
    pub(super) now: Millis,
    pub(super) dice: Dice,
    pub(super) api: Api,
    pub(super) pods: Pods,
    pub(super) plane: Plane,
    pub(super) checks: Checks,
    pub(super) link: Option<Link>,
    pub(super) operator: Option<Operator>,
    pub(super) incarnations: u64,
    pub(super) rates: Rates,
    pub(super) bug: Option<Bug>,
    pub(super) reached: BTreeSet<Fault>,
    pub(super) trace: Vec<String>,
    queue: BTreeMap<(Millis, u64), Event>,
    sequence: u64,
    steps: u64,
    watches: BTreeMap<bool, Millis>,
    pub(super) wire: u64,
    /// Arrival of the last frame, by connection and direction.
    pub(super) arrivals: BTreeMap<(u64, bool), Millis>,
    pub(super) silent: bool,
    pub(super) gateway: Option<ControlSession>,
    pub(super) gateway_up: bool,
    pub(super) gateways: u64,
    pub(super) epoch: Option<Epoch>,
    pub(super) store_id: Option<String>,
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut dice = Dice::new(seed);
        let rates = Rates {
            lost: dice.between(0, 2) * 40,
            throttled: dice.between(0, 30),
            slow: dice.between(0, 40),
            late: dice.between(0, 60),
        };
        Self {
            now: 0,
            dice,
            api: Api::new(bug == Some(Bug::NoPreconditions)),
            pods: Pods::default(),
            plane: Plane::default(),
            checks: Checks::default(),
            link: None,
            operator: None,
            incarnations: 0,
            rates,
            bug,
            reached: BTreeSet::new(),
            trace: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            steps: 0,
            watches: BTreeMap::new(),
            wire: 0,
            arrivals: BTreeMap::new(),
            silent: false,
            gateway: None,
            gateway_up: true,
            gateways: 0,
            epoch: None,
            store_id: None,
        }
    }

    pub(super) fn note(&mut self, line: String) {
        self.trace.push(format!("{:>7} {line}", self.now));
    }

    pub(super) fn at(&mut self, at: Millis, event: Event) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), event);
    }

    pub(super) fn after(&mut self, low: Millis, high: Millis, event: Event) {
        let at = self.now + self.dice.between(low, high);
        self.at(at, event);
    }

    /// Runs one event, the next timer included. False when `end` is reached first.
    pub(super) fn step(&mut self, end: Millis) -> bool {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            self.checks.broken("I6", format!("{MAX_STEPS} events and no end"));
            return false;
        }
        let agent = self.link.as_ref().and_then(|link| link.session.poll_timeout());
        let control = self.gateway.as_ref().and_then(ControlSession::poll_timeout);
        let timer = [agent, control].into_iter().flatten().map(|(at, _)| at).min().unwrap_or(Millis::MAX);
        let queued = self.queue.first_key_value().map_or(Millis::MAX, |((at, _), _)| *at);
        if timer.min(queued) > end {
            self.now = end;
            return false;
        }
        if queued <= timer {
            if let Some(((at, _), event)) = self.queue.pop_first() {
                self.now = self.now.max(at);
                self.handle(event);
            }
        } else {
            self.now = self.now.max(timer);
            if let Some(link) = &mut self.link {
                link.session.handle_timeout(self.now);
            }
            if let Some(gateway) = &mut self.gateway {
                gateway.handle_timeout(self.now);
            }
        }
        self.settle();
        true
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Execute { caller, token, request, answers, since } => {
                self.execute(caller, token, &request, (answers, since));
            }
            Event::Reply { caller, token, answer } => self.reply(caller, token, answer),
            Event::Watch { caller, change } => match caller {
                Caller::Link(_) if self.is_running(caller) => self.link_watch(&change),
                Caller::Operator(_) if self.is_running(caller) => self.operator_watch(&change),
                Caller::Link(_) | Caller::Operator(_) => {}
            },
            Event::ToControl { wire, transmit } => self.arrive_at_control(wire, transmit),
            Event::ToAgent { wire, transmit } => self.arrive_at_agent(wire, transmit),
            Event::Dialled { incarnation } => self.dialled(incarnation),
            Event::StartLink => self.start_link(),
            Event::StartOperator => self.start_operator(),
            Event::StartGateway => self.gateway_up = true,
            Event::Controllers { id } => self.controllers(&id),
            Event::Reconcile { incarnation, release } => self.reconcile(incarnation, &release),
            Event::RemoveFacts { incarnation, key } => {
                if self.is_running(Caller::Link(incarnation)) {
                    self.remove_facts(key);
                }
            }
            Event::Record { key, fact, gateway } => {
                if gateway == self.gateways {
                    self.plane.facts.insert(fact.id.clone(), (key, *fact));
                }
            }
            Event::User(user) => self.user(&user),
            Event::Break(fault) => self.break_something(fault),
        }
    }

    // The API server.

    pub(super) fn is_running(&self, caller: Caller) -> bool {
        match caller {
            Caller::Link(incarnation) => self.link.as_ref().is_some_and(|link| link.incarnation == incarnation),
            Caller::Operator(incarnation) => {
                self.operator.as_ref().is_some_and(|operator| operator.incarnation == incarnation)
            }
        }
    }

    /// Sends a request on its way; the answer comes as `Reply`, perhaps *lost*.
    pub(super) fn call(&mut self, caller: Caller, token: u64, request: Request) {
        let lost = || Err(ApiError::Lost { detail: "no answer in time".to_owned() });
        let mut way = self.dice.between(1, 20);
        if self.dice.per_mille(self.rates.throttled) {
            self.reached.insert(Fault::TooManyRequests);
            let status = ApiStatus { code: 429, reason: "TooManyRequests".to_owned(), ..ApiStatus::default() };
            return self.after(1, 20, Event::Reply { caller, token, answer: Err(ApiError::Answered(status)) });
        }
        if self.dice.per_mille(self.rates.lost) {
            self.reached.insert(Fault::CallLost);
            self.note(format!("{caller:?} {} {} is lost", request.verb(), request.id()));
            return self.after(CALL_DEADLINE, CALL_DEADLINE, Event::Reply { caller, token, answer: lost() });
        }
        let mut answers = true;
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

    fn execute(&mut self, caller: Caller, token: u64, request: &Request, (answers, since): (bool, Millis)) {
        let (answer, change) = self.api.execute(request);
        if !matches!(request, Request::Get(_)) {
            let said = match &answer {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.to_string(),
            };
            let lost = if answers { "" } else { " (answer lost)" };
            self.note(format!("{caller:?} {} {}: {said}{lost}", request.verb(), request.id()));
        }
        if let Some(change) = change {
            self.checks.changed(&change, &self.plane, &self.api, (self.now, since));
            self.spread(change);
        }
        if answers {
            self.after(1, 10, Event::Reply { caller, token, answer });
        }
    }

    /// A change goes to the watches, each in order and perhaps late, and to the controllers.
    fn spread(&mut self, change: Change) {
        if change.id.kind == "Deployment" {
            self.pods.changed(&change.id, change.after.as_deref());
            self.after(50, 2_000, Event::Controllers { id: change.id.clone() });
        }
        let change = Rc::new(change);
        let link = self.link.as_ref().map(|link| Caller::Link(link.incarnation));
        let operator = self.operator.as_ref().map(|operator| Caller::Operator(operator.incarnation));
        for caller in [link, operator].into_iter().flatten() {
            let mut delay = self.dice.between(2, 30);
            if self.dice.per_mille(self.rates.late) {
                self.reached.insert(Fault::LateWatch);
                delay = self.dice.between(500, 6_000);
            }
            let is_link = matches!(caller, Caller::Link(_));
            let at = (self.now + delay).max(self.watches.get(&is_link).copied().unwrap_or(0));
            self.watches.insert(is_link, at);
            self.at(at, Event::Watch { caller, change: Rc::clone(&change) });
        }
    }

    fn reply(&mut self, caller: Caller, token: u64, answer: Answer) {
        if !self.is_running(caller) {
            return;
        }
        match caller {
            Caller::Link(_) => self.link_reply(token, answer),
            Caller::Operator(_) => self.operator_reply(token, answer),
        }
    }

    fn controllers(&mut self, id: &Id) {
        let more = self.pods.step(id);
        let release = self.api.get(id).and_then(release_of).map(str::to_owned);
        // A Deployment that is gone is of the release that its name begins with, as the operator names them.
        let releases = release.map_or_else(|| self.releases(), |release| vec![release]);
        for release in releases {
            self.wake(&release, 10);
        }
        if more {
            self.after(50, 2_000, Event::Controllers { id: id.clone() });
        }
    }

    fn releases(&self) -> Vec<String> {
        self.api.iter().filter(|(id, _)| id.kind == "Release").map(|(id, _)| id.name.clone()).collect()
    }

    // People and faults.

    fn user(&mut self, user: &User) {
        self.note(format!("user {user:?}"));
        let key = match user {
            User::Deploy { release, content, bad } => {
                let image = if *bad { "bad" } else { "web" };
                let body = format!(
                    r#"{{"state":"Present","environment":"shop-dev","owner":{{"component":"c{release}","track":"v1.0"}},"type":"Service","image":"registry.example/{image}@sha256:{content:064x}","endpoints":[{{"name":"http","port":8080,"kind":"HTTP"}}],"env":[{{"name":"CONTENT","value":"{content}"}}]}}"#
                );
                self.plane.issue(&format!("r{release}"), body, protocol::spec::Desired::Present)
            }
            User::Undeploy { release } => {
                let body = r#"{"state":"Absent"}"#.to_owned();
                self.plane.issue(&format!("r{release}"), body, protocol::spec::Desired::Absent)
            }
        };
        self.send(self.plane.offer(&key));
    }

    fn send(&mut self, offer: Option<Offer>) {
        if let (Some(gateway), Some(offer)) = (&mut self.gateway, offer) {
            gateway.offer(offer);
        }
    }

    fn break_something(&mut self, fault: Fault) {
        self.note(format!("fault {fault:?}"));
        self.reached.insert(fault);
        match fault {
            Fault::LinkCut => self.cut(Disconnect::Cut),
            Fault::LinkSilent => self.silent = true,
            Fault::GatewayRestart => {
                self.cut(Disconnect::Closed(CloseCode::GoingAway));
                self.gateways += 1;
                self.gateway_up = false;
                self.after(100, 5_000, Event::StartGateway);
            }
            Fault::LinkCrash => {
                if self.link.take().is_some() {
                    self.cut(Disconnect::Cut);
                    self.after(500, 8_000, Event::StartLink);
                }
            }
            Fault::OperatorCrash => {
                if self.operator.take().is_some() {
                    self.after(500, 8_000, Event::StartOperator);
                }
            }
            Fault::OldDocument => {
                // Rather one of a resource that was forgotten: only the floor holds it back.
                let of_forgotten = |(key, _): &&(ResourceKey, Issued)| {
                    self.plane.forgotten.contains_key(key) && !self.plane.issued.contains_key(key)
                };
                let history = &self.plane.history;
                let forgotten: Vec<_> = history.iter().filter(of_forgotten).collect();
                let choice = if forgotten.is_empty() { history.iter().collect() } else { forgotten };
                let last = u64::try_from(choice.len()).unwrap_or(0).saturating_sub(1);
                let at = usize::try_from(self.dice.between(0, last)).unwrap_or(0);
                let old = choice.get(at).map(|(key, issued)| offer(key, issued));
                self.send(old);
            }
            Fault::CallLost | Fault::AnswerLost | Fault::TooManyRequests | Fault::SlowCall | Fault::LateWatch => {}
        }
    }

    /// Whether nothing is left to be done or told.
    pub(super) fn is_quiet(&self) -> bool {
        let (Some(link), Some(_), Some(gateway)) = (&self.link, &self.operator, &self.gateway) else { return false };
        let open = link.session.is_open() && gateway.is_open();
        let told = link.session.depths() == (0, 0) && gateway.depths() == (0, 0);
        let stored = self.plane.issued.iter().all(|(key, issued)| {
            let object = self.api.get(&Id::own("Release", &key.name));
            object.is_some_and(|object| super::api::generation(object) == issued.generation)
                && issued.state == protocol::spec::Desired::Present
        });
        let facts = self
            .api
            .iter()
            .all(|(_, object)| object.pointer("/status/facts").and_then(Value::as_array).is_none_or(Vec::is_empty));
        open && told && stored && facts
    }
}

/// The release that an object belongs to.
pub(super) fn release_of(object: &Value) -> Option<&str> {
    object.pointer("/metadata/labels/pdp-agent.dev~1release").and_then(Value::as_str)
}

//! An agent and a control plane joined by a wire with latency, on a virtual clock. Both owners are as simple as can be: one
//! stores documents in a map, the other records what comes back.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a harness of tests"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::document::Desired;
use protocol::inventory::Inventory;
use protocol::message::{Epoch, FieldError, Hello, InventoryEntry, MAX_FRAME, RefusalClass, Verdict, Welcome, Window};
use protocol::name::{Kind, ResourceKey};
use protocol::report::{Fact, FactKind, State};
use protocol::session::{
    AgentEvent, AgentSession, AgentSettings, CloseCode, ControlEvent, ControlSession, ControlSettings, Delivery,
    DialFailure, Disconnect, Millis, Offer, Ticket, Transmit,
};
use protocol::{ContentHash, Tree};
use serde_json::value::RawValue;

mod plane;

pub(crate) const WINDOW: Window = Window { messages: 4, bytes: 60_000 };

pub(crate) struct Pair {
    pub(crate) now: Millis,
    pub(crate) latency: Millis,
    pub(crate) agent: AgentSession,
    pub(crate) control: Option<ControlSession>,
    /// Whether bytes arrive. What was written meanwhile arrives later, as with TCP, unless a side gives up before.
    pub(crate) network: bool,
    pub(crate) store_id: String,
    pub(crate) counter: i64,
    pub(crate) desired: BTreeMap<String, (i64, String)>,
    pub(crate) accepted: BTreeMap<String, BTreeSet<i64>>,
    pub(crate) states: BTreeMap<ResourceKey, Option<State>>,
    pub(crate) facts: BTreeMap<String, u32>,
    pub(crate) stored: BTreeMap<String, InventoryEntry>,
    pub(crate) status: BTreeMap<String, (State, Vec<Fact>)>,
    pub(crate) expected_facts: BTreeSet<String>,
    pub(crate) epochs: Vec<Epoch>,
    pub(crate) trace: Vec<String>,
    pub(crate) dials: Vec<Millis>,
    pub(crate) compared: u32,
    /// Every message as it was sent: when, whether by the agent, and what.
    pub(crate) said: Vec<(Millis, bool, String)>,
    /// A side that is a recording: whether it is the agent. What the real one says is dropped.
    pub(crate) recorded: Option<bool>,
    work: VecDeque<(Millis, Ticket, String, i64, String)>,
    to_agent: VecDeque<(Millis, Transmit)>,
    to_control: VecDeque<(Millis, Transmit)>,
    hello: Option<Box<Hello>>,
}

pub(crate) fn settings() -> AgentSettings {
    AgentSettings {
        data_plane: "dp-1".to_owned(),
        version: "0.1.0".to_owned(),
        instance: "i-1".to_owned(),
        cluster: "c-1".to_owned(),
        schema: Kind::ALL.into_iter().map(|kind| (kind, 1)).collect(),
        capabilities: Vec::new(),
        window: WINDOW,
    }
}

pub(crate) fn key(name: &str) -> ResourceKey {
    ResourceKey { kind: Kind::Release, name: name.to_owned() }
}

impl Pair {
    pub(crate) fn new(seed: u64) -> Self {
        let mut agent = AgentSession::new(settings(), seed);
        agent.start(0);
        Self {
            now: 0,
            latency: 20,
            agent,
            control: None,
            network: true,
            store_id: "s-1".to_owned(),
            counter: 0,
            desired: BTreeMap::new(),
            accepted: BTreeMap::new(),
            states: BTreeMap::new(),
            facts: BTreeMap::new(),
            stored: BTreeMap::new(),
            status: BTreeMap::new(),
            expected_facts: BTreeSet::new(),
            epochs: Vec::new(),
            trace: Vec::new(),
            dials: Vec::new(),
            compared: 0,
            said: Vec::new(),
            recorded: None,
            work: VecDeque::new(),
            to_agent: VecDeque::new(),
            to_control: VecDeque::new(),
            hello: None,
        }
    }

    /// A new desired document for one release; the body grows with `size`.
    pub(crate) fn deploy(&mut self, name: &str, size: usize) {
        self.counter += 1;
        let body = format!(r#"{{"n":{},"pad":"{}"}}"#, self.counter, "x".repeat(size));
        self.desired.insert(name.to_owned(), (self.counter, body));
        let offer = self.offer(name);
        if let Some(control) = &mut self.control {
            control.offer(offer);
        }
    }

    pub(crate) fn cut(&mut self, cause: Disconnect) {
        self.to_agent.clear();
        self.to_control.clear();
        self.agent.handle_disconnected(self.now, cause, "cut");
        if let Some(control) = &mut self.control {
            control.handle_disconnected(Disconnect::Cut, "cut");
        }
        self.settle();
    }

    /// Runs until `done`, at most `limit` milliseconds; panics with the trace if it does not come.
    pub(crate) fn run_until(&mut self, limit: Millis, done: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            assert!(self.now <= end, "not reached by {end}:\n{}", self.trace.join("\n"));
            self.step(end + 1);
        }
    }

    pub(crate) fn run_for(&mut self, time: Millis) {
        let end = self.now + time;
        while self.now < end {
            self.step(end);
        }
    }

    fn step(&mut self, end: Millis) {
        self.settle();
        let next = [
            self.agent.poll_timeout().map(|(at, _)| at),
            self.control.as_ref().and_then(|control| control.poll_timeout()).map(|(at, _)| at),
            self.to_agent.front().filter(|_| self.network).map(|(at, _)| *at),
            self.to_control.front().filter(|_| self.network).map(|(at, _)| *at),
            self.work.iter().map(|(at, ..)| *at).min(),
        ];
        self.now = next.into_iter().flatten().min().unwrap_or(end).clamp(self.now, end);
        self.agent.handle_timeout(self.now);
        if let Some(control) = &mut self.control {
            control.handle_timeout(self.now);
        }
        while let Some((_, transmit)) = self.to_agent.pop_front_if(|(at, _)| self.network && *at <= self.now) {
            match transmit {
                Transmit::Text(text) => self.agent.handle_text(self.now, &text),
                Transmit::Ping => self.agent.handle_pong(self.now),
                Transmit::Close { code, reason } => {
                    self.agent.handle_disconnected(self.now, Disconnect::Closed(code), &reason);
                }
            }
        }
        while let Some((_, transmit)) = self.to_control.pop_front_if(|(at, _)| self.network && *at <= self.now) {
            let Some(control) = &mut self.control else { continue };
            match transmit {
                Transmit::Text(text) => control.handle_text(self.now, &text),
                Transmit::Ping => {
                    control.handle_alive(self.now);
                    self.to_agent.push_back((self.now + self.latency, Transmit::Ping));
                }
                Transmit::Close { code, .. } => control.handle_disconnected(Disconnect::Closed(code), "closed"),
            }
        }
        let due: Vec<_> = self.work.iter().filter(|(at, ..)| *at <= self.now).cloned().collect();
        self.work.retain(|(at, ..)| *at > self.now);
        for (_, ticket, name, generation, hash) in due {
            let verdict = self.store(&name, generation, &hash);
            self.agent.answer(ticket, verdict);
        }
        self.settle();
    }

    /// Lets both sides say all they have to say at this moment.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(event) = self.agent.poll_event() {
                quiet = false;
                self.agent_event(event);
            }
            while let Some(event) = self.control.as_mut().and_then(ControlSession::poll_event) {
                quiet = false;
                self.control_event(event);
            }
            while let Some(transmit) = self.agent.poll_transmit() {
                quiet = false;
                check(&transmit);
                if let Some(transmit) = self.spoken(true, transmit) {
                    self.to_control.push_back((self.now + self.latency, transmit));
                }
            }
            while let Some(transmit) = self.control.as_mut().and_then(ControlSession::poll_transmit) {
                quiet = false;
                check(&transmit);
                if let Some(transmit) = self.spoken(false, transmit) {
                    self.to_agent.push_back((self.now + self.latency, transmit));
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// Notes what a side says; nothing is left of it if that side is a recording.
    fn spoken(&mut self, by_agent: bool, transmit: Transmit) -> Option<Transmit> {
        if let Transmit::Text(text) = &transmit {
            self.said.push((self.now, by_agent, text.clone()));
            if self.recorded == Some(by_agent) {
                return None;
            }
        }
        Some(transmit)
    }

    /// Lets the recorded side say `text` now.
    pub(crate) fn say(&mut self, text: String) {
        let queue = if self.recorded == Some(true) { &mut self.to_control } else { &mut self.to_agent };
        queue.push_back((self.now, Transmit::Text(text)));
    }

    fn agent_event(&mut self, event: AgentEvent) {
        self.trace.push(format!("{} agent {event:?}", self.now));
        match event {
            AgentEvent::Dial => {
                self.dials.push(self.now);
                if self.network {
                    self.to_agent.clear();
                    self.to_control.clear();
                    self.control = Some(ControlSession::new(ControlSettings::default(), self.now, 1));
                    self.agent.handle_connected(self.now, "lease", 1);
                } else {
                    self.agent.handle_dial_failed(self.now, DialFailure::Unreachable, "no network");
                }
            }
            AgentEvent::Document { ticket, document } => {
                let delay = u64::try_from(document.generation % 7).unwrap() * 13;
                let at = self.now + delay;
                self.work.push_back((at, ticket, document.name, document.generation, document.hash));
            }
            AgentEvent::FactAcknowledged { key, fact } => {
                let (state, facts) = self.status.get_mut(&key.name).unwrap();
                facts.retain(|one| *one != fact);
                self.agent.report(&key, state.clone(), facts);
            }
            AgentEvent::Compared { .. } => self.compared += 1,
            AgentEvent::Superseded => panic!("superseded"),
            _ => {}
        }
    }

    /// The agent's store: higher generations win; each accepted one makes a state and a fact.
    fn store(&mut self, name: &str, generation: i64, hash: &str) -> Verdict {
        if name.starts_with("bad") {
            let reasons = vec![FieldError { field: String::new(), message: "bad".to_owned() }];
            return Verdict::Refused { class: RefusalClass::Invalid, reasons };
        }
        if let Some(old) = self.stored.get(name) {
            if old.generation == generation {
                return Verdict::Already;
            }
            if old.generation > generation {
                return Verdict::Stale { generation: Some(old.generation), hash: None, floor: 0 };
            }
        }
        let entry = InventoryEntry { key: key(name), generation, hash: hash.to_owned(), state: Desired::Present };
        self.stored.insert(name.to_owned(), entry.clone());
        self.agent.stored(entry);
        let (state, facts) = self.status.entry(name.to_owned()).or_default();
        state.observed_generation = Some(generation);
        let id = format!("{name}/{generation}/Ready/1");
        self.expected_facts.insert(id.clone());
        facts.push(Fact {
            id,
            kind: FactKind::Ready,
            generation,
            at: "2026-01-01T00:00:00Z".to_owned(),
            reason: "Serves".to_owned(),
            message: String::new(),
            exit_code: None,
            count: None,
        });
        self.agent.report(&key(name), state.clone(), facts);
        Verdict::Accepted { stored_hash: None, modified: Vec::new() }
    }

    fn control_event(&mut self, event: ControlEvent) {
        self.trace.push(format!("{} control {event:?}", self.now));
        let mut control = self.control.take().unwrap();
        match event {
            ControlEvent::Hello(hello) => {
                self.epochs.push(hello.epoch.clone());
                let welcome = self.welcome();
                control.welcome(&hello, welcome);
                self.hello = Some(hello);
            }
            ControlEvent::InventoryReceived { .. } => {
                control.compare(self.desired.keys().map(|name| self.entry(name)).collect::<Inventory>());
            }
            ControlEvent::Compared { differences } => {
                let mut held = false;
                for name in self.desired.keys().cloned().collect::<Vec<_>>() {
                    match differences.iter().find(|one| one.key.name == name) {
                        // The newest generation is stored: that is as good as its answer.
                        None => {
                            let generation = self.desired[&name].0;
                            self.accepted.entry(name).or_default().insert(generation);
                        }
                        Some(_) => control.offer(self.offer(&name)),
                    }
                }
                for one in &differences {
                    held |= one.desired.is_none();
                }
                control.finish_comparison(held);
            }
            ControlEvent::Answered { key, generation, verdict, .. } => match verdict {
                Verdict::Accepted { .. } | Verdict::Already => {
                    self.accepted.entry(key.name).or_default().insert(generation);
                }
                Verdict::Deferred { .. } | Verdict::Refused { .. } | Verdict::Stale { .. } => {}
                Verdict::Conflict { .. } | Verdict::Forgotten { .. } => panic!("{verdict:?}"),
            },
            ControlEvent::RetryDue { key } => control.offer(self.offer(&key.name)),
            ControlEvent::State(report) => {
                self.states.insert(report.key.clone(), report.state);
                control.acknowledge_state(report.key, report.digest);
            }
            ControlEvent::Fact(report) => {
                *self.facts.entry(report.fact.id.clone()).or_default() += 1;
                control.acknowledge_fact(report.key, report.fact.id);
            }
            ControlEvent::Ended { .. } => return,
            ControlEvent::Renew(_) | ControlEvent::StreamEnded(_) | ControlEvent::Unsupported { .. } => {}
        }
        self.control = Some(control);
    }
}

fn check(transmit: &Transmit) {
    match transmit {
        Transmit::Text(text) => assert!(text.len() <= MAX_FRAME),
        Transmit::Ping => {}
        Transmit::Close { code, reason } => assert!(
            !matches!(code, CloseCode::Protocol | CloseCode::WindowExceeded | CloseCode::TooLarge),
            "{code:?} {reason}"
        ),
    }
}

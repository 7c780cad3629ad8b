//! The wire between the two sessions, and two gateways over one store: the real control session over a model of the store.

use protocol::message::{RefusalClass, Verdict, Welcome, Window};
use protocol::name::ResourceKey;
use protocol::session::{
    CloseCode, ControlEvent, ControlSession, ControlSettings, DialFailure, Disconnect, Millis, Offer, Transmit,
};

use super::Bug;
use super::clock::Clock;
use super::event::Event;
use super::trace::note;
use super::world::World;

/// Small, so that it is full now and then.
const WINDOW: Window = Window { messages: 3, bytes: 200_000 };

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    /// The process that dialled.
    pub(super) link: u64,
    /// Which gateway answered.
    pub(super) at: usize,
    pub(super) gateway: Option<ControlSession>,
    /// Of the gateway's process.
    pub(super) clock: Clock,
    /// It carries nothing more, and nobody was told.
    pub(super) silent: bool,
    /// Arrival of the last frame at the control plane, and at the agent: frames keep their order.
    arrivals: [Millis; 2],
}

/// What is acknowledged after its commit.
#[derive(Debug)]
pub(super) enum Recorded {
    State(ResourceKey, String),
    Fact(ResourceKey, String),
}

impl World {
    /// Ends a connection for both sides.
    pub(super) fn cut(&mut self, wire: u64, cause: Disconnect) {
        let Some(ended) = self.wires.get_mut(&wire) else { return };
        ended.gateway = None;
        ended.silent = true;
        self.after(0, 0, Event::Disconnected { wire, cause });
    }

    pub(super) fn disconnected(&mut self, wire: u64, cause: Disconnect) {
        let Some(ended) = self.wires.remove(&wire) else { return };
        let now = self.now;
        if let Some(link) = self.links.get_mut(&ended.link).filter(|link| link.wire == wire) {
            link.session.handle_disconnected(link.clock.shows(now), cause, "cut");
        }
    }

    pub(super) fn dialled(&mut self, incarnation: u64) {
        let at = usize::from(self.dice.per_mille(500));
        let away = self.gateways.get(at).is_some_and(|until| *until > self.now);
        let [first, second] = self.gateway_clocks;
        let clock = if at == 0 { first } else { second };
        let Some(link) = self.links.get_mut(&incarnation) else { return };
        let shown = link.clock.shows(self.now);
        if away {
            return link.session.handle_dial_failed(shown, DialFailure::Unreachable, "no gateway");
        }
        self.last_wire += 1;
        link.wire = self.last_wire;
        link.open.clear();
        link.session.handle_connected(shown, "lease", link.transitions);
        let gateway = Some(ControlSession::new(ControlSettings::default(), clock.shows(self.now), self.last_wire));
        let wire = Wire { link: incarnation, at, gateway, clock, silent: false, arrivals: [0; 2] };
        self.wires.insert(self.last_wire, wire);
    }

    pub(super) fn arrive_at_control(&mut self, wire: u64, transmit: Transmit) {
        let Some(open) = self.wires.get_mut(&wire).filter(|wire| !wire.silent) else { return };
        let now = open.clock.shows(self.now);
        let Some(gateway) = &mut open.gateway else { return };
        match transmit {
            Transmit::Text(text) => gateway.handle_text(now, &text),
            Transmit::Ping => {
                gateway.handle_alive(now);
                self.after(1, 40, Event::ToAgent { wire, transmit: Transmit::Ping });
            }
            Transmit::Close { code, reason } => {
                gateway.handle_disconnected(Disconnect::Closed(code), &reason);
            }
        }
    }

    pub(super) fn arrive_at_agent(&mut self, wire: u64, transmit: Transmit) {
        let Some(open) = self.wires.get(&wire).filter(|wire| !wire.silent) else { return };
        let Some(link) = self.links.get_mut(&open.link).filter(|link| link.wire == wire) else { return };
        let now = link.clock.shows(self.now);
        match transmit {
            Transmit::Text(text) => link.session.handle_text(now, &text),
            Transmit::Ping => link.session.handle_pong(now),
            Transmit::Close { code, reason } => {
                link.session.handle_disconnected(now, Disconnect::Closed(code), &reason);
                self.wires.remove(&wire);
            }
        }
    }

    /// Frames keep their order: the later one arrives not before the earlier one.
    pub(super) fn carry(&mut self, wire: u64, to_control: bool, transmit: Transmit) {
        if let Transmit::Close { code, reason } = &transmit
            && matches!(code, CloseCode::WindowExceeded | CloseCode::Protocol | CloseCode::TooLarge)
        {
            let invariant = if *code == CloseCode::WindowExceeded { "I9" } else { "wire" };
            self.checks.broken(invariant, format!("a side closed with {code:?}: {reason}"));
        }
        let way = self.dice.between(1, 40);
        let Some(open) = self.wires.get_mut(&wire) else { return };
        let Some(last) = open.arrivals.get_mut(usize::from(to_control)) else { return };
        *last = (self.now + way).max(*last);
        let at = *last;
        let event = if to_control { Event::ToControl { wire, transmit } } else { Event::ToAgent { wire, transmit } };
        self.at(at, event);
    }

    /// Sends through the session that the control plane counts as the one of this data plane.
    pub(super) fn send(&mut self, offer: Option<Offer>) {
        let current = self.plane.session.as_ref().map(|(_, wire)| *wire);
        let gateway = current.and_then(|wire| self.wires.get_mut(&wire)).and_then(|wire| wire.gateway.as_mut());
        if let (Some(gateway), Some(offer)) = (gateway, offer) {
            gateway.offer(offer);
        }
    }

    pub(super) fn displaced(&mut self, wire: u64) {
        if let Some(gateway) = self.wires.get_mut(&wire).and_then(|wire| wire.gateway.as_mut()) {
            gateway.close(CloseCode::Superseded, "another session has taken over");
        }
    }

    pub(super) fn acknowledge(&mut self, wire: u64, recorded: Recorded) {
        let Some(gateway) = self.wires.get_mut(&wire).and_then(|wire| wire.gateway.as_mut()) else { return };
        match recorded {
            Recorded::State(key, digest) => gateway.acknowledge_state(key, digest),
            Recorded::Fact(key, id) => gateway.acknowledge_fact(key, id),
        }
    }

    pub(super) fn control_event(&mut self, wire: u64, mut gateway: ControlSession, event: ControlEvent) {
        if let ControlEvent::Ended { reason, .. } = &event {
            note!(self, "control ended: {reason}");
            // What it still has to say is its close frame.
            while let Some(transmit) = gateway.poll_transmit() {
                self.carry(wire, false, transmit);
            }
            return;
        }
        let hello = matches!(event, ControlEvent::Hello(_));
        let current = self.plane.session.as_ref().is_some_and(|(_, recorded)| *recorded == wire);
        if hello || current {
            self.said(wire, &mut gateway, event);
        } else {
            gateway.close(CloseCode::Superseded, "another session has taken over");
        }
        self.put_back(wire, gateway);
    }

    fn said(&mut self, wire: u64, gateway: &mut ControlSession, event: ControlEvent) {
        let commit = self.dice.between(0, self.rates.commit);
        match event {
            ControlEvent::Hello(hello) => {
                let recorded = self.plane.session.clone();
                let alive = |wire: u64| self.wires.get(&wire).is_some_and(|wire| wire.gateway.is_some());
                let known = recorded.as_ref().map(|(epoch, wire)| (epoch, alive(*wire)));
                if !hello.epoch.is_accepted(known) {
                    return gateway.close(CloseCode::Superseded, "an older epoch");
                }
                if let Some((epoch, before)) = recorded {
                    let order = |epoch: &protocol::message::Epoch| (epoch.transitions, epoch.connection);
                    if order(&hello.epoch) < order(&epoch) && alive(before) {
                        self.checks.broken("I4", "a session of an older leader took over from a newer one".to_owned());
                    }
                    self.after(0, 2_000, Event::Displaced { wire: before });
                }
                let welcome = Welcome {
                    session: format!("session-{wire}"),
                    store_id: self.plane.store_id(),
                    counter: self.plane.counter,
                    capabilities: Vec::new(),
                    window: WINDOW,
                    bulk: String::new(),
                    reconnect_spread_ms: 500,
                    time: String::new(),
                };
                self.plane.opened(&hello, wire);
                if gateway.welcome(&hello, welcome) {
                    match self.plane.held {
                        true => self.held("hello says so"),
                        // Adopted while it was away.
                        false => gateway.adopt(self.plane.adoption()),
                    }
                }
            }
            ControlEvent::InventoryReceived { task_runs, cut, .. } => {
                gateway.compare(self.plane.desired(&task_runs, cut))
            }
            ControlEvent::Compared { differences } => {
                let (offers, held) = self.plane.compared(&differences);
                for (key, generation) in self.plane.agreed(&differences) {
                    self.checks.acknowledged(&key, generation, &self.api, self.now);
                }
                offers.into_iter().for_each(|offer| gateway.offer(offer));
                gateway.finish_comparison(held);
                if held {
                    self.held(&format!("never issued: {differences:?}"));
                }
            }
            ControlEvent::Answered { key, generation, hash, verdict } => {
                note!(self, "control {key} {generation} {}", words(&verdict));
                if matches!(verdict, Verdict::Accepted { .. } | Verdict::Already) {
                    self.checks.acknowledged(&key, generation, &self.api, self.now);
                }
                let asked_again = matches!(verdict, Verdict::Refused { class: RefusalClass::Policy, .. });
                if asked_again && hash.is_some() {
                    self.after(30_000, 60_000, Event::AskAgain { key: key.clone(), generation });
                }
                let next = self.plane.answered(&key, generation, hash.is_none(), &verdict);
                next.into_iter().for_each(|offer| gateway.offer(offer));
            }
            ControlEvent::RetryDue { key } => {
                let forget = self.plane.forget(&key).or_else(|| self.plane.forget_again(&key));
                let offer = forget.or_else(|| self.plane.offer(&key));
                offer.into_iter().for_each(|offer| gateway.offer(offer));
            }
            ControlEvent::State(report) => {
                let next = self.plane.state(&report.key, report.state);
                next.into_iter().for_each(|offer| gateway.offer(offer));
                let recorded = Recorded::State(report.key, report.digest);
                self.after(0, commit, Event::Acknowledge { wire, recorded });
            }
            ControlEvent::Fact(report) => {
                let (key, fact) = (report.key, report.fact);
                note!(self, "control {key} fact {} {:?}", fact.id, fact.kind);
                self.plane.implied(&key, fact.generation);
                let recorded = Recorded::Fact(key.clone(), fact.id.clone());
                if self.bug == Some(Bug::AcknowledgedBeforeRecorded) {
                    self.after(100, 1_000, Event::Record { key: key.clone(), fact: Box::new(fact), wire });
                    self.after(0, 0, Event::Acknowledge { wire, recorded });
                } else {
                    self.plane.facts.insert(fact.id.clone(), (key.clone(), fact));
                    self.after(0, commit, Event::Acknowledge { wire, recorded });
                }
                self.plane.forget(&key).into_iter().for_each(|offer| gateway.offer(offer));
            }
            ControlEvent::Renew(_)
            | ControlEvent::StreamEnded(_)
            | ControlEvent::Listing(_)
            | ControlEvent::Ended { .. }
            | ControlEvent::Unsupported { .. } => {}
        }
    }

    fn held(&mut self, why: &str) {
        note!(self, "held: {why}");
        if !self.checks.restored {
            self.checks.broken("held", format!("a session was held without a restore: {why}"));
        }
        self.plane.held = true;
        self.after(1_000, 20_000, Event::Adopt);
    }
}

fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accepted { modified, .. } => format!("accepted, modified {modified:?}"),
        Verdict::Already => "already".to_owned(),
        Verdict::Stale { generation, floor, .. } => format!("stale: {generation:?}, floor {floor}"),
        Verdict::Conflict { generation, .. } => format!("conflict with {generation}"),
        Verdict::Deferred { message, .. } => format!("deferred: {message}"),
        Verdict::Refused { reasons, .. } => format!("refused: {reasons:?}"),
        Verdict::Forgotten { floor } => format!("forgotten, floor {floor}"),
    }
}

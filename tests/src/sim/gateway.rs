//! The wire between the two sessions, and the gateway: the real control session over the model of a store.

use protocol::message::{Verdict, Welcome, Window};
use protocol::session::{
    CloseCode, ControlEvent, ControlSession, ControlSettings, Delivery, DialFailure, Disconnect, Offer, Transmit,
};

use super::Bug;
use super::world::{Event, World};

const WINDOW: Window = Window { messages: 8, bytes: 200_000 };

impl World {
    /// Ends the connection for both sides.
    pub(super) fn cut(&mut self, cause: Disconnect) {
        self.wire += 1;
        self.silent = false;
        if let Some(link) = &mut self.link {
            link.session.handle_disconnected(self.now, cause, "cut");
        }
        self.gateway = None;
    }

    pub(super) fn dialled(&mut self, incarnation: u64) {
        let Some(link) = self.link.as_mut().filter(|link| link.incarnation == incarnation) else { return };
        if !self.gateway_up {
            return link.session.handle_dial_failed(self.now, DialFailure::Unreachable, "no gateway");
        }
        self.wire += 1;
        self.silent = false;
        link.session.handle_connected(self.now, "lease", i64::try_from(incarnation).unwrap_or(0));
        self.gateway = Some(ControlSession::new(ControlSettings::default(), self.now, self.wire));
    }

    pub(super) fn arrive_at_control(&mut self, wire: u64, transmit: Transmit) {
        if wire != self.wire || self.silent {
            return;
        }
        let Some(gateway) = &mut self.gateway else { return };
        match transmit {
            Transmit::Text(text) => gateway.handle_text(self.now, &text),
            Transmit::Ping => {
                gateway.handle_alive(self.now);
                self.after(1, 40, Event::ToAgent { wire, transmit: Transmit::Ping });
            }
            Transmit::Close { code, reason } => gateway.handle_disconnected(Disconnect::Closed(code), &reason),
        }
    }

    pub(super) fn arrive_at_agent(&mut self, wire: u64, transmit: Transmit) {
        if wire != self.wire || self.silent {
            return;
        }
        let Some(link) = &mut self.link else { return };
        match transmit {
            Transmit::Text(text) => link.session.handle_text(self.now, &text),
            Transmit::Ping => link.session.handle_alive(self.now),
            Transmit::Close { code, reason } => {
                link.session.handle_disconnected(self.now, Disconnect::Closed(code), &reason);
            }
        }
    }

    /// Lets both sessions say what they have to say at this moment.
    pub(super) fn settle(&mut self) {
        loop {
            let wire = self.wire;
            if let Some(event) = self.link.as_mut().and_then(|link| link.session.poll_event()) {
                self.agent_event(event);
            } else if let Some(event) = self.gateway.as_mut().and_then(ControlSession::poll_event) {
                self.control_event(event);
            } else if let Some(transmit) = self.link.as_mut().and_then(|link| link.session.poll_transmit()) {
                self.carry(Event::ToControl { wire, transmit });
            } else if let Some(transmit) = self.gateway.as_mut().and_then(ControlSession::poll_transmit) {
                self.carry(Event::ToAgent { wire, transmit });
            } else {
                return;
            }
        }
    }

    /// Frames keep their order: the later one arrives not before the earlier one.
    fn carry(&mut self, event: Event) {
        let to_control = matches!(event, Event::ToControl { .. });
        let earlier = self.arrivals.get(&(self.wire, to_control)).copied().unwrap_or(0);
        let at = (self.now + self.dice.between(1, 40)).max(earlier);
        self.arrivals.insert((self.wire, to_control), at);
        self.at(at, event);
    }

    fn control_event(&mut self, event: ControlEvent) {
        let Some(mut gateway) = self.gateway.take() else { return };
        match event {
            ControlEvent::Hello(hello) => {
                let recorded = self.epoch.as_ref().map(|epoch| (epoch, false));
                if !hello.epoch.is_accepted(recorded) {
                    gateway.close(CloseCode::Superseded, "an older epoch");
                } else {
                    self.epoch = Some(hello.epoch.clone());
                    let welcome = Welcome {
                        session: format!("session-{}", self.wire),
                        store_id: "store".to_owned(),
                        counter: self.plane.counter,
                        capabilities: Vec::new(),
                        window: WINDOW,
                        bulk: String::new(),
                        reconnect_spread_ms: 500,
                        time: String::new(),
                    };
                    if gateway.welcome(&hello, welcome) {
                        self.checks.broken("held", "a session was held without a restore".to_owned());
                    }
                }
            }
            ControlEvent::InventoryReceived { .. } => gateway.compare(self.plane.inventory()),
            ControlEvent::Compared { differences } => {
                let (offers, held) = self.plane.compared(&differences);
                if held {
                    self.checks.broken("held", format!("never issued: {differences:?}"));
                }
                offers.into_iter().for_each(|offer| gateway.offer(offer));
                gateway.finish_comparison(held);
            }
            ControlEvent::Answered { key, generation, hash, verdict } => {
                self.note(format!("control {key} {generation} {}", word(&verdict)));
                if matches!(verdict, Verdict::Accepted { .. } | Verdict::Already) {
                    self.checks.acknowledged(&key, generation, &self.api);
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
                if report.state.is_some() {
                    self.plane.forget_again(&report.key).into_iter().for_each(|offer| gateway.offer(offer));
                }
                match report.state {
                    Some(state) => self.plane.states.insert(report.key.clone(), state),
                    None => self.plane.states.remove(&report.key),
                };
                gateway.acknowledge_state(report.key, report.digest);
            }
            ControlEvent::Fact(report) => {
                let (key, fact) = (report.key, report.fact);
                self.note(format!("control {key} fact {} {:?}", fact.id, fact.kind));
                // What has an outcome was stored, though its answer may never come.
                self.plane.accepted.insert((key.clone(), fact.generation));
                if self.bug == Some(Bug::AcknowledgedBeforeRecorded) {
                    let event =
                        Event::Record { key: key.clone(), fact: Box::new(fact.clone()), gateway: self.gateways };
                    self.after(0, 1_000, event);
                } else {
                    self.plane.facts.insert(fact.id.clone(), (key.clone(), fact.clone()));
                }
                if let Some(Offer { key, generation, delivery: delivery @ Delivery::Forget }) = self.plane.forget(&key)
                {
                    gateway.offer(Offer { key, generation, delivery });
                }
                gateway.acknowledge_fact(key, fact.id);
            }
            ControlEvent::Ended { reason, .. } => {
                self.note(format!("control ended: {reason}"));
                return;
            }
            ControlEvent::Renew(_)
            | ControlEvent::StreamEnded(_)
            | ControlEvent::Listing(_)
            | ControlEvent::Unsupported { .. } => {}
        }
        self.gateway = Some(gateway);
    }
}

const fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted { .. } => "accepted",
        Verdict::Already => "already",
        Verdict::Stale { .. } => "stale",
        Verdict::Conflict { .. } => "conflict",
        Verdict::Deferred { .. } => "deferred",
        Verdict::Refused { .. } => "refused",
        Verdict::Forgotten { .. } => "forgotten",
    }
}

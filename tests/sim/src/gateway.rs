//! The wire between the two sessions, and two gateways over one store. What they decide is in [`super::control`].

use control_plane_mock::gateway::link::core::Core;
use protocol::name::ResourceKey;
use protocol::session::{CloseCode, ControlSession, ControlSettings, DialFailure, Disconnect, Millis, Offer, Transmit};

use super::clock::Clock;
use super::event::Event;
use super::world::World;

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    /// The process that dialled.
    pub(super) link: u64,
    /// Which gateway answered.
    pub(super) at: usize,
    pub(super) gateway: Option<ControlSession>,
    /// What decides for it, from its hello on.
    pub(super) core: Option<Box<Core>>,
    /// It is to look into the store.
    pub(super) woken: bool,
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
    /// Ends a connection for both sides. A gateway that stops itself handles nothing any more.
    pub(super) fn cut(&mut self, wire: u64, cause: Disconnect) {
        let Some(ended) = self.wires.get_mut(&wire) else { return };
        ended.silent = true;
        match (cause, &mut ended.gateway) {
            (Disconnect::Cut, Some(gateway)) => gateway.handle_disconnected(cause, "cut"),
            (Disconnect::Cut | Disconnect::Closed(_) | Disconnect::Local, _) => ended.gateway = None,
        }
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
        let wire =
            Wire { link: incarnation, at, gateway, core: None, woken: false, clock, silent: false, arrivals: [0; 2] };
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

    pub(super) fn acknowledge(&mut self, wire: u64, recorded: Recorded) {
        let Some(gateway) = self.wires.get_mut(&wire).and_then(|wire| wire.gateway.as_mut()) else { return };
        match recorded {
            Recorded::State(key, digest) => gateway.acknowledge_state(key, digest),
            Recorded::Fact(key, id) => gateway.acknowledge_fact(key, id),
        }
    }
}

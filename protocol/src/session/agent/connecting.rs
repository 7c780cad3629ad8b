//! How a connection of an agent begins and ends, and what its timers do.

use std::collections::BTreeMap;

use super::super::{
    CloseClass, CloseCode, DialFailure, Disconnect, Flight, HELLO_TIMEOUT, Millis, PING_MAX, PING_MIN, PONG_TIMEOUT,
    PROBE, Transmit,
};
use super::{AgentEvent, AgentMessage, AgentSession, Asked, Connection, Epoch, Hello, Joiner, Phase};
use crate::mutant::{self, Mutant};

/// Why a connection without a welcome ends.
pub(super) const NO_WELCOME: &str = "no welcome in time";

impl Connection {
    /// Whether welcome has not come in time.
    pub(super) const fn is_overdue(&self, now: Millis) -> bool {
        self.welcomed.is_none() && self.since + HELLO_TIMEOUT <= now
    }
}

impl AgentSession {
    /// Begins to dial. Call it once this process leads and has passed in everything that is stored.
    pub fn start(&mut self, now: Millis) {
        if matches!(self.phase, Phase::Idle) {
            self.phase = Phase::Waiting { at: now };
        }
    }

    /// A new certificate, CA bundle or address is in place: a dial that waits is tried at once.
    pub fn credentials_changed(&mut self, now: Millis) {
        if let Phase::Waiting { at } = &mut self.phase {
            *at = now;
        }
    }

    /// Leaves for good, because leadership was lost or the process ends.
    pub fn stop(&mut self, code: CloseCode) {
        if matches!(self.phase, Phase::Connected(_)) {
            self.transmit.end(Some(Transmit::Close { code, reason: String::new() }));
        }
        self.outbox.disconnected();
        self.phase = Phase::Idle;
    }

    /// The connection stands: hello is sent. `lease` and `transitions` are those under which this process leads.
    pub fn handle_connected(&mut self, now: Millis, lease: &str, transitions: i64) {
        self.connection += i64::from(self.connection == 0 || !mutant::is(Mutant::ConnectionNotCounted));
        self.transmit.end(None);
        self.outbox.disconnected();
        self.phase = Phase::Connected(Box::new(Connection {
            since: now,
            welcomed: None,
            joiner: Joiner::default(),
            unanswered: BTreeMap::new(),
            window: Flight::new(self.settings.window),
            next_ping: now + self.chance.between(PING_MIN, PING_MAX),
            pinged: None,
            probed: None,
            drain_at: None,
            held: false,
            counter: 0,
            asked: Asked::default(),
            renewing: false,
        }));
        let settings = &self.settings;
        let hello = Hello {
            data_plane: settings.data_plane.clone(),
            version: settings.version.clone(),
            instance: settings.instance.clone(),
            epoch: Epoch { lease: lease.to_owned(), transitions, connection: self.connection },
            cluster: settings.cluster.clone(),
            schema: settings.schema.clone(),
            capabilities: settings.capabilities.clone(),
            floor: self.floor,
            highest: self.highest(),
            store_id: self.store_id.clone(),
            window: settings.window,
        };
        self.send(AgentMessage::Hello(Box::new(hello)));
    }

    /// The attempt failed.
    pub fn handle_dial_failed(&mut self, now: Millis, failure: DialFailure, reason: &str) {
        if !matches!(self.phase, Phase::Dialling) {
            return;
        }
        if failure.class() == CloseClass::Renew {
            self.events.push_back(AgentEvent::RenewNeeded);
        }
        let dial_after = self.dialer.after_failure(failure, &mut self.chance);
        self.phase = Phase::Waiting { at: now + dial_after };
        self.events.push_back(AgentEvent::Lost { cause: Disconnect::Local, reason: reason.to_owned(), dial_after });
    }

    /// The connection ended.
    pub fn handle_disconnected(&mut self, now: Millis, cause: Disconnect, reason: &str) {
        let Phase::Connected(connection) = &self.phase else { return };
        let lived = connection.welcomed.map(|_| now.saturating_sub(connection.since));
        self.outbox.disconnected();
        self.transmit.end(None);
        let class = match cause {
            Disconnect::Local | Disconnect::Cut => CloseClass::Reconnect,
            Disconnect::Closed(code) => code.class(),
        };
        if class == CloseClass::IfLeading {
            self.phase = Phase::Idle;
            self.events.push_back(AgentEvent::Superseded);
            return;
        }
        if class == CloseClass::Renew {
            self.events.push_back(AgentEvent::RenewNeeded);
        }
        let dial_after = self.dialer.after_session(lived, cause, &mut self.chance);
        self.phase = Phase::Waiting { at: now + dial_after };
        self.events.push_back(AgentEvent::Lost { cause, reason: reason.to_owned(), dial_after });
    }

    /// A frame was received of which no message can be made: binary, or too long for the transport to hand it on.
    pub fn handle_unusable(&mut self, now: Millis, code: CloseCode, reason: &str) {
        if matches!(self.phase, Phase::Connected(_)) {
            self.close(now, code, reason);
        }
    }

    /// Something was received that is neither text nor a pong. Any byte counts.
    pub fn handle_alive(&mut self) {
        if let Phase::Connected(connection) = &mut self.phase {
            connection.pinged = None;
        }
    }

    /// A pong was received.
    pub fn handle_pong(&mut self, now: Millis) {
        self.handle_alive();
        if let Phase::Connected(connection) = &mut self.phase
            && let Some(probed) = connection.probed.take()
        {
            self.round_trip = Some(now.saturating_sub(probed));
        }
    }

    /// Measures the round trip every [`PROBE`] while `on`, for whoever throttles other traffic when it grows.
    pub fn probe(&mut self, now: Millis, on: bool) {
        let begins = on && !self.probing;
        self.probing = on;
        if begins && let Phase::Connected(connection) = &mut self.phase {
            connection.next_ping = now;
        }
    }

    /// The time that `poll_timeout` named has come; harmless at any other time.
    pub fn handle_timeout(&mut self, now: Millis) {
        match &mut self.phase {
            Phase::Idle | Phase::Dialling => {}
            Phase::Waiting { at } => {
                if *at <= now {
                    self.phase = Phase::Dialling;
                    self.events.push_back(AgentEvent::Dial);
                }
            }
            Phase::Connected(connection) => {
                if connection.is_overdue(now) {
                    self.close(now, CloseCode::Timeout, NO_WELCOME);
                } else if connection.pinged.is_some_and(|pinged| pinged + PONG_TIMEOUT <= now)
                    && !mutant::is(Mutant::SilenceIgnored)
                {
                    self.close(now, CloseCode::Timeout, "no byte in time after a ping");
                } else if connection.drain_at.is_some_and(|at| at <= now) {
                    self.drained(now);
                } else if connection.next_ping <= now {
                    connection.pinged.get_or_insert(now);
                    let pause = if self.probing { PROBE } else { self.chance.between(PING_MIN, PING_MAX) };
                    connection.next_ping = now + pause;
                    // One ping at a time, so that its pong can be told from others.
                    if connection.probed.is_none() {
                        connection.probed = Some(now);
                        self.transmit.push(Transmit::Ping);
                    }
                }
            }
        }
    }
}

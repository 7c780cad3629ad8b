//! What a gateway does with the events of its session: the mock's own decisions ([`Core`]) over the store.

use control_plane_mock::desired::{documents, sessions};
use control_plane_mock::gateway::link::core::{self, Core, Happened, Identity, Opening, Say, SessionState};
use control_plane_mock::store::{Error, Result};
use protocol::message::{FactReport, Hello, RefusalClass, Verdict, Welcome, Window};
use protocol::name::Kind;
use protocol::session::{ControlEvent, ControlSession, Delivery};
use rusqlite::Connection;

use super::Bug;
use super::event::Event;
use super::gateway::Recorded;
use super::plane::{DATA_PLANE, GATEWAYS, KEY};
use super::trace::note;
use super::world::World;

/// Small, so that it is full now and then.
const WINDOW: Window = Window { messages: 3, bytes: 200_000 };

/// Longest time until a gateway looks into the store after it changed.
const LOOK: u64 = 60;

impl World {
    /// Runs `work` in the store, and wakes whom it concerns. Only a session that is not the current one may fail.
    pub(super) fn in_store<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let (done, woken) = self.plane.run(work).inspect_err(|error| {
            if !matches!(error, Error::Superseded) {
                self.checks.broken("store", error.to_string());
            }
        })?;
        if woken {
            let open: Vec<u64> = self.wires.keys().copied().collect();
            open.into_iter().for_each(|wire| self.wake_gateway(wire));
            self.ask_a_person();
        }
        Ok(done)
    }

    fn wake_gateway(&mut self, wire: u64) {
        if let Some(open) = self.wires.get_mut(&wire).filter(|wire| !wire.woken) {
            open.woken = true;
            self.after(0, LOOK, Event::Look { wire });
        }
    }

    /// A held data plane waits for a person.
    fn ask_a_person(&mut self) {
        let Some(why) = self.plane.held().filter(|_| !self.adoption_is_due) else { return };
        note!(self, "held: {why}");
        if !self.checks.restored {
            self.checks.broken("held", format!("a session was held without a restore: {why}"));
        }
        self.adoption_is_due = true;
        self.after(1_000, 20_000, Event::Adopt);
    }

    /// A gateway looks into the store.
    pub(super) fn look(&mut self, wire: u64) {
        if let Some(open) = self.wires.get_mut(&wire) {
            open.woken = false;
        }
        self.by_itself(wire, Happened::StoreChanged);
    }

    /// The gateway that serves the data plane then sends again what the customer's policy refused.
    pub(super) fn ask_again(&mut self) {
        let current = self.plane.session.as_ref().map(|(_, wire)| *wire);
        let serving = |wire: &u64| {
            let gateway = self.wires.get(wire).and_then(|wire| wire.gateway.as_ref());
            gateway.is_some_and(|gateway| gateway.is_open() && !gateway.is_held())
        };
        match current.filter(serving) {
            Some(wire) => self.by_itself(wire, Happened::AskAgain),
            None => self.after(30_000, 60_000, Event::AskAgain),
        }
    }

    /// A person asks again for documents in quarantine.
    pub(super) fn ask_again_for_quarantined(&mut self) {
        if self.plane.wanted().iter().any(|wish| wish.quarantined) {
            note!(self, "a person asks again for what was set aside");
            drop(self.in_store(|c| documents::ask_again(c, DATA_PLANE, None)));
        }
    }

    fn by_itself(&mut self, wire: u64, input: Happened) {
        let Some(mut session) = self.wires.get_mut(&wire).and_then(|wire| wire.gateway.take()) else { return };
        self.decide(wire, &mut session, input);
        self.put_back(wire, session);
    }

    pub(super) fn control_event(&mut self, wire: u64, mut session: ControlSession, event: ControlEvent) {
        match event {
            ControlEvent::Hello(hello) => self.hello(wire, &mut session, &hello),
            ControlEvent::Ended { ref reason, .. } => {
                note!(self, "control ended: {reason}");
                self.decide(wire, &mut session, Happened::Events(vec![event]));
                self.after(0, LOOK, Event::Left { wire });
                // The session's last message is its close frame.
                while let Some(transmit) = session.poll_transmit() {
                    self.carry(wire, false, transmit);
                }
                return;
            }
            ControlEvent::Fact(FactReport { key, fact }) if self.bug == Some(Bug::AcknowledgedBeforeRecorded) => {
                let recorded = Recorded::Fact(key.clone(), fact.id.clone());
                self.after(100, 1_000, Event::Record { report: Box::new(FactReport { key, fact }), wire });
                self.after(0, 0, Event::Acknowledge { wire, recorded });
            }
            ControlEvent::Answered { .. }
            | ControlEvent::Fact(_)
            | ControlEvent::InventoryReceived { .. }
            | ControlEvent::Compared { .. }
            | ControlEvent::RetryDue { .. }
            | ControlEvent::State(_) => self.told(wire, &mut session, event),
            ControlEvent::Renew(_) | ControlEvent::StreamEnded(_) | ControlEvent::Unsupported { .. } => {}
        }
        self.put_back(wire, session);
    }

    /// Records a report that was acknowledged before, if its gateway still runs.
    pub(super) fn record(&mut self, wire: u64, report: FactReport) {
        self.by_itself(wire, Happened::Events(vec![ControlEvent::Fact(report)]));
    }

    /// The end of a session is recorded.
    pub(super) fn left(&mut self, wire: u64) {
        let heard = self.wall_clock();
        drop(self.in_store(|c| sessions::close(c, DATA_PLANE, &session_id(wire), heard, "the link was lost")));
    }

    fn hello(&mut self, wire: u64, session: &mut ControlSession, hello: &Hello) {
        let before = self.plane.session.clone();
        let at = self.wires.get(&wire).map_or(0, |wire| wire.at);
        let gateway = GATEWAYS.get(at).copied().unwrap_or_default();
        let (id, store_id) = (session_id(wire), self.plane.store_id());
        let identity = Identity { data_plane: DATA_PLANE, key: KEY, generation: 0 };
        let opening = self.in_store(|c| Core::open(c, identity, hello, &id, gateway, &store_id));
        let (core, counter, held) = match opening {
            Ok(Opening::Current { core, counter, held }) => (core, counter, held.is_some()),
            Ok(Opening::Refused { code, reason }) => return session.close(code, reason),
            Err(error) => return core::closing(&error).to(session),
        };
        if let Some((epoch, before)) = before {
            let order = |epoch: &protocol::message::Epoch| (epoch.transitions, epoch.connection);
            let alive = self.wires.get(&before).is_some_and(|wire| wire.gateway.is_some());
            if order(&hello.epoch) < order(&epoch) && alive {
                self.checks.broken("I4", "a session of an older leader took over from a newer one".to_owned());
            }
        }
        self.plane.session = Some((hello.epoch.clone(), wire));
        let welcome = Welcome {
            session: id,
            store_id,
            counter,
            capabilities: Vec::new(),
            window: WINDOW,
            bulk: String::new(),
            reconnect_spread_ms: 500,
            time: String::new(),
        };
        core.welcome(session, hello, welcome, held);
        if let Some(wire) = self.wires.get_mut(&wire) {
            wire.core = Some(core);
        }
    }

    fn told(&mut self, wire: u64, session: &mut ControlSession, event: ControlEvent) {
        let compared = matches!(event, ControlEvent::Compared { .. });
        let listed = matches!(event, ControlEvent::InventoryReceived { .. });
        let (mut answered, mut stored, mut gone) = (None, None, None);
        if let ControlEvent::Answered { key, generation, hash, verdict } = &event {
            note!(self, "control {key} {generation} {}", words(verdict));
            let stored = matches!(verdict, Verdict::Accepted { .. } | Verdict::Already);
            answered = stored.then(|| (key.clone(), *generation));
            gone = matches!(verdict, Verdict::Forgotten { .. }).then(|| key.clone());
            if matches!(verdict, Verdict::Refused { class: RefusalClass::Policy, .. }) && hash.is_some() {
                self.after(30_000, 60_000, Event::AskAgain);
            }
        }
        if let ControlEvent::Fact(FactReport { key, fact }) = &event {
            note!(self, "control {key} fact {} {:?}", fact.id, fact.kind);
            stored = Some((key.clone(), fact.generation));
        }
        if !self.decide(wire, session, Happened::Events(vec![event])) {
            return;
        }
        if let Some((key, generation)) = &answered {
            self.checks.acknowledged(key, *generation, &self.api, self.now);
            self.checks.answered(wire, key);
        }
        if let Some(key) = &gone {
            self.gone(key);
        }
        self.plane.record.accepted.extend(answered.into_iter().chain(stored));
        if compared || listed {
            for wish in self.plane.wanted().iter().filter(|wish| wish.is_accepted()) {
                if compared && wish.key.kind != Kind::TaskRun {
                    self.checks.acknowledged(&wish.key, wish.generation, &self.api, self.now);
                }
                self.plane.record.accepted.insert((wish.key.clone(), wish.generation));
            }
        }
    }

    /// Lets the core decide, and passes the results to the session. False if this is not the data plane's session any more.
    fn decide(&mut self, wire: u64, session: &mut ControlSession, input: Happened) -> bool {
        let Some(mut core) = self.wires.get_mut(&wire).and_then(|wire| wire.core.take()) else { return false };
        let session_state = SessionState::of(session);
        let say = match self.in_store(|c| core.handle(c, input, session_state)) {
            Ok(say) => say,
            Err(error) => {
                core::closing(&error).to(session);
                return false;
            }
        };
        if let Some((_, current)) = self.plane.session.as_ref().filter(|(_, current)| *current != wire) {
            let what = format!("the store took words of connection {wire}, and the session is that of {current}");
            self.checks.broken("I4", what);
        }
        for say in say {
            // An acknowledgement is sent after the commit.
            let recorded = match say {
                Say::AcknowledgeState { key, digest } => Recorded::State(key, digest),
                Say::AcknowledgeFact { key, id } => Recorded::Fact(key, id),
                Say::Offer(offer) => {
                    if matches!(offer.delivery, Delivery::Forget) {
                        self.plane.record.forgets.insert((offer.key.clone(), offer.generation));
                    }
                    session.offer(offer);
                    continue;
                }
                Say::Compare(_) | Say::FinishComparison { .. } | Say::Adopt(_) | Say::Close { .. } => {
                    say.to(session);
                    continue;
                }
            };
            self.after(0, self.rates.commit, Event::Acknowledge { wire, recorded });
        }
        if let Some(wire) = self.wires.get_mut(&wire) {
            wire.core = Some(core);
        }
        true
    }
}

fn session_id(wire: u64) -> String {
    format!("session-{wire}")
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

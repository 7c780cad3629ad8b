//! The world: clock, queue of events, processes that run, sleep and are replaced, and what happens next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use control_plane_mock::domain::gateways;
use protocol::session::{ControlSession, Millis};

use super::api::Api;
use super::check::{Checks, key_of};
use super::clock::Clock;
use super::dice::Dice;
use super::event::{Event, Stream};
use super::gateway::Wire;
use super::link::Link;
use super::operator::Operator;
use super::plane::{Copy, GATEWAYS, Plane};
use super::rates::Rates;
use super::remote::Mailbox;
use super::restore::Snapshot;
use super::trace::{Trace, note};
use super::{Bug, Fault, Mistake};
use tokio::time::Instant;

/// More than any run needs by far: something turns in circles.
const MAX_STEPS: u64 = 60_000;

pub(super) struct World {
    pub(super) now: Millis,
    /// Time of the operators' clock at the world's time 0.
    pub(super) begin: Instant,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) dice: Dice,
    pub(super) api: Api,
    pub(super) plane: Plane,
    pub(super) backup: Option<Copy>,
    /// Until then the API server answers most deletes with 429.
    pub(super) deletes_slowly: u64,
    /// A person is going to adopt the data plane.
    pub(super) adoption_is_due: bool,
    pub(super) snapshot: Option<Snapshot>,
    /// How often the API server was restored from a snapshot.
    pub(super) restores: u64,
    /// The newest process that had begun when that happened last.
    pub(super) before_restore: u64,
    pub(super) checks: Checks,
    pub(super) links: BTreeMap<u64, Link>,
    pub(super) operators: BTreeMap<u64, Operator>,
    /// Who holds the lease of each role; none while nobody does.
    pub(super) link: Option<u64>,
    pub(super) operator: Option<u64>,
    pub(super) incarnations: u64,
    /// Transitions of the link's lease.
    pub(super) transitions: i64,
    /// Transitions of the operator's lease.
    pub(super) terms: i64,
    /// Until when a process sleeps.
    pub(super) asleep: BTreeMap<u64, Millis>,
    pub(super) rates: Rates,
    /// Runs that were asked for.
    pub(super) runs: usize,
    pub(super) bug: Option<Bug>,
    pub(super) reached: BTreeSet<Fault>,
    pub(super) trace: Trace,
    queue: BTreeMap<(Millis, u64), Event>,
    sequence: u64,
    steps: u64,
    /// Arrival of the last change at a watch, and its round.
    pub(super) watches: BTreeMap<Stream, (Millis, u64)>,
    pub(super) wires: BTreeMap<u64, Wire>,
    pub(super) last_wire: u64,
    /// Until when each gateway is away.
    pub(super) gateways: [Millis; 2],
    pub(super) gateway_clocks: [Clock; 2],
}

impl World {
    pub(super) fn new(seed: u64, mistake: Option<Mistake>, traced: bool) -> Self {
        let mut dice = Dice::new(seed);
        let rates = Rates::draw(&mut dice);
        let gateway_clocks = [Clock::draw(&mut dice), Clock::draw(&mut dice)];
        let bug = match mistake {
            Some(Mistake::Around(bug)) => Some(bug),
            Some(Mistake::Product(_)) | None => None,
        };
        Self {
            now: 0,
            begin: Instant::now(),
            mailbox: Arc::default(),
            dice,
            api: Api::new(bug == Some(Bug::NoPreconditions)),
            plane: Plane::new(),
            backup: None,
            deletes_slowly: 0,
            adoption_is_due: false,
            snapshot: None,
            restores: 0,
            before_restore: 0,
            checks: Checks::default(),
            links: BTreeMap::new(),
            operators: BTreeMap::new(),
            link: None,
            operator: None,
            incarnations: 0,
            transitions: 0,
            terms: 0,
            asleep: BTreeMap::new(),
            rates,
            runs: 0,
            bug,
            reached: BTreeSet::new(),
            trace: Trace::new(traced),
            queue: BTreeMap::new(),
            sequence: 0,
            steps: 0,
            watches: BTreeMap::new(),
            wires: BTreeMap::new(),
            last_wire: 0,
            gateways: [0; 2],
            gateway_clocks,
        }
    }

    pub(super) fn at(&mut self, at: Millis, event: Event) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), event);
    }

    pub(super) fn after(&mut self, low: Millis, high: Millis, event: Event) {
        let at = self.now + self.dice.between(low, high);
        self.at(at, event);
    }

    /// Until when a process sleeps, if it does.
    pub(super) fn sleeps(&self, incarnation: u64) -> Option<Millis> {
        self.asleep.get(&incarnation).copied().filter(|wake| *wake > self.now)
    }

    /// Runs one event, the next timer included. False when `end` is reached first.
    pub(super) async fn step(&mut self, end: Millis) -> bool {
        loop {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                self.checks.broken("I6", format!("{MAX_STEPS} events and no end"));
                return false;
            }
            let (timer, queued) = self.next();
            if !self.operators_run(timer.min(queued).min(end)).await {
                return self.happen(timer, queued, end);
            }
        }
    }

    /// Times of the next timer and of the next event.
    fn next(&self) -> (Millis, Millis) {
        let agents = self.links.iter().filter_map(|(incarnation, link)| {
            let (at, _) = link.session.poll_timeout()?;
            Some(link.clock.when(at).max(self.asleep.get(incarnation).copied().unwrap_or(0)))
        });
        let gateways =
            self.wires.values().filter_map(|wire| Some(wire.clock.when(wire.gateway.as_ref()?.poll_timeout()?.0)));
        let timer = agents.chain(gateways).min().unwrap_or(Millis::MAX);
        let queued = self.queue.first_key_value().map_or(Millis::MAX, |((at, _), _)| *at);
        (timer, queued)
    }

    /// Lets the operators run, and the clock advance to `until`. True if one of them made a request before that: then the clock is at the
    /// time of the request.
    ///
    /// The runtime's clock moves only when no task can go on, and only to the next timer of anybody.
    async fn operators_run(&mut self, until: Millis) -> bool {
        let end = self.begin + Duration::from_millis(until);
        if end <= Instant::now() {
            tokio::task::yield_now().await;
        } else {
            tokio::select! {
                biased;
                () = self.mailbox.came() => {}
                () = tokio::time::sleep_until(end) => {}
            }
        }
        let now = self.begin.elapsed().as_millis();
        self.now = self.now.max(Millis::try_from(now).unwrap_or(Millis::MAX));
        self.take_wishes()
    }

    fn happen(&mut self, timer: Millis, queued: Millis, end: Millis) -> bool {
        if timer.min(queued) > end {
            self.now = end;
            return false;
        }
        if queued <= timer {
            if let Some(((at, _), event)) = self.queue.pop_first() {
                self.now = self.now.max(at);
                // The end of a run that turns in circles shows the circle.
                if self.steps + 30 > MAX_STEPS {
                    note!(self, "{event:?}");
                }
                let concerns_sessions = event.concerns_sessions();
                self.handle(event);
                if !concerns_sessions {
                    return true;
                }
            }
        } else {
            self.now = self.now.max(timer);
            for (incarnation, link) in &mut self.links {
                if self.asleep.get(incarnation).is_none_or(|wake| *wake <= self.now) {
                    link.session.handle_timeout(link.clock.shows(self.now));
                }
            }
            let now = self.now;
            for wire in self.wires.values_mut() {
                let shown = wire.clock.shows(now);
                if let Some(gateway) = &mut wire.gateway {
                    gateway.handle_timeout(shown);
                }
            }
        }
        self.settle();
        true
    }

    fn handle(&mut self, event: Event) {
        if let Some(wake) = event.process(&self.wires).and_then(|process| self.sleeps(process)) {
            return self.at(wake, event);
        }
        match event {
            Event::Execute { caller, token, request, answers, since, restores } => {
                // A process may fall asleep between its last look at its lease and the call.
                match self.sleeps(caller.incarnation()) {
                    Some(wake) if self.dice.per_mille(500) => {
                        self.at(wake, Event::Execute { caller, token, request, answers, since, restores });
                    }
                    // A restored API server knows of no call that was made before.
                    Some(_) | None if restores < self.restores => {}
                    Some(_) | None => self.execute(caller, token, request, (answers, since)),
                }
            }
            Event::Reply { caller, token, answer } => self.reply(caller, token, answer),
            Event::Ask { incarnation, token, request } => self.ask(incarnation, token, request),
            Event::Watch { stream, round, change } => self.watched(&stream, round, &change),
            Event::List { stream, round } => self.list(stream, round),
            Event::Listed { stream, round, objects } => self.listed(&stream, round, objects),
            Event::ToControl { wire, transmit } => self.arrive_at_control(wire, transmit),
            Event::ToAgent { wire, transmit } => self.arrive_at_agent(wire, transmit),
            Event::Disconnected { wire, cause } => self.disconnected(wire, cause),
            Event::Dialled { incarnation } => self.dialled(incarnation),
            Event::Look { wire } => self.look(wire),
            Event::Left { wire } => self.left(wire),
            Event::GatewayBack { at } => {
                if let Some(name) = GATEWAYS.get(at) {
                    drop(self.in_store(|c| gateways::enter(c, name, name, name)));
                }
            }
            Event::Acknowledge { wire, recorded } => self.acknowledge(wire, recorded),
            Event::Record { report, wire } => self.record(wire, *report),
            Event::StartLink => self.start_link(),
            Event::StartOperator => self.start_operator(),
            Event::Wakes { incarnation } => self.operator_wakes(incarnation),
            Event::TakeOver { caller, wake } => self.take_over(caller, wake),
            Event::Leave { caller } => self.leave(caller),
            Event::Rewound { caller } => self.rewound(caller),
            Event::Finalize { id } => self.finalize(&id),
            Event::AskAgain => self.ask_again(),
            Event::Insist { id, left } if key_of(&id).is_some() => drop(self.edit_again(&id, left)),
            Event::Insist { id, left } => self.insist(&id, left),
            Event::Controllers { id } => self.controllers(&id),
            Event::RemoveFacts { incarnation, key } => self.remove_facts(incarnation, key),
            Event::User(user) => self.user(&user),
            Event::Break(fault) => self.break_something(fault),
            Event::Backup => self.backup = Some(self.plane.copied()),
            Event::Snapshot => self.take_snapshot(),
            Event::Adopt => self.adopt(),
        }
    }

    /// Handles the events of all sessions and sends their messages.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            let awake: Vec<u64> = self.links.keys().copied().filter(|link| self.sleeps(*link).is_none()).collect();
            for incarnation in awake {
                while let Some(event) = self.links.get_mut(&incarnation).and_then(|link| link.session.poll_event()) {
                    quiet = false;
                    self.agent_event(incarnation, event);
                }
                while let Some(link) = self.links.get_mut(&incarnation) {
                    let wire = link.wire;
                    let Some(transmit) = link.session.poll_transmit() else { break };
                    quiet = false;
                    self.carry(wire, true, transmit);
                }
            }
            let open: Vec<u64> =
                self.wires.iter().filter(|(_, wire)| wire.gateway.is_some()).map(|(id, _)| *id).collect();
            for wire in open {
                let gateway = |world: &mut Self| world.wires.get_mut(&wire).and_then(|wire| wire.gateway.take());
                while let Some(mut session) = gateway(self) {
                    let Some(event) = ControlSession::poll_event(&mut session) else {
                        self.put_back(wire, session);
                        break;
                    };
                    quiet = false;
                    self.control_event(wire, session, event);
                }
                while let Some(session) = self.wires.get_mut(&wire).and_then(|wire| wire.gateway.as_mut()) {
                    let Some(transmit) = session.poll_transmit() else { break };
                    quiet = false;
                    self.carry(wire, false, transmit);
                }
            }
            if quiet {
                return;
            }
        }
    }

    pub(super) fn put_back(&mut self, wire: u64, session: ControlSession) {
        if let Some(wire) = self.wires.get_mut(&wire) {
            wire.gateway = Some(session);
        }
    }
}

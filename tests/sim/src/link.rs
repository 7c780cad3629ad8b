//! The link's process: the real session, intake, reporter, cache and lanes; only the loop around them stands here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pdp_agent::link::cache::{Cache, News, watched};
use pdp_agent::link::intake::{Job, Request as Checked, View};
use pdp_agent::link::lanes::Lanes;
use pdp_agent::link::reporter::Removal;
use pdp_agent::link::status::{LinkStatus, StatusJob};
use pdp_agent::link::store::{Call, Change as Seen, Settled, Step, Table};
use protocol::message::{Forget, Verdict, Window};
use protocol::name::{Kind, ResourceKey};
use protocol::report::Fact;
use protocol::session::{AgentEvent, AgentSession, AgentSettings, Ticket};
use serde_json::Value;

use super::api::{Answer, Change, Id, Request};
use super::clock::Clock;
use super::event::{Caller, Event};
use super::trace::note;
use super::world::World;
use super::{Bug, Fault};

/// One process.
pub(super) struct Link {
    pub(super) incarnation: u64,
    /// Whether it holds the lease: looked at before each write.
    pub(super) leads: bool,
    pub(super) session: AgentSession,
    pub(super) clock: Clock,
    /// Transitions of the lease under which it leads.
    pub(super) transitions: i64,
    /// Its newest connection.
    pub(super) wire: u64,
    /// Resources with a document or forget of that connection that is not answered.
    pub(super) open: BTreeSet<ResourceKey>,
    cache: Cache,
    lanes: Lanes<Work>,
    active: BTreeMap<u64, Active>,
    tokens: u64,
    acknowledged: BTreeMap<ResourceKey, Vec<Fact>>,
    removing: BTreeSet<ResourceKey>,
}

enum Work {
    Document(Ticket, Box<Checked>),
    Forget(Ticket, Forget),
    RemoveFacts,
}

enum Active {
    Job { ticket: Ticket, key: ResourceKey, job: Box<Job>, written: Option<Value> },
    Removal { key: ResourceKey, removal: Box<Removal>, written: Option<Value> },
    Status { store_id: String, job: Box<StatusJob> },
}

enum End {
    Answered(Verdict),
    Removed(Settled),
}

/// Resources that are worked on at the same time.
const WORKERS: usize = 4;

/// Wait before facts are removed again.
const RETRY: u64 = 5_000;

/// Small, so that it is full now and then.
const WINDOW: Window = Window { messages: 3, bytes: 200_000 };

impl World {
    pub(super) fn start_link(&mut self) {
        if self.link.is_some() {
            return;
        }
        self.incarnations += 1;
        self.transitions += 1;
        let incarnation = self.incarnations;
        let settings = AgentSettings {
            data_plane: "dp-1".to_owned(),
            version: "0".to_owned(),
            instance: format!("link-{incarnation}"),
            cluster: "cluster".to_owned(),
            schema: Kind::ALL.into_iter().map(|kind| (kind, 1)).collect(),
            capabilities: Vec::new(),
            window: WINDOW,
        };
        let mut link = Link {
            incarnation,
            leads: true,
            session: AgentSession::new(settings, self.dice.draw()),
            clock: Clock::draw(&mut self.dice),
            transitions: self.transitions,
            wire: 0,
            open: BTreeSet::new(),
            cache: Cache::default(),
            lanes: Lanes::new(WORKERS),
            active: BTreeMap::new(),
            tokens: 0,
            acknowledged: BTreeMap::new(),
            removing: BTreeSet::new(),
        };
        let objects: Vec<_> = self.api.iter().map(|(_, object)| Arc::clone(object)).collect();
        link.listed(&objects);
        let data_plane = self.api.get(&Id::own("DataPlane", "default"));
        let store_id = data_plane.and_then(|object| object.pointer("/status/storeId")).and_then(Value::as_str);
        link.session.set_store_id(store_id.map(str::to_owned));
        if link.clock.is_wrong() {
            self.reached.insert(Fault::ClockWrong);
        }
        link.session.start(link.clock.shows(self.now));
        self.links.insert(incarnation, link);
        self.link = Some(incarnation);
        note!(self, "link {incarnation} starts");
    }

    pub(super) fn link_watch(&mut self, incarnation: u64, change: &Change) {
        let (Some(link), Some(table)) = (self.links.get_mut(&incarnation), table_of(&change.id)) else { return };
        match (&change.after, &change.before) {
            (Some(object), _) => link.seen(table, Seen::Applied(Value::clone(object))),
            (None, Some(before)) => link.seen(table, Seen::Deleted(Value::clone(before))),
            (None, None) => {}
        }
    }

    pub(super) fn link_listed(&mut self, incarnation: u64, objects: &[Arc<Value>]) {
        if let Some(link) = self.links.get_mut(&incarnation) {
            link.listed(objects);
        }
    }

    pub(super) fn agent_event(&mut self, incarnation: u64, event: AgentEvent) {
        let Some(link) = self.links.get_mut(&incarnation) else { return };
        match event {
            AgentEvent::Dial => self.after(5, 50, Event::Dialled { incarnation }),
            AgentEvent::Document { ticket, document } => match Checked::read(&document) {
                Ok(request) => {
                    let key = request.key().clone();
                    let alone = link.open.insert(key.clone());
                    link.lanes.push(key.clone(), Work::Document(ticket, Box::new(request)));
                    if !alone {
                        self.checks.broken("wire", format!("two of {key} are unanswered at once"));
                    }
                    self.work(incarnation);
                }
                Err(verdict) => link.session.answer(ticket, verdict),
            },
            AgentEvent::Forget { ticket, forget } => {
                let key = forget.key.clone();
                link.open.insert(key.clone());
                link.lanes.push(key, Work::Forget(ticket, forget));
                self.work(incarnation);
            }
            AgentEvent::FactAcknowledged { key, fact } => {
                link.acknowledged.entry(key.clone()).or_default().push(fact);
                self.remove_facts(incarnation, key);
            }
            AgentEvent::StoreKnown { store_id } => self.store_known(incarnation, &store_id),
            AgentEvent::Lost { reason, dial_after, .. } => {
                note!(self, "agent {incarnation} lost: {reason}, dials in {dial_after}");
            }
            AgentEvent::Superseded => {
                if link.leads {
                    link.session.start(link.clock.shows(self.now));
                }
            }
            AgentEvent::Held { reason } => {
                if !self.checks.restored {
                    self.checks.broken("held", reason);
                }
            }
            AgentEvent::Welcomed(_)
            | AgentEvent::Compared { .. }
            | AgentEvent::Renewed(_)
            | AgentEvent::RenewRefused(_)
            | AgentEvent::RenewNeeded
            | AgentEvent::StreamStart(_)
            | AgentEvent::StreamStop(_)
            | AgentEvent::Unsupported { .. } => {}
        }
    }

    /// The shell writes the store's id into the status of the DataPlane, and writes again until it stands there.
    fn store_known(&mut self, incarnation: u64, store_id: &str) {
        let Some(link) = self.links.get_mut(&incarnation) else { return };
        link.tokens += 1;
        let token = link.tokens;
        let wanted = LinkStatus { store_id: Some(store_id.to_owned()), ..LinkStatus::default() };
        let (job, next) = StatusJob::begin(wanted, String::new());
        link.active.insert(token, Active::Status { store_id: store_id.to_owned(), job: Box::new(job) });
        self.follow(incarnation, token, removed(next));
    }

    /// Takes acknowledged facts out of the status, unless that is under way.
    pub(super) fn remove_facts(&mut self, incarnation: u64, key: ResourceKey) {
        let Some(link) = self.links.get_mut(&incarnation) else { return };
        if link.acknowledged.contains_key(&key) && link.removing.insert(key.clone()) {
            link.lanes.push(key, Work::RemoveFacts);
            self.work(incarnation);
        }
    }

    /// Starts all work that may start.
    fn work(&mut self, incarnation: u64) {
        while let Some((key, work)) = self.links.get_mut(&incarnation).and_then(|link| link.lanes.start()) {
            self.begin(incarnation, key, work);
        }
    }

    fn begin(&mut self, incarnation: u64, key: ResourceKey, work: Work) {
        let Some(link) = self.links.get_mut(&incarnation) else { return };
        link.tokens += 1;
        let token = link.tokens;
        let begun = |ticket, key, job| Active::Job { ticket, key, job: Box::new(job), written: None };
        let (active, step) = match work {
            Work::Document(ticket, request) => {
                let about = link.cache.about(request.key(), request.body());
                let view = View { floor: link.cache.floor(), policy: link.cache.policy(), about };
                let known = link.cache.known(&key);
                let (job, next) = Job::document(*request, view, &known);
                (begun(ticket, key, job), answered(next))
            }
            Work::Forget(ticket, forget) => {
                let (job, next) = Job::forget(key.clone(), forget.generation, link.cache.floor());
                (begun(ticket, key, job), answered(next))
            }
            Work::RemoveFacts => {
                let facts = link.acknowledged.remove(&key).unwrap_or_default();
                let (removal, next) = Removal::begin(key.clone(), facts);
                (Active::Removal { key, removal: Box::new(removal), written: None }, removed(next))
            }
        };
        link.active.insert(token, active);
        self.follow(incarnation, token, step);
    }

    pub(super) fn link_reply(&mut self, incarnation: u64, token: u64, answer: Answer) {
        let Some(link) = self.links.get_mut(&incarnation) else { return };
        let step = match link.active.get_mut(&token) {
            Some(Active::Job { job, written, .. }) => {
                remember(written, &answer);
                answered(job.resume(answer))
            }
            Some(Active::Removal { removal, written, .. }) => {
                remember(written, &answer);
                removed(removal.resume(answer))
            }
            Some(Active::Status { job, .. }) => removed(job.resume(answer)),
            None => return,
        };
        self.follow(incarnation, token, step);
    }

    fn follow(&mut self, incarnation: u64, token: u64, step: Step<End>) {
        let unchecked = self.bug == Some(Bug::LeadershipUnchecked);
        let Some(link) = self.links.get_mut(&incarnation) else { return };
        let step = match (step, link.active.get(&token)) {
            (Step::Call(call), Some(active)) if call.writes() && !link.leads && !unchecked => {
                Step::Done(match active {
                    Active::Job { .. } => End::Answered(Job::not_leading(false)),
                    Active::Removal { .. } | Active::Status { .. } => End::Removed(Settled::Later),
                })
            }
            (step, _) => step,
        };
        match step {
            Step::Call(call) => self.call(Caller::Link(incarnation), token, request(call)),
            Step::Done(End::Answered(verdict)) => {
                let Some(Active::Job { ticket, key, written, .. }) = link.active.remove(&token) else { return };
                written.into_iter().for_each(|object| link.wrote(&object));
                if let Verdict::Forgotten { floor } = verdict {
                    let news = link.cache.raise_floor(floor);
                    link.tell(news.into_iter().collect());
                }
                // An answer to a document of an older connection does not count: it is not sent.
                if link.open.remove(&key) {
                    self.checks.decided(link.wire, &key);
                }
                link.session.answer(ticket, verdict);
                link.lanes.finished(key);
                self.work(incarnation);
            }
            Step::Done(End::Removed(settled)) => match link.active.remove(&token) {
                Some(Active::Removal { key, removal, written }) => {
                    written.into_iter().for_each(|object| link.wrote(&object));
                    link.removing.remove(&key);
                    link.lanes.finished(key.clone());
                    if settled == Settled::Later {
                        let (_, facts) = removal.into_parts();
                        link.acknowledged.entry(key.clone()).or_default().extend(facts);
                        self.after(RETRY, RETRY, Event::RemoveFacts { incarnation, key });
                    } else {
                        self.remove_facts(incarnation, key);
                    }
                    self.work(incarnation);
                }
                Some(Active::Status { store_id, .. }) if settled == Settled::Later && link.leads => {
                    self.store_known(incarnation, &store_id);
                }
                Some(Active::Status { .. } | Active::Job { .. }) | None => {}
            },
        }
    }
}

impl Link {
    fn listed(&mut self, objects: &[Arc<Value>]) {
        for table in watched() {
            self.seen(table, Seen::Begin);
            let of_table =
                objects.iter().filter(|object| object.get("kind").and_then(Value::as_str) == Some(table.kind()));
            of_table.for_each(|object| self.seen(table, Seen::Found(Value::clone(object))));
            self.seen(table, Seen::Complete);
        }
    }

    fn seen(&mut self, table: Table, change: Seen) {
        let news = self.cache.apply(table, change);
        self.tell(news);
    }

    fn wrote(&mut self, object: &Value) {
        if let Some(table) = table_of(&Id::of(object)) {
            let news = self.cache.observe(table, object);
            self.tell(news);
        }
    }

    fn tell(&mut self, news: Vec<News>) {
        for news in news {
            match news {
                News::Report(report) => {
                    match report.entry {
                        Some(entry) => self.session.stored(entry),
                        None => self.session.stored_local(report.key.clone()),
                    }
                    self.session.report(&report.key, report.state, &report.facts);
                }
                News::Removed(key) => {
                    self.acknowledged.remove(&key);
                    self.session.removed(&key);
                }
                News::Floor(floor) => self.session.set_floor(floor),
                News::Installation => {}
            }
        }
    }
}

fn table_of(id: &Id) -> Option<Table> {
    watched().find(|table| table.kind() == id.kind)
}

fn remember(written: &mut Option<Value>, answer: &Answer) {
    if let Ok(Some(object)) = answer {
        *written = Some(object.clone());
    }
}

fn answered(step: Step<Verdict>) -> Step<End> {
    match step {
        Step::Call(call) => Step::Call(call),
        Step::Done(verdict) => Step::Done(End::Answered(verdict)),
    }
}

fn removed(step: Step<Settled>) -> Step<End> {
    match step {
        Step::Call(call) => Step::Call(call),
        Step::Done(settled) => Step::Done(End::Removed(settled)),
    }
}

fn request(call: Call) -> Request {
    match call {
        Call::Get { table, name } => Request::Get(Id::own(table.kind(), &name)),
        Call::Create { body, .. } => Request::Create(body),
        Call::Update { body, .. } => Request::Update(body),
        Call::UpdateStatus { body, .. } => Request::UpdateStatus(body),
        Call::Delete { table, name, uid, resource_version } => {
            Request::Delete { id: Id::own(table.kind(), &name), uid, resource_version }
        }
    }
}

//! The link's process: the real session, intake, reporter, cache and lanes; only the loop around them stands here.

use std::collections::{BTreeMap, BTreeSet};

use pdp_agent::link::cache::{Cache, News, WATCHED};
use pdp_agent::link::intake::{Job, Request as Checked, View};
use pdp_agent::link::lanes::Lanes;
use pdp_agent::link::reporter::Removal;
use pdp_agent::link::store::{ApiError, Call, Change as Seen, Settled, Step, Table};
use protocol::message::{Forget, Verdict, Window};
use protocol::name::{Kind, ResourceKey};
use protocol::report::Fact;
use protocol::session::{AgentEvent, AgentSession, AgentSettings, Ticket};
use serde_json::Value;

use super::Bug;
use super::api::{Answer, Change, Id, Request};
use super::world::{Caller, Event, World};

/// One process.
pub(super) struct Link {
    pub(super) incarnation: u64,
    pub(super) session: AgentSession,
    cache: Cache,
    facts: BTreeMap<ResourceKey, Vec<Fact>>,
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
    Job { ticket: Ticket, key: ResourceKey, job: Box<Job>, sent: Option<Value>, written: Option<Value> },
    Removal { key: ResourceKey, removal: Box<Removal>, written: Option<Value> },
}

enum End {
    Answered(Verdict),
    Removed(Settled),
}

/// Resources that are worked on at the same time.
const WORKERS: usize = 4;

/// Wait before facts are removed again.
const RETRY: u64 = 5_000;

const WINDOW: Window = Window { messages: 8, bytes: 200_000 };

impl World {
    pub(super) fn start_link(&mut self) {
        if self.link.is_some() {
            return;
        }
        self.incarnations += 1;
        let settings = AgentSettings {
            data_plane: "dp-1".to_owned(),
            version: "0".to_owned(),
            instance: format!("link-{}", self.incarnations),
            cluster: "cluster".to_owned(),
            schema: Kind::ALL.into_iter().map(|kind| (kind, 1)).collect(),
            capabilities: Vec::new(),
            window: WINDOW,
        };
        let mut link = Link {
            incarnation: self.incarnations,
            session: AgentSession::new(settings, self.dice.draw()),
            cache: Cache::default(),
            facts: BTreeMap::new(),
            lanes: Lanes::new(WORKERS),
            active: BTreeMap::new(),
            tokens: 0,
            acknowledged: BTreeMap::new(),
            removing: BTreeSet::new(),
        };
        for table in WATCHED {
            link.seen(table, Seen::Begin);
            let listed = self.api.iter().filter(|(id, _)| id.kind == table.kind());
            listed.for_each(|(_, object)| link.seen(table, Seen::Found(Value::clone(object))));
            link.seen(table, Seen::Complete);
        }
        link.session.set_store_id(self.store_id.clone());
        link.session.start(self.now);
        self.link = Some(link);
        self.note(format!("link {} starts", self.incarnations));
    }

    pub(super) fn link_watch(&mut self, change: &Change) {
        let (Some(link), Some(table)) = (&mut self.link, table_of(&change.id)) else { return };
        match (&change.after, &change.before) {
            (Some(object), _) => link.seen(table, Seen::Applied(Value::clone(object))),
            (None, Some(before)) => link.seen(table, Seen::Deleted(Value::clone(before))),
            (None, None) => {}
        }
        if self.bug == Some(Bug::FactsRemovedWhenSent)
            && let Some(key) = key_of_release(&change.id)
            && let Some(facts) = link.facts.get(&key).filter(|facts| !facts.is_empty())
        {
            link.acknowledged.insert(key.clone(), facts.clone());
            self.remove_facts(key);
        }
    }

    pub(super) fn agent_event(&mut self, event: AgentEvent) {
        let Some(link) = &mut self.link else { return };
        let incarnation = link.incarnation;
        match event {
            AgentEvent::Dial => self.after(5, 50, Event::Dialled { incarnation }),
            AgentEvent::Document { ticket, document } => match Checked::read(&document) {
                Ok(request) => {
                    let key = request.key().clone();
                    link.lanes.push(key, Work::Document(ticket, Box::new(request)));
                    self.work();
                }
                Err(verdict) => link.session.answer(ticket, verdict),
            },
            AgentEvent::Forget { ticket, forget } => {
                let key = forget.key.clone();
                link.lanes.push(key, Work::Forget(ticket, forget));
                self.work();
            }
            AgentEvent::FactAcknowledged { key, fact } => {
                link.acknowledged.entry(key.clone()).or_default().push(fact);
                self.remove_facts(key);
            }
            AgentEvent::StoreKnown { store_id } => self.store_id = Some(store_id),
            AgentEvent::Lost { reason, dial_after, .. } => {
                self.note(format!("agent lost: {reason}, dials in {dial_after}"))
            }
            AgentEvent::Superseded => link.session.start(self.now),
            AgentEvent::Held { reason } => self.checks.broken("held", reason),
            AgentEvent::Welcomed(_)
            | AgentEvent::Compared { .. }
            | AgentEvent::Renewed(_)
            | AgentEvent::RenewRefused(_)
            | AgentEvent::RenewNeeded
            | AgentEvent::StreamStart(_)
            | AgentEvent::StreamStop(_)
            | AgentEvent::List(_)
            | AgentEvent::Unsupported { .. } => {}
        }
    }

    /// Takes acknowledged facts out of the status, unless that is under way.
    pub(super) fn remove_facts(&mut self, key: ResourceKey) {
        let Some(link) = &mut self.link else { return };
        if link.acknowledged.contains_key(&key) && link.removing.insert(key.clone()) {
            link.lanes.push(key, Work::RemoveFacts);
            self.work();
        }
    }

    /// Starts all work that may start.
    fn work(&mut self) {
        while let Some((key, work)) = self.link.as_mut().and_then(|link| link.lanes.start()) {
            self.begin(key, work);
        }
    }

    fn begin(&mut self, key: ResourceKey, work: Work) {
        let Some(link) = &mut self.link else { return };
        link.tokens += 1;
        let token = link.tokens;
        let begun = |ticket, key, job| Active::Job { ticket, key, job: Box::new(job), sent: None, written: None };
        let (active, step) = match work {
            Work::Document(ticket, request) => {
                let environment = request.environment().and_then(|name| link.cache.owner(name));
                let view = View { floor: link.cache.floor(), policy: link.cache.policy(), environment };
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
        self.follow(token, step);
    }

    pub(super) fn link_reply(&mut self, token: u64, mut answer: Answer) {
        let bug = self.bug;
        let Some(link) = &mut self.link else { return };
        let step = match link.active.get_mut(&token) {
            Some(Active::Job { job, sent, written, .. }) => {
                if bug == Some(Bug::LostIsSuccess) && matches!(answer, Err(ApiError::Lost { .. })) {
                    answer = Ok(sent.clone());
                }
                remember(written, &answer);
                answered(job.resume(answer))
            }
            Some(Active::Removal { removal, written, .. }) => {
                remember(written, &answer);
                removed(removal.resume(answer))
            }
            None => return,
        };
        self.follow(token, step);
    }

    fn follow(&mut self, token: u64, step: Step<End>) {
        let bug = self.bug;
        let Some(link) = &mut self.link else { return };
        match step {
            Step::Call(call) => {
                if let Some(Active::Job { ticket, job, sent, .. }) = link.active.get_mut(&token) {
                    if bug == Some(Bug::AcceptedBeforeWrite) && call.writes() && matches!(**job, Job::Document(_)) {
                        let verdict = Verdict::Accepted { stored_hash: None, modified: Vec::new() };
                        link.session.answer(*ticket, verdict);
                    }
                    if let Call::Create { body, .. } | Call::Update { body, .. } = &call {
                        *sent = Some(body.clone());
                    }
                }
                if let (Some(Bug::ForgetWithoutFloor), Call::UpdateStatus { table: Table::DataPlane, body, .. }) =
                    (bug, &call)
                {
                    return self.link_reply(token, Ok(Some(body.clone())));
                }
                let caller = Caller::Link(link.incarnation);
                self.call(caller, token, request(call));
            }
            Step::Done(End::Answered(verdict)) => {
                let Some(Active::Job { ticket, key, written, .. }) = link.active.remove(&token) else { return };
                written.into_iter().for_each(|object| link.wrote(&object));
                if let Verdict::Forgotten { floor } = verdict {
                    let news = link.cache.raise_floor(floor);
                    link.tell(news.into_iter().collect());
                }
                link.session.answer(ticket, verdict);
                link.lanes.finished(key);
                self.work();
            }
            Step::Done(End::Removed(settled)) => {
                let Some(Active::Removal { key, removal, written }) = link.active.remove(&token) else { return };
                written.into_iter().for_each(|object| link.wrote(&object));
                link.removing.remove(&key);
                link.lanes.finished(key.clone());
                if settled == Settled::Later {
                    let (_, facts) = removal.into_parts();
                    link.acknowledged.entry(key.clone()).or_default().extend(facts);
                    let incarnation = link.incarnation;
                    self.after(RETRY, RETRY, Event::RemoveFacts { incarnation, key });
                } else {
                    self.remove_facts(key);
                }
                self.work();
            }
        }
    }
}

impl Link {
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
                    self.facts.insert(report.key, report.facts);
                }
                News::Removed(key) => {
                    self.acknowledged.remove(&key);
                    self.facts.remove(&key);
                    self.session.removed(&key);
                }
                News::Floor(floor) => self.session.set_floor(floor),
                News::Installation => {}
            }
        }
    }
}

fn key_of_release(id: &Id) -> Option<ResourceKey> {
    (id.kind == "Release").then(|| ResourceKey { kind: Kind::Release, name: id.name.clone() })
}

fn table_of(id: &Id) -> Option<Table> {
    WATCHED.into_iter().find(|table| table.kind() == id.kind)
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

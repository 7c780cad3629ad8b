//! One leadership of the link, from taking the Lease to losing it: its state, its loop, and what is started beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{BoxStream, SelectAll, select_all};
use protocol::message::{AgentMessage, StreamEnded};
use protocol::name::ResourceKey;
use protocol::report::Fact;
use protocol::session::{AgentSession, CloseCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::connection::{Connection, Ready};
use super::files::Files;
use super::status_writer::StatusWriter;
use super::streams::LogStreams;
use super::work::{self, Done, Work};
use super::{Parts, TICK};
use crate::elector::Epoch;
use crate::link::cache::{Cache, watched};
use crate::link::enrol::{Credentials, Keeper, now};
use crate::link::intake::{Request, View};
use crate::link::lanes::Lanes;
use crate::link::reporter::Report;
use crate::link::store::{Change, Store, Table};
use crate::supervisor::joined;

/// Resources that are worked on at the same time.
const WORKERS: usize = 16;
/// Wait before a failed removal of facts is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Time for the close frame when the term ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// What happened.
pub(super) enum Event {
    Stop,
    LeadershipLost,
    Change(Table, Change),
    Connection(Ready),
    Done(Done),
    StreamEnded(StreamEnded),
    Tick,
}

pub(super) struct Term<'a, S> {
    pub(super) parts: &'a Parts<S>,
    pub(super) epoch: Epoch,
    pub(super) keeper: Keeper<S>,
    pub(super) started: Instant,
    pub(super) cache: Cache,
    /// Reports that wait for the session to begin.
    pub(super) unsent: BTreeMap<ResourceKey, Report>,
    pub(super) session: Option<AgentSession>,
    pub(super) credentials: Option<Credentials>,
    pub(super) connection: Option<Connection>,
    pub(super) connections: u64,
    /// Log streams of the open session.
    pub(super) streams: Option<LogStreams>,
    pub(super) lanes: Lanes<Work>,
    pub(super) tasks: JoinSet<Done>,
    /// Acknowledged facts that still stand in a status.
    pub(super) acknowledged: BTreeMap<ResourceKey, Vec<Fact>>,
    /// Resources with a removal on its way, or waiting to be tried again.
    pub(super) removing: BTreeSet<ResourceKey>,
    pub(super) remove_again: Option<Instant>,
    pub(super) status: StatusWriter,
    files: Files,
    /// Failed attempts in a row to get a certificate, and when to try again.
    pub(super) failures: u32,
    pub(super) credentials_due: Option<Instant>,
    /// Renew by HTTPS before the next dial.
    pub(super) renew_first: bool,
    /// When a renewal was last forced by a refusal.
    pub(super) renewed_first: Option<Instant>,
    /// Certificate of the last attempt.
    pub(super) used: Option<String>,
    /// Seconds since 1970.
    pub(super) renew_at: Option<i64>,
    pub(super) restart_due: Option<Instant>,
    pub(super) superseded: u32,
    /// Why the last dial failed: reported with the `Lost` event that follows.
    pub(super) dial_error: Option<(&'static str, String)>,
}

impl<'a, S: Store> Term<'a, S> {
    pub(super) fn new(parts: &'a Parts<S>, epoch: Epoch) -> Self {
        let files = [&parts.link.ca_bundle_file, &parts.link.enrolment_token_file];
        Self {
            parts,
            epoch,
            keeper: parts.keeper(),
            started: Instant::now(),
            cache: Cache::default(),
            unsent: BTreeMap::new(),
            session: None,
            credentials: None,
            connection: None,
            connections: 0,
            streams: None,
            lanes: Lanes::new(WORKERS),
            tasks: JoinSet::new(),
            acknowledged: BTreeMap::new(),
            removing: BTreeSet::new(),
            remove_again: None,
            status: StatusWriter::new(),
            files: Files::new(files.into_iter().flatten().cloned()),
            failures: 0,
            credentials_due: Some(Instant::now()),
            renew_first: false,
            renewed_first: None,
            used: None,
            renew_at: None,
            restart_due: None,
            superseded: 0,
            dial_error: None,
        }
    }

    /// Works until leadership is lost or `stop` is cancelled.
    pub(super) async fn run(mut self, stop: &CancellationToken) {
        info!(transitions = self.epoch.transitions, "the link leads");
        let mut watches: SelectAll<BoxStream<'static, (Table, Change)>> =
            select_all(watched().map(|table| self.parts.store.watch(table).map(move |change| (table, change)).boxed()));
        loop {
            self.parts.heart.beat();
            self.show_readiness();
            self.measure();
            self.probe();
            match self.next_event(&mut watches, stop).await {
                Event::Stop => return self.end(CloseCode::Normal).await,
                Event::LeadershipLost => {
                    info!("another process leads the link now");
                    return self.end(CloseCode::NotLeading).await;
                }
                event @ (Event::Change(..)
                | Event::Connection(_)
                | Event::Done(_)
                | Event::StreamEnded(_)
                | Event::Tick) => {
                    self.handle(event);
                }
            }
        }
    }

    async fn next_event(
        &mut self,
        watches: &mut SelectAll<BoxStream<'static, (Table, Change)>>,
        stop: &CancellationToken,
    ) -> Event {
        let wake = self.wake();
        let mut leadership = self.parts.leadership.clone();
        let connection = async {
            match &mut self.connection {
                Some(connection) => connection.ready().await,
                None => std::future::pending().await,
            }
        };
        let stream_ended = async {
            match &mut self.streams {
                Some(streams) => streams.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => Event::Stop,
            () = leadership.lost(&self.epoch) => Event::LeadershipLost,
            ready = connection => Event::Connection(ready),
            ended = stream_ended => Event::StreamEnded(ended),
            Some(done) = self.tasks.join_next() => joined(done).map_or(Event::Tick, Event::Done),
            Some((table, change)) = watches.next() => Event::Change(table, change),
            () = sleep_until(wake) => Event::Tick,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Stop | Event::LeadershipLost => {}
            Event::Change(table, change) => self.changed(table, change),
            Event::Connection(Ready::Frame(frame)) => self.frame(frame),
            Event::Connection(Ready::Writable) => {}
            Event::Done(done) => self.done(done),
            Event::StreamEnded(ended) => self.answer_now(AgentMessage::StreamEnded(ended)),
            Event::Tick => self.tick(),
        }
        self.begin_session();
        self.pump();
        self.start_work();
    }

    /// Milliseconds as the session counts them.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn wake(&self) -> Instant {
        let session = self.session.as_ref().and_then(AgentSession::poll_timeout);
        let session = session.map(|(at, _)| self.started + Duration::from_millis(at));
        [session, self.status.wake(), self.credentials_due, self.remove_again, self.restart_due, self.renewal_wake()]
            .into_iter()
            .flatten()
            .fold(Instant::now() + TICK, Instant::min)
    }

    /// When a renewal over the open link is due.
    fn renewal_wake(&self) -> Option<Instant> {
        let open = self.session.as_ref().is_some_and(AgentSession::is_open);
        let left = self.renew_at.filter(|_| open)? - now();
        Some(Instant::now() + Duration::from_secs(u64::try_from(left).unwrap_or(0)))
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.credentials_due) {
            self.credentials_due = None;
            let keeper = self.keeper.clone();
            self.tasks.spawn(async move { Done::Credentials(keeper.credentials(false).await) });
        }
        if due(self.remove_again) {
            self.remove_again = None;
            let again: Vec<_> = self.acknowledged.keys().filter(|key| !self.removing.contains(*key)).cloned().collect();
            again.into_iter().for_each(|key| self.remove_facts(key));
        }
        if due(self.restart_due) {
            self.restart_due = None;
            let now = self.now();
            if let Some(session) = &mut self.session {
                session.start(now);
            }
        }
        if let Some(wanted) = self.status.start() {
            let (store, leadership) = (self.parts.store.clone(), self.parts.leadership.clone());
            self.tasks.spawn(work::status(store, leadership, wanted, wall_clock()));
        }
        if self.files.changed() {
            self.retry_credentials();
        }
        let now = self.now();
        if let Some(session) = &mut self.session {
            session.handle_timeout(now);
        }
        self.renew_over_the_link();
    }

    /// The token or CA bundle was replaced: retry at once what waits for that.
    fn retry_credentials(&mut self) {
        self.renewed_first = None;
        let now = self.now();
        match &mut self.session {
            Some(session) => session.credentials_changed(now),
            None if self.credentials.is_none() && self.credentials_due.is_some() => {
                self.credentials_due = Some(Instant::now());
            }
            None => {}
        }
        let keeper = self.keeper.clone();
        self.tasks.spawn(async move { Done::Proposed(keeper.proposed().await) });
    }

    fn start_work(&mut self) {
        while let Some((key, work)) = self.lanes.start() {
            let (store, leadership) = (self.parts.store.clone(), self.parts.leadership.clone());
            match work {
                Work::Document { ticket, document, received } => {
                    // Read only now: a document takes many times its length once it is read, and a window of them may wait.
                    let request = match Request::read(&document) {
                        Ok(request) => request,
                        Err(verdict) => {
                            self.answer(ticket, verdict);
                            self.lanes.finished(key);
                            continue;
                        }
                    };
                    let view = View {
                        floor: self.cache.floor(),
                        policy: self.cache.policy(),
                        about: self.cache.about(request.key(), request.body()),
                    };
                    let known = self.cache.known(&key);
                    self.tasks.spawn(work::document(store, leadership, (ticket, received), request, view, known));
                }
                Work::Forget { ticket, generation, received } => {
                    let floor = self.cache.floor();
                    self.tasks.spawn(work::forget(store, leadership, (ticket, received), key, generation, floor));
                }
                Work::RemoveFacts => {
                    let facts = self.acknowledged.remove(&key).unwrap_or_default();
                    self.tasks.spawn(work::remove_facts(store, leadership, key, facts));
                }
            }
        }
    }

    pub(super) fn remove_facts(&mut self, key: ResourceKey) {
        if self.removing.insert(key.clone()) {
            self.lanes.push(key, Work::RemoveFacts);
        }
    }

    pub(super) fn remove_again_later(&mut self) {
        self.remove_again.get_or_insert(Instant::now() + RETRY);
    }

    /// Whether there is a session and why not.
    pub(super) fn connected(&mut self, yes: bool, reason: &'static str, message: String) {
        self.status.set_connected(yes, reason, message);
    }

    /// Ready means connected. Before `DataPlane/default` exists the link is ready while it waits for it: `helm install --wait`
    /// creates the object only once the pods are ready.
    fn show_readiness(&self) {
        let connected = self.status.connected();
        let installed = !self.cache.is_complete() || self.cache.installation().is_some();
        if connected.is_some_and(|connected| connected.yes) || !installed {
            self.parts.check.ready();
        } else {
            self.parts.check.not_ready(connected.map_or("connecting", |connected| connected.reason));
        }
    }

    /// While a bulk connection is open the round trip is measured often: bulk is throttled when it grows.
    fn probe(&mut self) {
        let now = self.now();
        let carrying = self.streams.as_ref().is_some_and(LogStreams::is_carrying);
        if let Some(session) = &mut self.session {
            session.probe(now, carrying);
        }
    }

    fn measure(&self) {
        let metrics = &self.parts.metrics;
        let (waiting, running) = self.lanes.depth();
        let pending = self.session.as_ref().map_or(0, |session| session.depths().1);
        metrics.intake_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        metrics.intake_running.set(i64::try_from(running).unwrap_or(i64::MAX));
        metrics.reports_pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        let waiting = self.session.as_ref().map_or(0, AgentSession::waiting);
        metrics.frames_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        metrics.resources.set(i64::try_from(self.cache.count()).unwrap_or(i64::MAX));
        metrics.connected.set(i64::from(self.session.as_ref().is_some_and(AgentSession::is_open)));
    }

    /// Closes the connection and stops everything that was started. The next leader finds a write that is cut off here.
    async fn end(mut self, code: CloseCode) {
        if let (Some(session), Some(mut connection)) = (&mut self.session, self.connection.take()) {
            session.stop(code);
            connection.farewell(session);
            let number = connection.number;
            drop(connection);
            let told = async {
                while let Some(done) = self.tasks.join_next().await {
                    if matches!(done, Ok(Done::WriterEnded { number: ended, .. }) if ended == number) {
                        return;
                    }
                }
            };
            let _unheard = timeout(FAREWELL, told).await;
        }
        self.parts.metrics.connected.set(0);
    }
}

/// RFC 3339, UTC, seconds.
fn wall_clock() -> String {
    let now = jiff::Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}

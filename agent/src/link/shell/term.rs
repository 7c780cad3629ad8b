//! One leadership of the link, from taking the Lease to losing it: its state, its loop, and what is started beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{BoxStream, SelectAll, select_all};
use protocol::message::{AgentMessage, StreamEnded, Window};
use protocol::name::{Kind, ResourceKey};
use protocol::report::Fact;
use protocol::session::{AgentSession, AgentSettings, CloseCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::connection::{Connection, Ready};
use super::streams::LogStreams;
use super::work::{self, Done, Work};
use super::{Parts, TICK};
use crate::elector::Epoch;
use crate::kinds::SCHEMA_REVISION;
use crate::link::cache::{Cache, News, WATCHED};
use crate::link::enrol::{Credentials, Keeper};
use crate::link::intake::View;
use crate::link::lanes::Lanes;
use crate::link::reporter::Report;
use crate::link::status::{Connected, LinkStatus};
use crate::link::store::{Change, Store, Table};

/// Resources that are worked on at the same time.
const WORKERS: usize = 16;
/// What may be unanswered towards the agent.
const WINDOW: Window = Window { messages: 256, bytes: 8 * 1024 * 1024 };
/// A session that comes back sooner leaves no trace in the status.
const QUIET: Duration = Duration::from_secs(2);
/// Reason while the operator has not yet written what hello needs.
const WAITING: &str = "WaitingForOperator";
/// Wait before a failed write of status or facts is tried again.
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

/// See the module.
pub(super) struct Term<'a, S> {
    pub(super) parts: &'a Parts<S>,
    pub(super) epoch: Epoch,
    pub(super) keeper: Keeper<S>,
    pub(super) started: Instant,
    pub(super) cache: Cache,
    /// Reports that wait for the session to begin.
    unsent: BTreeMap<ResourceKey, Report>,
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
    pub(super) status: LinkStatus,
    pub(super) status_due: Option<Instant>,
    pub(super) status_running: bool,
    /// What the log says of the connection.
    logged: Option<(bool, &'static str)>,
    /// Attempts at a certificate that failed in a row, and when to try again.
    pub(super) failures: u32,
    pub(super) credentials_due: Option<Instant>,
    /// Renew by HTTPS before the next dial.
    pub(super) renew_first: bool,
    pub(super) renewed_first: Option<Instant>,
    /// Certificate of the last connection.
    pub(super) used: Option<String>,
    /// Seconds since 1970.
    pub(super) renew_at: Option<i64>,
    pub(super) restart_due: Option<Instant>,
    pub(super) superseded: u32,
    /// Why the last dial failed: told with the `Lost` that follows.
    pub(super) dial_error: Option<(&'static str, String)>,
}

impl<'a, S: Store> Term<'a, S> {
    pub(super) fn new(parts: &'a Parts<S>, epoch: Epoch) -> Self {
        let version = Some(env!("CARGO_PKG_VERSION").to_owned());
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
            status: LinkStatus { version, ..LinkStatus::default() },
            status_due: None,
            status_running: false,
            logged: None,
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
            select_all(WATCHED.map(|table| self.parts.store.watch(table).map(move |change| (table, change)).boxed()));
        loop {
            self.parts.heart.beat();
            self.show_readiness();
            self.measure();
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
            Some(done) = self.tasks.join_next() => match done {
                Ok(done) => Event::Done(done),
                Err(error) => {
                    warn!(%error, "a task of the link broke");
                    Event::Tick
                }
            },
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
        [session, self.status_due, self.credentials_due, self.remove_again, self.restart_due]
            .into_iter()
            .flatten()
            .fold(Instant::now() + TICK, Instant::min)
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
        if due(self.status_due) && !self.status_running {
            self.status_due = None;
            self.log_connection();
            self.status_running = true;
            let (store, leadership) = (self.parts.store.clone(), self.parts.leadership.clone());
            self.tasks.spawn(work::status(store, leadership, self.status.clone(), wall_clock()));
        }
        let now = self.now();
        if let Some(session) = &mut self.session {
            session.handle_timeout(now);
        }
        self.renew_over_the_link();
    }

    /// Tells the session what a watch or an own write has shown; before there is one, keeps it.
    pub(super) fn tell(&mut self, news: Vec<News>) {
        for news in news {
            match news {
                News::Report(report) => match &mut self.session {
                    Some(session) => tell_report(session, *report),
                    None => {
                        self.unsent.insert(report.key.clone(), *report);
                    }
                },
                News::Removed(key) => {
                    self.acknowledged.remove(&key);
                    match &mut self.session {
                        Some(session) => session.removed(&key),
                        None => {
                            self.unsent.remove(&key);
                        }
                    }
                }
                News::Installation => {
                    let level = self.cache.installation().and_then(|installation| installation.log_level);
                    if let Some(level) = level {
                        self.parts.level.set_level(level);
                    }
                }
                News::Floor(floor) => {
                    if let Some(session) = &mut self.session {
                        session.set_floor(floor);
                    }
                }
            }
        }
    }

    fn changed(&mut self, table: Table, change: Change) {
        if let Change::Failed(error) = &change {
            warn!(table = table.kind(), %error, "a watch failed; it is started again");
        }
        let news = self.cache.apply(table, change);
        self.tell(news);
    }

    /// Begins the session once everything is there that hello says.
    fn begin_session(&mut self) {
        if self.session.is_some() || !self.cache.is_complete() {
            return;
        }
        let Some(credentials) = &self.credentials else { return };
        let installation = self.cache.installation();
        let Some((cluster, installation)) =
            installation.and_then(|installation| Some((installation.cluster.clone()?, installation)))
        else {
            let message = "the operator has not yet written the cluster's uid into the status of DataPlane/default; is it running?";
            self.connected(false, WAITING, message.to_owned());
            return;
        };
        let revision = installation.schema.unwrap_or(SCHEMA_REVISION).min(SCHEMA_REVISION);
        let settings = AgentSettings {
            data_plane: credentials.data_plane.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.parts.settings.instance.clone(),
            cluster,
            schema: Kind::ALL.into_iter().map(|kind| (kind, revision)).collect(),
            capabilities: Vec::new(),
            window: WINDOW,
        };
        let (seed, _) = uuid::Uuid::new_v4().as_u64_pair();
        let mut session = AgentSession::new(settings, seed);
        session.set_floor(self.cache.floor());
        session.set_store_id(installation.store_id.clone());
        for report in std::mem::take(&mut self.unsent).into_values() {
            tell_report(&mut session, report);
        }
        self.status.id = Some(credentials.data_plane.clone());
        session.start(self.now());
        self.session = Some(session);
    }

    fn start_work(&mut self) {
        while let Some((key, work)) = self.lanes.start() {
            let (store, leadership) = (self.parts.store.clone(), self.parts.leadership.clone());
            match work {
                Work::Document { ticket, request, received } => {
                    let view = View {
                        floor: self.cache.floor(),
                        policy: self.cache.policy(),
                        environment: request.environment().and_then(|name| self.cache.owner(name)),
                    };
                    let known = self.cache.known(&key);
                    self.tasks.spawn(work::document(store, leadership, (ticket, received), *request, view, known));
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

    /// Whether there is a session and why not: one log line and one write of the status for each change that lasts.
    pub(super) fn connected(&mut self, yes: bool, reason: &'static str, message: String) {
        let wanted = Connected { yes, reason, message };
        if self.status.connected.as_ref() == Some(&wanted) {
            return;
        }
        let was_told = self.status.connected.as_ref().is_some_and(|old| old.yes);
        self.status.connected = Some(wanted);
        // Both may be over in a moment: the operator starts at the same time, and most sessions come back at once.
        let may_pass = reason == WAITING || (!yes && was_told);
        self.write_status(if may_pass { QUIET } else { Duration::ZERO });
    }

    /// Ready means connected. Before `DataPlane/default` exists it means waiting for it: Helm makes the object only after it has
    /// seen the pods ready, where it is told to wait.
    fn show_readiness(&self) {
        let connected = self.status.connected.as_ref();
        let installed = !self.cache.is_complete() || self.cache.installation().is_some();
        if connected.is_some_and(|connected| connected.yes) || !installed {
            self.parts.check.ready();
        } else {
            self.parts.check.not_ready(connected.map_or("connecting", |connected| connected.reason));
        }
    }

    /// One line for each change that lasted long enough to be written.
    fn log_connection(&mut self) {
        let Some(Connected { yes, reason, message }) = &self.status.connected else { return };
        if self.logged.replace((*yes, reason)) == Some((*yes, *reason)) {
            return;
        }
        if *yes {
            info!(reason, "connected to the control plane");
        } else {
            warn!(reason, why = message, "not connected to the control plane");
        }
    }

    pub(super) fn write_status(&mut self, after: Duration) {
        let due = Instant::now() + after;
        self.status_due = Some(self.status_due.map_or(due, |at| at.min(due)));
    }

    pub(super) fn status_written(&mut self, failed: bool) {
        self.status_running = false;
        if failed {
            self.write_status(RETRY);
        }
    }

    fn measure(&self) {
        let metrics = &self.parts.metrics;
        let (waiting, running) = self.lanes.depth();
        let pending = self.session.as_ref().map_or(0, |session| session.depths().1);
        metrics.intake_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        metrics.intake_running.set(i64::try_from(running).unwrap_or(i64::MAX));
        metrics.reports_pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        metrics.resources.set(i64::try_from(self.cache.count()).unwrap_or(i64::MAX));
        metrics.connected.set(i64::from(self.session.as_ref().is_some_and(AgentSession::is_open)));
    }

    /// Says farewell and stops everything that was started. A write that is cut off here is found by the next leader.
    async fn end(mut self, code: CloseCode) {
        if let (Some(session), Some(mut connection)) = (&mut self.session, self.connection.take()) {
            session.stop(code);
            connection.flush(session);
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

fn tell_report(session: &mut AgentSession, report: Report) {
    let Report { key, entry, state, facts } = report;
    match entry {
        Some(entry) => session.stored(entry),
        // The chart's own object: neither a document yet nor somebody's local one.
        None if key.kind == Kind::DataPlane => {}
        None => session.stored_local(key.clone()),
    }
    session.report(&key, state, &facts);
}

/// RFC 3339, UTC, seconds.
fn wall_clock() -> String {
    let now = jiff::Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}

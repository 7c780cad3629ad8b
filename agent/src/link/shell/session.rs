//! How the session begins, and how it learns what is stored: from watches and from own writes.

use protocol::message::{LAST_LINES, Window};
use protocol::name::Kind;
use protocol::session::{AgentSession, AgentSettings};
use tracing::warn;

use super::status_writer::WAITING;
use super::term::Term;
use super::work::Done;
use crate::kinds::SCHEMA_REVISION;
use crate::link::cache::News;
use crate::link::logs;
use crate::link::reporter::Report;
use crate::link::store::{Change, Store, Table};

/// What may be unanswered towards the agent.
const WINDOW: Window = Window { messages: 256, bytes: 8 * 1024 * 1024 };

impl<S: Store> Term<'_, S> {
    /// Passes changes that a watch or an own write has shown to the session; keeps them until there is one.
    pub(super) fn tell(&mut self, news: Vec<News>) {
        for news in news {
            match news {
                News::Report(report) => {
                    self.keep_last_lines(&report);
                    match &mut self.session {
                        Some(session) => tell_report(session, *report),
                        None => {
                            self.unsent.insert(report.key.clone(), *report);
                        }
                    }
                }
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
                    if self.cache.installation().is_some_and(|installation| installation.id.is_none()) {
                        self.status.lost();
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

    pub(super) fn changed(&mut self, table: Table, change: Change) {
        if let Change::Failed(error) = &change {
            warn!(table = table.kind(), %error, "a watch failed; it is started again");
        }
        let news = self.cache.apply(table, change);
        self.tell(news);
    }

    /// Reads what pods say that the operator is about to stop.
    fn keep_last_lines(&mut self, report: &Report) {
        if let (Some(logs), Some(since)) = (&self.parts.logs, logs::stopping(&report.state)) {
            let reading = logs.clone().read_last_lines(report.key.clone(), since.to_owned());
            self.tasks.spawn(async move {
                reading.await;
                Done::LinesRead
            });
        }
    }

    /// Starts the session once everything that hello contains is known.
    pub(super) fn begin_session(&mut self) {
        if self.session.is_some() || !self.cache.is_complete() {
            return;
        }
        let Some(credentials) = &self.credentials else { return };
        // Without it in the status the operator may wait, and then this waits for the operator.
        self.status.set_id(credentials.data_plane.clone());
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
            capabilities: vec![LAST_LINES.to_owned()],
            window: WINDOW,
        };
        let (seed, _) = uuid::Uuid::new_v4().as_u64_pair();
        let mut session = AgentSession::new(settings, seed);
        session.set_floor(self.cache.floor());
        session.set_store_id(installation.store_id.clone());
        for report in std::mem::take(&mut self.unsent).into_values() {
            tell_report(&mut session, report);
        }
        session.start(self.now());
        self.session = Some(session);
    }
}

fn tell_report(session: &mut AgentSession, report: Report) {
    let Report { key, entry, state, facts } = report;
    match entry {
        Some(entry) => session.stored(entry),
        // The chart's own object: it has no document, but is not a local resource of somebody's either.
        None if key.kind == Kind::DataPlane => {}
        None => session.stored_local(key.clone()),
    }
    session.report(&key, state, &facts);
}

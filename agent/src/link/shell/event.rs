//! What the loop does with events: of the connection, of the session, and of what was started beside it.

use std::time::Duration;

use protocol::message::{AgentMessage, Renew, Verdict, Welcome};
use protocol::name::{Kind, ResourceKey};
use protocol::session::{AgentEvent, AgentSession, CloseCode, DialFailure, Disconnect, Ticket};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Error, Message};
use tracing::{debug, info, warn};

use super::connection::Connection;
use super::loss::lost;
use super::streams::LogStreams;
use super::term::Term;
use super::work::{self, ConnectError, Done, Work};
#[cfg(feature = "failpoints")]
use crate::failpoints::{Act, Edge, reach};
use crate::link::enrol::{Credentials, KeepError, now};
use crate::link::identity::Certificate;
use crate::link::intake::Request;
use crate::link::store::{Settled, Store};

/// A certificate request that nobody answers is made again after this time, in seconds.
const RENEW_AGAIN: i64 = 60;
/// Shortest time between renewals over the link, in seconds, whatever the certificates say.
const RENEW_PAUSE: i64 = 10;
/// Shortest time between renewals that the control plane forces by refusing the certificate.
const RENEW_FORCED: Duration = Duration::from_secs(60);
/// Clock difference to the control plane above which a warning is logged, in seconds.
const CLOCK_SKEW: i64 = 60;

impl<S: Store> Term<'_, S> {
    /// A frame came, or the stream ended.
    pub(super) fn frame(&mut self, frame: Option<Result<Message, Error>>) {
        let now = self.now();
        let Some(session) = &mut self.session else { return };
        match frame {
            Some(Ok(Message::Text(text))) => session.handle_text(now, &text),
            Some(Ok(Message::Pong(_))) => {
                session.handle_pong(now);
                if let (Some(streams), Some(round_trip)) = (&self.streams, session.round_trip()) {
                    streams.round_trip(Duration::from_millis(round_trip));
                }
            }
            Some(Ok(Message::Ping(_) | Message::Frame(_))) => session.handle_alive(),
            Some(Ok(Message::Binary(_))) => {
                session.handle_unusable(now, CloseCode::Protocol, "the control connection carries text only");
            }
            Some(Ok(Message::Close(close))) => {
                let (code, reason) = close.map_or((CloseCode::Normal, String::new()), |close| {
                    (CloseCode::from(u16::from(close.code)), close.reason.to_string())
                });
                session.handle_disconnected(now, Disconnect::Closed(code), &reason);
            }
            Some(Err(Error::Capacity(error))) => {
                session.handle_unusable(now, CloseCode::TooLarge, &error.to_string());
            }
            Some(Err(error)) => session.handle_disconnected(now, Disconnect::Cut, &error.to_string()),
            None => session.handle_disconnected(now, Disconnect::Cut, "the connection ended"),
        }
    }

    /// Something that ran beside the loop has ended.
    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::Answered { key, ticket, verdict, stored, received } => {
                self.lanes.finished(key);
                self.observe(stored);
                if let Verdict::Forgotten { floor } = &verdict {
                    let news = self.cache.raise_floor(*floor);
                    self.tell(news.into_iter().collect());
                }
                self.parts.metrics.intake_seconds.observe(received.elapsed().as_secs_f64());
                #[cfg(feature = "failpoints")]
                reach(Edge::Before, Some(Act::Answer));
                self.answer(ticket, verdict);
                #[cfg(feature = "failpoints")]
                reach(Edge::After, Some(Act::Answer));
            }
            Done::FactsRemoved { key, facts, settled, stored } => {
                self.lanes.finished(key.clone());
                self.removing.remove(&key);
                self.observe(stored);
                match settled {
                    Settled::Done if self.acknowledged.contains_key(&key) => self.remove_facts(key),
                    Settled::Done => {}
                    Settled::Later => {
                        self.acknowledged.entry(key).or_default().extend(facts);
                        self.remove_again_later();
                    }
                }
            }
            Done::Status { settled, stored } => {
                self.observe(stored);
                self.status.ended(settled == Settled::Later);
            }
            Done::Credentials(Ok(credentials)) => {
                self.failures = 0;
                self.use_credentials(credentials);
            }
            Done::Credentials(Err(error)) => self.no_credentials(&error),
            Done::Connected { result, tried } => {
                self.used = tried.or_else(|| self.used.take());
                self.dialled(*result);
            }
            Done::Replaced(Ok(Some(credentials))) => {
                self.use_credentials(credentials);
                let now = self.now();
                if let Some(session) = &mut self.session {
                    session.credentials_changed(now);
                }
            }
            Done::Replaced(Ok(None)) => {}
            Done::Replaced(Err(error)) => {
                // If the control plane refused another key, report that refusal; if it gave no answer, keep the rejection.
                let open = self.session.as_ref().is_some_and(AgentSession::is_open);
                let answered = !matches!(error, KeepError::Dial(_) | KeepError::NotLeading(_) | KeepError::NoToken);
                if !open && answered {
                    self.connected(false, error.reason(), error.to_string());
                }
            }
            Done::WriterEnded { number, error } => {
                let now = self.now();
                let current = self.connection.as_ref().is_some_and(|connection| connection.number == number);
                if let (true, Some(session)) = (current, &mut self.session) {
                    let reason = error.unwrap_or_else(|| "the connection was closed".to_owned());
                    session.handle_disconnected(now, Disconnect::Cut, &reason);
                }
            }
            Done::RenewalRequest(Ok(csr)) => {
                if let Some(session) = &mut self.session {
                    // If the session is gone, the request is made again after the next welcome.
                    session.send_now(AgentMessage::Renew(Renew { csr }));
                }
            }
            Done::RenewalRequest(Err(error)) => warn!(%error, "no certificate request could be made"),
            Done::Renewed(Ok((certificate, proposed))) => {
                info!(not_after = certificate.not_after, "certificate renewed over the link");
                self.status.set_proposed(proposed);
                self.renew_at = Some(certificate.renew_at().max(now() + RENEW_PAUSE));
            }
            Done::Renewed(Err(error)) => warn!(%error, "a renewed certificate could not be kept"),
            Done::Promoted(Ok(())) | Done::LinesRead => {}
            Done::Proposed(Ok(proposed)) => self.status.set_proposed(proposed),
            Done::Proposed(Err(error)) => debug!(%error, "the handed-out CA cannot be read now"),
            Done::Promoted(Err(error)) => {
                warn!(%error, "the certificate stays pending; it is promoted with the next session");
            }
        }
    }

    fn observe(&mut self, stored: Option<(crate::link::store::Table, serde_json::Value)>) {
        if let Some((table, object)) = stored {
            let news = self.cache.observe(table, &object);
            self.tell(news);
        }
    }

    fn use_credentials(&mut self, credentials: Credentials) {
        self.renew_at = credentials.certificate.as_ref().map(Certificate::renew_at);
        self.status.set_proposed(credentials.proposed.clone());
        self.credentials = Some(credentials);
    }

    fn no_credentials(&mut self, error: &KeepError) {
        let after = error.retry_after(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.credentials_due = Some(Instant::now() + spread(after));
        self.connected(false, error.reason(), error.to_string());
    }

    /// An attempt to connect has ended.
    fn dialled(&mut self, result: Result<(super::super::dial::Socket, Credentials), ConnectError>) {
        let now = self.now();
        let Some(session) = &mut self.session else { return };
        match result {
            Ok((socket, credentials)) => {
                self.renew_first = false;
                self.connections += 1;
                let (connection, writer) = Connection::new(self.connections, credentials.client.clone(), socket);
                let number = self.connections;
                self.tasks.spawn(async move { Done::WriterEnded { number, error: writer.run().await } });
                self.connection = Some(connection);
                session.handle_connected(now, &self.epoch.lease, self.epoch.transitions);
                self.use_credentials(credentials);
            }
            Err(error) => {
                self.dial_error = Some((error.reason(), error.to_string()));
                session.handle_dial_failed(now, error.failure(), error.reason());
                if error.failure() == DialFailure::Rejected {
                    self.rejected();
                }
            }
        }
    }

    /// Drains the session: frames to the writer, events to their handlers, until there are none.
    pub(super) fn pump(&mut self) {
        loop {
            let Some(session) = &mut self.session else { return };
            if let Some(connection) = &mut self.connection {
                connection.flush(session);
            }
            let Some(event) = session.poll_event() else { return };
            self.session_event(event);
        }
    }

    fn session_event(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Dial => {
                self.parts.metrics.dials.inc();
                let (keeper, dialer) = (self.keeper.clone(), self.parts.dialer.clone());
                let (url, used) = (self.parts.link.control_plane.clone(), self.used.clone());
                self.tasks.spawn(work::connect(keeper, dialer, url, self.renew_first, used));
            }
            AgentEvent::Welcomed(welcome) => self.welcomed(&welcome),
            AgentEvent::Compared { held } => debug!(held, "what is stored here was compared"),
            AgentEvent::Held { reason } => {
                warn!(reason, "the session is held until a person at the control plane adopts this data plane");
                self.connected(
                    true,
                    "Held",
                    format!(
                        "nothing new is accepted until a person at the control plane adopts this data plane: {reason}"
                    ),
                );
            }
            AgentEvent::StoreKnown { store_id } => {
                self.status.set_store(store_id);
                self.connected(true, "Connected", CONNECTED.to_owned());
            }
            AgentEvent::Document { ticket, document } => match Kind::parse(&document.kind) {
                Some(kind) => {
                    let key = ResourceKey { kind, name: document.name.clone() };
                    self.lanes.push(key, Work::Document { ticket, document, received: Instant::now() });
                }
                // It has no lane.
                None => {
                    if let Err(verdict) = Request::read(&document) {
                        self.answer(ticket, verdict);
                    }
                }
            },
            AgentEvent::Forget { ticket, forget } => {
                let work = Work::Forget { ticket, generation: forget.generation, received: Instant::now() };
                self.lanes.push(forget.key, work);
            }
            AgentEvent::FactAcknowledged { key, fact } => {
                self.acknowledged.entry(key.clone()).or_default().push(fact);
                self.remove_facts(key);
            }
            AgentEvent::Renewed(renewed) => {
                let keeper = self.keeper.clone();
                self.tasks
                    .spawn(async move { Done::Renewed(keeper.renewed(&renewed.certificate, renewed.ca_bundle).await) });
            }
            AgentEvent::RenewRefused(refused) => {
                warn!(code = ?refused.code, why = refused.message, "the control plane does not renew the certificate");
            }
            AgentEvent::RenewNeeded => self.renew_needed(),
            AgentEvent::StreamStart(start) => self.stream_start(start),
            AgentEvent::StreamStop(stop) => self.stream_stop(stop.stream),
            AgentEvent::Unsupported { message_type } => {
                debug!(message_type, "a message of a later version was left aside")
            }
            AgentEvent::Lost { cause, reason, dial_after } => {
                if let (Some(mut connection), Some(session)) = (self.connection.take(), &mut self.session) {
                    connection.farewell(session);
                }
                self.streams = None;
                self.parts.metrics.lost.inc();
                debug!(?cause, reason, dial_after, "no connection");
                let (reason, message) = self.dial_error.take().unwrap_or_else(|| lost(cause, &reason));
                self.connected(false, reason, message);
                if cause == Disconnect::Closed(CloseCode::Revoked) {
                    self.rejected();
                }
            }
            AgentEvent::Superseded => {
                self.connection = None;
                self.streams = None;
                self.superseded = self.superseded.saturating_add(1);
                let after = Duration::from_secs(1).saturating_mul(1 << self.superseded.min(5));
                self.restart_due = Some(Instant::now() + spread(after));
                let message = "another session of this data plane has taken over; this replica still holds the lease and connects again";
                self.connected(false, "Superseded", message.to_owned());
            }
        }
    }

    /// Counts and sends the answer to a document or forget.
    pub(super) fn answer(&mut self, ticket: Ticket, verdict: Verdict) {
        self.parts.metrics.answered(&verdict);
        if let Some(session) = &mut self.session {
            session.answer(ticket, verdict);
        }
    }

    pub(super) fn answer_now(&mut self, message: AgentMessage) {
        if let Some(session) = &mut self.session {
            session.send_now(message);
        }
    }

    fn welcomed(&mut self, welcome: &Welcome) {
        self.superseded = 0;
        self.streams = match (&self.parts.logs, &self.credentials) {
            (Some(logs), Some(credentials)) => {
                let (dialer, credentials) = (self.parts.dialer.clone(), credentials.clone());
                Some(LogStreams::new(logs.clone(), dialer, credentials, &self.parts.link, welcome))
            }
            (Some(_) | None, _) => None,
        };
        self.connected(true, "Connected", CONNECTED.to_owned());
        self.status.write(Duration::ZERO);
        if let Ok(theirs) = welcome.time.parse::<jiff::Timestamp>() {
            let ahead = now() - theirs.as_second();
            if ahead.abs() > CLOCK_SKEW {
                warn!(
                    seconds = ahead,
                    "the clock of this node differs from the control plane's; certificates may seem to have ended or not to have begun"
                );
            }
        }
        if let Some(connection) = &self.connection {
            let (keeper, client) = (self.keeper.clone(), connection.client.clone());
            self.tasks.spawn(async move { Done::Promoted(keeper.welcomed(&client).await) });
        }
        self.renew_over_the_link();
    }

    /// Asks for a new certificate at two thirds of the life of the present one.
    pub(super) fn renew_over_the_link(&mut self) {
        let open = self.session.as_ref().is_some_and(AgentSession::is_open);
        if !open || self.renew_at.is_none_or(|at| now() < at) {
            return;
        }
        self.renew_at = Some(now() + RENEW_AGAIN);
        let Some(connection) = &self.connection else { return };
        let (keeper, client) = (self.keeper.clone(), connection.client.clone());
        self.tasks.spawn(async move { Done::RenewalRequest(keeper.renewal_request(&client).await) });
    }

    /// The access was taken away. The session waits for minutes; meanwhile it is found out whether the key counts, because a new token may
    /// be in place already, from before this process started.
    fn rejected(&mut self) {
        let Some(credentials) = self.credentials.as_ref().filter(|_| !forced_just_now(self.renewed_first)) else {
            return;
        };
        self.renewed_first = Some(Instant::now());
        let (keeper, client) = (self.keeper.clone(), credentials.client.clone());
        self.tasks.spawn(async move { Done::Replaced(keeper.instead_of(&client).await) });
    }

    /// The control plane refused the certificate of the last attempt: renew before the next dial. That dial comes at once, but not
    /// more often than every [`RENEW_FORCED`].
    fn renew_needed(&mut self) {
        self.renew_first = true;
        if forced_just_now(self.renewed_first) {
            return;
        }
        self.renewed_first = Some(Instant::now());
        let now = self.now();
        if let Some(session) = &mut self.session {
            session.credentials_changed(now);
        }
    }
}

fn forced_just_now(at: Option<Instant>) -> bool {
    at.is_some_and(|at| at.elapsed() < RENEW_FORCED)
}

const CONNECTED: &str = "a session with the control plane is open";

/// A delay made up to a quarter longer, so that many do not come back at once.
fn spread(delay: Duration) -> Duration {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    let quarter = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX) / 4;
    delay + Duration::from_millis(random % (quarter + 1))
}

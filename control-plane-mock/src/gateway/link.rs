//! The gateway's end of a control connection: a thin shell around `protocol`'s session.
//!
//! One loop picks what happened (a frame, a wake-up, a request, a deadline), feeds the session, and then handles the session's events and
//! writes its messages. Events of the session and changes in the store are decided by [`core`] in the store's thread. Frames that have
//! come meanwhile are handled together, so that a thousand reports cost few commits.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::{FutureExt, SinkExt, StreamExt};
use http::{StatusCode, header};
use protocol::message::{ControlMessage, Hello, LAST_LINES, LONGEST_READ, SUBPROTOCOL};
use protocol::session::{CloseCode, ControlSession, ControlSettings, Disconnect, Millis, Transmit};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

use crate::desired::sessions;
use crate::faults::Fault;
use crate::gateway::ca::Peer;
use crate::gateway::hub::{Handle, Request};
use crate::gateway::logs::Streams;
use crate::gateway::upgrade::{Socket, Upgrade, deadline, limits};
use crate::server::Admission;
use crate::shared::Shared;
use crate::web::{Refusal, peer};

pub mod core;
mod intake;
mod scripted;

use self::core::{Core, Happened};

/// Frames that are taken in before the store is asked.
const BURST: usize = 256;

/// `GET /v1/link`
///
/// # Errors
/// A problem for what is no upgrade, 401 without a client certificate, a scripted status.
pub async fn handler(
    State(shared): State<Arc<Shared>>,
    mut request: axum::extract::Request,
) -> Result<Response, Refusal> {
    let peer = peer(&request)?;
    let pick = |fault: &Fault| {
        if let Fault::RefuseUpgrade { status, retry_after } = fault { Some((*status, *retry_after)) } else { None }
    };
    if let Some((status, retry_after)) = shared.faults.take(Some(&peer.data_plane), pick) {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let mut response = status.into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        return Ok(response);
    }
    let admission = request.extensions_mut().remove::<Admission>();
    let upgrade = Upgrade::check(&mut request, SUBPROTOCOL)?;
    let (response, socket) = upgrade.accept(limits(LONGEST_READ));
    let connection = Arc::clone(&shared);
    shared.supervisor.spawn("link", async move {
        if let Some(socket) = socket.await {
            Box::pin(Link::new(connection, peer, socket, admission).run()).await;
        }
    });
    Ok(response)
}

/// What woke the loop.
enum Woken {
    Frame(Option<Result<Message, tungstenite::Error>>),
    Store,
    Request(Request),
    Deadline,
    CertificateEnd,
    AskAgain,
    Fault,
    Stopping,
}

/// One connection.
struct Link {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    socket: Socket,
    session: ControlSession,
    started: Instant,
    /// When anything came last, by the wall clock.
    heard: jiff::Timestamp,
    /// Id of the session once it is welcomed.
    id: Option<String>,
    wake: Arc<Notify>,
    requests: mpsc::Receiver<Request>,
    asking: mpsc::Sender<Request>,
    streams: Arc<Streams>,
    /// What decides, once the session is welcomed and until the store refuses it.
    core: Option<Box<Core>>,
    /// Released when the comparison is over.
    admission: Option<Admission>,
    /// The session has ended.
    over: bool,
    /// Why, for people; empty where nobody knows.
    why: String,
    /// Nothing can be written any more.
    broken: bool,
}

impl Link {
    fn new(shared: Arc<Shared>, peer: Arc<Peer>, socket: Socket, admission: Option<Admission>) -> Self {
        let (asking, requests) = mpsc::channel(64);
        let (seed, _) = uuid::Uuid::new_v4().as_u64_pair();
        Self {
            shared,
            peer,
            socket,
            session: ControlSession::new(ControlSettings::default(), 0, seed),
            started: Instant::now(),
            heard: jiff::Timestamp::now(),
            id: None,
            wake: Arc::new(Notify::new()),
            requests,
            asking,
            streams: Arc::default(),
            core: None,
            admission,
            over: false,
            why: String::new(),
            broken: false,
        }
    }

    fn now(&self) -> Millis {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    fn data_plane(&self) -> &str {
        &self.peer.data_plane
    }

    async fn run(mut self) {
        let life = self.peer.not_after.duration_since(jiff::Timestamp::now());
        let end = Instant::now() + Duration::try_from(life).unwrap_or(Duration::ZERO);
        let mut again = tokio::time::interval(self.shared.config.retry_refused.max(Duration::from_millis(50)));
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut faults = self.shared.faults.watch();
        faults.mark_changed();
        let stopping = self.shared.supervisor.stopping().clone();
        while !self.over {
            let deadline = self.session.poll_timeout().map(|(at, _)| self.started + Duration::from_millis(at));
            let stalled = self.shared.faults.holds(self.data_plane(), |fault| matches!(fault, Fault::Stall));
            let woken = tokio::select! {
                biased;
                () = stopping.cancelled() => Woken::Stopping,
                () = tokio::time::sleep_until(end) => Woken::CertificateEnd,
                changed = faults.changed() => if changed.is_ok() { Woken::Fault } else { Woken::Stopping },
                frame = self.socket.next(), if !stalled => Woken::Frame(frame),
                () = self.wake.notified() => Woken::Store,
                Some(request) = self.requests.recv() => Woken::Request(request),
                () = sleep_until(deadline) => Woken::Deadline,
                _ = again.tick() => Woken::AskAgain,
            };
            self.handle(woken).await;
            self.settle().await;
        }
        self.leave().await;
    }

    async fn handle(&mut self, woken: Woken) {
        match woken {
            Woken::Frame(frame) => self.frames(frame).await,
            Woken::Store => self.decide(Happened::StoreChanged).await,
            Woken::Request(request) => {
                let message = match request {
                    Request::StreamStart(start) => ControlMessage::StreamStart(*start),
                    Request::StreamStop(stop) => ControlMessage::StreamStop(stop),
                };
                self.session.send_now(&message);
            }
            Woken::Deadline => {
                let now = self.now();
                self.session.handle_timeout(now);
            }
            Woken::CertificateEnd => {
                self.session.close(CloseCode::CertificateExpired, "the client certificate has ended")
            }
            Woken::AskAgain => self.decide(Happened::AskAgain).await,
            Woken::Fault => self.scripted().await,
            Woken::Stopping => self.session.close(CloseCode::GoingAway, "the control plane is stopping"),
        }
    }

    /// One frame, and those that came with it.
    async fn frames(&mut self, first: Option<Result<Message, tungstenite::Error>>) {
        let mut next = Some(first);
        for _ in 0..BURST {
            let Some(frame) = next.take() else { break };
            let now = self.now();
            if let Some(Ok(_)) = frame {
                self.heard = jiff::Timestamp::now();
            }
            match frame {
                Some(Ok(Message::Text(text))) => self.text(now, text.as_str()),
                Some(Ok(Message::Pong(sent))) => {
                    self.session.handle_alive(now);
                    self.pong(&sent);
                }
                Some(Ok(Message::Ping(_))) => self.session.handle_alive(now),
                Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
                    self.session.close(CloseCode::Protocol, "the control connection carries text only");
                }
                Some(Ok(Message::Close(frame))) => {
                    let (cause, reason) = closed(frame);
                    self.session.handle_disconnected(cause, &reason);
                }
                Some(Err(tungstenite::Error::Capacity(error))) => {
                    self.session.close(CloseCode::TooLarge, &error.to_string());
                }
                Some(Err(error)) => self.session.handle_disconnected(Disconnect::Cut, &error.to_string()),
                None => self.session.handle_disconnected(Disconnect::Cut, "the connection was cut"),
            }
            next = self.socket.next().now_or_never();
        }
    }

    fn text(&mut self, now: Millis, text: &str) {
        if self.shared.config.record_limit > 0 {
            let data = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
            let of = data.get("type").and_then(Value::as_str);
            let hits = |message: &Option<String>| message.is_none() || message.as_deref() == of;
            let dropped = self.shared.faults.take(Some(self.data_plane()), |fault| {
                matches!(fault, Fault::DropIncoming { message } if hits(message)).then_some(())
            });
            self.shared.record.add(
                if dropped.is_some() { "Dropped" } else { "Message" },
                Some(self.data_plane()),
                data,
            );
            if dropped.is_some() {
                return self.session.handle_alive(now);
            }
        }
        self.session.handle_text(now, text);
    }

    /// Handles all events of the session and writes all its messages, until there are none left.
    async fn settle(&mut self) {
        loop {
            let mut events = Vec::new();
            while let Some(event) = self.session.poll_event() {
                events.push(event);
            }
            let quiet = events.is_empty();
            if !quiet {
                self.take_in(events).await;
            }
            match self.write().await {
                Ok(0) if quiet => return,
                Ok(_) => {}
                Err(reason) => {
                    self.broken = true;
                    self.session.handle_disconnected(Disconnect::Cut, &reason);
                }
            }
        }
    }

    async fn write(&mut self) -> Result<usize, String> {
        let mut written = 0;
        while let Some(transmit) = self.session.poll_transmit() {
            written += 1;
            if self.broken {
                continue;
            }
            let message = match transmit {
                Transmit::Text(text) => {
                    let pick =
                        |fault: &Fault| if let Fault::DelayOutgoing { millis } = fault { Some(*millis) } else { None };
                    if let Some(millis) = self.shared.faults.take(Some(self.data_plane()), pick) {
                        tokio::time::sleep(Duration::from_millis(millis)).await;
                    }
                    if self.shared.config.record_limit > 0 {
                        let data = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.clone()));
                        self.shared.record.add("Sent", Some(self.data_plane()), data);
                    }
                    Message::Text(Utf8Bytes::from(text))
                }
                Transmit::Ping => Message::Ping(bytes::Bytes::new()),
                Transmit::Close { code, reason } => {
                    tracing::info!(data_plane = self.data_plane(), code = code.number(), reason, "link is closed");
                    Message::Close(Some(CloseFrame { code: code.number().into(), reason: reason.into() }))
                }
            };
            deadline(self.socket.feed(message)).await?;
        }
        if written > 0 && !self.broken {
            deadline(self.socket.flush()).await?;
        }
        Ok(written)
    }

    async fn leave(mut self) {
        self.streams.leave();
        let Some(id) = self.id.take() else { return };
        self.shared.hub.leave(&self.peer.data_plane, &id);
        self.shared.record.add("Disconnect", Some(&self.peer.data_plane), json!({ "session": id }));
        let (data_plane, heard) = (self.peer.data_plane.clone(), self.heard);
        let mut reason = "the link was lost".to_owned();
        if !self.why.is_empty() {
            reason.push_str(": ");
            reason.push_str(&self.why);
        }
        let closed = self.shared.store.run(move |c| sessions::close(c, &data_plane, &id, heard, &reason)).await;
        if let Err(error) = closed {
            tracing::warn!(%error, "end of a session could not be recorded");
        }
    }

    /// Registers with the hub once the session is welcomed.
    fn join(&mut self, id: &str, hello: &Hello) {
        self.id = Some(id.to_owned());
        self.shared.hub.join(Handle {
            data_plane: self.peer.data_plane.clone(),
            session: id.to_owned(),
            wake: Arc::clone(&self.wake),
            requests: self.asking.clone(),
            last_lines: hello.capabilities.iter().any(|name| name == LAST_LINES),
            streams: Arc::clone(&self.streams),
        });
    }
}

/// Cause and reason of a close frame; the code where it gives no reason.
fn closed(frame: Option<CloseFrame>) -> (Disconnect, String) {
    let Some(CloseFrame { code, reason }) = frame else {
        return (Disconnect::Cut, "the data plane closed it and did not say why".to_owned());
    };
    let code = u16::from(code);
    let reason = if reason.is_empty() { format!("the data plane closed it (code {code})") } else { reason.to_string() };
    (Disconnect::Closed(CloseCode::from(code)), reason)
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

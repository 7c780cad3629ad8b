//! Log streams of one session: started and stopped over the control connection, carried by a second one.
//!
//! The bulk connection is opened when the first stream starts, and closed when none was left for a while. What is read stays
//! within the credit that the receiver gives; a receiver that is slow stops the reading of its own sources only. Cursors are
//! the receiver's. What is remembered is in `last`: the end of the logs of pods that were stopped, in memory, bounded. It reads our kinds
//! in the agent's namespace and pods' logs in environments' namespaces; it writes nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use protocol::bulk::{BulkFrame, BulkKind, StreamEnd};
use protocol::message::{EndReason, StreamEnded, StreamStart};
use protocol::name::ResourceKey;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::supervisor::joined;
use crate::telemetry::Metrics;

mod connection;
mod flow;
mod last;
mod restraint;
mod source;
mod starts;
mod stream;
mod target;

pub use connection::BulkSocket;
use flow::Flow;
pub use last::{LastLines, stopping};
use source::Output;
pub use starts::Starts;
use target::Lookup;

/// Most streams at the same time.
const MAX_STREAMS: usize = 64;

/// Frames between sources and the socket. Few, because a source cannot take them back.
const QUEUE: usize = 4;

/// A bulk connection without streams is kept so long.
const IDLE: Duration = Duration::from_secs(30);

/// Longest time of opening the bulk connection.
const OPEN: Duration = Duration::from_secs(20);

/// What the control plane is told when the bulk connection cannot be opened, whatever the cause.
const UNAVAILABLE: &str = "the bulk connection cannot be opened; the agent's log says why";

/// Most cursors of one request, and most bytes of its names and cursors.
const MAX_RESUME: (usize, usize) = (256, 128 * 1024);

/// What the control plane is told of a request beyond that.
pub const TOO_LONG: &str = "a stream goes on from 256 cursors and 128 KiB of them at most; send back the newest ones";

/// Whether a request is of a length that may wait: it came in a message of up to 1 MiB, and many may wait at once.
#[must_use]
pub fn is_bounded(start: &StreamStart) -> bool {
    let StreamStart { key, environment, resume, .. } = start;
    let cursors: usize = resume.iter().map(String::len).sum();
    let names = key.name.len() + environment.as_ref().map_or(0, String::len);
    resume.len() <= MAX_RESUME.0 && cursors + names <= MAX_RESUME.1
}

/// What the control connection says about streams.
#[derive(Debug)]
pub enum LogRequest {
    /// Start one.
    Start(Box<StreamStart>),
    /// Stop the one with this number.
    Stop(u32),
}

/// What log streams work with.
#[derive(Clone)]
pub struct LogContext {
    /// The API server, as the link's account.
    pub client: Client,
    /// Namespace of the agent.
    pub namespace: String,
    /// See [`LogMetrics::new`].
    pub metrics: LogMetrics,
    /// How often streams may start, over all sessions: else a new session would begin with a full bucket.
    pub starts: Arc<Mutex<Starts>>,
    /// What pods said that were stopped, over all sessions.
    pub last_lines: LastLines,
}

impl LogContext {
    /// Reads the last lines of the pods of `key`, which are being stopped since `since`, until they end. Cancel safe: what was read is
    /// kept.
    pub async fn read_last_lines(self, key: ResourceKey, since: String) {
        let lookup = self.lookup(key, None);
        self.last_lines.read(lookup, since).await;
    }

    fn lookup(&self, key: ResourceKey, environment: Option<String>) -> Lookup {
        Lookup { client: self.client.clone(), own_namespace: self.namespace.clone(), key, environment }
    }
}

/// Metrics of log streams.
#[derive(Debug, Clone)]
pub struct LogMetrics {
    streams: Gauge,
    ended: Family<Ended, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    reason: &'static str,
}

impl LogMetrics {
    /// Registers them; once per process.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let (streams, ended) = (Gauge::default(), Family::default());
        metrics.register(|registry| {
            registry.register("log_streams", "Log streams that are open", streams.clone());
            registry.register("log_streams_ended", "Log streams that have ended, by reason", ended.clone());
        });
        Self { streams, ended }
    }
}

/// Serves the log streams of one session until `requests` is closed or `stop` is cancelled. `open` opens a bulk connection of the
/// session; ends that cannot go over the bulk connection go to `ended`, for the control connection. `ended` shall have room for
/// 128, so that a caller who sends a request and reads ends in one loop never waits for itself. `round_trip` is that of the
/// control connection; it has receivers only while a bulk connection stands.
pub async fn serve<S, F, E>(
    context: LogContext,
    open: impl Fn() -> F + Send,
    mut requests: mpsc::Receiver<LogRequest>,
    ended: mpsc::Sender<StreamEnded>,
    round_trip: watch::Sender<Option<Duration>>,
    stop: CancellationToken,
) where
    S: BulkSocket,
    F: Future<Output = Result<S, E>> + Send,
    E: std::error::Error,
{
    let mut streams =
        Streams { context, ended, round_trip, running: HashMap::new(), tasks: JoinSet::new(), bulk: None };
    loop {
        let idle = streams.bulk.as_ref().and_then(|bulk| bulk.idle_since).map(|since| since + IDLE);
        let event = tokio::select! {
            () = stop.cancelled() => Event::Stop,
            request = requests.recv() => request.map_or(Event::Stop, Event::Request),
            Some(done) = streams.tasks.join_next() => Event::Done(joined(done)),
            reason = bulk_end(&mut streams.bulk) => Event::BulkLost(reason),
            () = sleep_until(idle.unwrap_or_else(Instant::now)), if idle.is_some() => Event::Idle,
        };
        match event {
            Event::Request(LogRequest::Start(start)) => streams.start(*start, &open).await,
            Event::Request(LogRequest::Stop(number)) => streams.stop(number),
            Event::Done(Some((number, end))) => streams.finish(number, end).await,
            Event::Done(None) => {}
            Event::BulkLost(reason) => streams.lose(&reason).await,
            Event::Idle => streams.hang_up().await,
            Event::Stop => break,
        }
    }
    streams.end_all(EndReason::AgentStopping, "the agent is stopping").await;
    streams.hang_up().await;
}

enum Event {
    Request(LogRequest),
    Done(Option<(u32, StreamEnd)>),
    BulkLost(String),
    Idle,
    Stop,
}

struct Streams {
    context: LogContext,
    ended: mpsc::Sender<StreamEnded>,
    round_trip: watch::Sender<Option<Duration>>,
    running: HashMap<u32, AbortHandle>,
    tasks: JoinSet<(u32, StreamEnd)>,
    bulk: Option<Bulk>,
}

/// One bulk connection.
struct Bulk {
    flow: Arc<Flow>,
    pump: JoinSet<String>,
    stop: CancellationToken,
    idle_since: Option<Instant>,
}

/// Waits for the end of the bulk connection. Cancel safe.
async fn bulk_end(bulk: &mut Option<Bulk>) -> String {
    match bulk {
        None => std::future::pending().await,
        Some(bulk) => match bulk.pump.join_next().await {
            Some(Ok(reason)) => reason,
            Some(Err(_)) | None => "it ended inside of the agent".to_owned(),
        },
    }
}

impl Streams {
    async fn start<S, F, E>(&mut self, start: StreamStart, open: &(impl Fn() -> F + Send))
    where
        S: BulkSocket,
        F: Future<Output = Result<S, E>> + Send,
        E: std::error::Error,
    {
        let number = start.stream;
        let taken = self.context.starts.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        if let Err(wait) = taken {
            let message = format!(
                "log streams are asked for faster than this agent starts them; ask again in {} s, and keep a stream open with \
                 follow instead of asking often",
                wait.as_secs() + 1
            );
            return self.refuse(number, EndReason::Busy, &message).await;
        }
        if number == 0 || self.running.contains_key(&number) {
            return self.refuse(number, EndReason::BadStream, "the number is 0 or in use").await;
        }
        if self.running.len() >= MAX_STREAMS {
            return self.refuse(number, EndReason::TooMany, "too many log streams are open; stop one first").await;
        }
        if self.bulk.is_none() {
            match timeout(OPEN, open()).await {
                Ok(Ok(socket)) => self.bulk = Some(Bulk::new(socket, self.round_trip.subscribe())),
                // The cause goes to the customer's log only: it shows what listens where in their network.
                Ok(Err(error)) => {
                    warn!(error = %crate::telemetry::chain(&error), "the bulk connection cannot be opened");
                    return self.refuse(number, EndReason::BulkUnavailable, UNAVAILABLE).await;
                }
                Err(_) => {
                    warn!("the bulk connection was not opened in time");
                    return self.refuse(number, EndReason::BulkUnavailable, UNAVAILABLE).await;
                }
            }
        }
        let Some(bulk) = &mut self.bulk else { return };
        bulk.idle_since = None;
        bulk.flow.open(number, start.credit);
        debug!(stream = number, resource = %start.key, follow = start.follow, "log stream started");
        let output = Output { flow: bulk.flow.clone(), stream: number };
        let lookup = self.context.lookup(start.key.clone(), start.environment.clone());
        let kept = self.context.last_lines.clone();
        let task = async move { (number, Box::pin(stream::run(lookup, kept, start, output)).await) };
        self.running.insert(number, self.tasks.spawn(task));
        self.context.metrics.streams.inc();
    }

    /// Stops a stream. Its receiver asked for it, so it is told nothing more.
    fn stop(&mut self, number: u32) {
        if let Some(task) = self.running.remove(&number) {
            task.abort();
            self.count(number, EndReason::Stopped);
        }
    }

    /// A stream has come to its end by itself.
    async fn finish(&mut self, number: u32, end: StreamEnd) {
        if self.running.remove(&number).is_none() {
            return;
        }
        self.count(number, end.reason);
        let payload = serde_json::to_vec(&end).unwrap_or_default();
        let frame =
            |offset| BulkFrame { stream: number, offset, kind: BulkKind::End(&payload) }.encode().unwrap_or_default();
        let sent = match &self.bulk {
            Some(bulk) => timeout(OPEN, bulk.flow.note(number, frame)).await.is_ok_and(|sent| sent.is_ok()),
            None => false,
        };
        if let Some(bulk) = &self.bulk {
            bulk.flow.close(number);
        }
        if !sent {
            self.refuse(number, end.reason, &end.message).await;
        }
    }

    /// Books the end of a stream.
    fn count(&mut self, number: u32, reason: EndReason) {
        debug!(stream = number, reason = reason.as_str(), "log stream ended");
        self.context.metrics.streams.dec();
        self.context.metrics.ended.get_or_create(&Ended { reason: reason.as_str() }).inc();
        if let Some(bulk) = &mut self.bulk {
            if reason == EndReason::Stopped {
                bulk.flow.close(number);
            }
            if self.running.is_empty() {
                bulk.idle_since = Some(Instant::now());
            }
        }
    }

    /// Reports an end over the control connection.
    async fn refuse(&self, stream: u32, reason: EndReason, message: &str) {
        let end = StreamEnded { stream, reason, message: message.to_owned() };
        if self.ended.send(end).await.is_err() {
            debug!(stream, "nobody is told of the end of a log stream: the session is over");
        }
    }

    /// The bulk connection is over, and all streams with it. Receivers ask again with their cursors.
    async fn lose(&mut self, reason: &str) {
        info!(reason, streams = self.running.len(), "the bulk connection ended");
        self.bulk = None;
        self.end_all(EndReason::BulkLost, reason).await;
    }

    async fn end_all(&mut self, reason: EndReason, message: &str) {
        for (number, task) in std::mem::take(&mut self.running) {
            task.abort();
            self.count(number, reason);
            self.refuse(number, reason, message).await;
        }
    }

    /// Closes the bulk connection, which nobody needs.
    async fn hang_up(&mut self) {
        if let Some(mut bulk) = self.bulk.take() {
            bulk.stop.cancel();
            if timeout(Duration::from_secs(5), bulk.pump.join_next()).await.is_err() {
                debug!("the bulk connection did not close in time");
            }
        }
    }
}

impl Bulk {
    fn new(socket: impl BulkSocket, round_trip: watch::Receiver<Option<Duration>>) -> Self {
        let (queue, frames) = mpsc::channel(QUEUE);
        let flow = Arc::new(Flow::new(queue));
        let (accounts, stop) = (flow.clone(), CancellationToken::new());
        let stopped = stop.clone();
        let mut pump = JoinSet::new();
        pump.spawn(async move { connection::pump(socket, &accounts, frames, round_trip, stopped).await });
        Self { flow, pump, stop, idle_since: None }
    }
}

#[cfg(test)]
mod tests;

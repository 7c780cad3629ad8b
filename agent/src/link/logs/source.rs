//! Reads the log of one container and sends it, over cut connections, restarts and the end of the pod.
//!
//! It reads `pods/log` only. What to read next is decided by `pods::plan`, what of it is new by `cursor::Resume`; this module makes
//! the calls, in order and with waits between retries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use kube::Client;
use kube::api::LogParams;
use kube::client::Body;
use protocol::bulk::{BulkFrame, BulkKind, Gap, LogChunk, LogChunkHead};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::flow::{Flow, Gone};
use crate::logs::chunk::Chunk;
use crate::logs::cursor::{Cursor, since};
use crate::logs::pods::{Instance, Plan, Progress, plan};
use crate::logs::reading::{Item, Reading};

/// When no line has come for this long, lines held back for the cursor's line are sent.
const QUIET: Duration = Duration::from_secs(2);

/// A container's state is known only a little after its stream has ended.
const SETTLE: Duration = Duration::from_secs(1);

/// A read that lasted so long had not failed: proxies cut idle streams.
const STEADY: Duration = Duration::from_secs(10);

/// Unit of the growing wait between tries that fail.
const BACKOFF: Duration = Duration::from_millis(250);

/// Failures in a row after which a source is given up.
const TRIES: u32 = 10;

/// Longest wait for the head of the log API's answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Containers by (pod uid, container name), and when they were asked for.
#[derive(Debug, Clone)]
pub(super) struct Views {
    pub(super) asked: Instant,
    pub(super) containers: Arc<BTreeMap<(String, String), Instance>>,
}

/// Which lines are wanted of a source without a cursor.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReadRequest {
    pub(super) follow: bool,
    pub(super) tail: Option<u32>,
    pub(super) since_seconds: Option<u32>,
    pub(super) previous: bool,
}

/// Where chunks go.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) flow: Arc<Flow>,
    pub(super) stream: u32,
}

/// Why a source is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SourceEnd {
    /// All of it was sent.
    Complete,
    /// The pod is gone.
    Deleted,
    /// The API server forbids it.
    NotAllowed,
    /// The API server or the kubelet does not give it.
    Failed(String),
    /// The bulk connection or the stream is over.
    Gone,
}

impl From<Gone> for SourceEnd {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// One container that is read.
pub(super) struct Source {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) instance: Instance,
    pub(super) request: ReadRequest,
    pub(super) output: Output,
    /// Asks for a look at the pods now.
    pub(super) look: Arc<Notify>,
}

/// How one read of the API ended.
pub(super) enum ReadEnd {
    /// The stream ended as one that is whole.
    Eof,
    /// It could not begin, or broke.
    Broken(String),
    /// 401 or 403.
    NotAllowed,
}

impl Source {
    /// Reads until everything was sent, or the source cannot be read. Cancel safe: what was sent is in the cursors.
    pub(super) async fn run(self, resume: Option<Cursor>, mut views: watch::Receiver<Views>) -> SourceEnd {
        let mut progress = resume.map_or_else(Progress::default, |cursor| Progress {
            id: Some(cursor.container),
            position: cursor.position,
            complete: false,
        });
        let key = (self.instance.uid.clone(), self.instance.container.clone());
        let mut fresh = progress.id.is_none();
        let mut failures = 0;
        loop {
            let view = views.borrow_and_update().containers.get(&key).cloned();
            let next =
                if self.request.previous { previous(view.as_ref(), &progress) } else { plan(view.as_ref(), &progress) };
            let (id, as_previous, live, gap) = match next {
                Plan::Wait if self.request.follow => {
                    if views.changed().await.is_err() {
                        return SourceEnd::Gone;
                    }
                    continue;
                }
                Plan::Wait | Plan::Ended => return SourceEnd::Complete,
                Plan::Deleted => return SourceEnd::Deleted,
                Plan::Read { id, previous, live, gap } => (id, previous, live && self.request.follow, gap),
            };
            if gap && let Err(gone) = self.gap("Restarted", self.cursor(&progress)).await {
                return gone.into();
            }
            if progress.id.as_ref() != Some(&id) {
                fresh = fresh && progress.id.is_none();
                progress = Progress { id: Some(id), position: None, complete: false };
            }
            let (before, begun) = (progress.position, Instant::now());
            let end = match self.read(&mut progress, as_previous, live, fresh).await {
                Ok(end) => end,
                Err(gone) => return gone.into(),
            };
            // Tail and time limit choose where to begin; after that every line counts.
            fresh = fresh && progress.position.is_none();
            if progress.position != before || begun.elapsed() >= STEADY {
                failures = 0;
            }
            match end {
                ReadEnd::Eof if live => {
                    failures = 0;
                    if self.seen(&mut views, Instant::now() + SETTLE).await.is_err() {
                        return SourceEnd::Gone;
                    }
                }
                ReadEnd::Eof => {
                    progress.complete = true;
                    if !self.request.follow {
                        return SourceEnd::Complete;
                    }
                    continue;
                }
                ReadEnd::NotAllowed => return SourceEnd::NotAllowed,
                ReadEnd::Broken(reason) => {
                    failures += 1;
                    debug!(source = self.instance.source, failures, reason, "reading a log was interrupted");
                    if failures >= TRIES {
                        return SourceEnd::Failed(reason);
                    }
                    // The wait lets a rotation of the log finish; after a first failure there is none.
                    tokio::time::sleep(BACKOFF.saturating_mul((1 << (failures - 1).min(5)) - 1)).await;
                    self.look.notify_one();
                    if self.seen(&mut views, Instant::now()).await.is_err() {
                        return SourceEnd::Gone;
                    }
                }
            }
        }
    }

    /// Waits for pods that were asked for at `time` or later.
    async fn seen(&self, views: &mut watch::Receiver<Views>, time: Instant) -> Result<(), Gone> {
        if !self.request.follow {
            // Without `follow` the pods are never listed again.
            tokio::time::sleep(SETTLE).await;
            return Ok(());
        }
        while views.borrow_and_update().asked < time {
            views.changed().await.map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// One read of the API, from where `progress` stands.
    async fn read(&self, progress: &mut Progress, previous: bool, live: bool, fresh: bool) -> Result<ReadEnd, Gone> {
        let mut body = match self.open(progress, previous, live, fresh).await {
            Ok(body) => body,
            Err(end) => return Ok(end),
        };
        let mut reading = Reading::new(self.cursor(progress));
        let end = loop {
            let frame = if let Some(frame) = body.frame().now_or_never() {
                frame
            } else {
                reading.flush();
                self.send(&mut reading, progress).await?;
                match timeout(QUIET, body.frame()).await {
                    Ok(frame) => frame,
                    Err(_) => {
                        reading.quiet();
                        continue;
                    }
                }
            };
            match frame {
                Some(Ok(frame)) => reading.bytes(&frame.into_data().unwrap_or_default()),
                Some(Err(error)) => break ReadEnd::Broken(error.to_string()),
                None => break ReadEnd::Eof,
            }
            self.send(&mut reading, progress).await?;
        };
        match end {
            ReadEnd::Eof if !live => reading.end(),
            ReadEnd::Eof | ReadEnd::Broken(_) | ReadEnd::NotAllowed => reading.flush(),
        }
        self.send(&mut reading, progress).await?;
        Ok(end)
    }

    async fn open(&self, progress: &Progress, previous: bool, live: bool, fresh: bool) -> Result<Body, ReadEnd> {
        let ReadRequest { tail, since_seconds, .. } = self.request;
        let from = progress.position.as_ref().map(since).and_then(|second| jiff::Timestamp::from_second(second).ok());
        let parameters = LogParams {
            container: Some(self.instance.container.clone()),
            follow: live,
            previous,
            timestamps: true,
            since_time: from,
            since_seconds: since_seconds.filter(|_| fresh).map(i64::from),
            tail_lines: tail.filter(|_| fresh).map(i64::from),
            ..LogParams::default()
        };
        open(&self.client, &self.namespace, &self.instance.pod, &parameters).await
    }

    /// Sends what is ready; `progress` follows what was queued.
    async fn send(&self, reading: &mut Reading, progress: &mut Progress) -> Result<(), Gone> {
        let mut at = self.cursor(progress);
        send(&self.output, reading, &mut at).await?;
        progress.position = at.position;
        Ok(())
    }

    async fn gap(&self, reason: &str, from: Cursor) -> Result<(), Gone> {
        gap(&self.output, reason, &from).await
    }

    fn cursor(&self, progress: &Progress) -> Cursor {
        Cursor {
            source: self.instance.source.clone(),
            pod: self.instance.uid.clone(),
            container: progress.id.clone().unwrap_or_default(),
            position: progress.position,
        }
    }
}

/// Begins to read a log. Errors say how that ended.
pub(super) async fn open(client: &Client, namespace: &str, pod: &str, parameters: &LogParams) -> Result<Body, ReadEnd> {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let request =
        kube::core::Request::new(path).logs(pod, parameters).map_err(|error| ReadEnd::Broken(error.to_string()))?;
    let response = match timeout(ANSWER, client.send(request.map(Body::from))).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(ReadEnd::Broken(crate::telemetry::chain(&error))),
        Err(_) => return Err(ReadEnd::Broken("the API server did not answer in time".to_owned())),
    };
    match response.status().as_u16() {
        200..=299 => Ok(response.into_body()),
        401 | 403 => Err(ReadEnd::NotAllowed),
        code => Err(ReadEnd::Broken(format!("the API server answered {code}"))),
    }
}

/// Sends what is ready; `at` follows what was queued.
pub(super) async fn send(output: &Output, reading: &mut Reading, at: &mut Cursor) -> Result<(), Gone> {
    for item in reading.take() {
        let Chunk { cursor, lines, partial } = match item {
            Item::Chunk(chunk) => chunk,
            Item::Gap => {
                gap(output, "Rotated", at).await?;
                continue;
            }
        };
        let position = cursor.position;
        let head = LogChunkHead { source: at.source.clone(), cursor: cursor.to_string() };
        let Ok(payload) = (LogChunk { head, lines: &lines }).encode() else { continue };
        let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        let stream = output.stream;
        let kind = BulkKind::Data { payload: &payload, partial };
        // The payload was checked when it was encoded.
        let frame = |offset| BulkFrame { stream, offset, kind }.encode().unwrap_or_default();
        output.flow.data(stream, length, frame).await?;
        at.position = position;
    }
    Ok(())
}

async fn gap(output: &Output, reason: &str, from: &Cursor) -> Result<(), Gone> {
    let source = from.source.clone();
    let from = from.position.is_some().then(|| from.to_string());
    note_gap(output, &Gap { source, from, to: None, reason: reason.to_owned() }).await
}

/// Sends a gap record.
pub(super) async fn note_gap(output: &Output, gap: &Gap) -> Result<(), Gone> {
    let stream = output.stream;
    let payload = serde_json::to_vec(gap).unwrap_or_default();
    output
        .flow
        .note(stream, |offset| BulkFrame { stream, offset, kind: BulkKind::Gap(&payload) }.encode().unwrap_or_default())
        .await
}

/// What to read when the instance before the running one is asked for.
fn previous(view: Option<&Instance>, progress: &Progress) -> Plan {
    match view.map(|view| &view.previous) {
        None => Plan::Deleted,
        Some(Some(id)) if !progress.complete => Plan::Read { id: id.clone(), previous: true, live: false, gap: false },
        Some(Some(_) | None) => Plan::Ended,
    }
}

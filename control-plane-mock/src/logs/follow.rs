//! One log stream for one reader: started on the data plane, cut into lines, started again where it was lost.
//!
//! Cursors stay here: after a lost connection the stream goes on behind the last chunk that came. What the log API does not
//! serve any more is told as a gap, never skipped silently.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::message::{StreamStart, StreamStop};
use protocol::name::ResourceKey;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Item, WINDOW};
use crate::control_plane::Shared;
use crate::hub::Request;

/// A line that is longer is cut in pieces of this size, in bytes.
const LONGEST: usize = 256 * 1024;

/// How long a reader who follows waits for a data plane that is away.
const PATIENCE: Duration = Duration::from_secs(120);

/// One line of output.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// Data plane's handle.
    pub data_plane: String,
    /// Pod and container, `pod/container`; empty for notes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Time as the log API gives it, RFC 3339.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// The text.
    #[serde(default)]
    pub line: String,
    /// `Gap`, `End` or `Interrupted` for notes of ours; none for lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a reader wants.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Data plane's id.
    pub data_plane: String,
    /// Data plane's handle.
    pub data_plane_name: String,
    /// Whose pods.
    pub key: ResourceKey,
    /// Keep sending what comes.
    pub follow: bool,
    /// Lines from the end.
    pub tail: Option<u32>,
    /// Only what is not older.
    pub since_seconds: Option<u32>,
    /// The container instance before.
    pub previous: bool,
}

/// Carries lines to `out` until the stream ends, its reader goes, or the server stops.
pub async fn run(shared: Arc<Shared>, wish: Wish, out: mpsc::Sender<LogLine>) {
    let mut cursors: BTreeMap<String, String> = BTreeMap::new();
    let mut first = true;
    loop {
        let Some(handle) = link(&shared, &wish, first).await else {
            note(
                &wish,
                &out,
                "End",
                "NotConnected: the data plane is not connected; its logs are there when it is back",
            )
            .await;
            return;
        };
        let (stream, mut items) = handle.streams.open();
        let start = StreamStart {
            stream,
            key: wish.key.clone(),
            follow: wish.follow,
            tail: if cursors.is_empty() { wish.tail } else { None },
            since_seconds: wish.since_seconds,
            previous: wish.previous,
            resume: cursors.values().cloned().collect(),
            credit: WINDOW,
        };
        let mut end = None;
        if handle.requests.send(Request::StreamStart(Box::new(start))).await.is_ok() {
            let mut parts = BTreeMap::new();
            loop {
                let item = tokio::select! {
                    item = items.recv() => item,
                    () = out.closed() => None,
                };
                let Some(item) = item else { break };
                match item {
                    Item::Lines { head, lines, partial, upto } => {
                        let sent = lines_out(&wish, &out, &head.source, &lines, partial, &mut parts).await;
                        handle.streams.read(stream, upto);
                        cursors.insert(head.source, head.cursor);
                        if !sent {
                            break;
                        }
                    }
                    Item::Gap(gap) => {
                        let text = format!("{}: lines are missing here ({})", gap.source, gap.reason);
                        note(&wish, &out, "Gap", &text).await;
                    }
                    Item::End(reason) => end = Some(reason),
                }
            }
        }
        handle.streams.end(stream, "Stopped", "");
        if out.is_closed() {
            drop(handle.requests.send(Request::StreamStop(StreamStop { stream })).await);
            return;
        }
        let lost = end
            .as_ref()
            .is_none_or(|end| matches!(end.reason.as_str(), "AgentGone" | "BulkLost" | "AgentStopping" | "ServerCut"));
        if !lost || !wish.follow || shared.supervisor.stopping().is_cancelled() {
            let end =
                end.map_or_else(|| "the stream was lost".to_owned(), |end| format!("{}: {}", end.reason, end.message));
            note(&wish, &out, "End", &end).await;
            return;
        }
        note(&wish, &out, "Interrupted", "the data plane is away; the log goes on where it was when it is back").await;
        first = false;
    }
}

/// The live link; a reader who follows waits for it.
async fn link(shared: &Shared, wish: &Wish, first: bool) -> Option<crate::hub::Handle> {
    let mut links = shared.hub.watch_links();
    let wait = async {
        loop {
            if let Some(handle) = shared.hub.link(&wish.data_plane) {
                return Some(handle);
            }
            if links.changed().await.is_err() {
                return None;
            }
        }
    };
    let patience = if first || !wish.follow { Duration::ZERO } else { PATIENCE };
    tokio::select! {
        found = tokio::time::timeout(patience, wait) => found.ok().flatten(),
        () = shared.supervisor.stopping().cancelled() => None,
    }
}

async fn note(wish: &Wish, out: &mpsc::Sender<LogLine>, what: &str, text: &str) {
    let line = LogLine {
        data_plane: wish.data_plane_name.clone(),
        source: String::new(),
        time: String::new(),
        line: text.to_owned(),
        note: Some(what.to_owned()),
    };
    drop(out.send(line).await);
}

/// Cuts a chunk into lines; what goes on in the next chunk is kept. False when the reader is gone.
async fn lines_out(
    wish: &Wish,
    out: &mpsc::Sender<LogLine>,
    source: &str,
    chunk: &Bytes,
    partial: bool,
    parts: &mut BTreeMap<String, Vec<u8>>,
) -> bool {
    let mut bytes = parts.remove(source).unwrap_or_default();
    bytes.extend_from_slice(chunk);
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let last = lines.pop().unwrap_or_default();
    let keep = partial && last.len() < LONGEST;
    if !keep && !last.is_empty() {
        lines.push(last);
    }
    for line in lines {
        let text = String::from_utf8_lossy(line);
        let (time, text) = match text.split_once(' ') {
            Some((time, text)) if time.starts_with(|c: char| c.is_ascii_digit()) && time.contains('T') => (time, text),
            Some(_) | None => ("", text.as_ref()),
        };
        let line = LogLine {
            data_plane: wish.data_plane_name.clone(),
            source: source.to_owned(),
            time: time.to_owned(),
            line: text.to_owned(),
            note: None,
        };
        if out.send(line).await.is_err() {
            return false;
        }
    }
    if keep {
        parts.insert(source.to_owned(), last.to_vec());
    }
    true
}

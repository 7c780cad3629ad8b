//! One log stream for one reader: started on the data plane, cut into lines, started again where it was lost.
//!
//! Cursors stay here: after a lost connection the stream goes on behind the last chunk that came. What the log API does not
//! serve any more is told as a gap, never skipped silently. A session that another gateway holds is read through that one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::bulk::StreamEnd;
use protocol::message::{StreamStart, StreamStop};
use protocol::name::ResourceKey;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Item, WINDOW, forward};
use crate::control_plane::Shared;
use crate::hub::{Handle, Request};
use crate::store::{gateways, sessions};

/// A line that is longer is cut in pieces of this size, in bytes.
const LONGEST: usize = 256 * 1024;

/// How long a reader who follows waits for a data plane that is away.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a session that is said to be live is looked for: it may be moving.
const ONE_LOOK: Duration = Duration::from_secs(2);

/// Pieces on their way within one stream; its slowness reaches the sender by credit.
const PIECES: usize = 256;

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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wish {
    /// Data plane's id.
    pub data_plane: String,
    /// Data plane's handle.
    pub data_plane_name: String,
    /// Whose pods.
    pub key: ResourceKey,
    /// Name of the Environment resource of a run.
    pub environment: Option<String>,
    /// Keep sending what comes.
    pub follow: bool,
    /// Lines from the end.
    pub tail: Option<u32>,
    /// Only what is not older.
    pub since_seconds: Option<u32>,
    /// The container instance before.
    pub previous: bool,
}

/// One piece of a stream on its way to the reader, here or at another gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Piece {
    /// A line, or a note.
    Line(LogLine),
    /// Everything of this source up to here was told.
    Cursor {
        /// Pod and container.
        source: String,
        /// Opaque.
        cursor: String,
    },
    /// The stream ended, and said why.
    End(StreamEnd),
}

/// Where the session of a data plane is.
enum Held {
    Here(Box<Handle>),
    /// At another gateway, with its address.
    There(String),
}

/// Carries lines to `out` until the stream ends, its reader goes, or the server stops.
pub async fn run(shared: Arc<Shared>, wish: Wish, out: mpsc::Sender<LogLine>) {
    let mut cursors: BTreeMap<String, String> = BTreeMap::new();
    let mut first = true;
    loop {
        let Some(held) = held(&shared, &wish, first).await else {
            note(
                &wish,
                &out,
                "End",
                "NotConnected: the data plane is not connected; its logs are there when it is back",
            )
            .await;
            return;
        };
        let (pieces, coming) = mpsc::channel(PIECES);
        let resume = cursors.clone();
        let carry = async {
            match held {
                Held::Here(handle) => pass(&handle, &wish, &resume, pieces).await,
                Held::There(address) => forward::ask(&shared, &address, &wish, resume, pieces).await,
            }
        };
        let ((), end) = tokio::join!(carry, take(coming, &out, &mut cursors));
        if out.is_closed() {
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

/// Hands lines on and keeps the cursors, until no more comes or the reader is gone. Gives the end that was told.
async fn take(
    mut coming: mpsc::Receiver<Piece>,
    out: &mpsc::Sender<LogLine>,
    cursors: &mut BTreeMap<String, String>,
) -> Option<StreamEnd> {
    let mut end = None;
    loop {
        let piece = tokio::select! {
            piece = coming.recv() => piece?,
            () = out.closed() => return end,
        };
        match piece {
            Piece::Line(line) => {
                if out.send(line).await.is_err() {
                    return end;
                }
            }
            Piece::Cursor { source, cursor } => drop(cursors.insert(source, cursor)),
            Piece::End(told) => {
                end = Some(told);
                // What follows is the end of the channel, unless the other side fails to close it.
                return end;
            }
        }
    }
}

/// One stream of a session that is here, from its start to its end.
pub(super) async fn pass(
    handle: &Handle,
    wish: &Wish,
    cursors: &BTreeMap<String, String>,
    pieces: mpsc::Sender<Piece>,
) {
    let (stream, mut items) = handle.streams.open();
    let start = StreamStart {
        stream,
        key: wish.key.clone(),
        environment: wish.environment.clone(),
        follow: wish.follow,
        tail: if cursors.is_empty() { wish.tail } else { None },
        since_seconds: wish.since_seconds,
        previous: wish.previous,
        resume: cursors.values().cloned().collect(),
        credit: WINDOW,
    };
    if handle.requests.send(Request::StreamStart(Box::new(start))).await.is_ok() {
        let mut parts = BTreeMap::new();
        loop {
            let item = tokio::select! {
                item = items.recv() => item,
                () = pieces.closed() => None,
            };
            let Some(item) = item else { break };
            let going = match item {
                Item::Lines { head, lines, partial, upto } => {
                    let sent = lines_out(wish, &pieces, &head.source, &lines, partial, &mut parts).await;
                    handle.streams.read(stream, upto);
                    let cursor = Piece::Cursor { source: head.source, cursor: head.cursor };
                    sent && pieces.send(cursor).await.is_ok()
                }
                Item::Gap(gap) => {
                    let text = format!("{}: lines are missing here ({})", gap.source, gap.reason);
                    pieces.send(Piece::Line(noted(wish, "Gap", &text))).await.is_ok()
                }
                Item::End(reason) => pieces.send(Piece::End(reason)).await.is_ok(),
            };
            if !going {
                break;
            }
        }
    }
    handle.streams.end(stream, "Stopped", "");
    if pieces.is_closed() {
        drop(handle.requests.send(Request::StreamStop(StreamStop { stream })).await);
    }
}

/// The live session, here or at another gateway; a reader who follows waits for it.
async fn held(shared: &Shared, wish: &Wish, first: bool) -> Option<Held> {
    let mut links = shared.hub.watch_links();
    // A session that opens at another gateway is an event here.
    let mut events = shared.hub.watch_events();
    let wait = async {
        loop {
            if let Some(handle) = shared.hub.link(&wish.data_plane) {
                return Some(Held::Here(Box::new(handle)));
            }
            let (id, own) = (wish.data_plane.clone(), shared.config.gateway.clone());
            if let Ok(Some(other)) = shared.store.run(move |c| gateways::holding(c, &id, &own)).await {
                return Some(Held::There(other.address));
            }
            tokio::select! {
                changed = links.changed() => changed.ok()?,
                changed = events.changed() => changed.ok()?,
            }
        }
    };
    // One look needs the store; who follows and was connected waits longer.
    let patience = if first || !wish.follow { ONE_LOOK } else { PATIENCE };
    let there = async {
        if first || !wish.follow {
            let id = wish.data_plane.clone();
            let live = move |c: &rusqlite::Connection| sessions::is_live(c, &id);
            if !shared.store.run(live).await.unwrap_or(false) {
                return None;
            }
        }
        tokio::time::timeout(patience, wait).await.ok().flatten()
    };
    tokio::select! {
        found = there => found,
        () = shared.supervisor.stopping().cancelled() => None,
    }
}

async fn note(wish: &Wish, out: &mpsc::Sender<LogLine>, what: &str, text: &str) {
    drop(out.send(noted(wish, what, text)).await);
}

fn noted(wish: &Wish, what: &str, text: &str) -> LogLine {
    LogLine {
        data_plane: wish.data_plane_name.clone(),
        source: String::new(),
        time: String::new(),
        line: text.to_owned(),
        note: Some(what.to_owned()),
    }
}

/// Cuts a chunk into lines; what goes on in the next chunk is kept. False when the reader is gone.
async fn lines_out(
    wish: &Wish,
    out: &mpsc::Sender<Piece>,
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
        if out.send(Piece::Line(line)).await.is_err() {
            return false;
        }
    }
    if keep {
        parts.insert(source.to_owned(), last.to_vec());
    }
    true
}

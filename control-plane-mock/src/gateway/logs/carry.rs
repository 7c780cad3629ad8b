//! One log stream of a session that is here: started on the data plane, cut into lines, handed on in pieces.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::bulk::StreamEnd;
use protocol::message::{EndReason, StreamStart, StreamStop};
use protocol::name::ResourceKey;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Item, WINDOW};
use crate::gateway::hub::{Handle, Request};

/// A line that is longer is cut in pieces of this size, in bytes.
const LONGEST: usize = 256 * 1024;

/// Sources of one stream with the beginning of a line that goes on; an agent reads as many at a time.
const SOURCES: usize = 64;

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
    /// All lines of this source up to here were sent.
    Cursor {
        /// Pod and container.
        source: String,
        /// Opaque.
        cursor: String,
    },
    /// The stream ended, and said why.
    End(StreamEnd),
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
                    handle.streams.gap_read(stream);
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
    handle.streams.end(stream, EndReason::Stopped, "");
    if pieces.is_closed() {
        drop(handle.requests.send(Request::StreamStop(StreamStop { stream })).await);
    }
}

/// A note of ours among the lines.
pub(super) fn noted(wish: &Wish, what: &str, text: &str) -> LogLine {
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
    let keep = partial && last.len() < LONGEST && parts.len() < SOURCES;
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

//! One log stream of a session that is here: started on the data plane, cut into lines, handed on in pieces.

use std::collections::BTreeMap;

use bytes::Bytes;
use control_plane_model::LogLine;
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

/// What a reader wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamRequest {
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
    /// The last lines of pods that were stopped.
    #[serde(default)]
    pub stopped: bool,
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
    request: &StreamRequest,
    cursors: &BTreeMap<String, String>,
    pieces: mpsc::Sender<Piece>,
) {
    if request.stopped && !handle.last_lines {
        let message =
            "the agent of this data plane does not keep the last lines of pods that were stopped; a newer version does";
        let end = StreamEnd { reason: EndReason::NotFound, message: message.to_owned() };
        // A reader that is gone needs no end.
        drop(pieces.send(Piece::End(end)).await);
        return;
    }
    let (stream, mut items) = handle.streams.open();
    let start = StreamStart {
        stream,
        key: request.key.clone(),
        environment: request.environment.clone(),
        follow: request.follow,
        tail: if cursors.is_empty() { request.tail } else { None },
        since_seconds: request.since_seconds,
        previous: request.previous,
        stopped: request.stopped,
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
                    let sent = lines_out(request, &pieces, &head.source, &lines, partial, &mut parts).await;
                    handle.streams.read(stream, upto);
                    let cursor = Piece::Cursor { source: head.source, cursor: head.cursor };
                    sent && pieces.send(cursor).await.is_ok()
                }
                Item::Gap(gap) => {
                    handle.streams.gap_read(stream);
                    let text = format!("{}: lines are missing here ({})", gap.source, gap.reason);
                    pieces.send(Piece::Line(noted(request, "Gap", &text))).await.is_ok()
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
pub(super) fn noted(request: &StreamRequest, what: &str, text: &str) -> LogLine {
    LogLine {
        data_plane: request.data_plane_name.clone(),
        source: String::new(),
        time: String::new(),
        line: text.to_owned(),
        note: Some(what.to_owned()),
    }
}

/// Cuts a chunk into lines; what goes on in the next chunk is kept. False when the reader is gone.
async fn lines_out(
    request: &StreamRequest,
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
            data_plane: request.data_plane_name.clone(),
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

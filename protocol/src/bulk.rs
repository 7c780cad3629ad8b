//! Frames of the bulk connection: log chunks now, other streams later.
//!
//! One binary WebSocket message is one frame: a header of sixteen bytes, big-endian, and a payload that is passed on
//! untouched. Streams are numbered by the control connection (`streamStart`); number 0 stands for the connection as a whole.
//! Flow is governed by cumulative byte offsets of payload: a `credit` frame names the offset up to which may be sent, so a
//! repeated or late one does no harm, and a sender keeps within the stream's and the connection's credit.
//! A stream begins with the credit that `streamStart` names, a connection with none. A receiver gives a stream more as its reader reads,
//! and the connection as bytes are taken in: readers that stop must not stop the others.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | kind: 1 data, 2 credit, 3 end, 4 gap |
//! | 1 | flags: bit 0 of data = the last line goes on in the next chunk of the same source |
//! | 2–3 | zero |
//! | 4–7 | stream |
//! | 8–15 | offset: of the first payload byte (data, gap, end), or the limit (credit) |

use serde::{Deserialize, Serialize};

use crate::message::EndReason;

/// Sub-protocol of bulk connections.
pub const BULK_SUBPROTOCOL: &str = "pdp-agent.bulk.v1";

/// Length of the header, in bytes.
pub const HEADER: usize = 16;

/// Largest payload, in bytes.
pub const MAX_PAYLOAD: usize = 16 * 1024;

/// Largest binary message, in bytes.
pub const MAX_BULK_FRAME: usize = HEADER + MAX_PAYLOAD;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkFrame<'a> {
    /// Number of the stream; 0 is the connection.
    pub stream: u32,
    /// Cumulative payload bytes of this stream: before this frame, or the limit of a credit.
    pub offset: u64,
    /// What it is.
    pub kind: BulkKind<'a>,
}

/// Kinds of frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkKind<'a> {
    /// Bytes of the stream.
    Data {
        /// See [`LogChunk`].
        payload: &'a [u8],
        /// The last line goes on in the next chunk of the same source.
        partial: bool,
    },
    /// What may be sent. Receiver to sender.
    Credit,
    /// Nothing more comes. The payload is a [`StreamEnd`] as JSON.
    End(&'a [u8]),
    /// Something is missing here. The payload is a [`Gap`] as JSON.
    Gap(&'a [u8]),
}

/// Why a stream ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamEnd {
    /// As in `streamEnded`.
    pub reason: EndReason,
    /// A sentence for people.
    pub message: String,
}

/// Lines that were lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// Pod and container, `pod/container`.
    pub source: String,
    /// Cursor of the last line before it, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Cursor of the first line after it, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// `Rotated`, `Restarted` or `TooSlow`.
    pub reason: String,
}

/// A binary message that breaks the rules; the bulk connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BulkError {
    /// Shorter than a header.
    #[error("bulk frame has {length} bytes, the header alone has {HEADER}")]
    TooShort {
        /// Its length in bytes.
        length: usize,
    },
    /// Longer than allowed.
    #[error("bulk payload has {length} bytes, {MAX_PAYLOAD} are allowed")]
    TooLong {
        /// Length of the payload in bytes.
        length: usize,
    },
    /// Not a kind of this version.
    #[error("bulk frame kind {kind} is not known")]
    UnknownKind {
        /// The first byte.
        kind: u8,
    },
    /// A flag or reserved byte is set, or a credit has a payload.
    #[error("bulk frame has bytes set that must be zero or absent")]
    Reserved,
    /// The head of a log chunk cannot be read.
    #[error("log chunk has a malformed head")]
    ChunkHead,
}

const DATA: u8 = 1;
const CREDIT: u8 = 2;
const END: u8 = 3;
const GAP: u8 = 4;
const PARTIAL: u8 = 1;

impl<'a> BulkFrame<'a> {
    /// The binary message.
    ///
    /// # Errors
    /// [`BulkError::TooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, BulkError> {
        let (kind, flags, payload): (u8, u8, &[u8]) = match self.kind {
            BulkKind::Data { payload, partial } => (DATA, if partial { PARTIAL } else { 0 }, payload),
            BulkKind::Credit => (CREDIT, 0, &[]),
            BulkKind::End(payload) => (END, 0, payload),
            BulkKind::Gap(payload) => (GAP, 0, payload),
        };
        if payload.len() > MAX_PAYLOAD {
            return Err(BulkError::TooLong { length: payload.len() });
        }
        let mut out = Vec::with_capacity(HEADER + payload.len());
        out.extend([kind, flags, 0, 0]);
        out.extend(self.stream.to_be_bytes());
        out.extend(self.offset.to_be_bytes());
        out.extend(payload);
        Ok(out)
    }

    /// Reads one binary message.
    ///
    /// # Errors
    /// See [`BulkError`].
    pub fn decode(message: &'a [u8]) -> Result<Self, BulkError> {
        let Some((header, payload)) = message.split_first_chunk::<HEADER>() else {
            return Err(BulkError::TooShort { length: message.len() });
        };
        if payload.len() > MAX_PAYLOAD {
            return Err(BulkError::TooLong { length: payload.len() });
        }
        let &[kind, flags, r0, r1, s0, s1, s2, s3, o0, o1, o2, o3, o4, o5, o6, o7] = header;
        let kind = match (kind, flags, r0, r1) {
            (DATA, 0 | PARTIAL, 0, 0) => BulkKind::Data { payload, partial: flags == PARTIAL },
            (CREDIT, 0, 0, 0) if payload.is_empty() => BulkKind::Credit,
            (END, 0, 0, 0) => BulkKind::End(payload),
            (GAP, 0, 0, 0) => BulkKind::Gap(payload),
            (DATA..=GAP, ..) => return Err(BulkError::Reserved),
            (kind, ..) => return Err(BulkError::UnknownKind { kind }),
        };
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        let offset = u64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7]);
        Ok(Self { stream, offset, kind })
    }
}

/// Payload of a data frame of a log stream: where the lines come from, how to go on after them, and the lines.
///
/// Two bytes, the length of the head; the head, JSON, `{"source","cursor"}`; then lines as the log API gives them with time
/// stamps (`RFC 3339 time, space, text, LF`), untouched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk<'a> {
    /// Head.
    pub head: LogChunkHead,
    /// Whole lines, unless the frame says `partial`.
    pub lines: &'a [u8],
}

/// Head of a [`LogChunk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogChunkHead {
    /// Pod and container, `pod/container`.
    pub source: String,
    /// Opaque; given back in `streamStart.resume` it goes on after the last line of this chunk.
    pub cursor: String,
}

impl<'a> LogChunk<'a> {
    /// The payload.
    ///
    /// # Errors
    /// [`BulkError::TooLong`] when head and lines exceed [`MAX_PAYLOAD`].
    pub fn encode(&self) -> Result<Vec<u8>, BulkError> {
        let head = serde_json::to_vec(&self.head).map_err(|_| BulkError::ChunkHead)?;
        let length = 2 + head.len() + self.lines.len();
        let (Ok(head_length), true) = (u16::try_from(head.len()), length <= MAX_PAYLOAD) else {
            return Err(BulkError::TooLong { length });
        };
        let mut out = Vec::with_capacity(length);
        out.extend(head_length.to_be_bytes());
        out.extend(head);
        out.extend(self.lines);
        Ok(out)
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`BulkError::ChunkHead`].
    pub fn decode(payload: &'a [u8]) -> Result<Self, BulkError> {
        let (length, rest) = payload.split_first_chunk::<2>().ok_or(BulkError::ChunkHead)?;
        let (head, lines) =
            rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(BulkError::ChunkHead)?;
        let head = serde_json::from_slice(head).map_err(|_| BulkError::ChunkHead)?;
        Ok(Self { head, lines })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn header_is_sixteen_bytes_in_network_order() {
        let frame = BulkFrame { stream: 1, offset: 258, kind: BulkKind::Data { payload: b"x\n", partial: true } };
        assert_eq!(frame.encode().unwrap(), [1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2, b'x', b'\n']);
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        let credit = BulkFrame { stream: 0, offset: 9, kind: BulkKind::Credit }.encode().unwrap();
        assert_eq!(BulkFrame::decode(&credit[..15]), Err(BulkError::TooShort { length: 15 }));
        assert_eq!(BulkFrame::decode(&[credit.clone(), vec![0]].concat()), Err(BulkError::Reserved));
        assert_eq!(BulkFrame::decode(&[&[9][..], &credit[1..]].concat()), Err(BulkError::UnknownKind { kind: 9 }));
        let long = [credit, vec![0; MAX_PAYLOAD + 1]].concat();
        assert_eq!(BulkFrame::decode(&long), Err(BulkError::TooLong { length: MAX_PAYLOAD + 1 }));
        assert_eq!(LogChunk::decode(&[0]), Err(BulkError::ChunkHead));
        assert_eq!(LogChunk::decode(&[0, 9, b'{']), Err(BulkError::ChunkHead));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused_and_what_decodes_encodes_the_same(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(frame) = BulkFrame::decode(&bytes) {
                prop_assert_eq!(frame.encode().unwrap(), bytes);
            }
        }

        #[test]
        fn lines_pass_untouched(lines in prop::collection::vec(any::<u8>(), 0..2000), source in ".{0,30}", cursor in ".{0,60}") {
            let chunk = LogChunk { head: LogChunkHead { source, cursor }, lines: &lines };
            let payload = chunk.encode().unwrap();
            prop_assert_eq!(LogChunk::decode(&payload).unwrap(), chunk);
        }
    }
}

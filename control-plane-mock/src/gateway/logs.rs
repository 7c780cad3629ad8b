//! Log streams of one session: from bulk frames to whoever reads them, with credit.
//!
//! A stream may have [`WINDOW`] bytes that its reader has not read: a reader who stops, stops its source and holds little memory.
//! The connection may have [`CONNECTION_WINDOW`] bytes that were not taken in yet: that one of many readers stops must not stop the
//! others. Offsets are the sender's own, cumulative.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::bulk::{BulkFrame, BulkKind, Gap, LogChunk, LogChunkHead, StreamEnd};
use protocol::message::EndReason;
use tokio::sync::{Notify, mpsc};

pub mod bulk;
pub mod carry;
pub mod follow;
pub mod forward;

/// Bytes of one stream that its reader has not read.
pub const WINDOW: u64 = 256 * 1024;

/// Bytes of all streams of a connection that were not taken in.
pub const CONNECTION_WINDOW: u64 = 1024 * 1024;

/// Frames of one stream that wait for their reader; a frame has at least some bytes, credit bounds the rest.
const FRAMES: usize = 8 * 1024;

/// Gaps of one stream that wait for their reader. They need no credit, and each may have a whole frame.
const GAPS: usize = 64;

/// One piece of a stream.
#[derive(Debug)]
pub enum Item {
    /// Lines.
    Lines {
        /// Where from, and how to go on.
        head: LogChunkHead,
        /// As the log API gives them.
        lines: Bytes,
        /// The last line goes on in the next chunk of the same source.
        partial: bool,
        /// Offset behind it, to be given back by [`Streams::read`].
        upto: u64,
    },
    /// Lines are missing here.
    Gap(Gap),
    /// Nothing more comes.
    End(StreamEnd),
}

#[derive(Debug)]
struct Sink {
    items: mpsc::Sender<Item>,
    read: u64,
    /// Gaps that were not read.
    gaps: usize,
}

#[derive(Debug, Default)]
struct Inner {
    last: u32,
    sinks: HashMap<u32, Sink>,
    /// Bytes of data taken in from the present bulk connection, and how many it may send.
    taken: u64,
    allowed: u64,
    credits: BTreeMap<u32, u64>,
    /// Number of the present bulk connection.
    connection: u64,
    /// The session is over: no stream begins any more.
    over: bool,
}

/// Why a stream ends with its session.
const LOST: &str = "the link to the data plane was lost";

/// Log streams of one session.
#[derive(Debug, Default)]
pub struct Streams {
    inner: Mutex<Inner>,
    credit: Notify,
}

impl Streams {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new stream: its number and its reader's end.
    pub fn open(&self) -> (u32, mpsc::Receiver<Item>) {
        let (items, reader) = mpsc::channel(FRAMES);
        let mut inner = self.inner();
        inner.last += 1;
        let number = inner.last;
        let over = inner.over;
        inner.sinks.insert(number, Sink { items, read: 0, gaps: 0 });
        drop(inner);
        if over {
            // Whoever asked has its handle from before.
            self.end(number, EndReason::BulkLost, LOST);
        }
        (number, reader)
    }

    /// The session is over, and all streams with it.
    pub fn leave(&self) {
        self.inner().over = true;
        self.end_all(EndReason::BulkLost, LOST);
    }

    /// The reader has read up to this offset: more may be sent.
    pub fn read(&self, stream: u32, upto: u64) {
        let mut inner = self.inner();
        let Some(sink) = inner.sinks.get_mut(&stream) else { return };
        sink.read = sink.read.max(upto);
        let limit = sink.read + WINDOW;
        inner.credits.insert(stream, limit);
        drop(inner);
        self.credit.notify_one();
    }

    /// The reader has read a gap.
    pub fn gap_read(&self, stream: u32) {
        if let Some(sink) = self.inner().sinks.get_mut(&stream) {
            sink.gaps = sink.gaps.saturating_sub(1);
        }
    }

    /// The stream is over, for this reason.
    pub fn end(&self, stream: u32, reason: EndReason, message: &str) {
        let sink = self.inner().sinks.remove(&stream);
        if let Some(sink) = sink {
            let end = StreamEnd { reason, message: message.to_owned() };
            // A full queue has a reader that is gone or far behind; it sees the queue end.
            drop(sink.items.try_send(Item::End(end)));
        }
    }

    /// All streams are over.
    fn end_all(&self, reason: EndReason, message: &str) {
        let numbers: Vec<u32> = self.inner().sinks.keys().copied().collect();
        for number in numbers {
            self.end(number, reason, message);
        }
    }

    /// A bulk connection begins, with a new credit for the connection. Returns the connection's number.
    fn attach(&self) -> u64 {
        let mut inner = self.inner();
        inner.taken = 0;
        inner.allowed = CONNECTION_WINDOW;
        inner.connection += 1;
        inner.credits.insert(0, CONNECTION_WINDOW);
        let number = inner.connection;
        drop(inner);
        self.credit.notify_one();
        number
    }

    /// A bulk connection ended. Its streams end with it; readers that want more ask again, with their cursors.
    fn detach(&self, connection: u64) {
        if self.inner().connection == connection {
            self.end_all(EndReason::BulkLost, "the bulk connection was lost");
        }
    }

    /// Waits for credits to send, by stream; 0 is the connection.
    async fn credits(&self) -> BTreeMap<u32, u64> {
        loop {
            let credits = std::mem::take(&mut self.inner().credits);
            if !credits.is_empty() {
                return credits;
            }
            self.credit.notified().await;
        }
    }

    /// Takes one frame in. Returns how many bytes it carried.
    ///
    /// # Errors
    /// A sentence for the close: the frame breaks a rule.
    fn take(&self, message: &[u8]) -> Result<u64, String> {
        let frame = BulkFrame::decode(message).map_err(|error| error.to_string())?;
        let item = |payload: &[u8], partial: bool, upto: u64| -> Result<Item, String> {
            let chunk = LogChunk::decode(payload).map_err(|error| error.to_string())?;
            Ok(Item::Lines { lines: Bytes::copy_from_slice(chunk.lines), head: chunk.head, partial, upto })
        };
        let carried = match frame.kind {
            BulkKind::Data { payload, .. } => self.taken(payload.len() as u64)?,
            BulkKind::Gap(payload) | BulkKind::End(payload) => payload.len() as u64,
            BulkKind::Credit => return Err("credit comes from the receiver of a stream".into()),
        };
        let mut inner = self.inner();
        // A stream that was stopped here may go on until the agent knows.
        let Some(sink) = inner.sinks.get_mut(&frame.stream) else { return Ok(carried) };
        match frame.kind {
            BulkKind::Data { payload, partial } => {
                let upto = frame.offset + payload.len() as u64;
                if upto > sink.read + WINDOW {
                    return Err("more log bytes than the credit allows".into());
                }
                let item = item(payload, partial, upto)?;
                let full = sink.items.try_send(item).is_err();
                drop(inner);
                if full {
                    self.end(frame.stream, EndReason::Stopped, "its reader is gone, or far behind");
                }
            }
            BulkKind::Gap(payload) => {
                let gap = serde_json::from_slice(payload).map_err(|_| "a gap record cannot be read".to_owned())?;
                sink.gaps += 1;
                let full = sink.gaps > GAPS || sink.items.try_send(Item::Gap(gap)).is_err();
                drop(inner);
                if full {
                    self.end(frame.stream, EndReason::Stopped, "its reader is gone, or far behind");
                }
            }
            BulkKind::End(payload) => {
                let end: StreamEnd =
                    serde_json::from_slice(payload).map_err(|_| "an end record cannot be read".to_owned())?;
                drop(inner);
                self.end(frame.stream, end.reason, &end.message);
            }
            BulkKind::Credit => {}
        }
        Ok(carried)
    }

    /// Counts bytes of data. The connection is given more in steps of a quarter, so that not every frame is answered.
    fn taken(&self, bytes: u64) -> Result<u64, String> {
        let mut inner = self.inner();
        inner.taken += bytes;
        if inner.taken > inner.allowed {
            return Err("more log bytes than the connection's credit allows".into());
        }
        let allowed = inner.taken + CONNECTION_WINDOW;
        if allowed - inner.allowed >= CONNECTION_WINDOW / 4 {
            inner.allowed = allowed;
            inner.credits.insert(0, allowed);
            drop(inner);
            self.credit.notify_one();
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(stream: u32, offset: u64, lines: &[u8]) -> (Vec<u8>, u64) {
        let chunk = LogChunk { head: LogChunkHead { source: "p/c".into(), cursor: "k".into() }, lines };
        let payload = chunk.encode().unwrap();
        let length = payload.len() as u64;
        let frame = BulkFrame { stream, offset, kind: BulkKind::Data { payload: &payload, partial: false } };
        (frame.encode().unwrap(), length)
    }

    /// Takes in as much of one stream as it may send without a reader. Returns how many bytes those were.
    fn fill(streams: &Streams, stream: u32) -> u64 {
        let line = [b'x'; 16_000];
        let mut offset = 0;
        loop {
            let (frame, length) = data(stream, offset, &line);
            if offset + length > WINDOW {
                return offset;
            }
            streams.take(&frame).unwrap();
            offset += length;
        }
    }

    #[test]
    fn a_stream_that_begins_as_its_session_ends_ends_too() {
        let streams = Streams::default();
        let (_, mut before) = streams.open();
        streams.leave();
        let (_, mut after) = streams.open();
        for reader in [&mut before, &mut after] {
            assert!(matches!(reader.try_recv(), Ok(Item::End(end)) if end.reason == EndReason::BulkLost));
            assert!(reader.try_recv().is_err_and(|error| error == mpsc::error::TryRecvError::Disconnected));
        }
    }

    #[tokio::test]
    async fn what_is_read_becomes_credit_of_its_stream() {
        let streams = Streams::default();
        streams.attach();
        assert_eq!(streams.credits().await, BTreeMap::from([(0, CONNECTION_WINDOW)]));
        let (number, mut reader) = streams.open();
        let (frame, length) = data(number, 0, b"a\n");
        streams.take(&frame).unwrap();
        let Some(Item::Lines { upto, .. }) = reader.recv().await else { panic!("lines") };
        assert_eq!(upto, length);
        streams.read(number, upto);
        assert_eq!(streams.credits().await, BTreeMap::from([(number, WINDOW + length)]));
    }

    #[tokio::test]
    async fn readers_that_stop_leave_the_connection_to_the_others() {
        let streams = Streams::default();
        streams.attach();
        let (mut taken, mut readers) = (0, Vec::new());
        for _ in 0..3 * CONNECTION_WINDOW / WINDOW {
            let (number, reader) = streams.open();
            taken += fill(&streams, number);
            readers.push(reader);
        }
        let credits = streams.credits().await;
        assert!(credits[&0] > taken + CONNECTION_WINDOW / 2, "{credits:?} after {taken}");
        assert_eq!(credits.len(), 1, "nobody has read");
        let (number, _reader) = streams.open();
        fill(&streams, number);
    }

    #[test]
    fn more_than_the_connection_may_send_is_a_breach() {
        let streams = Streams::default();
        let (number, _reader) = streams.open();
        let (frame, _) = data(number, 0, b"a\n");
        assert!(streams.take(&frame).unwrap_err().contains("connection's credit"), "none was given");
    }

    #[test]
    fn gaps_that_nobody_reads_end_their_stream_though_they_need_no_credit() {
        let streams = Streams::default();
        streams.attach();
        let gap = Gap { source: "x".repeat(10_000), from: None, to: None, reason: "Rotated".into() };
        let payload = serde_json::to_vec(&gap).unwrap();
        let (number, mut reader) = streams.open();
        let frame = BulkFrame { stream: number, offset: 0, kind: BulkKind::Gap(&payload) }.encode().unwrap();
        for _ in 0..3 * GAPS {
            streams.take(&frame).unwrap();
            assert!(matches!(reader.try_recv(), Ok(Item::Gap(_))), "who reads gets all of them");
            streams.gap_read(number);
        }
        for _ in 0..3 * GAPS {
            streams.take(&frame).unwrap();
        }
        let waiting = std::iter::from_fn(|| reader.try_recv().ok()).collect::<Vec<_>>();
        assert_eq!(waiting.len(), GAPS + 1, "and then the end");
        assert!(matches!(waiting.last(), Some(Item::End(end)) if end.reason == EndReason::Stopped));
    }

    #[test]
    fn more_than_the_credit_is_a_breach() {
        let streams = Streams::default();
        streams.attach();
        let (number, _reader) = streams.open();
        let (frame, _) = data(number, WINDOW, b"a\n");
        assert!(streams.take(&frame).unwrap_err().contains("credit"));
    }

    #[tokio::test]
    async fn bytes_of_a_stopped_stream_still_free_the_connection() {
        let streams = Streams::default();
        streams.attach();
        streams.credits().await;
        let taken = fill(&streams, 9) + fill(&streams, 9);
        let credits = streams.credits().await;
        assert!(credits[&0] > taken + CONNECTION_WINDOW / 2, "{credits:?} after {taken}");
    }
}

//! Log streams of one session: from bulk frames to whoever reads them, with credit.
//!
//! A stream may have [`WINDOW`] bytes under way, the connection [`CONNECTION_WINDOW`]; credit grows with what was read, so that a
//! reader who stops, stops the sender and holds no memory. Offsets are the sender's own, cumulative.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::bulk::{BulkFrame, BulkKind, Gap, LogChunk, LogChunkHead, StreamEnd};
use tokio::sync::{Notify, mpsc};

pub mod bulk;
pub mod follow;
pub mod forward;

/// Bytes that one stream may have under way.
pub const WINDOW: u64 = 256 * 1024;

/// Bytes that all streams of a connection may have under way.
pub const CONNECTION_WINDOW: u64 = 1024 * 1024;

/// Frames of one stream that wait for their reader; a frame has at least some bytes, credit bounds the rest.
const FRAMES: usize = 8 * 1024;

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
    received: u64,
    read: u64,
}

#[derive(Debug, Default)]
struct Inner {
    last: u32,
    sinks: HashMap<u32, Sink>,
    /// Read by all streams of the present bulk connection.
    read: u64,
    credits: BTreeMap<u32, u64>,
    /// Number of the present bulk connection.
    connection: u64,
}

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
        inner.sinks.insert(number, Sink { items, received: 0, read: 0 });
        (number, reader)
    }

    /// The reader has read up to this offset: more may be sent.
    pub fn read(&self, stream: u32, upto: u64) {
        let mut inner = self.inner();
        let Some(sink) = inner.sinks.get_mut(&stream) else { return };
        let more = upto.saturating_sub(sink.read);
        sink.read = sink.read.max(upto);
        let limit = sink.read + WINDOW;
        inner.read += more;
        let all = inner.read + CONNECTION_WINDOW;
        inner.credits.insert(stream, limit);
        inner.credits.insert(0, all);
        drop(inner);
        self.credit.notify_one();
    }

    /// The stream is over, for this reason.
    pub fn end(&self, stream: u32, reason: &str, message: &str) {
        let sink = self.inner().sinks.remove(&stream);
        if let Some(sink) = sink {
            let end = StreamEnd { reason: reason.to_owned(), message: message.to_owned() };
            // A full queue has a reader that is gone or far behind; it sees the queue end.
            drop(sink.items.try_send(Item::End(end)));
        }
    }

    /// All streams are over.
    pub fn end_all(&self, reason: &str, message: &str) {
        let numbers: Vec<u32> = self.inner().sinks.keys().copied().collect();
        for number in numbers {
            self.end(number, reason, message);
        }
    }

    /// A bulk connection begins; the credit of all open streams is told anew.
    fn attach(&self) -> u64 {
        let mut inner = self.inner();
        inner.read = 0;
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
            self.end_all("BulkLost", "the bulk connection was lost");
        }
    }

    /// Credits to be told, by stream.
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
        let mut inner = self.inner();
        let Some(sink) = inner.sinks.get_mut(&frame.stream) else {
            // The stream was stopped here and the agent does not know yet: its bytes count as read.
            drop(inner);
            return Ok(self.unread(&frame));
        };
        let carried = match frame.kind {
            BulkKind::Data { payload, partial } => {
                let upto = frame.offset + payload.len() as u64;
                if upto > sink.read + WINDOW {
                    return Err("more log bytes than the credit allows".into());
                }
                sink.received = upto;
                let item = item(payload, partial, upto)?;
                let full = sink.items.try_send(item).is_err();
                drop(inner);
                if full {
                    self.end(frame.stream, "Stopped", "its reader is gone");
                }
                payload.len()
            }
            BulkKind::Gap(payload) => {
                let gap = serde_json::from_slice(payload).map_err(|_| "a gap record cannot be read".to_owned())?;
                drop(sink.items.try_send(Item::Gap(gap)));
                payload.len()
            }
            BulkKind::End(payload) => {
                let end: StreamEnd =
                    serde_json::from_slice(payload).map_err(|_| "an end record cannot be read".to_owned())?;
                drop(inner);
                self.end(frame.stream, &end.reason, &end.message);
                payload.len()
            }
            BulkKind::Credit => return Err("credit comes from the receiver of a stream".into()),
        };
        Ok(carried as u64)
    }

    fn unread(&self, frame: &BulkFrame<'_>) -> u64 {
        let BulkKind::Data { payload, .. } = frame.kind else { return 0 };
        let mut inner = self.inner();
        inner.read += payload.len() as u64;
        let all = inner.read + CONNECTION_WINDOW;
        inner.credits.insert(0, all);
        drop(inner);
        self.credit.notify_one();
        payload.len() as u64
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

    #[tokio::test]
    async fn what_is_read_becomes_credit_of_stream_and_connection() {
        let streams = Streams::default();
        streams.attach();
        assert_eq!(streams.credits().await, BTreeMap::from([(0, CONNECTION_WINDOW)]));
        let (number, mut reader) = streams.open();
        let (frame, length) = data(number, 0, b"a\n");
        streams.take(&frame).unwrap();
        let Some(Item::Lines { upto, .. }) = reader.recv().await else { panic!("lines") };
        assert_eq!(upto, length);
        streams.read(number, upto);
        assert_eq!(
            streams.credits().await,
            BTreeMap::from([(0, CONNECTION_WINDOW + length), (number, WINDOW + length)])
        );
    }

    #[test]
    fn more_than_the_credit_is_a_breach() {
        let streams = Streams::default();
        let (number, _reader) = streams.open();
        let (frame, _) = data(number, WINDOW, b"a\n");
        assert!(streams.take(&frame).unwrap_err().contains("credit"));
    }

    #[tokio::test]
    async fn bytes_of_a_stopped_stream_still_free_the_connection() {
        let streams = Streams::default();
        streams.attach();
        streams.credits().await;
        let (frame, length) = data(9, 0, b"late\n");
        streams.take(&frame).unwrap();
        assert_eq!(streams.credits().await, BTreeMap::from([(0, CONNECTION_WINDOW + length)]));
    }
}

//! The open WebSocket: frames in, and a writer of its own, so that a slow network never keeps the loop from reading.
//!
//! A peer that takes no bytes holds the writer up, and nothing else: the close frame has room of its own, and a writer whose
//! connection was dropped ends soon. At the end the writer also reads what the peer still sends, so that the close frame arrives.

use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use protocol::session::{AgentSession, Transmit};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::link::dial::{ClientIdentity, Socket};

/// Frames that wait for the writer. Few, because a report that is taken from the session is not replaced by a newer one any more.
const FRAMES: usize = 4;
/// Time for the last frames of a connection that is over.
const LAST_FRAMES: Duration = Duration::from_secs(2);

pub(super) struct Connection {
    /// Counts the connections of this process's leadership.
    pub(super) number: u64,
    /// The identity of this end.
    pub(super) client: ClientIdentity,
    /// Always there until the end.
    reader: Option<SplitStream<Socket>>,
    /// Takes the reader at the end.
    last: Option<oneshot::Sender<SplitStream<Socket>>>,
    writer: mpsc::Sender<Transmit>,
    /// Room for the close frame, whatever else waits.
    farewell: Option<mpsc::OwnedPermit<Transmit>>,
    full: bool,
    _over: DropGuard,
}

/// An event of a connection.
pub(super) enum Ready {
    /// A frame; none when the stream has ended.
    Frame(Option<Result<Message, Error>>),
    /// The writer takes frames again.
    Writable,
}

/// The writing half, to be run as a task.
pub(super) struct Writer {
    sink: SplitSink<Socket, Message>,
    frames: mpsc::Receiver<Transmit>,
    reader: oneshot::Receiver<SplitStream<Socket>>,
    over: CancellationToken,
}

impl Connection {
    pub(super) fn new(number: u64, client: ClientIdentity, socket: Socket) -> (Self, Writer) {
        let (sink, reader) = socket.split();
        let (writer, frames) = mpsc::channel(FRAMES + 1);
        let (farewell, over) = (writer.clone().try_reserve_owned().ok(), CancellationToken::new());
        let (last, unread) = oneshot::channel();
        let writing = Writer { sink, frames, reader: unread, over: over.clone() };
        let (reader, last, _over) = (Some(reader), Some(last), over.drop_guard());
        (Self { number, client, reader, last, writer, farewell, full: false, _over }, writing)
    }

    /// Waits for a frame, or for room after [`Self::flush`] found none. Cancel safe.
    pub(super) async fn ready(&mut self) -> Ready {
        tokio::select! {
            frame = next(&mut self.reader) => Ready::Frame(frame),
            _permit = self.writer.reserve(), if self.full => Ready::Writable,
        }
    }

    /// Hands frames of the session to the writer, as many as it takes.
    pub(super) fn flush(&mut self, session: &mut AgentSession) {
        self.full = false;
        while let Ok(permit) = self.writer.try_reserve() {
            let Some(frame) = session.poll_transmit() else { return };
            permit.send(frame);
        }
        // A writer that has ended reports that itself.
        self.full = !self.writer.is_closed();
    }

    /// Hands on the close frame of a session that is over, if it has one.
    pub(super) fn farewell(&mut self, session: &mut AgentSession) {
        if let (Some(room), Some(close)) = (self.farewell.take(), session.poll_transmit()) {
            room.send(close);
        }
    }
}

/// The next frame. Cancel safe.
async fn next(reader: &mut Option<SplitStream<Socket>>) -> Option<Result<Message, Error>> {
    reader.as_mut()?.next().await
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let (Some(last), Some(reader)) = (self.last.take(), self.reader.take()) {
            // A writer that has ended needs it no more.
            drop(last.send(reader));
        }
    }
}

impl Writer {
    /// Writes until the connection is dropped, closed or broken. Returns how it broke.
    pub(super) async fn run(self) -> Option<String> {
        let Self { mut sink, mut frames, reader, over } = self;
        let writing = async {
            while let Some(frame) = frames.recv().await {
                let (message, last) = match frame {
                    Transmit::Text(text) => (Message::text(text), false),
                    Transmit::Ping => (Message::Ping(bytes::Bytes::new()), false),
                    Transmit::Close { code, reason } => {
                        (Message::Close(Some(CloseFrame { code: code.number().into(), reason: reason.into() })), true)
                    }
                };
                match sink.send(message).await {
                    Ok(()) if last => break,
                    Ok(()) => {}
                    Err(error) => return (!last).then(|| error.to_string()),
                }
            }
            let _unheard = sink.close().await;
            // A connection that is closed with bytes unread is reset, and the close frame may be lost with its reason.
            if let Ok(mut unread) = reader.await {
                while let Some(Ok(_)) = unread.next().await {}
            }
            None
        };
        // Best effort: without the last frames the other side notices the end a little later.
        let overdue = async {
            over.cancelled().await;
            sleep(LAST_FRAMES).await;
        };
        tokio::select! {
            end = writing => end,
            () = overdue => None,
        }
    }
}

//! The open WebSocket: frames in, and a writer of its own, so that a slow network never keeps the loop from reading.

use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use protocol::session::{AgentSession, Transmit};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

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
    reader: SplitStream<Socket>,
    writer: mpsc::Sender<Transmit>,
    full: bool,
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
}

impl Connection {
    pub(super) fn new(number: u64, client: ClientIdentity, socket: Socket) -> (Self, Writer) {
        let (sink, reader) = socket.split();
        let (writer, frames) = mpsc::channel(FRAMES);
        (Self { number, client, reader, writer, full: false }, Writer { sink, frames })
    }

    /// Waits for a frame, or for room after [`Self::flush`] found none. Cancel safe.
    pub(super) async fn ready(&mut self) -> Ready {
        tokio::select! {
            frame = self.reader.next() => Ready::Frame(frame),
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
}

impl Writer {
    /// Writes until the connection is dropped, closed or broken. Returns how it broke.
    pub(super) async fn run(mut self) -> Option<String> {
        while let Some(frame) = self.frames.recv().await {
            let (message, last) = match frame {
                Transmit::Text(text) => (Message::text(text), false),
                Transmit::Ping => (Message::Ping(bytes::Bytes::new()), false),
                Transmit::Close { code, reason } => {
                    (Message::Close(Some(CloseFrame { code: code.number().into(), reason: reason.into() })), true)
                }
            };
            if last {
                // Best effort: without these frames the other side notices the end a little later.
                let _unheard = timeout(LAST_FRAMES, self.sink.send(message)).await;
                break;
            }
            if let Err(error) = self.sink.send(message).await {
                return Some(error.to_string());
            }
        }
        let _unheard = timeout(LAST_FRAMES, self.sink.close()).await;
        None
    }
}

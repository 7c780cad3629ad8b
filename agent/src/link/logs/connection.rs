//! The bulk connection: frames out of the queue, credit in, marks that say what has arrived, and a sign of life.
//!
//! A mark is a ping that carries how many bytes of frames were written before it; its pong comes when they have arrived.

use std::time::Duration;

use futures::{Sink, SinkExt, Stream, StreamExt};
use protocol::bulk::{BulkFrame, BulkKind};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::flow::Flow;

/// Time between pings.
const PING: Duration = Duration::from_secs(10);

/// A mark follows after at most this many bytes of frames; it follows at once when no more frames wait.
const MARK: u64 = 32 * 1024;

/// A connection without a byte for so long is lost.
const SILENCE: Duration = Duration::from_secs(25);

/// Longest time that saying goodbye may take.
const CLOSE: Duration = Duration::from_secs(2);

/// A WebSocket, whatever carries it.
pub trait BulkSocket:
    Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Send + Unpin + 'static
{
}
impl<S: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Send + Unpin + 'static> BulkSocket
    for S
{
}

/// Carries frames until `stop` is cancelled or the connection is over; returns why it is over.
pub(super) async fn pump(
    socket: impl BulkSocket,
    flow: &Flow,
    mut queue: mpsc::Receiver<Vec<u8>>,
    mut round_trip: watch::Receiver<Option<Duration>>,
    stop: CancellationToken,
) -> String {
    let (mut out, mut incoming) = socket.split();
    let reader = async {
        loop {
            let message = match timeout(SILENCE, incoming.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return error.to_string(),
                Ok(None) => return "the control plane closed it".to_owned(),
                Err(_) => return format!("nothing was heard for {} s", SILENCE.as_secs()),
            };
            match message {
                Message::Binary(bytes) => match BulkFrame::decode(&bytes) {
                    Ok(BulkFrame { stream, offset, kind: BulkKind::Credit }) => flow.credit(stream, offset),
                    Ok(_) => return "the control plane sent what only an agent sends".to_owned(),
                    Err(error) => return error.to_string(),
                },
                Message::Close(_) => return "the control plane closed it".to_owned(),
                Message::Text(_) => return "the control plane sent text".to_owned(),
                Message::Pong(mark) => {
                    if let Ok(mark) = <[u8; 8]>::try_from(&mark[..]) {
                        flow.arrived(u64::from_be_bytes(mark));
                    }
                }
                Message::Ping(_) | Message::Frame(_) => {}
            }
        }
    };
    let writer = async {
        let mut pings = interval_at(Instant::now() + PING, PING);
        let (mut written, mut marked) = (0_u64, 0);
        loop {
            let sent = tokio::select! {
                frame = queue.recv() => match frame {
                    Some(frame) => {
                        written += frame.len() as u64;
                        out.send(Message::Binary(frame.into())).await
                    }
                    None => return (None, "there are no streams any more".to_owned()),
                },
                _ = pings.tick() => out.send(Message::Ping(Vec::new().into())).await,
                Ok(()) = round_trip.changed() => {
                    if let Some(measured) = *round_trip.borrow_and_update() {
                        flow.round_trip(measured);
                    }
                    continue;
                }
                () = stop.cancelled() => return (Some(()), "it is not needed any more".to_owned()),
            };
            let sent = match sent {
                Ok(()) if written > marked && (queue.is_empty() || written - marked >= MARK) => {
                    marked = written;
                    out.send(Message::Ping(written.to_be_bytes().to_vec().into())).await
                }
                sent => sent,
            };
            if let Err(error) = sent {
                return (None, error.to_string());
            }
        }
    };
    let (goodbye, reason) = tokio::select! {
        reason = reader => (None, reason),
        end = writer => end,
    };
    if goodbye.is_some() {
        // What was queued before goes first; the socket is split, so both halves are still here.
        while let Ok(frame) = queue.try_recv() {
            if !matches!(timeout(CLOSE, out.send(Message::Binary(frame.into()))).await, Ok(Ok(()))) {
                return reason;
            }
        }
        let close = Message::Close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() }));
        // If it cannot be sent, the connection is over anyway.
        drop(timeout(CLOSE, out.send(close)).await);
    }
    reason
}

//! The bulk connection: frames out of the queue, credit in, and a sign of life.

use std::time::Duration;

use futures::{Sink, SinkExt, Stream, StreamExt};
use protocol::bulk::{BulkFrame, BulkKind};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::flow::Flow;

/// Time between pings.
const PING: Duration = Duration::from_secs(10);

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
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    };
    let writer = async {
        let mut pings = interval_at(Instant::now() + PING, PING);
        loop {
            let message = tokio::select! {
                frame = queue.recv() => match frame {
                    Some(frame) => Message::Binary(frame.into()),
                    None => return (None, "there are no streams any more".to_owned()),
                },
                _ = pings.tick() => Message::Ping(Vec::new().into()),
                () = stop.cancelled() => return (Some(()), "it is not needed any more".to_owned()),
            };
            if let Err(error) = out.send(message).await {
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
        // Nobody is helped by knowing that the other side was gone already.
        drop(timeout(CLOSE, out.send(close)).await);
    }
    reason
}

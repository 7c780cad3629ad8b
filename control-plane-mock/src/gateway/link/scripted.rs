//! Faults that a test asked for and that a running link carries out itself, on its own session and socket.

use futures::SinkExt;
use protocol::message::MAX_MESSAGE;
use protocol::session::{CloseCode, Disconnect};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::Link;
use crate::faults::Fault;
use crate::gateway::upgrade::deadline;

impl Link {
    /// Faults that a running link carries out itself.
    pub(super) async fn scripted(&mut self) {
        let peer = self.peer.clone();
        let data_plane = Some(peer.data_plane.as_str());
        if self.id.is_none() {
            return;
        }
        let close = |fault: &Fault| if let Fault::Close { code } = fault { Some(*code) } else { None };
        if let Some(code) = self.shared.faults.take(data_plane, close) {
            self.session.close(CloseCode::from(code), "scripted fault");
        }
        let kill = |fault: &Fault| matches!(fault, Fault::Kill).then_some(());
        if self.shared.faults.take(data_plane, kill).is_some() {
            self.broken = true;
            self.session.handle_disconnected(Disconnect::Cut, "scripted fault");
        }
        let drain = |fault: &Fault| if let Fault::Drain { millis } = fault { Some(*millis) } else { None };
        if let Some(millis) = self.shared.faults.take(data_plane, drain) {
            self.session.drain(millis);
        }
        let ping = |fault: &Fault| matches!(fault, Fault::Ping).then_some(());
        if self.shared.faults.take(data_plane, ping).is_some() {
            let sent = self.micros().to_be_bytes().to_vec();
            self.send_raw(Message::Ping(sent.into())).await;
        }
        let frame = |fault: &Fault| {
            if let Fault::SendFrame { binary, bytes } = fault {
                Some((*binary, (*bytes).min(MAX_MESSAGE)))
            } else {
                None
            }
        };
        if let Some((binary, bytes)) = self.shared.faults.take(data_plane, frame) {
            let text = "x".repeat(bytes);
            self.send_raw(if binary { Message::binary(text) } else { Message::text(text) }).await;
        }
        let flood = |fault: &Fault| {
            if let Fault::Flood { message, times } = fault { Some((message.clone(), *times)) } else { None }
        };
        if let Some((message, times)) = self.shared.faults.take(data_plane, flood) {
            for _ in 0..times {
                self.send_raw(Message::text(message.clone())).await;
                if self.broken {
                    break;
                }
            }
        }
        // Look into the store: a pause may have been lifted, for instance.
        self.wake.notify_one();
    }

    async fn send_raw(&mut self, message: Message) {
        if let Err(reason) = deadline(self.socket.send(message)).await {
            self.broken = true;
            self.session.handle_disconnected(Disconnect::Cut, &reason);
        }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The answer to a ping that was asked for.
    pub(super) fn pong(&self, sent: &[u8]) {
        if let Ok(sent) = sent.try_into() {
            let took = self.micros().saturating_sub(u64::from_be_bytes(sent));
            self.shared.record.add("Pong", Some(self.data_plane()), json!({ "micros": took }));
        }
    }
}

//! Handles what an agent sent: [`core`] decides in the store's thread, and the results go to the session.

use std::sync::Arc;

use protocol::message::{ControlMessage, Hello, LAST_LINES, Renew, RenewRefused, Renewed, Welcome, Window};
use protocol::session::{CloseCode, ControlEvent};
use serde_json::json;

use super::Link;
use super::core::{self, Core, Happened, Identity, Opening, Say, SessionState};
use crate::faults::Fault;
use crate::gateway::enrol;
use crate::store::Error;

/// Unacknowledged reports that an agent may have under way.
const WINDOW: Window = Window { messages: 512, bytes: 4 * 1024 * 1024 };

impl Link {
    pub(super) async fn take_in(&mut self, events: Vec<ControlEvent>) {
        let mut told = Vec::new();
        for event in events {
            match event {
                ControlEvent::Hello(hello) => self.hello(*hello).await,
                ControlEvent::Renew(renew) => self.renew(renew).await,
                ControlEvent::StreamEnded(ended) => self.streams.end(ended.stream, ended.reason, &ended.message),
                ControlEvent::Unsupported { message_type } => {
                    tracing::info!(data_plane = self.data_plane(), message_type, "message type is not known here");
                }
                ControlEvent::Ended { cause, ref reason, ref unanswered } => {
                    self.over = true;
                    let unanswered = unanswered.len();
                    tracing::info!(data_plane = self.data_plane(), ?cause, reason, unanswered, "link is down");
                    self.why.clone_from(reason);
                    told.push(event);
                }
                ControlEvent::InventoryReceived { .. }
                | ControlEvent::Compared { .. }
                | ControlEvent::Answered { .. }
                | ControlEvent::RetryDue { .. }
                | ControlEvent::State(_)
                | ControlEvent::Fact(_) => told.push(event),
            }
        }
        if !told.is_empty() {
            self.decide(Happened::Events(told)).await;
        }
    }

    /// Lets the core decide in the store's thread, and tells the session what it says.
    pub(super) async fn decide(&mut self, input: Happened) {
        let Some(mut core) = self.core.take() else { return };
        let pauses = |fault: &Fault| matches!(fault, Fault::Pause);
        let paused = self.shared.faults.holds(self.data_plane(), pauses);
        let session_state = SessionState { paused, ..SessionState::of(&self.session) };
        let decided = self.shared.store.run(move |c| {
            let say = core.handle(c, input, session_state)?;
            Ok((core, say))
        });
        let (core, say) = match decided.await {
            Ok(decided) => decided,
            // The core is lost with the failed work, so the connection ends.
            Err(error) => return self.store_failed(&error),
        };
        self.core = Some(core);
        let withholds = |fault: &Fault| matches!(fault, Fault::WithholdAcks);
        let withheld = self.shared.faults.holds(self.data_plane(), withholds);
        for say in say {
            match say {
                Say::AcknowledgeState { .. } | Say::AcknowledgeFact { .. } if withheld => {}
                Say::FinishComparison { .. } => {
                    say.to(&mut self.session);
                    if let Some(admission) = self.admission.take() {
                        admission.done();
                    }
                }
                Say::Compare(_)
                | Say::Offer(_)
                | Say::Adopt(_)
                | Say::AcknowledgeState { .. }
                | Say::AcknowledgeFact { .. }
                | Say::Close { .. } => say.to(&mut self.session),
            }
        }
    }

    /// Ends the connection because of what the store said.
    fn store_failed(&mut self, error: &Error) {
        if !matches!(error, Error::Superseded) {
            tracing::error!(%error, data_plane = self.data_plane(), "store failed");
        }
        core::closing(error).to(&mut self.session);
    }

    async fn hello(&mut self, hello: Hello) {
        if hello.data_plane != self.peer.data_plane {
            return self.session.close(CloseCode::Protocol, "hello and client certificate name different data planes");
        }
        let id = uuid::Uuid::new_v4().to_string();
        let (peer, session, said) = (Arc::clone(&self.peer), id.clone(), hello.clone());
        let (gateway, store_id) = (self.shared.config.gateway.clone(), self.shared.store_id.clone());
        let opening = self.shared.store.run(move |c| {
            let identity = Identity { data_plane: &peer.data_plane, key: &peer.key, generation: peer.generation };
            Core::open(c, identity, &said, &session, &gateway, &store_id)
        });
        let opening = opening.await;
        let data = json!({ "hello": hello, "opened": format!("{opening:?}") });
        self.shared.record.add("Connect", Some(&self.peer.data_plane), data);
        let (core, counter, held) = match opening {
            Ok(Opening::Current { core, counter, held }) => (core, counter, held.is_some()),
            Ok(Opening::Refused { code, reason }) => {
                if matches!(code, CloseCode::ForeignCluster | CloseCode::Revoked) {
                    tracing::warn!(data_plane = self.data_plane(), why = reason, "a session was refused");
                }
                return self.session.close(code, reason);
            }
            Err(error) => return self.store_failed(&error),
        };
        self.join(&id, &hello);
        let welcome = Welcome {
            session: id.clone(),
            store_id: self.shared.store_id.clone(),
            counter,
            capabilities: vec!["logs".into(), LAST_LINES.into()],
            window: WINDOW,
            bulk: self.bulk(&id),
            reconnect_spread_ms: self.shared.reconnect_spread_ms(),
            time: jiff::Timestamp::now().to_string(),
        };
        tracing::info!(data_plane = self.data_plane(), version = hello.version, held, "link is up");
        core.welcome(&mut self.session, &hello, welcome, held);
        self.core = Some(core);
        Box::pin(self.scripted()).await;
    }

    fn bulk(&self, session: &str) -> String {
        let lie =
            |fault: &Fault| if let Fault::LieAboutBulk { address } = fault { Some(address.clone()) } else { None };
        let lie = self.shared.faults.take(Some(&self.peer.data_plane), lie);
        lie.unwrap_or_else(|| format!("wss://{}/v1/bulk?session={session}", self.shared.public_address))
    }

    async fn renew(&mut self, renew: Renew) {
        let data_plane = self.peer.data_plane.clone();
        let shared = Arc::clone(&self.shared);
        let certified = match crate::gateway::ca::read_request(&renew.csr) {
            Ok(request) => {
                let renewed = enrol::renew_by(&shared, request, &data_plane, &self.peer.key).await;
                renewed.map_err(enrol::No::into_inner)
            }
            Err(error) => Err(enrol::No::from(error).into_inner()),
        };
        shared.record.add("Renew", Some(&data_plane), json!({ "accepted": certified.is_ok(), "by": "link" }));
        let message = match certified {
            Ok(certificate) => {
                ControlMessage::Renewed(Renewed { certificate, ca_bundle: Some(shared.authority.bundle.clone()) })
            }
            Err(error) => ControlMessage::RenewRefused(RenewRefused { code: error.code, message: error.message }),
        };
        self.session.send_now(&message);
    }
}

//! What an agent said, into the store: hello, comparison, answers, states, facts, renewals.
//!
//! Every write here is conditional on the session being the data plane's current one.

use std::sync::Arc;

use protocol::message::{
    ControlMessage, FactReport, Hello, Renew, RenewRefused, Renewed, StateReport, Verdict, Welcome, Window,
};
use protocol::name::{Kind, ResourceKey};
use protocol::session::{CloseCode, ControlEvent, Disconnect};
use rusqlite::Connection;
use serde_json::json;

use super::Link;
use crate::faults::Fault;
use crate::server::enrol;
use crate::store::sessions::{self, Opened};
use crate::store::{Error, Result, documents, forgotten, identity, reports};

/// Unacknowledged reports that an agent may have under way.
const WINDOW: Window = Window { messages: 512, bytes: 4 * 1024 * 1024 };

/// What of a batch is acknowledged after the commit.
enum Done {
    State(ResourceKey, String),
    Fact(ResourceKey, String),
    Nothing,
}

impl Link {
    pub(super) async fn take_in(&mut self, events: Vec<ControlEvent>) {
        let mut batch = Vec::new();
        for event in events {
            match event {
                ControlEvent::Answered { .. } | ControlEvent::State(_) | ControlEvent::Fact(_) => batch.push(event),
                ControlEvent::Hello(hello) => self.hello(*hello).await,
                ControlEvent::InventoryReceived { task_runs, local, cut } => {
                    self.inventory(task_runs, local.len(), cut).await;
                }
                ControlEvent::Compared { differences } => self.compared(differences).await,
                ControlEvent::RetryDue { key } => self.retry(key).await,
                ControlEvent::Renew(renew) => self.renew(renew).await,
                ControlEvent::StreamEnded(ended) => self.streams.end(ended.stream, &ended.reason, &ended.message),
                ControlEvent::Listing(_) => {}
                ControlEvent::Unsupported { message_type } => {
                    tracing::info!(data_plane = self.data_plane(), message_type, "message type is not known here");
                }
                ControlEvent::Ended { cause, reason, unanswered } => self.ended(cause, &reason, unanswered).await,
            }
        }
        if !batch.is_empty() {
            self.write_batch(batch).await;
        }
    }

    /// Ends the connection because of what the store said.
    fn store_failed(&mut self, error: &Error) {
        match error {
            Error::Superseded => self.session.close(CloseCode::Superseded, "another session has taken over"),
            Error::Problem(_) | Error::Sqlite(_) | Error::Json(_) | Error::TooNew { .. } | Error::Closed => {
                tracing::error!(%error, data_plane = self.data_plane(), "store failed");
                self.session.close(CloseCode::Overloaded, "the store does not answer");
            }
        }
    }

    /// Runs `work` for this session, and only while it is the current one.
    pub(super) async fn in_store<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Connection, &str) -> Result<T> + Send + 'static,
    ) -> Option<T> {
        let id = self.id.clone()?;
        let data_plane = self.peer.data_plane.clone();
        let done = self
            .shared
            .store
            .run(move |c| {
                sessions::require(c, &data_plane, &id)?;
                work(c, &data_plane)
            })
            .await;
        done.map_err(|error| self.store_failed(&error)).ok()
    }

    async fn hello(&mut self, hello: Hello) {
        if hello.data_plane != self.peer.data_plane {
            return self.session.close(CloseCode::Protocol, "hello and client certificate name different data planes");
        }
        let id = uuid::Uuid::new_v4().to_string();
        let (data_plane, key) = (self.peer.data_plane.clone(), self.peer.key.clone());
        let (session, said, gateway) = (id.clone(), hello.clone(), self.shared.config.gateway.clone());
        let opened = self
            .shared
            .store
            .run(move |c| {
                if !identity::activate_key(c, &data_plane, &key)? {
                    return Ok(Opened::Revoked);
                }
                sessions::open(c, &data_plane, &session, &said, &gateway)
            })
            .await;
        let data = json!({ "hello": hello, "opened": format!("{opened:?}") });
        self.shared.record.add("Connect", Some(&self.peer.data_plane), data);
        let (counter, held) = match opened {
            Ok(Opened::Current { counter, held }) => (counter, held),
            Ok(Opened::Superseded) => {
                return self
                    .session
                    .close(CloseCode::Superseded, "a session with a higher epoch, or of another lease, is alive");
            }
            Ok(Opened::OtherCluster) => {
                tracing::warn!(data_plane = self.data_plane(), "identity was used from another cluster");
                let reason =
                    "this identity belongs to another cluster; revoke it and enrol again if the cluster was replaced";
                return self.session.close(CloseCode::ForeignCluster, reason);
            }
            Ok(Opened::Revoked) => {
                return self.session.close(CloseCode::Revoked, "access was revoked; enrol again with a new token");
            }
            Err(error) => return self.store_failed(&error),
        };
        self.schema = hello.schema.iter().map(|(kind, revision)| (*kind, *revision)).collect();
        self.join(&id);
        let welcome = Welcome {
            session: id.clone(),
            store_id: self.shared.store_id.clone(),
            counter,
            capabilities: vec!["logs".into()],
            window: WINDOW,
            bulk: format!("wss://{}/v1/bulk?session={id}", self.shared.public_address),
            reconnect_spread_ms: self.shared.reconnect_spread_ms(),
            time: jiff::Timestamp::now().to_string(),
        };
        tracing::info!(data_plane = self.data_plane(), version = hello.version, held = held.is_some(), "link is up");
        if self.session.welcome(&hello, welcome) && held.is_none() {
            // Adopted by a person while it was away.
            self.adopt().await;
        }
        Box::pin(self.scripted()).await;
    }

    /// Tells the agent that a person adopted it.
    pub(super) async fn adopt(&mut self) {
        let sql = "SELECT counter FROM data_plane WHERE id = ?1";
        let counter = self.in_store(move |c, id| Ok(c.query_row(sql, [id], |row| row.get(0))?)).await;
        let Some(counter) = counter else { return };
        let store_id = self.shared.store_id.clone();
        self.session.adopt(protocol::message::Adopted { store_id, counter });
    }

    async fn write_batch(&mut self, batch: Vec<ControlEvent>) {
        for event in &batch {
            if let ControlEvent::Answered { key, generation, .. } = event
                && self.offered.get(key) == Some(generation)
            {
                self.offered.remove(key);
            }
        }
        let schema = self.schema.clone();
        let gone = batch.iter().any(|event| matches!(event, ControlEvent::State(report) if report.state.is_none()));
        let done = self
            .in_store(move |c, id| {
                batch.into_iter().map(|event| write(c, id, event, &schema)).collect::<Result<Vec<_>>>()
            })
            .await;
        let withheld = self.shared.faults.holds(self.data_plane(), |fault| matches!(fault, Fault::WithholdAcks));
        for done in done.into_iter().flatten() {
            match done {
                Done::State(key, digest) if !withheld => self.session.acknowledge_state(key, digest),
                Done::Fact(key, id) if !withheld => self.session.acknowledge_fact(key, id),
                Done::State(..) | Done::Fact(..) | Done::Nothing => {}
            }
        }
        if gone {
            self.look_into_store().await;
        }
    }

    async fn renew(&mut self, renew: Renew) {
        let data_plane = self.peer.data_plane.clone();
        let shared = Arc::clone(&self.shared);
        let certified = match crate::ca::read_request(&renew.csr) {
            Ok(request) => enrol::certify(&shared, request, &data_plane).await.map_err(enrol::No::into_inner),
            Err(error) => Err(enrol::No::from(error).into_inner()),
        };
        shared.record.add("Renew", Some(&data_plane), json!({ "accepted": certified.is_ok(), "by": "link" }));
        let message = match certified {
            Ok(certificate) => {
                ControlMessage::Renewed(Renewed { certificate, ca_bundle: Some(shared.authority.certificate.clone()) })
            }
            Err(error) => ControlMessage::RenewRefused(RenewRefused { code: error.code, message: error.message }),
        };
        self.session.send_now(&message);
    }

    async fn ended(&mut self, cause: Disconnect, reason: &str, unanswered: Vec<(ResourceKey, i64)>) {
        self.over = true;
        tracing::info!(data_plane = self.data_plane(), ?cause, reason, unanswered = unanswered.len(), "link is down");
        let by_document = match cause {
            Disconnect::Cut => true,
            Disconnect::Closed(code) => {
                matches!(
                    code,
                    CloseCode::Protocol | CloseCode::TooLarge | CloseCode::WindowExceeded | CloseCode::Unknown(_)
                )
            }
            Disconnect::Local => false,
        };
        // Only the oldest one is suspected: the others waited behind it.
        let suspect = unanswered.into_iter().next().filter(|_| by_document);
        let Some((key, generation)) = suspect else { return };
        self.in_store(move |c, id| documents::count_close(c, id, &key, generation)).await;
    }
}

fn write(c: &Connection, id: &str, event: ControlEvent, schema: &std::collections::HashMap<Kind, u32>) -> Result<Done> {
    Ok(match event {
        ControlEvent::State(StateReport { key, digest, state }) => {
            reports::record_state(c, id, &key, &digest, state.as_ref())?;
            if state.is_none() {
                documents::vanished(c, id, &key)?;
            }
            Done::State(key, digest)
        }
        ControlEvent::Fact(FactReport { key, fact }) => {
            reports::record_fact(c, id, &key, &fact)?;
            Done::Fact(key, fact.id)
        }
        ControlEvent::Answered { key, generation, hash, verdict } => {
            let schema = schema.get(&key.kind).copied().unwrap_or(0);
            answered(c, id, &key, generation, hash.is_none(), &verdict, schema)?;
            Done::Nothing
        }
        // The rest is not written in batches.
        ControlEvent::Hello(_)
        | ControlEvent::InventoryReceived { .. }
        | ControlEvent::Compared { .. }
        | ControlEvent::RetryDue { .. }
        | ControlEvent::Renew(_)
        | ControlEvent::StreamEnded(_)
        | ControlEvent::Listing(_)
        | ControlEvent::Unsupported { .. }
        | ControlEvent::Ended { .. } => Done::Nothing,
    })
}

fn answered(
    c: &Connection,
    id: &str,
    key: &ResourceKey,
    generation: i64,
    forget: bool,
    verdict: &Verdict,
    schema: u32,
) -> Result<()> {
    match verdict {
        Verdict::Forgotten { .. } => documents::forgotten(c, id, key, generation),
        Verdict::Refused { .. } if forget => {
            forgotten::refused(c, id, key)?;
            // Its removal is recorded, and it is there again in an older state: the API server there went back in time.
            if key.kind == Kind::TaskRun { Ok(()) } else { documents::redraw(c, id, key, generation) }
        }
        // A higher generation of before a restore: a person said that it may stay.
        Verdict::Stale { .. } if forget => forgotten::settled(c, id, key),
        // A forget that cannot be carried out now is offered again by the next look into the store.
        _ if forget => Ok(()),
        Verdict::Stale { generation: stored, floor, .. } => {
            again_under_new_generation(c, id, key, generation, stored.unwrap_or(0).max(*floor))
        }
        Verdict::Conflict { generation: stored, .. } => again_under_new_generation(c, id, key, generation, *stored),
        Verdict::Accepted { .. } | Verdict::Already | Verdict::Deferred { .. } | Verdict::Refused { .. } => {
            documents::record_answer(c, id, key, generation, verdict, schema)
        }
    }
}

/// What is still wanted is asked for again, above what the data plane holds; if that was never drawn here, a person must look.
fn again_under_new_generation(c: &Connection, id: &str, key: &ResourceKey, generation: i64, seen: i64) -> Result<()> {
    let counter: i64 = c.query_row("SELECT counter FROM data_plane WHERE id = ?1", [id], |row| row.get(0))?;
    if seen > counter {
        let why = format!("the data plane holds generation {seen}, only {counter} were drawn here");
        return sessions::hold(c, id, &why);
    }
    documents::redraw(c, id, key, generation)
}

//! `GET /v1/bulk`: the second connection of a session, for log chunks.
//!
//! Opened by the agent at the address that welcome named, bound to the session by its id and to the data plane by the client
//! certificate. Log chunks never delay a control message, since they have a connection of their own.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use control_plane_model::problem::{Code, Problem};
use futures::{SinkExt, StreamExt};
use protocol::bulk::{BULK_SUBPROTOCOL, BulkFrame, BulkKind, MAX_BULK_FRAME};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::gateway::hub::Handle;
use crate::gateway::upgrade::{Socket, Upgrade, deadline, limits};
use crate::shared::Shared;
use crate::web::{Refusal, peer};

/// `GET /v1/bulk?session=…`
///
/// # Errors
/// 401 without a client certificate, 404 for a session that is not this data plane's live one.
pub async fn handler(
    State(shared): State<Arc<Shared>>,
    mut request: axum::extract::Request,
) -> Result<Response, Refusal> {
    let peer = peer(&request)?;
    let session =
        request.uri().query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("session=")));
    let handle = shared.hub.link(&peer.data_plane).filter(|handle| Some(handle.session.as_str()) == session);
    let Some(handle) = handle else {
        let problem = Problem::new(Code::NotFound, "this session is not alive here").at("session");
        return Err(problem.hint("open the control connection first and use the address that welcome names").into());
    };
    let upgrade = Upgrade::check(&mut request, BULK_SUBPROTOCOL)?;
    let (response, socket) = upgrade.accept(limits(MAX_BULK_FRAME));
    let connection = Arc::clone(&shared);
    shared.supervisor.spawn("bulk", async move {
        if let Some(socket) = socket.await {
            Box::pin(serve(&connection, &handle, socket)).await;
        }
    });
    Ok(response)
}

async fn serve(shared: &Shared, handle: &Handle, socket: Socket) {
    let (mut out, mut incoming) = socket.split();
    let streams = &handle.streams;
    let number = streams.attach();
    let stop = shared.supervisor.stopping();
    let mut links = shared.hub.watch_links();
    let reason = loop {
        let message = tokio::select! {
            biased;
            () = stop.cancelled() => break (1001, "the control plane is stopping".to_owned()),
            message = incoming.next() => message,
            credits = streams.credits() => {
                let write = async {
                    for (stream, offset) in credits {
                        let frame = BulkFrame { stream, offset, kind: BulkKind::Credit }.encode().unwrap_or_default();
                        out.feed(Message::Binary(frame.into())).await?;
                    }
                    out.flush().await
                };
                match deadline(write).await {
                    Ok(()) => continue,
                    Err(sentence) => break (1006, sentence),
                }
            }
            _ = links.changed() => {
                let alive = shared.hub.link(&handle.data_plane).is_some_and(|live| live.session == handle.session);
                if alive { continue } else { break (1001, "the session has ended".to_owned()) }
            }
        };
        match message {
            Some(Ok(Message::Binary(bytes))) => match streams.take(&bytes) {
                Ok(carried) => shared.record.add("Bulk", Some(&handle.data_plane), json!({ "bytes": carried })),
                Err(sentence) => break (4000, sentence),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                break (4000, "the bulk connection carries binary frames only".to_owned());
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => break (1006, String::new()),
        }
    };
    streams.detach(number);
    tracing::debug!(data_plane = handle.data_plane, code = reason.0, reason = reason.1, "bulk connection ended");
    if reason.0 != 1006 {
        let frame = CloseFrame { code: reason.0.into(), reason: reason.1.into() };
        drop(deadline(out.send(Message::Close(Some(frame)))).await);
    }
}

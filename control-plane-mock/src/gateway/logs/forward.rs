//! Log streams between gateways of one store: a person asks one, the data plane is connected to another.
//!
//! The gateway that holds the session sends one stream, with cursors beside the lines. The gateway that asked keeps the cursors, so it
//! can go on behind the last one wherever the session is next. Gateways authenticate by the store's own secret: whoever can read it can
//! read everything else in the store.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use control_plane_model::problem::{Code, Problem};
use futures::StreamExt;
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::carry::{Piece, StreamRequest, pass};
use crate::shared::Shared;
use crate::store::token_hash;
use crate::web::Refusal;

/// Where one gateway asks another.
pub const PATH: &str = "/v1/gateway/logs";

/// Longest line of the answer, in bytes: a log line with its escapes.
const LONGEST: usize = 2 * 1024 * 1024;

/// One stream as another gateway wants it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Wanted {
    wish: StreamRequest,
    cursors: BTreeMap<String, String>,
}

/// Answers another gateway: pieces as NDJSON until the stream ends.
///
/// # Errors
/// 401 without the store's secret, 503 when the session is not here.
pub async fn handler(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(wanted): Json<Wanted>,
) -> Result<Response, Refusal> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    // Compared as hashes, so that the time taken says nothing about the secret.
    if given.map(token_hash) != Some(token_hash(&shared.gateway_secret)) {
        return Err(Problem::new(Code::Unauthenticated, "only a gateway of the same store may ask here").into());
    }
    let Wanted { wish: request, cursors } = wanted;
    let handle = shared.hub.link(&request.data_plane);
    let handle = handle.ok_or_else(|| Problem::new(Code::NotConnected, "the data plane is not connected here"))?;
    let (pieces, coming) = mpsc::channel::<Piece>(64);
    shared.supervisor.spawn("log stream", async move { pass(&handle, &request, &cursors, pieces).await });
    let body = futures::stream::unfold(coming, |mut coming| async move {
        let mut line = serde_json::to_vec(&coming.recv().await?).unwrap_or_default();
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), coming))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response())
}

/// Carries one stream of a session that the gateway at `address` holds. Ends without an end piece when the way is lost.
pub(super) async fn ask(
    shared: &Shared,
    address: &str,
    request: &StreamRequest,
    cursors: BTreeMap<String, String>,
    pieces: mpsc::Sender<Piece>,
) {
    if let Err(error) = carry(shared, address, request, cursors, &pieces).await {
        tracing::info!(
            error,
            address,
            data_plane = request.data_plane,
            "a log stream through another gateway was lost"
        );
    }
}

async fn carry(
    shared: &Shared,
    address: &str,
    request: &StreamRequest,
    cursors: BTreeMap<String, String>,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), String> {
    let words = |error: reqwest::Error| error.without_url().to_string();
    let client = client(&shared.authority.bundle).map_err(words)?;
    let answer = client
        .post(format!("https://{address}{PATH}"))
        .bearer_auth(&shared.gateway_secret)
        .json(&Wanted { wish: request.clone(), cursors })
        .send()
        .await
        .map_err(words)?
        .error_for_status()
        .map_err(words)?;
    let mut bytes = answer.bytes_stream();
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let chunk = tokio::select! {
            chunk = bytes.next() => chunk,
            () = pieces.closed() => return Ok(()),
        };
        let Some(chunk) = chunk else { return Ok(()) };
        rest.extend_from_slice(&chunk.map_err(words)?);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let piece = serde_json::from_slice(&line).map_err(|error| error.to_string())?;
            if pieces.send(piece).await.is_err() {
                return Ok(());
            }
        }
        if rest.len() > LONGEST {
            return Err("a line is too long".to_owned());
        }
    }
}

fn client(authority: &str) -> reqwest::Result<reqwest::Client> {
    // There is one crypto provider in the whole tree; installing it twice does no harm.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let roots = reqwest::Certificate::from_pem_bundle(authority.as_bytes())?;
    let connect = std::time::Duration::from_secs(5);
    reqwest::Client::builder().tls_certs_only(roots).no_proxy().connect_timeout(connect).build()
}

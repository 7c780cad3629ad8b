//! WebSocket upgrades by hand: axum's own pin another version of the library.
//!
//! Limits stand before the first byte: small buffers, the longest frame and message of the wire, no compression.

use axum::response::{IntoResponse, Response};
use control_plane_model::problem::{Code, Problem};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// A WebSocket on an upgraded connection.
pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A checked request for an upgrade.
#[derive(Debug)]
pub struct Upgrade {
    on: OnUpgrade,
    accept: HeaderValue,
    protocol: HeaderValue,
}

fn has(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}

impl Upgrade {
    /// Checks the request; `protocol` must be among the sub-protocols that it offers.
    ///
    /// # Errors
    /// `Invalid`, saying which header is wrong.
    pub fn check<B>(request: &mut Request<B>, protocol: &'static str) -> Result<Self, Problem> {
        let headers = request.headers();
        let wrong = |field: &str, message: &str| Err(Problem::new(Code::Invalid, message).at(field));
        if !has(headers, header::CONNECTION, "upgrade") || !has(headers, header::UPGRADE, "websocket") {
            return wrong("Upgrade", "this address speaks WebSocket only");
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return wrong("Sec-WebSocket-Version", "WebSocket version 13 is needed");
        }
        if !has(headers, header::SEC_WEBSOCKET_PROTOCOL, protocol) {
            return wrong("Sec-WebSocket-Protocol", &format!("no common version: this server speaks {protocol}"));
        }
        let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
            return wrong("Sec-WebSocket-Key", "the WebSocket key is missing");
        };
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
            .map_err(|_| Problem::new(Code::Internal, "the WebSocket key cannot be answered"))?;
        let on = hyper::upgrade::on(request);
        Ok(Self { on, accept, protocol: HeaderValue::from_static(protocol) })
    }

    /// The answer that switches protocols, and the future of the socket after it.
    pub fn accept(self, limits: WebSocketConfig) -> (Response, impl Future<Output = Option<Socket>> + Send) {
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, self.protocol);
        let socket = async move {
            let upgraded = self.on.await.ok()?;
            Some(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits)).await)
        };
        (response, socket)
    }
}

/// Limits of a connection whose longest message has `longest` bytes.
#[must_use]
pub fn limits(longest: usize) -> WebSocketConfig {
    let mut limits = WebSocketConfig::default();
    limits.read_buffer_size = 4 * 1024;
    limits.write_buffer_size = 0;
    limits.max_write_buffer_size = 256 * 1024;
    limits.max_message_size = Some(longest);
    limits.max_frame_size = Some(longest);
    limits
}

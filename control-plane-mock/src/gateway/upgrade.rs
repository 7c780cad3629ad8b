//! WebSockets: upgrades by hand, since axum's own pin another version of the library, and writing with a deadline.
//!
//! Limits stand before the first byte: small buffers, the longest frame and message of the wire, no compression.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use control_plane_model::problem::{Code, Problem};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Longest time that a peer may take no bytes.
const WRITE: Duration = Duration::from_secs(15);

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
            let offered =
                headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
            let offered: String = offered.collect::<Vec<_>>().join(", ").chars().take(64).collect();
            let offered = if offered.is_empty() { "no sub-protocol".to_owned() } else { format!("{offered:?}") };
            let message = format!(
                "no common version: this address speaks {protocol}, and {offered} was offered; agent and control plane are too far apart \
                 in version, or a proxy on the way rewrites the header"
            );
            return wrong("Sec-WebSocket-Protocol", &message);
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

/// Writes, unless the peer takes no bytes.
///
/// # Errors
/// A sentence: it broke, or took too long.
pub async fn deadline(write: impl Future<Output = Result<(), Error>>) -> Result<(), String> {
    match tokio::time::timeout(WRITE, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the data plane takes no bytes".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_without_the_sub_protocol_is_refused_and_told_what_is_spoken_here() {
        let check = |offered: Option<&str>| {
            let mut request = Request::get("/v1/link")
                .header(header::CONNECTION, "Upgrade")
                .header(header::UPGRADE, "websocket")
                .header(header::SEC_WEBSOCKET_VERSION, "13")
                .header(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==");
            if let Some(offered) = offered {
                request = request.header(header::SEC_WEBSOCKET_PROTOCOL, offered);
            }
            Upgrade::check(&mut request.body(()).unwrap(), "pdp-agent.v1").err()
        };
        assert!(check(Some("pdp-agent.v2, pdp-agent.v1")).is_none());
        for (offered, words) in [
            (None, "this address speaks pdp-agent.v1, and no sub-protocol was offered"),
            (Some("pdp-agent.v2"), "this address speaks pdp-agent.v1, and \"pdp-agent.v2\" was offered"),
        ] {
            let problem = check(offered).unwrap();
            assert!(problem.message.contains(words), "{problem:?}");
        }
    }
}

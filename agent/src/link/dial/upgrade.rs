//! The upgrade to a WebSocket (RFC 6455, section 4.1), and whether the answer is the one that was asked for.
//!
//! Whatever stands between agent and control plane may rewrite headers. So each of them is compared before a byte of the session is
//! sent, and one that is wrong is named with what it is and what it should be.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::error::{self, DialError};
use super::upgrade_header::UpgradeHeader;
use super::{Socket, USER_AGENT};

/// Most characters of a header that are shown.
const SHOWN: usize = 64;

/// Upgrades a connection to `authority` at `path`, with this sub-protocol and no extension.
pub(super) async fn upgrade(
    stream: TlsStream<TcpStream>,
    authority: &str,
    path: &str,
    protocol: &'static str,
    config: WebSocketConfig,
) -> Result<Socket, DialError> {
    let key = BASE64_STANDARD.encode(uuid::Uuid::new_v4().as_bytes());
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key)
        .header(header::SEC_WEBSOCKET_PROTOCOL, protocol)
        .header(header::USER_AGENT, USER_AGENT)
        .body(Empty::<Bytes>::new())
        .map_err(|error| DialError::Http { detail: error.to_string() })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error::of_upgrade(&error))?;
    // A refusal is dropped with its body, unread: that ends the connection.
    let answer = async move {
        let answer = sender.send_request(request).await?;
        Ok(if answer.status() == StatusCode::SWITCHING_PROTOCOLS { Ok(answer) } else { Err(refused(&answer)) })
    };
    let mut answer = match tokio::join!(answer, connection.with_upgrades()) {
        (Ok(answer), _) => answer?,
        // The connection's own error says more than the request's, which only says that it ended.
        (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(error::of_upgrade(&error)),
    };
    as_asked(answer.headers(), &derive_accept_key(key.as_bytes()), protocol)?;
    let upgraded = hyper::upgrade::on(&mut answer).await.map_err(|error| error::of_upgrade(&error))?;
    let parts = upgraded
        .downcast::<TokioIo<TlsStream<TcpStream>>>()
        .map_err(|_| DialError::Internal { detail: "the upgraded connection is of another type".to_owned() })?;
    let read = parts.read_buf.to_vec();
    Ok(WebSocketStream::from_partially_read(parts.io.into_inner(), read, Role::Client, Some(config)).await)
}

fn refused<B>(answer: &Response<B>) -> DialError {
    let retry_after = answer.headers().get(header::RETRY_AFTER);
    let seconds = retry_after.and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    DialError::Status {
        status: answer.status().as_u16(),
        retry_after_ms: seconds.map(|seconds| seconds.saturating_mul(1000)),
    }
}

/// Compares the headers of an answer 101 with what they must be.
fn as_asked(headers: &HeaderMap, accept: &str, protocol: &str) -> Result<(), DialError> {
    let is_upgrade = |found: &str| found.split(',').any(|one| one.trim().eq_ignore_ascii_case("upgrade"));
    compare(headers, UpgradeHeader::Upgrade, "websocket", |found| found.eq_ignore_ascii_case("websocket"))?;
    compare(headers, UpgradeHeader::Connection, "Upgrade", is_upgrade)?;
    compare(headers, UpgradeHeader::Accept, accept, |found| found == accept)?;
    if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err(wrong(headers, UpgradeHeader::Extensions, "left out"));
    }
    compare(headers, UpgradeHeader::Protocol, protocol, |found| found == protocol)
}

fn compare(
    headers: &HeaderMap,
    header: UpgradeHeader,
    expected: &str,
    is_it: impl Fn(&str) -> bool,
) -> Result<(), DialError> {
    let mut found = headers.get_all(header.name()).iter();
    match (found.next().map(HeaderValue::to_str), found.next()) {
        (Some(Ok(value)), None) if is_it(value) => Ok(()),
        _ => Err(wrong(headers, header, expected)),
    }
}

fn wrong(headers: &HeaderMap, header: UpgradeHeader, expected: &str) -> DialError {
    let values = headers.get_all(header.name());
    let found: Vec<_> = values.iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let shown: String = found.join(", ").chars().take(SHOWN).collect();
    DialError::NotAsAsked {
        header,
        found: if found.is_empty() { "is missing".to_owned() } else { format!("is {shown:?}") },
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn judged(changes: &[(HeaderName, Option<&'static str>)]) -> Result<(), DialError> {
        let mut headers = HeaderMap::new();
        let good = [
            (header::UPGRADE, Some("WebSocket")),
            (header::CONNECTION, Some("keep-alive, upgrade")),
            (header::SEC_WEBSOCKET_ACCEPT, Some(ACCEPT)),
            (header::SEC_WEBSOCKET_PROTOCOL, Some("pdp-agent.v1")),
        ];
        for (name, value) in good.iter().chain(changes) {
            headers.remove(name);
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        as_asked(&headers, ACCEPT, "pdp-agent.v1")
    }

    #[test]
    fn what_is_wrong_with_an_upgrade_is_named_with_what_came_and_what_should_have() {
        assert_eq!(judged(&[]), Ok(()));
        for (name, value, reason, words) in [
            (header::UPGRADE, Some("h2c"), "UnexpectedAnswer", "Upgrade is \"h2c\", and it must be websocket"),
            (header::CONNECTION, None, "UnexpectedAnswer", "Connection is missing, and it must be Upgrade"),
            (
                header::SEC_WEBSOCKET_ACCEPT,
                Some("bm8="),
                "UnexpectedAnswer",
                "Sec-WebSocket-Accept is \"bm8=\", and it must be s3pPLMBiTxaQ9kYGzzhZRbK+xOo=; a proxy on the way rewrites",
            ),
            (
                header::SEC_WEBSOCKET_EXTENSIONS,
                Some("permessage-deflate"),
                "UnexpectedAnswer",
                "Sec-WebSocket-Extensions is \"permessage-deflate\", and it must be left out; the agent asked for none",
            ),
            (
                header::SEC_WEBSOCKET_PROTOCOL,
                None,
                "NoCommonVersion",
                "Sec-WebSocket-Protocol is missing, and it must be pdp-agent.v1; agent and control plane are too far apart",
            ),
            (
                header::SEC_WEBSOCKET_PROTOCOL,
                Some("pdp-agent.v2"),
                "NoCommonVersion",
                "Sec-WebSocket-Protocol is \"pdp-agent.v2\", and it must be pdp-agent.v1",
            ),
        ] {
            let error = judged(&[(name, value)]).unwrap_err();
            assert_eq!(error.reason(), reason, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}

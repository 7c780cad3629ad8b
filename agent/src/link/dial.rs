//! How a connection to the control plane comes about: name, address, proxy, TLS, and then HTTP or WebSocket.
//!
//! Everything is done anew for each attempt (names, CA bundle, proxy), because each may have changed since. Every stage has its
//! own deadline, so that a failure says where it happened. Redirects are never followed: the address was given by the customer,
//! and nobody else may move it. Nothing here decides when to try again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::settings::{ControlPlaneUrl, Pin};

mod error;
mod pin;
mod tcp;
mod tls;
pub mod trust;
mod upgrade;
mod upgrade_header;

pub use error::{DialError, Stage};
pub use upgrade_header::UpgradeHeader;

/// The connection of the link, and of bulk streams.
pub type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// One HTTP exchange, request and answer.
const EXCHANGE: Duration = Duration::from_secs(20);
/// Handshake of TLS or of a WebSocket.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Eagerly allocated per connection.
const READ_BUFFER: usize = 4 * 1024;

/// Who the link says it is: a certificate chain and its key, PEM.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// Chain, leaf first.
    pub certificate: String,
    /// PKCS #8.
    pub key: SecretString,
}

/// Limits of one WebSocket.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest frame and message that is read, in bytes.
    pub frame: usize,
    /// Bytes that may wait to be written before writing fails.
    pub write_buffer: usize,
}

/// An HTTP answer, whole.
#[derive(Debug)]
pub struct HttpAnswer {
    /// Status code.
    pub status: StatusCode,
    /// Body, bounded.
    pub body: Bytes,
}

/// Makes connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dialer {
    proxies: Arc<Matcher>,
    bundle_file: Option<PathBuf>,
    pins: Vec<Pin>,
}

impl Dialer {
    /// Proxies come from `HTTPS_PROXY` and `NO_PROXY`; trust from `bundle_file` alone, or from the platform's roots without one.
    #[must_use]
    pub fn new(bundle_file: Option<PathBuf>) -> Self {
        Self::with_proxies(bundle_file, Matcher::from_env())
    }

    /// With rules for proxies of the caller's own.
    #[must_use]
    pub fn with_proxies(bundle_file: Option<PathBuf>, proxies: Matcher) -> Self {
        Self { proxies: Arc::new(proxies), bundle_file, pins: Vec::new() }
    }

    /// With pins, accepts only servers with one of these keys, in addition to the ordinary verification.
    #[must_use]
    pub fn pinned(self, pins: Vec<Pin>) -> Self {
        Self { pins, ..self }
    }

    /// Fingerprints of the certificates in `handed_out`, sent by the control plane, that are not trusted here. Empty where that
    /// cannot be determined now.
    pub async fn proposed(&self, handed_out: Option<&str>) -> Vec<String> {
        let Some(handed_out) = handed_out else { return Vec::new() };
        let trusted = tls::trusted(self.bundle_file.as_deref()).await;
        trusted.map(|trusted| trust::unknown(handed_out, &trusted)).unwrap_or_default()
    }

    /// Posts `body` as JSON over server-authenticated HTTPS.
    ///
    /// # Errors
    /// No answer could be had. Any status, a redirect too, is an answer.
    pub async fn post(
        &self,
        url: &ControlPlaneUrl,
        path: &str,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<HttpAnswer, DialError> {
        let stream = self.tls(url, None, &[b"http/1.1"]).await?;
        let request = Request::post(path)
            .header(header::HOST, url.authority())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| DialError::Http { detail: error.to_string() })?;
        let exchange = async {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let answer = async move {
                let answer = sender.send_request(request).await?;
                let status = answer.status();
                let body = Limited::new(answer.into_body(), limit).collect().await;
                Ok::<_, hyper::Error>((status, body))
            };
            match tokio::join!(answer, connection) {
                (Ok(answer), _) => Ok(answer),
                // The connection's own error says more than the request's, which only says that it ended.
                (Err(_), Err(error)) | (Err(error), Ok(())) => Err(error),
            }
        };
        let (status, body) = timeout(EXCHANGE, exchange)
            .await
            .map_err(|_| DialError::Timeout { stage: Stage::Http })?
            .map_err(|error| error::of_hyper(&error))?;
        let body = body.map_err(|error| DialError::Http { detail: error.to_string() })?.to_bytes();
        Ok(HttpAnswer { status, body })
    }

    /// Opens a WebSocket with a client certificate. An upgrade that is not as it was asked for is given up without a byte.
    ///
    /// # Errors
    /// The stage that failed, and how.
    pub async fn websocket(
        &self,
        url: &ControlPlaneUrl,
        path: &str,
        protocol: &'static str,
        identity: &ClientIdentity,
        limits: Limits,
    ) -> Result<Socket, DialError> {
        let stream = self.tls(url, Some(identity), &[]).await?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(limits.write_buffer)
            .max_frame_size(Some(limits.frame))
            .max_message_size(Some(limits.frame));
        timeout(HANDSHAKE, upgrade::upgrade(stream, &url.authority(), path, protocol, config))
            .await
            .map_err(|_| DialError::Timeout { stage: Stage::Upgrade })?
    }

    /// Opens a connection, through the proxy if there is one, and nothing more: for checks.
    ///
    /// # Errors
    /// The stage that failed, and how.
    pub async fn tcp(&self, url: &ControlPlaneUrl) -> Result<TcpStream, DialError> {
        tcp::connect(&self.proxies, url).await
    }

    async fn tls(
        &self,
        url: &ControlPlaneUrl,
        identity: Option<&ClientIdentity>,
        alpn: &[&[u8]],
    ) -> Result<TlsStream<TcpStream>, DialError> {
        let mut config = tls::config(self.bundle_file.as_deref(), &self.pins, identity).await?;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = tls::server_name(&url.host)?;
        let stream = tcp::connect(&self.proxies, url).await?;
        timeout(HANDSHAKE, tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream))
            .await
            .map_err(|_| DialError::Timeout { stage: Stage::Tls })?
            .map_err(|error| error::of_io(Stage::Tls, &error))
    }
}

const USER_AGENT: &str = concat!("pdp-agent/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests;

//! One step after the other towards a server: connection, TLS, one HTTP request. Each step is a finding.

use std::sync::Arc;

use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Notes, STEP_LIMIT, Status};
use crate::link::dial::{DialError, Dialer, trust};
use crate::settings::{ControlPlaneUrl, Pin};

/// Longest head of an answer that is read, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// A certificate that ends within this many days gets a warning.
const EXPIRY_WARNING_DAYS: i64 = 14;

pub(super) struct Target<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// PEM of trusted roots, or the platform's; none for plain text.
    pub(super) trust: Option<Trust>,
    /// Pins, one of which the server's key must match; empty allows any key.
    pub(super) pins: &'a [Pin],
    /// What to call the server in messages.
    pub(super) server: &'static str,
    /// Setting by which the user changes the address.
    pub(super) address_setting: &'static str,
    /// Setting by which the user changes the CA bundle.
    pub(super) bundle_setting: &'static str,
}

/// Whom to trust.
pub(super) enum Trust {
    Platform,
    Bundle(Vec<u8>),
}

/// Head of an HTTP answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) date: Option<String>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Runs every step and sends `request`. None when a step failed; the finding is noted.
pub(super) async fn request(notes: &mut Notes<'_>, target: &Target<'_>, request: &str) -> Option<Head> {
    let tcp = connect(notes, target).await?;
    let mut stream: Box<dyn Stream> = match &target.trust {
        Some(trust) => Box::new(handshake(notes, target, trust, tcp).await?),
        None => Box::new(tcp),
    };
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        read_head(&mut stream).await
    };
    match timeout(STEP_LIMIT, exchange).await {
        Ok(Ok(Some(head))) => Some(head),
        Ok(Ok(None)) => {
            notes.fail(
                "http",
                "what answers is not an HTTP server",
                "check host and port; something else listens there",
            );
            None
        }
        Ok(Err(error)) => {
            notes.fail(
                "http",
                format!("no answer to a request: {error}"),
                "look at the log of the server and of proxies on the way",
            );
            None
        }
        Err(_) => {
            notes.fail(
                "http",
                "no answer to a request in time",
                "look at the log of the server and of proxies on the way",
            );
            None
        }
    }
}

/// Name, proxy, connection: by the link's own dialling, so that what works here works there.
async fn connect(notes: &mut Notes<'_>, target: &Target<'_>) -> Option<TcpStream> {
    let url = ControlPlaneUrl { host: target.host.to_owned(), port: target.port };
    match Dialer::new(None).tcp(&url).await {
        Ok(stream) => {
            let peer = stream.peer_addr().map_or_else(|_| "an address".to_owned(), |peer| peer.to_string());
            notes.ok("connect", format!("{} by way of {peer}", url.authority()));
            Some(stream)
        }
        Err(error) => {
            let Target { server, address_setting, .. } = target;
            let sentence = match &error {
                DialError::Connect { host, port, detail } => {
                    format!(
                        "cannot connect to {host} port {port}: {detail}; is {server} up, and may this pod reach it?"
                    )
                }
                DialError::Resolve { host, detail } => {
                    format!("{host} cannot be resolved: {detail}; check {address_setting} and the cluster's DNS")
                }
                DialError::Bundle { .. }
                | DialError::OwnIdentity { .. }
                | DialError::Timeout { .. }
                | DialError::ProxyRefused { .. }
                | DialError::ProxyUnusable { .. }
                | DialError::Untrusted { .. }
                | DialError::Unpinned { .. }
                | DialError::CertificateRefused { .. }
                | DialError::Status { .. }
                | DialError::NotAsAsked { .. }
                | DialError::Http { .. }
                | DialError::Broken { .. }
                | DialError::Internal { .. } => error.to_string(),
            };
            notes.add("connect", Status::Fail, sentence, None);
            None
        }
    }
}

async fn handshake(
    notes: &mut Notes<'_>,
    target: &Target<'_>,
    trust: &Trust,
    tcp: TcpStream,
) -> Option<tokio_rustls::client::TlsStream<TcpStream>> {
    let setting = target.bundle_setting;
    let roots = match roots(trust) {
        Ok(roots) => roots,
        Err(reason) => {
            notes.fail("tls", reason, format!("check {setting}"));
            return None;
        }
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let (Ok(config), Ok(name)) = (config, ServerName::try_from(target.host.to_owned())) else {
        notes.fail("tls", "the host is not a name that a certificate can have", "check the address");
        return None;
    };
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    match timeout(STEP_LIMIT, TlsConnector::from(config).connect(name, tcp)).await {
        Ok(Ok(stream)) => {
            note_certificate(notes, &stream);
            note_pin(notes, target, &stream)?;
            Some(stream)
        }
        Ok(Err(error)) => {
            let (detail, hint) = explain(&error, setting);
            notes.fail("tls", detail, hint);
            None
        }
        Err(_) => {
            notes.fail("tls", "no TLS answer in time", "something on the way swallows TLS; check port and proxies");
            None
        }
    }
}

fn note_certificate(notes: &mut Notes<'_>, stream: &tokio_rustls::client::TlsStream<TcpStream>) {
    let (_, session) = stream.get_ref();
    let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
    let end = session.peer_certificates().and_then(|chain| chain.first()).and_then(|leaf| not_after(leaf));
    match end {
        Some(end) => {
            let left = end.duration_since(jiff::Timestamp::now()).as_hours();
            let detail = format!("{version}, certificate trusted, valid until {end}");
            if left < EXPIRY_WARNING_DAYS * 24 {
                notes.warn("tls", detail, "renew the server's certificate");
            } else {
                notes.ok("tls", detail);
            }
        }
        None => notes.ok("tls", format!("{version}, certificate trusted")),
    }
}

/// None if the server's key matches none of the pins.
fn note_pin(
    notes: &mut Notes<'_>,
    target: &Target<'_>,
    stream: &tokio_rustls::client::TlsStream<TcpStream>,
) -> Option<()> {
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    match trust::pinned(target.pins, leaf) {
        Ok(()) if target.pins.is_empty() => {}
        Ok(()) => notes.ok("pin", "the key of the certificate is pinned"),
        Err(seen) => {
            let hint = "if the control plane announced that key, add it to controlPlane.pins; if not, find out what answers there";
            notes.fail("pin", format!("the pin of {}'s key is none of those given: {seen}", target.server), hint);
            return None;
        }
    }
    Some(())
}

/// When a certificate ends.
pub(super) fn not_after(der: &[u8]) -> Option<jiff::Timestamp> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    jiff::Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

fn roots(whom: &Trust) -> Result<RootCertStore, String> {
    let (bundle, what) = match whom {
        Trust::Platform => (None, "what this platform trusts cannot be used"),
        Trust::Bundle(pem) => (Some(pem.as_slice()), "the CA bundle cannot be used"),
    };
    trust::certificates(bundle).and_then(trust::roots).map_err(|error| format!("{what}: {error}"))
}

/// What a failed handshake means, and what to do.
fn explain(error: &std::io::Error, setting: &str) -> (String, String) {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let detail = tls.map_or_else(|| error.to_string(), ToString::to_string);
    let certificate =
        if let Some(rustls::Error::InvalidCertificate(certificate)) = tls { Some(certificate) } else { None };
    let hint = match certificate {
        Some(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "renew the server's certificate, or set this machine's clock".to_owned()
        }
        Some(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "set this machine's clock, or the one of the machine that signed the certificate".to_owned()
        }
        Some(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            "use a name that the certificate has, or add this one to it".to_owned()
        }
        Some(CertificateError::UnknownIssuer) => {
            format!("give the CA that signed it by {setting}; a proxy that opens TLS shows its own")
        }
        _ => "check that the port speaks TLS 1.2 or 1.3 and that nothing on the way interferes".to_owned(),
    };
    (detail, hint)
}

/// Reads up to the empty line. None when it is not HTTP.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Head>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") && bytes.len() < MAX_HEAD {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    Ok(parse_head(&String::from_utf8_lossy(&bytes)))
}

fn parse_head(text: &str) -> Option<Head> {
    let mut lines = text.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let date = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("date"))
        .map(|(_, value)| value.trim().to_owned());
    Some(Head { status, date })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_an_answer_gives_status_and_date() {
        let date = Some("Sat, 21 Nov 2026 12:00:00 GMT".to_owned());
        let text = "HTTP/1.1 426 Upgrade Required\r\nDATE: Sat, 21 Nov 2026 12:00:00 GMT\r\n\r\n";
        assert_eq!(parse_head(text), Some(Head { status: 426, date }));
        assert_eq!(parse_head("HTTP/1.1 200\r\n\r\n"), Some(Head { status: 200, date: None }));
        assert_eq!(parse_head("SSH-2.0-OpenSSH\r\n"), None);
    }
}

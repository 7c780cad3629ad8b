//! One step after the other towards a server: name, proxy, connection, TLS, one HTTP request. Each step is a finding.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Notes, STEP_LIMIT};

/// Longest head of an answer that is read, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Days before its end at which a certificate is worth a word.
const EXPIRY_WARNING_DAYS: i64 = 14;

/// Where to.
pub(super) struct Target<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// PEM of trusted roots, or the platform's; none for plain text.
    pub(super) trust: Option<Trust>,
    /// How the user gives another CA bundle.
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

/// Goes all the way and sends `request`. None when a step failed, which is noted.
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

/// Name, proxy, connection.
async fn connect(notes: &mut Notes<'_>, target: &Target<'_>) -> Option<TcpStream> {
    let Target { host, port, .. } = target;
    let proxy = proxy_for(host, &|name| std::env::var(name).ok());
    let (dial_host, dial_port) = match &proxy {
        Some(Ok(proxy)) => (proxy.host.as_str(), proxy.port),
        Some(Err(reason)) => {
            notes.fail("proxy", *reason, "write HTTPS_PROXY as http://host:port");
            return None;
        }
        None => (*host, *port),
    };
    let addresses: Vec<SocketAddr> = match timeout(STEP_LIMIT, tokio::net::lookup_host((dial_host, dial_port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => {
            notes.fail(
                "dns",
                format!("{dial_host} cannot be resolved: {error}"),
                "check the name, and the DNS that pods use",
            );
            return None;
        }
        Err(_) => {
            notes.fail(
                "dns",
                format!("{dial_host} was not resolved in time"),
                "check that the DNS answers, and network policies",
            );
            return None;
        }
    };
    let list: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    notes.ok("dns", format!("{dial_host} is {}", list.join(", ")));

    let mut last = "no address".to_owned();
    let mut connected = None;
    for address in &addresses {
        match timeout(STEP_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                connected = Some((address, stream));
                break;
            }
            Ok(Err(error)) => last = format!("{address}: {error}"),
            Err(_) => last = format!("{address}: no answer in time"),
        }
    }
    let Some((address, mut stream)) = connected else {
        notes.fail("tcp", last, "allow this connection outbound in firewall, network policies and proxies");
        return None;
    };
    notes.ok("tcp", format!("connected to {address}"));

    match &proxy {
        Some(Ok(proxy)) => {
            let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            let tunnel = timeout(STEP_LIMIT, open_tunnel(&mut stream, &authority, proxy)).await;
            match tunnel {
                Ok(Ok(Some(Head { status: 200..=299, .. }))) => {
                    notes.ok("proxy", format!("{}:{} opened a tunnel", proxy.host, proxy.port));
                }
                Ok(Ok(Some(Head { status: 407, .. }))) => {
                    notes.fail(
                        "proxy",
                        "the proxy asks for other credentials",
                        "put user and password into HTTPS_PROXY",
                    );
                    return None;
                }
                Ok(Ok(head)) => {
                    let status =
                        head.map_or_else(|| "something that is not HTTP".to_owned(), |head| head.status.to_string());
                    let detail = format!("the proxy answered {status} to CONNECT");
                    notes.fail("proxy", detail, "allow CONNECT to this host, or put it into NO_PROXY");
                    return None;
                }
                Ok(Err(_)) | Err(_) => {
                    notes.fail(
                        "proxy",
                        "the proxy did not answer CONNECT",
                        "check HTTPS_PROXY, or put the host into NO_PROXY",
                    );
                    return None;
                }
            }
        }
        Some(Err(_)) | None => notes.ok("proxy", "none is used"),
    }
    Some(stream)
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

/// When a certificate ends.
pub(super) fn not_after(der: &[u8]) -> Option<jiff::Timestamp> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    jiff::Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

fn roots(trust: &Trust) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    match trust {
        Trust::Platform => {
            for root in rustls_native_certs::load_native_certs().certs {
                // Platforms carry roots that this library cannot read; the others serve.
                _ = store.add(root);
            }
        }
        Trust::Bundle(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| format!("the CA bundle is not PEM: {error}"))?;
                store
                    .add(certificate)
                    .map_err(|error| format!("the CA bundle holds no usable certificate: {error}"))?;
            }
        }
    }
    if store.is_empty() { Err("there is no trusted CA at all".to_owned()) } else { Ok(store) }
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

struct Proxy {
    host: String,
    port: u16,
    /// Value of `Proxy-Authorization`.
    authorization: Option<secrecy::SecretString>,
}

/// The proxy for `host`, by the usual variables. Its address may hold a password, so it is never printed whole.
fn proxy_for(host: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<Result<Proxy, &'static str>> {
    let either = |upper: &str, lower: &str| variable(upper).or_else(|| variable(lower)).filter(|text| !text.is_empty());
    let url = either("HTTPS_PROXY", "https_proxy")?;
    let exempt = either("NO_PROXY", "no_proxy").unwrap_or_default();
    if exempt.split(',').map(str::trim).any(|rule| exempts(rule, host)) {
        return None;
    }
    Some(parse_proxy(&url).ok_or("HTTPS_PROXY is not http://[user:password@]host[:port]"))
}

fn exempts(rule: &str, host: &str) -> bool {
    let rule = rule.trim_start_matches("*.").trim_start_matches('.');
    rule == "*"
        || (!rule.is_empty() && (host == rule || host.strip_suffix(rule).is_some_and(|rest| rest.ends_with('.'))))
}

fn parse_proxy(url: &str) -> Option<Proxy> {
    use base64::Engine as _;
    let rest = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let (user, address) = rest.rsplit_once('@').map_or((None, rest), |(user, address)| (Some(user), address));
    let uri: http::uri::Authority = address.parse().ok()?;
    let encode = |user: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user)).into();
    let host = uri.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() || address.contains("://") {
        return None;
    }
    Some(Proxy { host, port: uri.port_u16().unwrap_or(3128), authorization: user.map(encode) })
}

async fn open_tunnel(stream: &mut TcpStream, authority: &str, proxy: &Proxy) -> std::io::Result<Option<Head>> {
    use secrecy::ExposeSecret as _;
    let mut request = zeroize::Zeroizing::new(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"));
    if let Some(value) = &proxy.authorization {
        request.push_str("Proxy-Authorization: ");
        request.push_str(value.expose_secret());
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    read_head(stream).await
}

/// Reads up to the empty line. None when it is not HTTP.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Head>> {
    let mut bytes = Vec::new();
    // Byte by byte at the tunnel: what follows the head belongs to TLS.
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
    fn a_proxy_is_used_unless_the_host_is_exempt() {
        for (host, exempt, used) in [
            ("cp.example.com", "", true),
            ("cp.example.com", "cp.example.com", false),
            ("cp.example.com", "other.com, .example.com", false),
            ("cp.example.com", "*.example.com", false),
            ("cp.example.com", "ample.com", true),
            ("cp.example.com", "*", false),
        ] {
            let variable = |name: &str| match name {
                "HTTPS_PROXY" => Some("http://u:p@proxy.local:8080/".to_owned()),
                "NO_PROXY" => Some(exempt.to_owned()),
                _ => None,
            };
            let proxy = proxy_for(host, &variable);
            assert_eq!(proxy.is_some(), used, "{host} with {exempt}");
            if let Some(Ok(proxy)) = proxy {
                assert_eq!(
                    (proxy.host.as_str(), proxy.port, proxy.authorization.is_some()),
                    ("proxy.local", 8080, true)
                );
            }
        }
        assert!(parse_proxy("socks5://x:1").is_none());
        assert!(proxy_for("h", &|_| None).is_none());
    }

    #[test]
    fn the_head_of_an_answer_gives_status_and_date() {
        let date = Some("Sat, 21 Nov 2026 12:00:00 GMT".to_owned());
        let text = "HTTP/1.1 426 Upgrade Required\r\nDATE: Sat, 21 Nov 2026 12:00:00 GMT\r\n\r\n";
        assert_eq!(parse_head(text), Some(Head { status: 426, date }));
        assert_eq!(parse_head("HTTP/1.1 200\r\n\r\n"), Some(Head { status: 200, date: None }));
        assert_eq!(parse_head("SSH-2.0-OpenSSH\r\n"), None);
    }
}

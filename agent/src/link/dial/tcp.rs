//! A TCP connection to the control plane, directly or through an HTTP proxy.
//!
//! Addresses are tried as RFC 8305 (Happy Eyeballs) says: families in turn, a quarter of a second apart, the first that answers
//! wins; so one dead family costs 250 ms and not a minute.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::error::{DialError, Stage};
use crate::settings::ControlPlaneUrl;

const RESOLVE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(10);
const PROXY: Duration = Duration::from_secs(10);
const STAGGER: Duration = Duration::from_millis(250);
/// A connection whose data stays unacknowledged for this long ends, also while nothing is read.
const USER_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest answer of a proxy to CONNECT.
const MAX_PROXY_ANSWER: usize = 8 * 1024;

/// Connects to `url`, by a proxy if the rules say so.
pub(super) async fn connect(proxies: &Matcher, url: &ControlPlaneUrl) -> Result<TcpStream, DialError> {
    let target: Uri = url
        .to_string()
        .parse()
        .map_err(|_| DialError::Resolve { host: url.host.clone(), detail: "not a name".into() })?;
    let Some(proxy) = proxies.intercept(&target) else {
        return direct(&url.host, url.port).await;
    };
    let (Some(scheme), Some(host)) = (proxy.uri().scheme_str(), proxy.uri().host()) else {
        return Err(DialError::ProxyUnusable { detail: "HTTPS_PROXY is not a URL".to_owned() });
    };
    if scheme != "http" {
        let detail = format!("HTTPS_PROXY has scheme {scheme}, and a proxy is spoken to by http:// only");
        return Err(DialError::ProxyUnusable { detail });
    }
    let mut stream = direct(host.trim_matches(['[', ']']), proxy.uri().port_u16().unwrap_or(80)).await?;
    let authorization = proxy.basic_auth().and_then(|value| value.to_str().ok().map(str::to_owned)).or_else(|| {
        let (user, password) = proxy.raw_auth()?;
        let pair = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
        Some(format!("Basic {pair}"))
    });
    timeout(PROXY, tunnel(&mut stream, &url.authority(), authorization.as_deref()))
        .await
        .map_err(|_| DialError::Timeout { stage: Stage::Proxy })??;
    Ok(stream)
}

async fn direct(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let unresolved = |detail: String| DialError::Resolve { host: host.to_owned(), detail };
    let addresses = timeout(RESOLVE, tokio::net::lookup_host((host, port)))
        .await
        .map_err(|_| DialError::Timeout { stage: Stage::Resolve })?
        .map_err(|error| unresolved(error.to_string()))?;
    let addresses = interleaved(addresses.collect());
    if addresses.is_empty() {
        return Err(unresolved("the name has no address".to_owned()));
    }
    let stream = timeout(CONNECT, first_that_answers(&addresses))
        .await
        .map_err(|_| DialError::Timeout { stage: Stage::Connect })?
        .map_err(|error| DialError::Connect { host: host.to_owned(), port, detail: error.to_string() })?;
    let socket = SockRef::from(&stream);
    // Best effort: the link also works on a kernel that refuses these options, and then notices a broken connection later.
    let _without = socket.set_tcp_nodelay(true);
    let _without = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
    Ok(stream)
}

/// Families in turn, beginning with the one that the resolver prefers.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut out = Vec::with_capacity(preferred.len() + other.len());
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    loop {
        match (preferred.next(), other.next()) {
            (None, None) => return out,
            (a, b) => out.extend(a.into_iter().chain(b)),
        }
    }
}

async fn first_that_answers(addresses: &[SocketAddr]) -> std::io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.iter().copied();
    let mut last = std::io::Error::other("no address");
    let mut next = waiting.next();
    loop {
        if let Some(address) = next.take() {
            attempts.spawn(TcpStream::connect(address));
        }
        let more = waiting.len() > 0;
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => last = error,
                Some(Err(_)) => {}
                None if !more => return Err(last),
                None => {}
            },
            () = tokio::time::sleep(STAGGER), if more => {}
        }
        next = waiting.next();
    }
}

/// Asks the proxy for a tunnel (RFC 9110, section 9.3.6).
async fn tunnel(stream: &mut TcpStream, authority: &str, authorization: Option<&str>) -> Result<(), DialError> {
    let authorization = authorization.map_or_else(String::new, |value| format!("Proxy-Authorization: {value}\r\n"));
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{authorization}\r\n");
    let broken = |error: std::io::Error| DialError::ProxyUnusable { detail: error.to_string() };
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    // Byte by byte: what follows the head belongs to TLS.
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_PROXY_ANSWER {
            return Err(DialError::ProxyUnusable { detail: "its answer is too long".to_owned() });
        }
        head.push(stream.read_u8().await.map_err(broken)?);
    }
    let head = String::from_utf8_lossy(&head);
    let status = head
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|status| status.trim().parse::<u16>().ok())
        .ok_or_else(|| DialError::ProxyUnusable { detail: "its answer is not HTTP".to_owned() })?;
    if !(200..300).contains(&status) {
        return Err(DialError::ProxyRefused { status });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let mixed = all(&["[::1]:1", "[::2]:1", "127.0.0.1:1", "[::3]:1"]);
        assert_eq!(interleaved(mixed), all(&["[::1]:1", "127.0.0.1:1", "[::2]:1", "[::3]:1"]));
        assert_eq!(interleaved(all(&["127.0.0.1:1"])), all(&["127.0.0.1:1"]));
        assert_eq!(interleaved(Vec::new()), Vec::new());
    }

    #[tokio::test]
    async fn a_dead_address_does_not_keep_the_living_one_waiting() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        // Taken and closed again: nobody listens there.
        let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let stream = first_that_answers(&[dead, alive]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        assert!(first_that_answers(&[dead, dead]).await.is_err());
    }
}

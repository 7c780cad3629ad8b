//! Dialling over loopback: through proxies, to the wrong name, and what a peer may answer.

use std::net::SocketAddr;

use control_plane_mock::{Config, ControlPlane};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

mod peer;

async fn control_plane() -> (ControlPlane, tempfile::NamedTempFile) {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let plane = ControlPlane::start(Config::default()).await.unwrap();
    let bundle = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(bundle.path(), plane.ca()).unwrap();
    (plane, bundle)
}

/// A proxy that wants `authorization` and then opens the tunnel. Gives the heads of the requests that it saw.
async fn proxy(
    tasks: &mut JoinSet<()>,
    authorization: Option<&'static str>,
) -> (SocketAddr, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, heads) = tokio::sync::mpsc::channel(8);
    tasks.spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            seen.send(head.clone()).await.unwrap();
            if authorization.is_some_and(|wanted| !head.contains(wanted)) {
                client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.unwrap();
                continue;
            }
            let target = head.split(' ').nth(1).unwrap().to_owned();
            let mut server = TcpStream::connect(target).await.unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
        }
    });
    (address, heads)
}

async fn status_of(dialer: &Dialer, url: &str) -> Result<u16, DialError> {
    let url = url.parse().unwrap();
    dialer.post(&url, "/v1/enrol", b"{}".to_vec(), 1 << 16).await.map(|answer| answer.status.as_u16())
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_with_its_credentials() {
    let (plane, bundle) = control_plane().await;
    let mut tasks = JoinSet::new();
    // RFC 7617: "Aladdin" and "open sesame".
    let (address, mut heads) = proxy(&mut tasks, Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")).await;
    let dialer = |proxy: String, no: &str| {
        Dialer::with_proxies(Some(bundle.path().to_owned()), Matcher::builder().https(proxy).no(no).build())
    };
    let good = dialer(format!("http://Aladdin:open%20sesame@{address}"), "");
    assert_eq!(status_of(&good, &plane.url()).await, Ok(400));
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", plane.address())), "{head}");

    let bad = dialer(format!("http://{address}"), "");
    let error = status_of(&bad, &plane.url()).await.unwrap_err();
    assert_eq!((error.clone(), error.reason()), (DialError::ProxyRefused { status: 407 }, "ProxyFailed"));
    heads.recv().await.unwrap();

    let around = dialer(format!("http://{address}"), "127.0.0.1");
    assert_eq!(status_of(&around, &plane.url()).await, Ok(400));
    assert!(heads.try_recv().is_err(), "NO_PROXY");

    let unusable = dialer(format!("socks5://{address}"), "");
    assert_eq!(status_of(&unusable, &plane.url()).await.unwrap_err().reason(), "ProxyFailed");
    plane.shutdown().await;
}

#[tokio::test]
async fn the_name_must_be_in_the_certificate_and_the_bundle_must_be_there() {
    let (plane, bundle) = control_plane().await;
    let no_proxy = || Matcher::builder().build();
    let dialer = Dialer::with_proxies(Some(bundle.path().to_owned()), no_proxy());
    let port = plane.address().port();
    let error = status_of(&dialer, &format!("https://127.0.0.2:{port}")).await.unwrap_err();
    // Nothing listens on that address of loopback, or its name is not in the certificate.
    assert!(["Unreachable", "UntrustedCertificate"].contains(&error.reason()), "{error}");
    let error = status_of(&dialer, "https://no-such-host.invalid").await.unwrap_err();
    assert_eq!(error.reason(), "NameNotResolved", "{error}");
    let missing = Dialer::with_proxies(Some("/does/not/exist".into()), no_proxy());
    assert_eq!(status_of(&missing, &plane.url()).await.unwrap_err().reason(), "BadCaBundle");
    let platform = Dialer::with_proxies(None, no_proxy());
    let error = status_of(&platform, &plane.url()).await.unwrap_err();
    assert_eq!(error.reason(), "UntrustedCertificate", "{error}");
    plane.shutdown().await;
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_is_an_error_and_not_a_hang() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    });
    let bundle = tempfile::NamedTempFile::new().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["x".into()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(bundle.path(), certificate.pem()).unwrap();
    let dialer = Dialer::with_proxies(Some(bundle.path().to_owned()), Matcher::builder().build());
    let error = status_of(&dialer, &url).await.unwrap_err();
    assert!(matches!(error, DialError::Broken { stage: Stage::Tls, .. }), "{error:?}");
}

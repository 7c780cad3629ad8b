//! What a server may answer to the upgrade, and which server gets the client certificate.

use futures::StreamExt as _;
use protocol::bulk::BULK_SUBPROTOCOL;
use protocol::message::SUBPROTOCOL;
use protocol::session::DialFailure;
use rcgen::PublicKeyData as _;
use rustls::pki_types::PrivateKeyDer;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::*;

const LIMITS: Limits = Limits { frame: 32 * 1024, write_buffer: 64 * 1024 };

/// What became of one connection at the server.
#[derive(Debug)]
struct Seen {
    /// A client certificate was presented; none where the handshake failed.
    presented: Option<bool>,
    /// What came behind the request.
    after: Vec<u8>,
}

/// A server that gives each request one answer, and then reads to the end.
struct Server {
    url: ControlPlaneUrl,
    bundle: tempfile::NamedTempFile,
    pin: Pin,
    identity: ClientIdentity,
    seen: mpsc::Receiver<Seen>,
    _tasks: JoinSet<()>,
}

fn certificate(name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().unwrap();
    (rcgen::CertificateParams::new(vec![name.into()]).unwrap().self_signed(&key).unwrap(), key)
}

/// `answer` makes the answer of the right `Sec-WebSocket-Accept`.
async fn server(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Server {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let ((own, key), (client, client_key)) = (certificate("localhost"), certificate("agent"));
    let roots = Arc::new(trust::roots(vec![client.der().clone()]).unwrap());
    let clients = rustls::server::WebPkiClientVerifier::builder(roots).allow_unauthenticated().build().unwrap();
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![own.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port()).parse().unwrap();
    let (tell, seen) = mpsc::channel(8);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let mut one = Seen { presented: None, after: Vec::new() };
            if let Ok(mut tls) = acceptor.accept(tcp).await {
                one.presented = Some(tls.get_ref().1.peer_certificates().is_some());
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && tls.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
                let head = String::from_utf8(head).unwrap();
                let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "));
                if let Some(key) = key {
                    tls.write_all(&answer(&derive_accept_key(key.as_bytes()))).await.unwrap();
                    tls.read_to_end(&mut one.after).await.ok();
                }
            }
            tell.send(one).await.unwrap();
        }
    });
    let bundle = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(bundle.path(), own.pem()).unwrap();
    let identity = ClientIdentity { certificate: client.pem(), key: client_key.serialize_pem().into() };
    Server { url, bundle, pin: Pin::of(&key.subject_public_key_info()), identity, seen, _tasks: tasks }
}

impl Server {
    async fn dial(&self, protocol: &'static str, pins: Vec<Pin>) -> Result<Socket, DialError> {
        let no_proxy = Matcher::builder().build();
        let dialer = Dialer::with_proxies(Some(self.bundle.path().to_owned()), no_proxy).pinned(pins);
        dialer.websocket(&self.url, "/v1/link", protocol, &self.identity, LIMITS).await
    }
}

fn switching(accept: &str, more: &str) -> Vec<u8> {
    let head =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ";
    format!("{head}{accept}\r\n{more}\r\n").into_bytes()
}

#[tokio::test]
async fn an_upgrade_that_is_not_as_asked_gets_no_byte_and_is_told_by_its_header() {
    for protocol in [SUBPROTOCOL, BULK_SUBPROTOCOL] {
        let chosen = format!("Sec-WebSocket-Protocol: {protocol}\r\n");
        for (accept, more, header, found) in [
            (true, String::new(), UpgradeHeader::Protocol, "is missing"),
            (true, "Sec-WebSocket-Protocol: chat\r\n".to_owned(), UpgradeHeader::Protocol, "is \"chat\""),
            (true, format!("{chosen}{chosen}"), UpgradeHeader::Protocol, "is \"pdp-agent."),
            (
                true,
                format!("{chosen}Sec-WebSocket-Extensions: permessage-deflate\r\n"),
                UpgradeHeader::Extensions,
                "is \"permessage-deflate\"",
            ),
            (false, chosen, UpgradeHeader::Accept, "is \"bm9uZQ==\""),
        ] {
            let said = more.clone();
            let mut server = server(move |right| switching(if accept { right } else { "bm9uZQ==" }, &said)).await;
            let error = server.dial(protocol, Vec::new()).await.err().unwrap();
            let DialError::NotAsAsked { header: named, found: came, .. } = &error else { panic!("{error}") };
            assert!(*named == header && came.starts_with(found), "{more:?}: {error}");
            let seen = server.seen.recv().await.unwrap();
            assert!(seen.after.is_empty(), "{more:?}: {:?}", String::from_utf8_lossy(&seen.after));
        }
    }
}

#[tokio::test]
async fn a_frame_that_comes_with_the_upgrade_is_not_lost() {
    let chosen = format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n");
    // A text frame of five bytes, not masked (RFC 6455, section 5.7).
    let server = server(move |accept| [switching(accept, &chosen), b"\x81\x05Hello".to_vec()].concat()).await;
    let mut socket = server.dial(SUBPROTOCOL, Vec::new()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("Hello"));
}

#[tokio::test]
async fn a_refusal_is_read_to_its_head_and_no_further() {
    for (head, failure) in [
        ("403 Forbidden\r\nContent-Length: 1000000", DialFailure::Rejected),
        ("503 Busy\r\nRetry-After: 7\r\nContent-Length: 0", DialFailure::Busy { retry_after_ms: Some(7_000) }),
        ("503 Busy\r\nRetry-After: soon\r\nTransfer-Encoding: chunked", DialFailure::Busy { retry_after_ms: None }),
        ("301 Elsewhere\r\nLocation: https://127.0.0.1/", DialFailure::Protocol),
    ] {
        let server = server(move |_| format!("HTTP/1.1 {head}\r\n\r\n").into_bytes()).await;
        let error = server.dial(SUBPROTOCOL, Vec::new()).await.err().unwrap();
        assert_eq!(error.failure(), failure, "{error}");
    }
}

#[tokio::test]
async fn a_server_whose_key_is_not_pinned_gets_no_client_certificate() {
    let chosen = format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n");
    let mut server = server(move |accept| switching(accept, &chosen)).await;
    let error = server.dial(SUBPROTOCOL, vec![Pin::of(b"another key")]).await.err().unwrap();
    assert_eq!(error, DialError::Unpinned { seen: server.pin.to_string() });
    assert_eq!(server.seen.recv().await.unwrap().presented, None, "the handshake ended before it");
    let pinned = server.dial(SUBPROTOCOL, vec![Pin::of(b"another key"), server.pin]).await.unwrap();
    drop(pinned);
    assert_eq!(server.seen.recv().await.unwrap().presented, Some(true));
}

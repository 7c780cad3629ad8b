//! The clients against a server of a few lines, over TLS.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use http::{Method, Request, Response, Version};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::*;
use crate::api::{self, CallError, JSON};

/// Counts, and what the server does next.
struct Server {
    /// Next connections that end, as those of an API server do that stops: no request that came is read.
    unread: AtomicUsize,
    /// Connections that were made, and how many of them are still there.
    made: AtomicUsize,
    open: watch::Sender<usize>,
    /// Calls of `/hangs` so far.
    hanging: watch::Sender<usize>,
    /// Each change ends the connections that there are, as a server does before it stops.
    goodbye: watch::Sender<()>,
    /// Each change leaves the connections that there are as they are, for ever.
    cut: watch::Sender<()>,
}

impl Server {
    /// Serves as long as the task is held, with these versions on offer in the handshake.
    async fn start(versions: &[&[u8]]) -> (Arc<Self>, Clients, JoinSet<()>) {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)
            .unwrap();
        tls.alpn_protocols = versions.iter().map(|version| version.to_vec()).collect();
        let tls = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Arc::new(Self {
            unread: AtomicUsize::new(0),
            made: AtomicUsize::new(0),
            open: watch::Sender::new(0),
            hanging: watch::Sender::new(0),
            goodbye: watch::Sender::new(()),
            cut: watch::Sender::new(()),
        });
        let mut task = JoinSet::new();
        task.spawn(Arc::clone(&server).accept(listener, tls));
        let mut config = Config::new(format!("https://localhost:{port}").parse().unwrap());
        config.root_cert = Some(vec![certificate.der().to_vec()]);
        config.default_retry = false;
        config.read_timeout = None;
        (server, Clients::new(&config, &Metrics::default()).unwrap(), task)
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, tls: tokio_rustls::TlsAcceptor) {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (server, tls) = (Arc::clone(&self), tls.clone());
            connections.spawn(async move {
                let Ok(mut stream) = tls.accept(stream).await else { return };
                server.made.fetch_add(1, Ordering::SeqCst);
                if server.unread.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                    close_unread(&mut stream).await.ok();
                    return;
                }
                server.open.send_modify(|open| *open += 1);
                let (mut goodbye, mut cut) = (server.goodbye.subscribe(), server.cut.subscribe());
                let builder = auto::Builder::new(TokioExecutor::new());
                let answering = Arc::clone(&server);
                let answers = service_fn(move |request| Arc::clone(&answering).answer(request));
                let connection = builder.serve_connection(TokioIo::new(stream), answers);
                tokio::pin!(connection);
                tokio::select! {
                    _ = connection.as_mut() => {}
                    _ = cut.changed() => std::future::pending().await,
                    _ = goodbye.changed() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await.ok();
                    }
                }
                server.open.send_modify(|open| *open -= 1);
            });
        }
    }

    /// The version that was spoken, or nothing for ever.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        if request.uri().path() == "/hangs" {
            self.hanging.send_modify(|hanging| *hanging += 1);
            std::future::pending::<()>().await;
        }
        let spoken = if request.version() == Version::HTTP_2 { "2" } else { "1" };
        Ok(Response::new(Full::from(spoken)))
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// Waits until so many connections are there.
    async fn open(&self, count: usize) {
        self.open.subscribe().wait_for(|open| *open == count).await.unwrap();
    }

    /// Waits until so many calls have come that get no answer.
    async fn hang(&self, count: usize) {
        self.hanging.subscribe().wait_for(|hanging| *hanging == count).await.unwrap();
    }
}

/// Go's server names the last request that it has read at once; that of this test's library first allows all.
async fn close_unread(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const SETTINGS_TAKEN: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
    const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    stream.write_all(&[SETTINGS, SETTINGS_TAKEN].concat()).await?;
    // Preface and settings come first; the frame of a request begins with its kind, 1, and its number, 1.
    let mut read = Vec::new();
    while !read.windows(6).any(|frame| matches!(frame, [1, _, 0, 0, 0, 1])) {
        stream.read_buf(&mut read).await?;
    }
    stream.write_all(&GOAWAY).await?;
    stream.flush().await?;
    stream.read_to_end(&mut read).await.map(drop)
}

async fn call(client: &Client, path: &str) -> Result<Value, CallError> {
    api::call(client, Method::GET, path, [JSON, JSON], None).await
}

const BOTH: [&[u8]; 2] = [b"h2", b"http/1.1"];

#[tokio::test]
async fn calls_share_one_connection_also_after_a_burst_that_found_none() {
    let (server, clients, _task) = Server::start(&BOTH).await;
    let burst = join_all((0..100).map(|_| call(&clients.shared, "/"))).await;
    assert!(burst.iter().all(|answer| answer.as_ref().unwrap() == 2), "{burst:?}");
    server.open(1).await;
    let before = server.made();
    let burst = join_all((0..100).map(|_| call(&clients.shared, "/"))).await;
    assert!(burst.iter().all(|answer| answer.as_ref().unwrap() == 2), "{burst:?}");
    assert_eq!(server.made(), before);
}

#[tokio::test]
async fn leases_and_logs_have_connections_of_their_own() {
    let (server, clients, _task) = Server::start(&BOTH).await;
    assert_eq!(call(&clients.shared, "/").await.unwrap(), 2);
    assert_eq!(call(&clients.apart, "/").await.unwrap(), 1);
    assert_eq!(server.made(), 2);
}

#[tokio::test]
async fn a_server_that_has_no_other_is_spoken_to_in_http_1() {
    for versions in [&BOTH[1..], &[]] {
        let (_, clients, _task) = Server::start(versions).await;
        assert_eq!(call(&clients.shared, "/").await.unwrap(), 1);
    }
}

#[tokio::test]
async fn after_a_call_that_was_given_up_the_next_goes_over_another_connection() {
    let (server, clients, _task) = Server::start(&BOTH).await;
    assert_eq!(call(&clients.shared, "/").await.unwrap(), 2);
    let mut stays = JoinSet::new();
    let client = clients.shared.clone();
    stays.spawn(async move { call(&client, "/hangs").await });
    server.hang(1).await;
    tokio::select! {
        answer = call(&clients.shared, "/hangs") => panic!("{answer:?}"),
        () = server.hang(2) => {}
    }
    assert_eq!(server.made(), 1);
    assert_eq!(call(&clients.shared, "/").await.unwrap(), 2);
    assert_eq!(server.made(), 2);
    assert!(stays.try_join_next().is_none(), "what goes on over the first one stays");
    assert_eq!(call(&clients.shared, "/").await.unwrap(), 2);
    assert_eq!(server.made(), 2, "the new one is kept");
}

#[tokio::test]
async fn a_server_that_says_goodbye_is_left_for_another_connection_and_loses_no_call() {
    let (server, clients, _task) = Server::start(&BOTH).await;
    let mut answers = Vec::new();
    for _ in 0..10 {
        let calls = join_all((0..20).map(|_| call(&clients.shared, "/")));
        let (all, ()) = tokio::join!(calls, async {
            tokio::task::yield_now().await;
            server.goodbye.send_replace(());
        });
        answers.extend(all);
    }
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|version| version == 2)), "{answers:?}");
    assert!(server.made() > 1);
}

#[tokio::test]
async fn a_connection_with_nothing_but_a_watch_is_the_one_that_later_calls_take() {
    let (server, clients, _task) = Server::start(&BOTH).await;
    let (client, mut watch) = (clients.shared.clone(), JoinSet::new());
    watch.spawn(async move { call(&client, "/hangs").await });
    server.hang(1).await;
    // Longer than an idle connection of HTTP/1.1 is kept.
    tokio::time::pause();
    tokio::time::sleep(2 * IDLE).await;
    tokio::time::resume();
    assert_eq!(call(&clients.shared, "/").await.unwrap(), 2);
    assert_eq!(server.made(), 1);
}

#[tokio::test]
async fn a_list_that_hangs_ends_and_leaves_its_connection() {
    let (server, clients, _task) = Server::start(&BOTH).await;
    let (client, mut list) = (clients.shared.clone(), JoinSet::new());
    list.spawn(async move { call(&client, "/hangs").await });
    server.hang(1).await;
    tokio::time::pause();
    let ended = tokio::time::timeout(Duration::from_hours(1), list.join_next()).await.expect("it waited for ever");
    tokio::time::resume();
    let said = format!("{:?}", ended.unwrap().unwrap());
    assert!(said.contains("no answer within 60 s"), "{said}");
    assert_eq!(call(&clients.shared, "/").await.unwrap(), 2);
    assert_eq!(server.made(), 2);
}

#[tokio::test]
async fn what_a_closing_server_has_not_read_is_sent_again_once() {
    let (server, clients, _task) = Server::start(&BOTH).await;
    server.unread.store(1, Ordering::SeqCst);
    assert_eq!(call(&clients.shared, "/").await.unwrap(), 2);
    assert_eq!(server.made(), 2);

    let (server, clients, _task) = Server::start(&BOTH).await;
    server.unread.store(2, Ordering::SeqCst);
    let error = call(&clients.shared, "/").await.unwrap_err();
    assert!(matches!(error, CallError::NoAnswer(_)), "{error:?}");
    assert_eq!(server.made(), 2);
}

#[tokio::test]
async fn a_server_that_is_cut_off_without_a_word_is_given_up() {
    let (server, clients, _task) = Server::start(&BOTH).await;
    let (client, mut hangs) = (clients.shared.clone(), JoinSet::new());
    hangs.spawn(async move { call(&client, "/hangs").await });
    server.hang(1).await;
    server.cut.send_replace(());
    tokio::time::pause();
    let ended = tokio::time::timeout(Duration::from_hours(1), hangs.join_next()).await.expect("no ping was missed");
    let ended = ended.unwrap().unwrap();
    assert!(matches!(ended, Err(CallError::NoAnswer(_))), "{ended:?}");
    tokio::time::resume();
    assert_eq!(call(&clients.shared, "/").await.unwrap(), 2);
    assert_eq!(server.made(), 2);
}

#[tokio::test]
async fn hanging_calls_never_use_up_the_streams_of_a_connection() {
    let (server, clients, _task) = Server::start(&BOTH).await;
    let mut calls = JoinSet::new();
    for _ in 0..2 * AT_ONCE {
        let client = clients.shared.clone();
        calls.spawn(async move { call(&client, "/hangs").await });
    }
    server.hang(AT_ONCE).await;
    // What else had gone out would have come before this.
    assert_eq!(call(&clients.apart, "/").await.unwrap(), 1);
    assert_eq!(*server.hanging.borrow(), AT_ONCE);
    calls.abort_all();
    assert_eq!(call(&clients.shared, "/").await.unwrap(), 2);
}

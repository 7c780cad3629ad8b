//! A process full of simulated agents: TLS 1.3 with a client certificate, WebSocket, the session of `protocol`, heartbeats.
//!
//! They have no cluster behind them: the inventory is empty, and every document is accepted. The session decides when and how they dial
//! again, as in the real agent. At first they connect as fast as the gateway takes them, `WIDTH` at a time. The process reports on its
//! output, one JSON object a line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::{SinkExt as _, StreamExt as _};
use protocol::message::{MAX_FRAME, SUBPROTOCOL, Verdict, Window};
use protocol::name::Kind;
use protocol::session::{AgentEvent, AgentSession, AgentSettings, CloseCode, DialFailure, Disconnect, Transmit};
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Connections that are opened at the same time at first.
const WIDTH: usize = 48;
/// As the real agent has it.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Nobody listens there.
pub(super) const REFUSED: &str = "connect: refused";
/// How often the process says how it stands.
pub(super) const SAY: Duration = Duration::from_millis(250);

/// How a load process stands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Agents whose session is open and compared now.
    pub(super) open: u64,
    /// Sessions that were ever opened and compared.
    pub(super) sessions: u64,
    /// Times that a pong came.
    pub(super) beats: u64,
    /// What failed, by stage.
    pub(super) failures: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Shared {
    gateway: SocketAddr,
    verifier: Arc<WebPkiServerVerifier>,
    key: Arc<dyn SigningKey>,
    first: Semaphore,
    open: AtomicU64,
    sessions: AtomicU64,
    beats: AtomicU64,
    failures: Mutex<BTreeMap<String, u64>>,
}

impl Shared {
    fn failed(&self, what: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        *failures.entry(what.to_owned()).or_default() += 1;
    }

    fn standing(&self) -> Standing {
        Standing {
            open: self.open.load(Ordering::Relaxed),
            sessions: self.sessions.load(Ordering::Relaxed),
            beats: self.beats.load(Ordering::Relaxed),
            failures: self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// Runs the agents of one file until standard output is closed.
///
/// # Errors
/// The file cannot be read.
pub async fn serve(gateway: SocketAddr, ca: &Path, file: &Path) -> Result<()> {
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let text = std::fs::read_to_string(file)?;
    let mut lines = text.lines();
    let key = PrivateKeyDer::from_pem_slice(lines.next().context("the file is empty")?.replace('|', "\n").as_bytes())?;
    let shared = Arc::new(Shared {
        gateway,
        verifier: WebPkiServerVerifier::builder(Arc::new(roots)).build()?,
        key: rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?,
        first: Semaphore::new(WIDTH),
        open: AtomicU64::new(0),
        sessions: AtomicU64::new(0),
        beats: AtomicU64::new(0),
        failures: Mutex::default(),
    });
    let mut agents = JoinSet::new();
    for (seed, line) in lines.enumerate() {
        let (id, pem) = line.split_once(' ').context("a line without certificate")?;
        let chain = CertificateDer::pem_slice_iter(pem.replace('|', "\n").as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let identity = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, Arc::clone(&shared.key))));
        agents.spawn(Agent::new(Arc::clone(&shared), id, identity, seed as u64).run());
    }
    loop {
        tokio::time::sleep(SAY).await;
        // A closed output ends the process: whoever measures is gone.
        use std::io::Write as _;
        let mut out = std::io::stdout();
        if writeln!(out, "{}", serde_json::to_string(&shared.standing())?).and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
    }
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

struct Agent {
    shared: Arc<Shared>,
    identity: Arc<SingleCertAndKey>,
    session: AgentSession,
    began: Instant,
    socket: Option<Socket>,
    compared: bool,
    came: bool,
}

impl Agent {
    fn new(shared: Arc<Shared>, id: &str, identity: Arc<SingleCertAndKey>, seed: u64) -> Self {
        let settings = AgentSettings {
            data_plane: id.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: format!("simulated-{seed}"),
            cluster: id.to_owned(),
            schema: Kind::ALL.into_iter().map(|kind| (kind, 1)).collect(),
            capabilities: vec!["logs".to_owned()],
            window: Window { messages: 64, bytes: 4 << 20 },
        };
        let session = AgentSession::new(settings, seed);
        Self { shared, identity, session, began: Instant::now(), socket: None, compared: false, came: false }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn run(mut self) {
        self.session.start(0);
        loop {
            self.settle().await;
            let at = self.session.poll_timeout().map(|(at, _)| self.began + Duration::from_millis(at));
            let deadline = async {
                match at {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let frame = async {
                match &mut self.socket {
                    Some(socket) => socket.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                frame = frame => self.frame(frame),
                () = deadline => {
                    let now = self.now();
                    self.session.handle_timeout(now);
                }
            }
        }
    }

    fn frame(&mut self, frame: Option<Result<Message, tungstenite::Error>>) {
        let now = self.now();
        match frame {
            Some(Ok(Message::Text(text))) => self.session.handle_text(now, text.as_str()),
            Some(Ok(Message::Close(frame))) => {
                let cause =
                    frame.map_or(Disconnect::Cut, |frame| Disconnect::Closed(CloseCode::from(u16::from(frame.code))));
                self.session.handle_disconnected(now, cause, "closed");
            }
            Some(Ok(Message::Pong(_))) => {
                self.shared.beats.fetch_add(1, Ordering::Relaxed);
                self.session.handle_pong(now);
            }
            Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Frame(_))) => self.session.handle_alive(),
            Some(Err(_)) | None => self.session.handle_disconnected(now, Disconnect::Cut, "cut"),
        }
    }

    async fn settle(&mut self) {
        loop {
            while let Some(event) = self.session.poll_event() {
                self.event(event).await;
            }
            let Some(transmit) = self.session.poll_transmit() else { return };
            let message = match transmit {
                Transmit::Text(text) => Message::text(text),
                Transmit::Ping => Message::Ping(Vec::new().into()),
                Transmit::Close { .. } => Message::Close(None),
            };
            if let Some(socket) = &mut self.socket
                && socket.send(message).await.is_err()
            {
                let now = self.now();
                self.session.handle_disconnected(now, Disconnect::Cut, "cut");
            }
        }
    }

    async fn event(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Dial => {
                // Only the very first connection is limited here; after that the gateway's reconnect spread must be enough.
                let shared = Arc::clone(&self.shared);
                let permit = if self.came { None } else { shared.first.acquire().await.ok() };
                let dialled = Box::pin(self.dial()).await;
                let now = self.now();
                match dialled {
                    Ok(socket) => {
                        self.socket = Some(socket);
                        self.session.handle_connected(now, "lease", 1);
                    }
                    Err(stage) => {
                        self.shared.failed(stage);
                        self.session.handle_dial_failed(now, DialFailure::Unreachable, stage);
                    }
                }
                drop(permit);
            }
            AgentEvent::Compared { .. } => {
                (self.compared, self.came) = (true, true);
                self.shared.open.fetch_add(1, Ordering::Relaxed);
                self.shared.sessions.fetch_add(1, Ordering::Relaxed);
            }
            AgentEvent::Document { ticket, .. } => {
                self.session.answer(ticket, Verdict::Accepted { stored_hash: None, modified: Vec::new() });
            }
            AgentEvent::Lost { cause, .. } => {
                // A dial that failed is counted where it failed.
                let connected = self.socket.take().is_some();
                if std::mem::take(&mut self.compared) {
                    self.shared.open.fetch_sub(1, Ordering::Relaxed);
                } else if connected {
                    self.shared.failed(&format!("session lost before it was compared: {cause:?}"));
                }
            }
            AgentEvent::Superseded => {
                self.socket = None;
                self.shared.failed("superseded");
            }
            AgentEvent::Welcomed(_)
            | AgentEvent::Held { .. }
            | AgentEvent::StoreKnown { .. }
            | AgentEvent::Forget { .. }
            | AgentEvent::FactAcknowledged { .. }
            | AgentEvent::Renewed(_)
            | AgentEvent::RenewRefused(_)
            | AgentEvent::RenewNeeded
            | AgentEvent::StreamStart(_)
            | AgentEvent::StreamStop(_)
            | AgentEvent::Unsupported { .. } => {}
        }
    }

    async fn dial(&self) -> Result<Socket, &'static str> {
        let tcp = timeout(HANDSHAKE, TcpStream::connect(self.shared.gateway)).await;
        let tcp = tcp.map_err(|_| "connect: time out")?.map_err(|_| REFUSED)?;
        let _no_delay = tcp.set_nodelay(true);
        let mut config = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_webpki_verifier(Arc::clone(&self.shared.verifier))
            .with_client_cert_resolver(Arc::clone(&self.identity) as _);
        config.resumption = rustls::client::Resumption::disabled();
        let name = ServerName::try_from("control-plane.test").map_err(|_| "name")?;
        let tls = timeout(HANDSHAKE, TlsConnector::from(Arc::new(config)).connect(name, tcp)).await;
        let tls = tls.map_err(|_| "TLS: time out")?.map_err(|_| "TLS: failed")?;
        let mut request = "wss://control-plane.test/v1/link".into_client_request().map_err(|_| "request")?;
        request.headers_mut().insert("sec-websocket-protocol", http::HeaderValue::from_static(SUBPROTOCOL));
        let mut limits = WebSocketConfig::default();
        limits.read_buffer_size = 4 * 1024;
        limits.write_buffer_size = 0;
        limits.max_message_size = Some(MAX_FRAME);
        let socket = timeout(HANDSHAKE, client_async_with_config(request, tls, Some(limits))).await;
        let (socket, _) = socket.map_err(|_| "upgrade: time out")?.map_err(|_| "upgrade: failed")?;
        Ok(socket)
    }
}

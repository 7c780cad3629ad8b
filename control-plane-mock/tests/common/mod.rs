//! A fake agent over real TLS and WebSocket: the session of `protocol`, a map in place of the API server, a script of answers.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::large_enum_variant,
    reason = "the lints know only functions marked as tests"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use control_plane_mock::supervisor::Supervisor;
use control_plane_mock::{Config, ControlPlane};
use futures::{SinkExt, StreamExt};
use protocol::bulk::{BULK_SUBPROTOCOL, BulkFrame, BulkKind, LogChunk, LogChunkHead, StreamEnd};
use protocol::enrol::{EnrolRequest, EnrolResponse, EnrolmentToken, RenewRequest, renewal_statement};
use protocol::message::{AgentMessage, Document, InventoryEntry, Reason, RefusalClass, StreamStart, Verdict, Window};
use protocol::name::{Kind, ResourceKey};
use protocol::report::{Condition, Fact, FactKind, Replicas, State};
use protocol::session::{AgentEvent, AgentSession, AgentSettings, CloseCode, Disconnect, Transmit};
use protocol::spec::Desired;
use rcgen::{CertificateParams, KeyPair, SigningKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

pub const IMAGE: &str = "registry.test/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Fails the test when `future` takes longer than any healthy run.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// Polls until `check` gives something.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    soon(what, async {
        loop {
            if let Some(value) = check().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

pub async fn control_plane() -> ControlPlane {
    start(Config::default()).await
}

pub async fn start(config: Config) -> ControlPlane {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    ControlPlane::start(config).await.unwrap()
}

/// The REST API as an administrator uses it.
pub struct Api {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl Api {
    pub fn of(plane: &ControlPlane) -> Self {
        Self::with_token(plane, plane.admin_token())
    }

    pub fn with_token(plane: &ControlPlane, token: &str) -> Self {
        let root = reqwest::Certificate::from_pem(plane.ca().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
        Self { client, url: plane.url(), token: token.to_owned() }
    }

    pub async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let mut request =
            self.client.request(method.parse().unwrap(), format!("{}{path}", self.url)).bearer_auth(&self.token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, value) = self.call("GET", path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let (status, value) = self.call("POST", path, body).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    pub async fn text(&self, path: &str) -> String {
        self.client
            .get(format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    /// An answer that is read piece by piece.
    pub async fn open(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token).send().await.unwrap()
    }

    /// Organization acme, project shop, data plane home, environments dev and prod. Returns an enrolment token.
    pub async fn furnish(&self) -> String {
        self.post("/api/v1/organizations", serde_json::json!({ "name": "acme" })).await;
        self.post("/api/v1/organizations/acme/projects", serde_json::json!({ "name": "shop" })).await;
        let enrolment =
            self.post("/api/v1/organizations/acme/data-planes", serde_json::json!({ "name": "home" })).await;
        for name in ["dev", "prod"] {
            self.post(&format!("{SHOP}/environments"), serde_json::json!({ "name": name })).await;
        }
        enrolment["token"].as_str().unwrap().to_owned()
    }

    /// Status of one component in one environment.
    pub async fn status(&self, component: &str, environment: &str) -> Value {
        self.get(&format!("{SHOP}/status?component={component}&environment={environment}")).await[0].clone()
    }

    pub async fn phase(&self, component: &str, environment: &str, phase: &str) -> Value {
        until(&format!("{component} in {environment} to be {phase}"), || async {
            let status = self.status(component, environment).await;
            (status["phase"] == phase).then_some(status)
        })
        .await
    }
}

pub const SHOP: &str = "/api/v1/organizations/acme/projects/shop";

pub fn component(name: &str) -> Value {
    serde_json::json!({
        "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": name, "type": "Service", "image": IMAGE,
        "endpoints": [{ "name": "http", "port": 8080, "kind": "HTTP" }],
    })
}

/// Key and certificate of one agent.
#[derive(Clone)]
pub struct Identity {
    pub key: String,
    pub certificate: String,
    pub data_plane: String,
}

pub fn csr(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

pub async fn post_enrol(plane: &ControlPlane, token: &str, key: &KeyPair) -> (u16, Value) {
    let request = EnrolRequest { token: EnrolmentToken::new(token), csr: csr(key) };
    Api::of(plane).call("POST", "/v1/enrol", serde_json::to_value(request).unwrap()).await
}

/// As an agent whose answer may be lost on the way.
pub async fn try_enrol(plane: &ControlPlane, token: &str, key: &KeyPair) -> Result<String, reqwest::Error> {
    let request = EnrolRequest { token: EnrolmentToken::new(token), csr: csr(key) };
    let api = Api::of(plane);
    api.client.post(format!("{}/v1/enrol", api.url)).json(&request).send().await?.text().await
}

pub async fn enrol(plane: &ControlPlane, token: &str) -> Identity {
    let key = KeyPair::generate().unwrap();
    let (status, body) = post_enrol(plane, token, &key).await;
    assert_eq!(status, 200, "{body}");
    let answer: EnrolResponse = serde_json::from_value(body).unwrap();
    Identity { key: key.serialize_pem(), certificate: answer.certificate, data_plane: answer.data_plane }
}

pub async fn post_renew(plane: &ControlPlane, identity: &Identity, signer: &KeyPair, wanted: &KeyPair) -> (u16, Value) {
    let csr = csr(wanted);
    let time = jiff::Timestamp::now().as_second();
    let statement = renewal_statement(&identity.data_plane, &csr, time);
    let signature = STANDARD.encode(signer.sign(&statement).unwrap());
    let request = RenewRequest { data_plane: identity.data_plane.clone(), csr, time, signature };
    Api::of(plane).call("POST", "/v1/renew", serde_json::to_value(request).unwrap()).await
}

/// What a test lets the agent do.
pub struct World {
    pub stored: BTreeMap<ResourceKey, InventoryEntry>,
    pub documents: Vec<Document>,
    pub answer: Box<dyn FnMut(&Document) -> Verdict + Send>,
    /// Lines that a log stream carries.
    pub logs: Vec<String>,
    pub floor: i64,
    pub store_id: Option<String>,
    pub closes: Vec<Disconnect>,
    pub stream: Option<StreamStart>,
    /// Whether accepted documents become ready by themselves.
    pub reports: bool,
    pub held: Option<bool>,
    /// The connection is lost between a forget and its answer, once.
    pub cut_on_forget: bool,
    /// Comparisons so far.
    pub sessions: usize,
    pub facts: i64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            stored: BTreeMap::new(),
            documents: Vec::new(),
            answer: Box::new(|_| Verdict::Accepted { stored_hash: None, modified: Vec::new() }),
            logs: Vec::new(),
            floor: 0,
            store_id: None,
            closes: Vec::new(),
            stream: None,
            reports: true,
            held: None,
            sessions: 0,
            cut_on_forget: false,
            facts: 0,
        }
    }
}

/// What a test tells a running agent.
#[derive(Debug)]
pub enum Tell {
    Report(ResourceKey, State, Vec<Fact>),
    Message(Box<AgentMessage>),
    /// Something was stored that no document of this session asked for.
    Stored(InventoryEntry),
    /// Somebody deletes the stored object.
    Vanish(ResourceKey),
    Cut,
}

#[derive(Clone)]
pub struct Agent {
    pub world: Arc<Mutex<World>>,
    pub tell: mpsc::Sender<Tell>,
    changed: watch::Receiver<u64>,
    supervisor: Supervisor,
}

/// How an agent comes to the control plane.
#[derive(Clone)]
pub struct Start {
    pub identity: Identity,
    pub cluster: String,
    pub lease: String,
    pub transitions: i64,
    pub address: SocketAddr,
    pub ca: String,
}

impl Start {
    pub fn new(plane: &ControlPlane, identity: &Identity) -> Self {
        Self {
            identity: identity.clone(),
            cluster: "cluster-1".into(),
            lease: "lease-1".into(),
            transitions: 1,
            address: plane.address(),
            ca: plane.ca().to_owned(),
        }
    }

    pub fn run(self, world: World) -> Agent {
        let world = Arc::new(Mutex::new(world));
        let supervisor = Supervisor::default();
        let (tell, told) = mpsc::channel(64);
        let (change, changed) = watch::channel(0);
        supervisor.spawn(
            "agent",
            Running { start: self, world: world.clone(), supervisor: supervisor.clone(), change }.run(told),
        );
        Agent { world, tell, changed, supervisor }
    }
}

impl Agent {
    /// Waits until the world is as wanted.
    pub async fn until<T>(&mut self, what: &str, mut check: impl FnMut(&World) -> Option<T>) -> T {
        let (world, changed) = (self.world.clone(), &mut self.changed);
        soon(what, async {
            loop {
                if let Some(value) = check(&world.lock().unwrap()) {
                    return value;
                }
                changed.changed().await.unwrap();
            }
        })
        .await
    }

    pub async fn stop(&self) {
        self.supervisor.shutdown().await;
    }
}

type Tls = TlsStream<TcpStream>;

async fn dial(start: &Start, path: &str, protocol: &'static str) -> Result<WebSocketStream<Tls>, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(start.ca.as_bytes()).unwrap()).unwrap();
    let chain = CertificateDer::pem_slice_iter(start.identity.certificate.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(start.identity.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    let socket = TcpStream::connect(start.address).await.map_err(|error| error.to_string())?;
    let name = ServerName::try_from("control-plane.test").unwrap();
    let tls = TlsConnector::from(Arc::new(config)).connect(name, socket).await.map_err(|error| error.to_string())?;
    let mut request = format!("wss://control-plane.test{path}").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", http::HeaderValue::from_static(protocol));
    let (socket, _) = tokio_tungstenite::client_async(request, tls).await.map_err(|error| error.to_string())?;
    Ok(socket)
}

struct Running {
    start: Start,
    world: Arc<Mutex<World>>,
    supervisor: Supervisor,
    change: watch::Sender<u64>,
}

impl Running {
    async fn run(self, mut told: mpsc::Receiver<Tell>) {
        let settings = AgentSettings {
            data_plane: self.start.identity.data_plane.clone(),
            version: "0.0.0-fake".into(),
            instance: "fake".into(),
            cluster: self.start.cluster.clone(),
            schema: Kind::ALL.into_iter().map(|kind| (kind, 1)).collect(),
            capabilities: vec!["logs".into()],
            window: Window { messages: 64, bytes: 4 << 20 },
        };
        let mut session = AgentSession::new(settings, 7);
        {
            let world = self.world.lock().unwrap();
            world.stored.values().for_each(|entry| session.stored(entry.clone()));
            session.set_floor(world.floor);
            session.set_store_id(world.store_id.clone());
        }
        let began = tokio::time::Instant::now();
        let now = || u64::try_from(began.elapsed().as_millis()).unwrap();
        session.start(0);
        let mut socket: Option<WebSocketStream<Tls>> = None;
        let mut bulk = String::new();
        while !self.supervisor.stopping().is_cancelled() {
            let at = session
                .poll_timeout()
                .map_or(began + Duration::from_secs(3600), |(at, _)| began + Duration::from_millis(at));
            tokio::select! {
                () = self.supervisor.stopping().cancelled() => session.stop(CloseCode::Normal),
                () = tokio::time::sleep_until(at) => session.handle_timeout(now()),
                Some(tell) = told.recv() => match tell {
                    Tell::Report(key, state, facts) => session.report(&key, state, &facts),
                    Tell::Message(message) => drop(session.send_now(*message)),
                    Tell::Stored(entry) => {
                        session.stored(entry.clone());
                        self.world.lock().unwrap().stored.insert(entry.key.clone(), entry);
                        self.change.send_modify(|count| *count += 1);
                    }
                    Tell::Vanish(key) => {
                        self.world.lock().unwrap().stored.remove(&key);
                        session.removed(&key);
                    }
                    Tell::Cut => {
                        socket = None;
                        session.handle_disconnected(now(), Disconnect::Cut, "cut by the test");
                    }
                },
                frame = async { match &mut socket { Some(socket) => socket.next().await, None => std::future::pending().await } } => match frame {
                    Some(Ok(Message::Text(text))) => session.handle_text(now(), text.as_str()),
                    Some(Ok(Message::Close(frame))) => {
                        let cause = frame.map_or(Disconnect::Cut, |frame| Disconnect::Closed(CloseCode::from(u16::from(frame.code))));
                        socket = None;
                        session.handle_disconnected(now(), cause, "closed");
                    }
                    Some(Ok(_)) => session.handle_alive(now()),
                    Some(Err(_)) | None => {
                        socket = None;
                        session.handle_disconnected(now(), Disconnect::Cut, "lost");
                    }
                },
            }
            loop {
                while let Some(event) = session.poll_event() {
                    self.event(&mut session, event, &mut socket, &mut bulk, now()).await;
                    self.change.send_modify(|count| *count += 1);
                }
                let Some(transmit) = session.poll_transmit() else { break };
                let message = match transmit {
                    Transmit::Text(text) => Message::text(text),
                    Transmit::Ping => Message::Ping(Vec::new().into()),
                    Transmit::Close { code, reason } => {
                        Message::Close(Some(CloseFrame { code: code.number().into(), reason: reason.into() }))
                    }
                };
                if let Some(socket) = &mut socket {
                    socket.send(message).await.ok();
                }
            }
        }
    }

    async fn event(
        &self,
        session: &mut AgentSession,
        event: AgentEvent,
        socket: &mut Option<WebSocketStream<Tls>>,
        bulk: &mut String,
        now: u64,
    ) {
        match event {
            AgentEvent::Dial => match dial(&self.start, "/v1/link", protocol::message::SUBPROTOCOL).await {
                Ok(open) => {
                    *socket = Some(open);
                    session.handle_connected(now, &self.start.lease, self.start.transitions);
                }
                Err(_) => session.handle_dial_failed(now, protocol::session::DialFailure::Unreachable, "not there"),
            },
            AgentEvent::Welcomed(welcome) => bulk.clone_from(&welcome.bulk),
            AgentEvent::StoreKnown { store_id } => self.world.lock().unwrap().store_id = Some(store_id),
            AgentEvent::Compared { held } => {
                let mut world = self.world.lock().unwrap();
                world.held = Some(held);
                world.sessions += 1;
            }
            AgentEvent::Document { ticket, document } => {
                let mut world = self.world.lock().unwrap();
                let verdict = (world.answer)(&document);
                world.documents.push((*document).clone());
                let stored = matches!(verdict, Verdict::Accepted { .. });
                session.answer(ticket, verdict);
                if stored {
                    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == document.kind).unwrap();
                    let key = ResourceKey { kind, name: document.name.clone() };
                    let body: Value = serde_json::from_str(document.body.get()).unwrap();
                    let state = if body["state"] == "Absent" { Desired::Absent } else { Desired::Present };
                    let entry = InventoryEntry {
                        key: key.clone(),
                        generation: document.generation,
                        hash: document.hash.clone(),
                        state,
                    };
                    session.stored(entry.clone());
                    world.stored.insert(key.clone(), entry);
                    if world.reports {
                        world.facts += 1;
                        let kinds: &[FactKind] = match (kind, state) {
                            (_, Desired::Absent) => &[FactKind::Deleted],
                            (Kind::TaskRun, Desired::Present) => &[FactKind::TaskStarted, FactKind::TaskEnded],
                            (Kind::DataPlane | Kind::Environment | Kind::Release, Desired::Present) => {
                                &[FactKind::Ready]
                            }
                        };
                        let facts: Vec<Fact> =
                            kinds.iter().map(|kind| fact(*kind, document.generation, world.facts)).collect();
                        session.report(&key, ready(document.generation), &facts);
                    }
                }
            }
            AgentEvent::Forget { ticket, forget } => {
                let mut world = self.world.lock().unwrap();
                let key = forget.key;
                if world
                    .stored
                    .get(&key)
                    .is_some_and(|stored| stored.state == Desired::Present && key.kind != Kind::TaskRun)
                {
                    let reasons = vec![Reason { field: String::new(), message: "it is Present".into() }];
                    return session.answer(ticket, Verdict::Refused { class: RefusalClass::Invalid, reasons });
                }
                world.stored.remove(&key);
                world.floor = world.floor.max(forget.generation);
                session.set_floor(world.floor);
                if std::mem::take(&mut world.cut_on_forget) {
                    *socket = None;
                    session.removed(&key);
                    session.handle_disconnected(now, Disconnect::Cut, "cut by the test");
                    return;
                }
                session.answer(ticket, Verdict::Forgotten { floor: world.floor });
                session.removed(&key);
            }
            AgentEvent::StreamStart(start) => {
                self.world.lock().unwrap().stream = Some(start.clone());
                let lines = self.world.lock().unwrap().logs.clone();
                let from = self.start.clone();
                let path = bulk.split_once("/v1/").map(|(_, rest)| format!("/v1/{rest}")).unwrap();
                self.supervisor.spawn("stream", async move { stream(&from, &path, &start, &lines).await });
            }
            AgentEvent::Lost { cause, .. } => self.world.lock().unwrap().closes.push(cause),
            AgentEvent::Superseded => {
                *socket = None;
                self.world.lock().unwrap().closes.push(Disconnect::Closed(CloseCode::Superseded));
            }
            _ => {}
        }
    }
}

/// Sends all lines, one chunk each, within the credit; resumed cursors are honoured.
async fn stream(start: &Start, path: &str, wish: &StreamStart, lines: &[String]) {
    let mut socket = dial(start, path, BULK_SUBPROTOCOL).await.unwrap();
    let (mut offset, mut credit) = (0_u64, wish.credit);
    let from = wish.resume.first().map_or(0, |cursor| cursor.parse::<usize>().unwrap() + 1);
    for (index, line) in lines.iter().enumerate().skip(from) {
        let text = format!("2026-01-01T00:00:00.{index:09}Z {line}\n");
        let head = LogChunkHead { source: "app-1/app".into(), cursor: index.to_string() };
        let payload = LogChunk { head, lines: text.as_bytes() }.encode().unwrap();
        while offset + payload.len() as u64 > credit {
            let Some(Ok(message)) = socket.next().await else { return };
            if let Message::Binary(bytes) = message {
                let frame = BulkFrame::decode(&bytes).unwrap();
                if frame.stream == wish.stream && matches!(frame.kind, BulkKind::Credit) {
                    credit = frame.offset;
                }
            }
        }
        let kind = BulkKind::Data { payload: &payload, partial: false };
        let frame = BulkFrame { stream: wish.stream, offset, kind }.encode().unwrap();
        offset += payload.len() as u64;
        if socket.send(Message::Binary(frame.into())).await.is_err() {
            return;
        }
    }
    let end =
        serde_json::to_vec(&StreamEnd { reason: "ContainerEnded".into(), message: "the container has ended".into() })
            .unwrap();
    let frame = BulkFrame { stream: wish.stream, offset, kind: BulkKind::End(&end) }.encode().unwrap();
    socket.send(Message::Binary(frame.into())).await.ok();
    while let Some(Ok(_)) = socket.next().await {}
}

pub fn fact(kind: FactKind, generation: i64, ordinal: i64) -> Fact {
    Fact {
        id: format!("uid/{generation}/{kind:?}/{ordinal}"),
        kind,
        generation,
        at: "2026-01-01T00:00:00Z".into(),
        reason: if kind == FactKind::TaskEnded { "Succeeded" } else { "Done" }.into(),
        message: "it is so".into(),
        exit_code: (kind == FactKind::TaskEnded).then_some(0),
        count: None,
    }
}

pub fn condition(kind: &str, status: &str, reason: &str, message: &str, generation: i64) -> Condition {
    Condition {
        condition_type: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: Some(generation),
        last_transition_time: "2026-01-01T00:00:00Z".into(),
    }
}

pub fn ready(generation: i64) -> State {
    State {
        observed_generation: Some(generation),
        conditions: vec![condition("Ready", "True", "Serving", "all pods serve", generation)],
        replicas: Some(Replicas { desired: 1, updated: 1, ready: 1 }),
        ..State::default()
    }
}

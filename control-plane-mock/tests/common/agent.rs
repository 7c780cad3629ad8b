//! The fake agent itself: a session over a map in place of the API server.

use super::*;

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
    /// The older object that a forget finds in the store, once, as if the API server had been restored from a backup.
    pub older_on_forget: Option<InventoryEntry>,
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
            older_on_forget: None,
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
    /// The process dies, and sends nothing more.
    Die,
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
    /// The process.
    pub instance: String,
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
            instance: "fake".into(),
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
            instance: self.start.instance.clone(),
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
                    Tell::Die => return,
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
                    Some(Ok(_)) => session.handle_pong(now()),
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
                if let Some(older) = world.older_on_forget.take() {
                    session.stored(older.clone());
                    world.stored.insert(key.clone(), older);
                }
                if world
                    .stored
                    .get(&key)
                    .is_some_and(|stored| stored.state == Desired::Present && key.kind != Kind::TaskRun)
                {
                    let reasons = vec![FieldError { field: String::new(), message: "it is Present".into() }];
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
        let head = LogChunkHead { source: "app-1/main".into(), cursor: index.to_string() };
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
        serde_json::to_vec(&StreamEnd { reason: EndReason::ContainerEnded, message: "the container has ended".into() })
            .unwrap();
    let frame = BulkFrame { stream: wish.stream, offset, kind: BulkKind::End(&end) }.encode().unwrap();
    socket.send(Message::Binary(frame.into())).await.ok();
    while let Some(Ok(_)) = socket.next().await {}
}

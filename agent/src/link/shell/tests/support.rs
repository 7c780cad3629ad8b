//! The link of one data plane over an API server in memory, and a control plane to talk to.

use std::path::PathBuf;

use control_plane_mock::faults::{Fault, Scripted};
use control_plane_mock::{Config, ControlPlane};
use protocol::name::Kind;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::Health;
use crate::elector::{Epoch, Published, Renewed, State};
use crate::link::shell::*;
use crate::link::store::memory::MemoryStore;
use crate::link::store::{DEFAULT, Table};
use crate::settings::{ControlPlaneUrl, Pin};
use crate::telemetry::Metrics;

const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const SHOP: &str = "/api/v1/organizations/acme/projects/shop";
pub(super) const HOME: &str = "/api/v1/organizations/acme/data-planes/home";
const IMAGE: &str = "registry.test/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Polls until `check` gives something.
pub(super) async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let polled = async {
        loop {
            if let Some(value) = check().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, polled).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// The people's side of the control plane.
pub(super) struct Api {
    pub(super) client: reqwest::Client,
    pub(super) url: String,
    pub(super) token: String,
}

impl Api {
    pub(super) fn of(plane: &ControlPlane) -> Self {
        let roots = reqwest::Certificate::from_pem_bundle(plane.ca().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only(roots).build().unwrap();
        Self { client, url: plane.url(), token: plane.admin_token().to_owned() }
    }

    pub(super) async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let mut request =
            self.client.request(method.parse().unwrap(), format!("{}{path}", self.url)).bearer_auth(&self.token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Value {
        self.call("POST", path, body).await
    }

    /// Organization, project, environment and data plane. Returns an enrolment token.
    pub(super) async fn furnish(&self) -> String {
        self.post("/api/v1/organizations", json!({ "name": "acme" })).await;
        self.post("/api/v1/organizations/acme/projects", json!({ "name": "shop" })).await;
        let enrolment = self.post("/api/v1/organizations/acme/data-planes", json!({ "name": "home" })).await;
        self.post(&format!("{SHOP}/environments"), json!({ "name": "dev" })).await;
        enrolment["token"].as_str().unwrap().to_owned()
    }

    pub(super) async fn deploy(&self, name: &str) -> Value {
        let component = json!({
            "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": name, "type": "Service", "image": IMAGE,
            "endpoints": [{ "name": "http", "port": 8080, "kind": "HTTP" }],
        });
        self.post(&format!("{SHOP}/components/{name}/deployments"), json!({ "environment": "dev", "file": component }))
            .await
    }

    pub(super) async fn phase(&self, component: &str, phase: &str) -> Value {
        until(&format!("{component} to be {phase}"), async || {
            let all =
                self.call("GET", &format!("{SHOP}/status?component={component}&environment=dev"), Value::Null).await;
            (all[0]["phase"] == phase).then(|| all[0].clone())
        })
        .await
    }
}

/// The link of one data plane, with all that a cluster would give it.
pub(super) struct Agent {
    pub(super) store: MemoryStore,
    pub(super) url: ControlPlaneUrl,
    pub(super) bundle: PathBuf,
    pub(super) token: PathBuf,
    pub(super) pins: Vec<Pin>,
    pub(super) leadership: watch::Sender<Published>,
    pub(super) folder: tempfile::TempDir,
}

/// A running link.
pub(super) struct Running {
    pub(super) stop: CancellationToken,
    pub(super) tasks: JoinSet<()>,
}

impl Running {
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

pub(super) fn leading(transitions: i64) -> Published {
    let mut renewed = Renewed::now();
    renewed.monotonic += Duration::from_secs(3600);
    renewed.wall += Duration::from_secs(3600);
    Published { state: State::Leading(Epoch { lease: "lease-1".into(), transitions }), renewed }
}

impl Agent {
    pub(super) fn new(plane: &ControlPlane, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (bundle, token_file) = (folder.path().join("ca.pem"), folder.path().join("token"));
        std::fs::write(&bundle, plane.ca()).unwrap();
        std::fs::write(&token_file, format!("{token}\n")).unwrap();
        let store = MemoryStore::default();
        store.put(Table::Document(Kind::DataPlane), DEFAULT, json!({}), json!({ "cluster": "cluster-1", "schema": 1 }));
        let policy = json!({ "registries": [{ "prefix": "registry.test/" }], "logs": { "mode": "Disabled" } });
        store.put(Table::DataPlanePolicy, DEFAULT, policy, Value::Null);
        store.put(Table::Secret, "pdp-agent-identity", json!({}), Value::Null);
        Self {
            store,
            url: plane.url().parse().unwrap(),
            bundle,
            token: token_file,
            pins: Vec::new(),
            leadership: watch::Sender::new(leading(1)),
            folder,
        }
    }

    pub(super) fn run(&self) -> Running {
        let settings = Settings {
            namespace: "pdp-agent".into(),
            fullname: "pdp-agent".into(),
            agent: "pdp-agent.pdp-agent".into(),
            admission_policies: false,
            admin_address: "127.0.0.1:0".parse().unwrap(),
            instance: "test".into(),
        };
        let health = Health::default();
        let no_proxy = hyper_util::client::proxy::matcher::Matcher::builder().build();
        let parts = Parts {
            store: self.store.clone(),
            settings,
            link: LinkSettings {
                control_plane: self.url.clone(),
                bulk_hosts: Vec::new(),
                ca_bundle_file: Some(self.bundle.clone()),
                pins: self.pins.clone(),
                enrolment_token_file: Some(self.token.clone()),
            },
            dialer: Dialer::with_proxies(Some(self.bundle.clone()), no_proxy).pinned(self.pins.clone()),
            leadership: Leadership { published: self.leadership.subscribe() },
            metrics: LinkMetrics::register(&Metrics::default()),
            check: health.check("link"),
            heart: health.heart("link", Duration::from_secs(60)),
            level: LevelHandle::detached(),
            logs: None,
        };
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let cancelled = stop.clone();
        tasks.spawn(async move { run(&parts, &cancelled).await });
        Running { stop, tasks }
    }

    /// Status, reason and message of `Connected`.
    pub(super) fn connected(&self) -> Option<(String, String, String)> {
        let object = self.store.get(Table::Document(Kind::DataPlane), DEFAULT)?;
        let conditions = object.pointer("/status/conditions")?.as_array()?.clone();
        let condition = conditions.iter().find(|one| one["type"] == "Connected")?;
        let text = |field: &str| condition[field].as_str().unwrap().to_owned();
        Some((text("status"), text("reason"), text("message")))
    }

    pub(super) async fn until_connected(&self) {
        until("a session", async || self.connected().filter(|(status, ..)| status == "True")).await;
    }

    pub(super) async fn until_reason(&self, reason: &str) -> String {
        until(reason, async || self.connected().filter(|(_, is, _)| is == reason).map(|(_, _, message)| message)).await
    }

    /// Message of `CaProposed`, while it stands.
    pub(super) fn proposed(&self) -> Option<String> {
        let object = self.store.get(Table::Document(Kind::DataPlane), DEFAULT)?;
        let conditions = object.pointer("/status/conditions")?.as_array()?.clone();
        let condition = conditions.iter().find(|one| one["type"] == "CaProposed")?;
        Some(condition["message"].as_str().unwrap().to_owned())
    }

    pub(super) fn secret(&self, key: &str) -> Option<String> {
        let secret = self.store.get(Table::Secret, "pdp-agent-identity")?;
        Some(secret["data"].get(key)?.as_str()?.to_owned())
    }

    /// The Release of `component`, once it is stored.
    pub(super) async fn release(&self, component: &str) -> Value {
        until(&format!("release {component}"), async || {
            self.store
                .all(Table::Document(Kind::Release))
                .into_iter()
                .find(|one| one.pointer("/spec/owner/component") == Some(&json!(component)))
        })
        .await
    }

    /// What an operator would write once it serves.
    pub(super) fn make_ready(&self, release: &Value) {
        let generation = release.pointer("/spec/document/generation").unwrap().clone();
        self.store.edit(Table::Document(Kind::Release), release["metadata"]["name"].as_str().unwrap(), |object| {
            object["status"] = json!({
                "observedGeneration": generation,
                "conditions": [{ "type": "Ready", "status": "True", "reason": "Serving", "message": "m",
                    "observedGeneration": generation, "lastTransitionTime": "2030-01-01T00:00:00Z" }],
                "replicas": { "desired": 1, "updated": 1, "ready": 1 },
                "facts": [{ "id": format!("u/{generation}/Ready/1"), "kind": "Ready", "generation": generation,
                    "at": "2030-01-01T00:00:00Z", "reason": "Serving", "message": "m" }],
            });
        });
    }
}

pub(super) async fn control_plane(config: Config) -> ControlPlane {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    ControlPlane::start(config).await.unwrap()
}

/// A control plane with a data plane to enrol, and its agent.
pub(super) async fn pair(config: Config) -> (ControlPlane, Api, Agent) {
    let plane = control_plane(config).await;
    let api = Api::of(&plane);
    let token = api.furnish().await;
    let agent = Agent::new(&plane, &token);
    (plane, api, agent)
}

/// Sessions that the agent has begun.
pub(super) fn sessions(plane: &ControlPlane) -> usize {
    plane.record().after(0).iter().filter(|entry| entry.what == "Connect").count()
}

pub(super) fn fault(fault: Fault, times: u32) -> Scripted {
    Scripted { fault, data_plane: None, times: Some(times) }
}

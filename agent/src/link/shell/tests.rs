//! The whole link over real TLS and WebSocket on loopback: the control-plane mock at one end, an API server in memory at the
//! other. What only a cluster can show is in the end-to-end tests.

use std::path::PathBuf;

use control_plane_mock::faults::{Fault, Scripted};
use control_plane_mock::{Config, ControlPlane};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::*;
use crate::admin::Health;
use crate::elector::{Epoch, Published, Renewed, State};
use crate::link::store::memory::{Fault as StoreFault, MemoryStore};
use crate::link::store::{ApiStatus, DEFAULT, Table};
use crate::settings::ControlPlaneUrl;
use crate::telemetry::Metrics;

const PATIENCE: Duration = Duration::from_secs(30);
const SHOP: &str = "/api/v1/organizations/acme/projects/shop";
const HOME: &str = "/api/v1/organizations/acme/data-planes/home";
const IMAGE: &str = "registry.test/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Polls until `check` gives something.
async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
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
struct Api {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl Api {
    fn of(plane: &ControlPlane) -> Self {
        let root = reqwest::Certificate::from_pem(plane.ca().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
        Self { client, url: plane.url(), token: plane.admin_token().to_owned() }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Value {
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

    async fn post(&self, path: &str, body: Value) -> Value {
        self.call("POST", path, body).await
    }

    /// Organization, project, environment and data plane. Returns an enrolment token.
    async fn furnish(&self) -> String {
        self.post("/api/v1/organizations", json!({ "name": "acme" })).await;
        self.post("/api/v1/organizations/acme/projects", json!({ "name": "shop" })).await;
        let enrolment = self.post("/api/v1/organizations/acme/data-planes", json!({ "name": "home" })).await;
        self.post(&format!("{SHOP}/environments"), json!({ "name": "dev" })).await;
        enrolment["token"].as_str().unwrap().to_owned()
    }

    async fn deploy(&self, name: &str) -> Value {
        let component = json!({
            "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": name, "type": "Service", "image": IMAGE,
            "endpoints": [{ "name": "http", "port": 8080, "kind": "HTTP" }],
        });
        self.post(&format!("{SHOP}/components/{name}/deployments"), json!({ "environment": "dev", "file": component }))
            .await
    }

    async fn phase(&self, component: &str, phase: &str) -> Value {
        until(&format!("{component} to be {phase}"), async || {
            let all =
                self.call("GET", &format!("{SHOP}/status?component={component}&environment=dev"), Value::Null).await;
            (all[0]["phase"] == phase).then(|| all[0].clone())
        })
        .await
    }
}

/// The link of one data plane, with all that a cluster would give it.
struct Agent {
    store: MemoryStore,
    url: ControlPlaneUrl,
    bundle: PathBuf,
    token: PathBuf,
    leadership: watch::Sender<Published>,
    folder: tempfile::TempDir,
}

/// A running link.
struct Running {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn leading(transitions: i64) -> Published {
    let mut renewed = Renewed::now();
    renewed.monotonic += Duration::from_secs(3600);
    renewed.wall += Duration::from_secs(3600);
    Published { state: State::Leading(Epoch { lease: "lease-1".into(), transitions }), renewed }
}

impl Agent {
    fn new(plane: &ControlPlane, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (bundle, token_file) = (folder.path().join("ca.pem"), folder.path().join("token"));
        std::fs::write(&bundle, plane.ca()).unwrap();
        std::fs::write(&token_file, format!("{token}\n")).unwrap();
        let store = MemoryStore::default();
        store.put(Table::DataPlane, DEFAULT, json!({}), json!({ "cluster": "cluster-1", "schema": 1 }));
        let policy = json!({ "registries": [{ "prefix": "registry.test/" }], "logs": { "mode": "Off" } });
        store.put(Table::DataPlanePolicy, DEFAULT, policy, Value::Null);
        store.put(Table::Secret, "pdp-agent-identity", json!({}), Value::Null);
        Self {
            store,
            url: plane.url().parse().unwrap(),
            bundle,
            token: token_file,
            leadership: watch::Sender::new(leading(1)),
            folder,
        }
    }

    fn run(&self) -> Running {
        let settings = Settings {
            namespace: "pdp-agent".into(),
            fullname: "pdp-agent".into(),
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
                ca_bundle_file: Some(self.bundle.clone()),
                enrolment_token_file: Some(self.token.clone()),
            },
            dialer: Dialer::with_proxies(Some(self.bundle.clone()), no_proxy),
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
    fn connected(&self) -> Option<(String, String, String)> {
        let object = self.store.get(Table::DataPlane, DEFAULT)?;
        let conditions = object.pointer("/status/conditions")?.as_array()?.clone();
        let condition = conditions.iter().find(|one| one["type"] == "Connected")?;
        let text = |field: &str| condition[field].as_str().unwrap().to_owned();
        Some((text("status"), text("reason"), text("message")))
    }

    async fn until_connected(&self) {
        until("a session", async || self.connected().filter(|(status, ..)| status == "True")).await;
    }

    async fn until_reason(&self, reason: &str) -> String {
        until(reason, async || self.connected().filter(|(_, is, _)| is == reason).map(|(_, _, message)| message)).await
    }

    fn secret(&self, key: &str) -> Option<String> {
        let secret = self.store.get(Table::Secret, "pdp-agent-identity")?;
        Some(secret["data"].get(key)?.as_str()?.to_owned())
    }

    /// The Release of `component`, once it is stored.
    async fn release(&self, component: &str) -> Value {
        until(&format!("release {component}"), async || {
            self.store
                .all(Table::Release)
                .into_iter()
                .find(|one| one.pointer("/spec/owner/component") == Some(&json!(component)))
        })
        .await
    }

    /// What an operator would write once it serves.
    fn make_ready(&self, release: &Value) {
        let generation = release.pointer("/spec/document/generation").unwrap().clone();
        self.store.edit(Table::Release, release["metadata"]["name"].as_str().unwrap(), |object| {
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

async fn control_plane(config: Config) -> ControlPlane {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    ControlPlane::start(config).await.unwrap()
}

/// A control plane with a data plane to enrol, and its agent.
async fn pair(config: Config) -> (ControlPlane, Api, Agent) {
    let plane = control_plane(config).await;
    let api = Api::of(&plane);
    let token = api.furnish().await;
    let agent = Agent::new(&plane, &token);
    (plane, api, agent)
}

fn fault(fault: Fault, times: u32) -> Scripted {
    Scripted { fault, data_plane: None, times: Some(times) }
}

#[tokio::test]
async fn a_token_becomes_a_session_and_a_document_becomes_a_state() {
    let (plane, api, agent) = pair(Config::default()).await;
    let running = agent.run();
    agent.until_connected().await;
    until("the promoted certificate", async || agent.secret("active.crt")).await;
    assert_eq!((agent.secret("pending.key"), agent.secret("pending.crt")), (None, None));
    let id = agent.store.get(Table::DataPlane, DEFAULT).unwrap()["status"]["id"].clone();
    assert!(id.is_string(), "{id}");

    let deployed = api.deploy("web").await;
    let release = agent.release("web").await;
    assert_eq!(release["spec"]["document"]["generation"], deployed["generations"]["home"]);
    agent.make_ready(&release);
    let status = api.phase("web", "Ready").await;
    assert_eq!(status["facts"][0]["kind"], "Ready");
    let name = release["metadata"]["name"].as_str().unwrap().to_owned();
    until("the acknowledged fact to leave", async || {
        let release = agent.store.get(Table::Release, &name)?;
        release["status"]["facts"].as_array().is_none_or(Vec::is_empty).then_some(())
    })
    .await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn what_was_accepted_is_not_sent_again_to_the_next_leader() {
    let (plane, api, agent) = pair(Config::default()).await;
    let running = agent.run();
    api.deploy("web").await;
    let release = agent.release("web").await;
    agent.make_ready(&release);
    api.phase("web", "Ready").await;
    running.stop().await;

    let writes = agent.store.writes(Table::Release);
    agent.leadership.send_replace(leading(2));
    let running = agent.run();
    api.deploy("second").await;
    let second = agent.release("second").await;
    agent.make_ready(&second);
    api.phase("second", "Ready").await;
    // One create, and later the removal of its fact: nothing for the first one.
    assert!(agent.store.writes(Table::Release) <= writes + 2);
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_lost_answer_of_the_api_server_is_found_out() {
    let (plane, api, agent) = pair(Config::default()).await;
    agent.store.fail_next_write(Table::Release, StoreFault::LoseAnswer);
    let running = agent.run();
    api.deploy("web").await;
    let release = agent.release("web").await;
    agent.make_ready(&release);
    let status = api.phase("web", "Ready").await;
    assert_eq!(status["answer"]["answer"], "accepted", "{status}");
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn the_words_of_a_customers_policy_reach_the_developer() {
    let (plane, api, agent) = pair(Config::default()).await;
    let message = "releases \"web\" is forbidden: ValidatingAdmissionPolicy 'freeze' with binding 'freeze' denied request: frozen until Monday";
    let status = ApiStatus { code: 422, reason: "Invalid".into(), message: message.into(), ..ApiStatus::default() };
    agent.store.fail_next_write(Table::Release, StoreFault::Answer(status));
    let running = agent.run();
    api.deploy("web").await;
    let status = api.phase("web", "Refused").await;
    assert!(status["message"].as_str().unwrap().contains("frozen until Monday"), "{status}");
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_process_that_does_not_lead_writes_nothing() {
    let (plane, api, agent) = pair(Config::default()).await;
    let running = agent.run();
    agent.until_connected().await;
    let mut unconfirmed = leading(1);
    unconfirmed.state = State::Unconfirmed(Epoch { lease: "lease-1".into(), transitions: 1 });
    agent.leadership.send_replace(unconfirmed);
    api.deploy("web").await;
    until("the deferral", async || {
        let all = api.call("GET", &format!("{SHOP}/status?component=web&environment=dev"), Value::Null).await;
        (all[0]["answer"]["answer"] == "deferred").then_some(())
    })
    .await;
    assert_eq!(agent.store.writes(Table::Release), 0);
    agent.leadership.send_replace(leading(1));
    agent.release("web").await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn an_enrolment_whose_answer_was_lost_is_asked_for_again_with_the_same_key() {
    let (plane, _api, agent) = pair(Config::default()).await;
    plane.faults().add(fault(Fault::LoseEnrolmentAnswer, 1));
    let running = agent.run();
    let key = until("the key", async || agent.secret("pending.key")).await;
    agent.until_connected().await;
    assert_eq!(until("promotion", async || agent.secret("active.key")).await, key);
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_session_outlives_its_certificates() {
    let lifetime = Duration::from_secs(6);
    let (plane, api, agent) = pair(Config { certificate_lifetime: lifetime, ..Config::default() }).await;
    let running = agent.run();
    agent.until_connected().await;
    let first = until("promotion", async || agent.secret("active.crt")).await;
    until("a renewed certificate in use", async || agent.secret("active.crt").filter(|now| *now != first)).await;
    api.deploy("web").await;
    agent.release("web").await;
    running.stop().await;

    // Away for longer than the certificate lives: the key proves itself, nobody has to do anything.
    let old = agent.secret("active.crt");
    tokio::time::sleep(lifetime).await;
    agent.leadership.send_replace(leading(2));
    let running = agent.run();
    until("a new certificate", async || (agent.secret("active.crt") != old).then_some(())).await;
    api.deploy("second").await;
    agent.release("second").await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn every_way_to_fail_says_so_and_ends_by_itself_once_mended() {
    let (plane, api, agent) = pair(Config::default()).await;
    let good_token = std::fs::read_to_string(&agent.token).unwrap();
    let good_bundle = std::fs::read_to_string(&agent.bundle).unwrap();
    let other = control_plane(Config::default()).await;

    std::fs::write(&agent.bundle, other.ca()).unwrap();
    std::fs::remove_file(&agent.token).unwrap();
    let running = agent.run();
    agent.until_reason("TokenMissing").await;
    std::fs::write(&agent.token, "pdpe_nonsense").unwrap();
    let message = agent.until_reason("UntrustedCertificate").await;
    assert!(message.contains("controlPlane.caBundle"), "{message}");
    std::fs::write(&agent.bundle, "nonsense").unwrap();
    agent.until_reason("BadCaBundle").await;
    std::fs::write(&agent.bundle, good_bundle).unwrap();
    let message = agent.until_reason("TokenUnknown").await;
    assert!(!message.contains("pdpe_nonsense"), "{message}");
    std::fs::write(&agent.token, good_token).unwrap();
    agent.until_connected().await;

    api.post(&format!("{HOME}/revoke"), Value::Null).await;
    agent.until_reason("AccessRevoked").await;
    running.stop().await;
    plane.shutdown().await;
    other.shutdown().await;
}

#[tokio::test]
async fn a_used_token_is_told_apart() {
    let (plane, _api, agent) = pair(Config::default()).await;
    let running = agent.run();
    agent.until_connected().await;
    running.stop().await;
    let again = Agent::new(&plane, std::fs::read_to_string(&agent.token).unwrap().trim());
    let running = again.run();
    let message = again.until_reason("TokenUsed").await;
    assert!(!message.is_empty());
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn an_expired_token_is_told_apart() {
    let (plane, _api, agent) = pair(Config { token_lifetime: Duration::ZERO, ..Config::default() }).await;
    let token = std::fs::read_to_string(&agent.token).unwrap();
    // Times are seconds at the control plane: while it looks at another token, this one's second ends.
    std::fs::write(&agent.token, "pdpe_other").unwrap();
    let running = agent.run();
    agent.until_reason("TokenUnknown").await;
    let second = jiff::Timestamp::now().as_second();
    until("the next second", async || (jiff::Timestamp::now().as_second() > second).then_some(())).await;
    std::fs::write(&agent.token, token).unwrap();
    agent.until_reason("TokenExpired").await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn the_same_identity_from_another_cluster_is_refused() {
    let (plane, _api, agent) = pair(Config::default()).await;
    let running = agent.run();
    agent.until_connected().await;
    running.stop().await;
    agent.store.edit(Table::DataPlane, DEFAULT, |object| object["status"]["cluster"] = json!("cluster-2"));
    agent.leadership.send_replace(leading(2));
    let running = agent.run();
    agent.until_reason("ForeignCluster").await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_control_plane_that_is_down_at_start_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { store: Some(folder.path().join("store")), ..Config::default() };
    let (plane, _api, agent) = pair(config.clone()).await;
    let listen = plane.address();
    plane.shutdown().await;
    let running = agent.run();
    let message = agent.until_reason("Unreachable").await;
    assert!(message.contains("is the control plane up"), "{message}");
    let plane = control_plane(Config { listen, ..config }).await;
    agent.until_connected().await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn every_answer_to_the_upgrade_has_its_reason() {
    let (plane, _api, agent) = pair(Config::default()).await;
    for (status, reason) in [(503, "Busy"), (404, "NotFound"), (302, "UnexpectedAnswer")] {
        plane.faults().clear();
        plane.faults().add(fault(Fault::RefuseUpgrade { status, retry_after: Some(0) }, 1000));
        let running = agent.run();
        agent.until_reason(reason).await;
        running.stop().await;
    }
    plane.faults().clear();
    let running = agent.run();
    agent.until_connected().await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_cut_link_comes_back_and_carries_on() {
    let (plane, api, agent) = pair(Config::default()).await;
    let running = agent.run();
    agent.until_connected().await;
    plane.faults().add(fault(Fault::Kill, 1));
    plane.faults().add(fault(Fault::Drain { millis: 1 }, 1));
    api.deploy("web").await;
    let release = agent.release("web").await;
    agent.make_ready(&release);
    api.phase("web", "Ready").await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn undeploying_ends_with_a_floor_and_nothing_stored() {
    let (plane, api, agent) = pair(Config::default()).await;
    let running = agent.run();
    let deployed = api.deploy("web").await;
    let release = agent.release("web").await;
    agent.make_ready(&release);
    api.phase("web", "Ready").await;
    api.post(&format!("{SHOP}/components/web/undeploy"), json!({ "environment": "dev" })).await;
    let name = release["metadata"]["name"].as_str().unwrap().to_owned();
    let absent = until("the absent document", async || {
        agent.store.get(Table::Release, &name).filter(|one| one["spec"]["state"] == "Absent")
    })
    .await;
    let generation = absent["spec"]["document"]["generation"].clone();
    agent.store.edit(Table::Release, &name, |object| {
        object["status"] = json!({
            "observedGeneration": generation,
            "conditions": [{ "type": "Ready", "status": "False", "reason": "Deleted", "message": "m",
                "observedGeneration": generation, "lastTransitionTime": "2030-01-01T00:00:00Z" }],
            "facts": [{ "id": "u/2/Deleted/2", "kind": "Deleted", "generation": generation, "at": "2030-01-01T00:00:00Z",
                "reason": "Removed", "message": "m" }],
        });
    });
    until("the object to be forgotten", async || agent.store.get(Table::Release, &name).is_none().then_some(())).await;
    let floor = agent.store.get(Table::DataPlane, DEFAULT).unwrap()["status"]["floor"].clone();
    assert_eq!(floor, generation);
    assert_ne!(floor, deployed["generations"]["home"]);
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn nothing_is_written_while_nothing_happens() {
    let (plane, api, agent) = pair(Config::default()).await;
    let running = agent.run();
    api.deploy("web").await;
    let release = agent.release("web").await;
    agent.make_ready(&release);
    api.phase("web", "Ready").await;
    let tables = [Table::DataPlane, Table::Release, Table::Environment, Table::Secret];
    let counts = || tables.map(|table| agent.store.writes(table));
    let mut before = counts();
    // Settles, then stays: two looks a tick apart are the same.
    until("quiet", async || {
        tokio::time::sleep(TICK + Duration::from_secs(1)).await;
        let now = counts();
        std::mem::replace(&mut before, now).eq(&now).then_some(())
    })
    .await;
    assert!(agent.folder.path().exists());
    running.stop().await;
    plane.shutdown().await;
}

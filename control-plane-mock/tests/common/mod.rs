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

mod agent;
mod reports;

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
use protocol::document::Desired;
use protocol::enrol::{EnrolRequest, EnrolResponse, EnrolmentToken, RenewRequest, renewal_statement};
use protocol::message::{
    AgentMessage, Document, EndReason, FieldError, InventoryEntry, RefusalClass, StreamStart, Verdict, Window,
};
use protocol::name::{Kind, ResourceKey};
use protocol::report::{Condition, Fact, FactKind, Replicas, State};
use protocol::session::{AgentEvent, AgentSession, AgentSettings, CloseCode, Disconnect, Transmit};
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

pub use agent::*;
pub use reports::*;

pub const IMAGE: &str = "registry.test/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
pub const PATIENCE: Duration = Duration::from_secs(60);

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
        let roots = reqwest::Certificate::from_pem_bundle(plane.ca().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only(roots).build().unwrap();
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
    let certificate = Some(identity.certificate.clone());
    let request = RenewRequest { data_plane: identity.data_plane.clone(), csr, time, signature, certificate };
    Api::of(plane).call("POST", "/v1/renew", serde_json::to_value(request).unwrap()).await
}

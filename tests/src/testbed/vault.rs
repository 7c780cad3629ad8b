//! The vault of an instance: initialising, unsealing, and what tests put into it. Speaks to it through the forwarder.
//!
//! Its root token and its one unseal key are files in the state folder, readable by root only.

use std::time::Duration;

use reqwest::{Certificate, Client, Method, StatusCode};
use serde_json::{Value, json};

use super::config::{self, Record};
use super::instance::{API_PORT, NODE_IP};
use super::{Error, Instance, files, wait_until};

/// Has the policy that a platform team pastes; every test that reads a secret tries it.
const INSTALL_PAGE: &str = include_str!("../../../docs/install.md");

/// Whether an earlier start has initialised the vault and lived to write both keys down.
pub(crate) fn keys_known(instance: &Instance) -> bool {
    ["vault-unseal-key", "vault-root-token"].iter().all(|name| instance.path(name).exists())
}

/// A client with the root token, once there is one.
#[derive(Clone)]
pub(crate) struct Vault {
    http: Client,
    address: String,
    token: Option<String>,
    instance: Instance,
}

impl Vault {
    pub(crate) fn of(instance: &Instance) -> Result<Self, Error> {
        let problem = |error: reqwest::Error| Error::Vault { path: "client".to_owned(), problem: error.to_string() };
        super::use_crypto_provider();
        let authority =
            Certificate::from_pem(files::read(&config::authority(instance))?.as_bytes()).map_err(problem)?;
        let http = Client::builder()
            .tls_certs_only([authority])
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .map_err(problem)?;
        Ok(Self {
            http,
            address: format!("https://127.0.0.1:{}", Record::read(instance)?.ports.vault),
            token: config::secret(&instance.path("vault-root-token")).ok(),
            instance: instance.clone(),
        })
    }

    /// One call of its API. The answer's JSON, `Null` where there is none.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Error> {
        let (status, answer) = self.try_call(method, path, body).await?;
        if status.is_success() {
            return Ok(answer);
        }
        let errors = answer.get("errors").map(Value::to_string).unwrap_or_default();
        Err(Error::Vault { path: path.to_owned(), problem: format!("{status} {errors}") })
    }

    async fn try_call(&self, method: Method, path: &str, body: Option<Value>) -> Result<(StatusCode, Value), Error> {
        let problem = |error: reqwest::Error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            Error::Vault { path: path.to_owned(), problem: format!("{error}: {cause}") }
        };
        let mut request = self.http.request(method, format!("{}/v1/{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("X-Vault-Token", token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.map_err(problem)?;
        let status = response.status();
        let text = response.text().await.map_err(problem)?;
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    }

    /// Whether it is initialised, and whether it is sealed.
    pub(crate) async fn seal_status(&self) -> Result<(bool, bool), Error> {
        let status = self.call(Method::GET, "sys/seal-status", None).await?;
        let flag = |name: &str| status.get(name).and_then(Value::as_bool).unwrap_or_default();
        Ok((flag("initialized"), flag("sealed")))
    }

    /// Initialises it the first time, and unseals it.
    pub(crate) async fn open(&mut self) -> Result<(), Error> {
        let (initialised, _) =
            wait_until(Duration::from_secs(20), "the vault to answer", || self.seal_status()).await?;
        if !initialised {
            let request = json!({ "secret_shares": 1, "secret_threshold": 1 });
            let answer = self.call(Method::POST, "sys/init", Some(request)).await?;
            let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            files::write_private(&self.instance.path("vault-unseal-key"), text("/keys_base64/0"))?;
            files::write_private(&self.instance.path("vault-root-token"), text("/root_token"))?;
            self.token = Some(text("/root_token"));
        }
        self.unseal().await
    }

    pub(crate) async fn unseal(&self) -> Result<(), Error> {
        let key = config::secret(&self.instance.path("vault-unseal-key"))?;
        self.call(Method::POST, "sys/unseal", Some(json!({ "key": key }))).await?;
        wait_until(Duration::from_secs(20), "the vault to be active", async || {
            let (status, _) =
                self.try_call(Method::GET, "sys/health", None).await.map_err(|error| error.to_string())?;
            if status == StatusCode::OK { Ok(()) } else { Err(format!("it answers {status}")) }
        })
        .await
    }

    pub(crate) async fn seal(&self) -> Result<(), Error> {
        self.call(Method::POST, "sys/seal", None).await.map(drop)
    }

    /// Secrets engine, Kubernetes auth, policy and role. `reviewer` is a token that may ask for token reviews.
    pub(crate) async fn configure(&self, reviewer: &str) -> Result<(), Error> {
        let mounts = self.call(Method::GET, "sys/mounts", None).await?;
        if mounts.get("secret/").is_none() {
            let engine = json!({ "type": "kv", "options": { "version": "2" } });
            self.call(Method::POST, "sys/mounts/secret", Some(engine)).await?;
        }
        let methods = self.call(Method::GET, "sys/auth", None).await?;
        if methods.get("kubernetes/").is_none() {
            self.call(Method::POST, "sys/auth/kubernetes", Some(json!({ "type": "kubernetes" }))).await?;
        }
        let methods = self.call(Method::GET, "sys/auth", None).await?;
        let accessor = methods.pointer("/kubernetes~1/accessor").and_then(Value::as_str).unwrap_or_default();
        let settings = json!({
            "kubernetes_host": format!("https://{NODE_IP}:{API_PORT}"),
            "kubernetes_ca_cert": files::read(&config::authority(&self.instance))?,
            "token_reviewer_jwt": reviewer,
            "disable_local_ca_jwt": true,
        });
        self.call(Method::POST, "auth/kubernetes/config", Some(settings)).await?;
        // The vault refuses an empty one, should the page lose it.
        let pasted =
            INSTALL_PAGE.split("```hcl\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
        let policy = json!({ "policy": pasted.replace("ACCESSOR", accessor) });
        self.call(Method::PUT, "sys/policies/acl/pdp-agent", Some(policy)).await?;
        let role = json!({
            "bound_service_account_names": ["pdp-vault"],
            "bound_service_account_namespaces": ["*"],
            "audience": "vault",
            "token_policies": ["pdp-agent"],
            "token_ttl": "15m",
        });
        self.call(Method::POST, "auth/kubernetes/role/pdp-agent", Some(role)).await.map(drop)
    }

    /// Writes a secret of KV version 2, waiting out the moment after mounting in which the engine is not ready.
    pub(crate) async fn put(&self, path: &str, data: Value) -> Result<(), Error> {
        let place = format!("secret/data/{path}");
        let body = json!({ "data": data });
        wait_until(Duration::from_secs(10), &format!("the vault to take {path}"), || {
            self.call(Method::POST, &place, Some(body.clone()))
        })
        .await
        .map(drop)
    }
}

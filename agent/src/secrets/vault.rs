//! The customer's vault: secret values are read as the environment they belong to, and go nowhere but into its Secret.
//!
//! One login per environment, with a short token of that environment's own ServiceAccount; the vault's token is kept until
//! two thirds of its life. Values are wrapped at the first byte. Errors name address, path and key, never a value; the vault
//! library's own log lines and `Debug` output are not used, since both can carry tokens.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::document::SecretRef;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;
use vaultrs::client::{VaultClient, VaultClientSettingsBuilder};
use vaultrs::error::ClientError;

use super::{Endpoint, Health, Reader};
use crate::kinds::VaultPolicy;

mod error;

pub use error::VaultError;

/// Longest a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A vault token that is still good.
struct Session {
    token: SecretString,
    until: Instant,
}

/// The vault of the policy.
#[derive(Default)]
pub struct Vault {
    /// By settings and namespace.
    sessions: Mutex<HashMap<(String, String), Session>>,
    /// Connections to it, with the policy that they were made by.
    http: Mutex<Option<(VaultPolicy, reqwest::Client)>>,
}

/// Values of one path.
#[derive(Deserialize)]
#[serde(transparent)]
struct Values(HashMap<String, Wrapped>);

/// A value that cannot be printed. What is not a string counts as its JSON text.
struct Wrapped(SecretString);

impl<'de> Deserialize<'de> for Wrapped {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Ok(Self(match serde_json::Value::deserialize(input)? {
            serde_json::Value::String(text) => SecretString::from(text),
            other @ (serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_)) => SecretString::from(other.to_string()),
        }))
    }
}

impl Vault {
    /// Reads every reference. `account` asks the cluster for a token of the environment's account, and is called only when
    /// there is no session.
    ///
    /// # Errors
    /// The first reference that could not be read. Cancel safe: nothing is written.
    pub async fn read<F, E>(
        &self,
        policy: &VaultPolicy,
        reader: &Reader<'_>,
        references: &BTreeMap<String, SecretRef>,
        account: impl Fn() -> F,
    ) -> Result<BTreeMap<String, SecretSlice<u8>>, VaultError>
    where
        F: Future<Output = Result<SecretString, E>>,
        E: std::fmt::Display,
    {
        let places: BTreeSet<(&str, Option<i64>)> =
            references.values().map(|reference| (reference.path.as_str(), reference.version)).collect();
        let mut found = HashMap::new();
        for (path, version) in places {
            let values = match self.path(policy, reader, path, version, &account).await {
                // The token may have been revoked before its time: one new login.
                Err(VaultError::Denied { .. }) => {
                    self.forget(policy, reader);
                    self.path(policy, reader, path, version, &account).await?
                }
                other => other?,
            };
            found.insert((path, version), values);
        }
        let value = |reference: &SecretRef| {
            let values = found.get(&(reference.path.as_str(), reference.version));
            values
                .and_then(|values| values.0.get(&reference.key))
                .map(|value| SecretSlice::from(value.0.expose_secret().as_bytes().to_vec()))
        };
        references
            .iter()
            .map(|(name, reference)| match value(reference) {
                Some(value) => Ok((name.clone(), value)),
                None => Err(VaultError::MissingKey {
                    asked: reference.path.clone(),
                    key: reference.key.clone(),
                    mount: policy.mount.clone(),
                    path: full_path(policy, reader, &reference.path),
                }),
            })
            .collect()
    }

    async fn path<F, E>(
        &self,
        policy: &VaultPolicy,
        reader: &Reader<'_>,
        path: &str,
        version: Option<i64>,
        account: &impl Fn() -> F,
    ) -> Result<Values, VaultError>
    where
        F: Future<Output = Result<SecretString, E>>,
        E: std::fmt::Display,
    {
        let token = self.token(policy, reader, account).await?;
        let client = client(policy, &token, self.http(policy)?)?;
        let asked = path.to_owned();
        let path = full_path(policy, reader, path);
        let read = match version.and_then(|version| u64::try_from(version).ok()) {
            Some(version) => vaultrs::kv2::read_version(&client, &policy.mount, &path, version).await,
            None => vaultrs::kv2::read(&client, &policy.mount, &path).await,
        };
        read.map_err(|error| match code(&error) {
            403 => {
                VaultError::Denied { asked, role: policy.role.clone(), mount: policy.mount.clone(), path: path.clone() }
            }
            404 => VaultError::MissingPath {
                asked,
                mount: policy.mount.clone(),
                path: path.clone(),
                version: version.map(|version| format!(" in version {version}")).unwrap_or_default(),
            },
            _ => common(policy, "a read", &error),
        })
    }

    async fn token<F, E>(
        &self,
        policy: &VaultPolicy,
        reader: &Reader<'_>,
        account: &impl Fn() -> F,
    ) -> Result<SecretString, VaultError>
    where
        F: Future<Output = Result<SecretString, E>>,
        E: std::fmt::Display,
    {
        let key = session_key(policy, reader);
        if let Some(session) = self.sessions().get(&key).filter(|session| session.until > Instant::now()) {
            return Ok(session.token.clone());
        }
        let jwt = account().await.map_err(|error| VaultError::Account(error.to_string()))?;
        let client = client(policy, &SecretString::from(""), self.http(policy)?)?;
        let started = Instant::now();
        let login =
            vaultrs::auth::kubernetes::login(&client, &policy.auth_mount, &policy.role, jwt.expose_secret()).await;
        let info = login.map_err(|error| match code(&error) {
            400 | 403 | 404 => VaultError::Login {
                address: policy.address.clone(),
                namespace: reader.namespace.to_owned(),
                role: policy.role.clone(),
                mount: policy.auth_mount.clone(),
            },
            _ => common(policy, "a login", &error),
        })?;
        let token = SecretString::from(info.client_token);
        let until = started + Duration::from_secs(info.lease_duration) * 2 / 3;
        self.sessions().insert(key, Session { token: token.clone(), until });
        Ok(token)
    }

    /// Connections are kept for as long as the policy names this vault: a handshake for each path would be most of the work.
    fn http(&self, policy: &VaultPolicy) -> Result<reqwest::Client, VaultError> {
        let mut kept = self.http.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, http)) = kept.as_ref().filter(|(by, _)| by == policy) {
            return Ok(http.clone());
        }
        let made = http(policy)?;
        *kept = Some((policy.clone(), made.clone()));
        Ok(made)
    }

    fn forget(&self, policy: &VaultPolicy, reader: &Reader<'_>) {
        self.sessions().remove(&session_key(policy, reader));
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn session_key(policy: &VaultPolicy, reader: &Reader<'_>) -> (String, String) {
    (format!("{} {} {}", policy.address, policy.auth_mount, policy.role), reader.namespace.to_owned())
}

/// Its resource that says whether it is open. Status codes of sys/health: HashiCorp Vault and OpenBao API documentation.
pub(super) fn endpoint(policy: &VaultPolicy) -> Endpoint<'_> {
    Endpoint {
        server: "the vault",
        address: &policy.address,
        address_setting: "spec.vault.address of the DataPlanePolicy",
        bundle: policy.ca_bundle.as_deref(),
        bundle_setting: "spec.vault.caBundle of the DataPlanePolicy",
        health_path: "/v1/sys/health",
        health: |status| match status {
            200 => Health::Usable("open and active"),
            429 | 472 | 473 => Health::Usable("open, a standby answers"),
            501 => Health::Unusable("not initialised", "initialise the vault"),
            503 => Health::Unusable("sealed", "unseal the vault; what runs goes on, new secrets wait"),
            _ => Health::Unknown,
        },
    }
}

/// Path below the mount, with the environment's prefix.
#[must_use]
pub fn full_path(policy: &VaultPolicy, reader: &Reader<'_>, path: &str) -> String {
    let Reader { namespace, organization, project, environment } = reader;
    let prefix = policy
        .prefix
        .replace("{namespace}", namespace)
        .replace("{organization}", organization)
        .replace("{project}", project)
        .replace("{environment}", environment);
    let prefix = prefix.trim_matches('/');
    if prefix.is_empty() { path.to_owned() } else { format!("{prefix}/{path}") }
}

fn settings(error: &dyn std::error::Error) -> VaultError {
    VaultError::Settings(crate::telemetry::chain(error))
}

fn http(policy: &VaultPolicy) -> Result<reqwest::Client, VaultError> {
    let mut http = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
    if let Some(bundle) = &policy.ca_bundle {
        let certificates =
            reqwest::Certificate::from_pem_bundle(bundle.as_bytes()).map_err(|error| settings(&error))?;
        http = http.tls_certs_only(certificates);
    }
    http.build().map_err(|error| settings(&error))
}

fn client(policy: &VaultPolicy, token: &SecretString, http: reqwest::Client) -> Result<VaultClient, VaultError> {
    // The builder below panics on what is not a URL.
    let url: reqwest::Url =
        policy.address.parse().map_err(|_| VaultError::Settings("address is not a URL".to_owned()))?;
    if url.scheme() != "https" && !matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
        return Err(VaultError::Settings(
            "address is not https: token and secret values would cross the network in clear; only a proxy in the same pod may be asked \
             without TLS"
                .to_owned(),
        ));
    }
    let built = VaultClientSettingsBuilder::default()
        .address(url)
        .token(token.expose_secret())
        .ca_certs(Vec::new())
        .identity(None)
        .verify(true)
        .timeout(Some(TIMEOUT))
        .build()
        .map_err(|_| VaultError::Settings("address must begin with http:// or https://".to_owned()))?;
    let mut client = VaultClient::new(built).map_err(|error| settings(&error))?;
    // The library can only add CA files to the platform's roots; ours trusts what the policy says and nothing else.
    client.http.http = http;
    Ok(client)
}

fn code(error: &ClientError) -> u16 {
    match error {
        ClientError::APIError { code, .. } => *code,
        ClientError::RestClientError { source: rustify::errors::ClientError::ServerResponseError { code, .. } } => {
            *code
        }
        ClientError::FileNotFoundError { .. }
        | ClientError::FileReadError { .. }
        | ClientError::FileWriteError { .. }
        | ClientError::InvalidLoginMethodError
        | ClientError::JsonParseError { .. }
        | ClientError::ParseCertificateError { .. }
        | ClientError::ResponseEmptyError
        | ClientError::ResponseDataEmptyError
        | ClientError::ResponseWrapError
        | ClientError::RestClientError { .. }
        | ClientError::RestClientBuildError { .. }
        | ClientError::WrapInvalidError
        | ClientError::InvalidUpdateParameter => 0,
    }
}

fn common(policy: &VaultPolicy, doing: &str, error: &ClientError) -> VaultError {
    let address = policy.address.clone();
    match code(error) {
        503 | 429 | 472 | 473 => VaultError::Sealed { address },
        0 => VaultError::Unreachable { address, cause: transport(error) },
        code => VaultError::Other { address, doing: doing.to_owned(), code },
    }
}

/// The cause of a transport error: the sentences of the innermost sources, which are about names, sockets and certificates.
/// The library's own outer sentences may quote a body and are left out.
fn transport(error: &ClientError) -> String {
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
    let mut innermost = "no answer".to_owned();
    let mut depth = 0;
    while let Some(cause) = source {
        depth += 1;
        if depth > 2 {
            innermost = cause.to_string();
        }
        source = cause.source();
    }
    innermost
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

//! What holds secret values in an environment's namespace, and so is no part of a decision: the key by which Secrets are named, and
//! the copies of pull Secrets.

use base64::Engine as _;
use serde_json::{Value, json};

use super::super::cluster::{ApiError, Class};
use super::super::object::{self, ObjectKind};
use super::super::report::Trouble;
use super::super::{observe, resolve};
use super::Round;

/// The Secret that holds the key by which Secrets of this environment are named.
pub const KEY_SECRET: &str = "pdp-key";

impl Round<'_> {
    /// The key, and copies of pull Secrets. Returns what is missing, if anything.
    #[expect(clippy::indexing_slicing, reason = "members of JSON objects that are made here")]
    pub(super) async fn secrets(&self, namespace: &str) -> Result<Option<Trouble>, ApiError> {
        if self.pause.is_some() {
            return Ok(None);
        }
        if observe::secret(self.shared, self.owner(), namespace, KEY_SECRET).await?.is_none() {
            let Some(key) = random_key() else {
                return Ok(Some(Trouble::new(
                    "NoRandomness",
                    "the system gives no random bytes for the environment's key",
                )));
            };
            let mut secret = self.secret_head(KEY_SECRET, namespace);
            secret["type"] = json!("Opaque");
            secret["immutable"] = json!(true);
            secret["data"] = json!({"key": key});
            match self.shared.cluster.create(&secret).await {
                Ok(_) => {}
                // Made meanwhile: the one that is there counts.
                Err(error) if error.class() == Class::Conflict => {}
                // The RoleBinding was just made and takes a moment.
                Err(error) if error.class() == Class::Rights => {
                    return Ok(Some(Trouble::new("RightsPending", "rights in the namespace are not in effect yet")));
                }
                Err(error) => return Err(error),
            }
        }
        for source in self.policy.map(resolve::pull_secrets).unwrap_or_default() {
            if let Some(trouble) = self.pull_secret(namespace, &source).await? {
                return Ok(Some(trouble));
            }
        }
        Ok(None)
    }

    #[expect(clippy::indexing_slicing, reason = "members of JSON objects that are made here")]
    async fn pull_secret(&self, namespace: &str, source: &str) -> Result<Option<Trouble>, ApiError> {
        let agent = &self.shared.settings.namespace;
        let missing = |why: &str| {
            let message = format!(
                "pull secret {source} of DataPlanePolicy {why} in namespace {agent}; images that need it cannot be pulled"
            );
            Trouble::new("PullSecret", message)
        };
        let found = match self.shared.cluster.get(ObjectKind::Secret, agent, source).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Some(missing("is missing"))),
            Err(error) if error.class() == Class::Rights => {
                return Ok(Some(missing("may not be read by the operator")));
            }
            Err(error) => return Err(error),
        };
        let name = resolve::pull_secret_name(source);
        let mut copy = self.secret_head(&name, namespace);
        copy["type"] = found.get("type").cloned().unwrap_or_else(|| json!("kubernetes.io/dockerconfigjson"));
        copy["data"] = found.get("data").cloned().unwrap_or_default();
        match observe::wanted(self.shared, self.owner(), &copy).await? {
            None => self.shared.cluster.create(&copy).await.map(drop)?,
            Some(live) if live.drift.is_empty() || !live.ours => {}
            Some(live) => self.shared.cluster.apply(&copy, &live.uid, &live.resource_version).await.map(drop)?,
        }
        Ok(None)
    }

    fn secret_head(&self, name: &str, namespace: &str) -> Value {
        object::head(ObjectKind::Secret, name, Some(namespace), &object::environment_labels(&self.shared.id, self.name))
    }
}

/// 32 random bytes, twice encoded: as text for the HMAC, and as a Secret's data.
fn random_key() -> Option<String> {
    let mut bytes = [0; 32];
    rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut bytes).ok()?;
    let engine = base64::engine::general_purpose::STANDARD;
    Some(engine.encode(engine.encode(bytes)))
}

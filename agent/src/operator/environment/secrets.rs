//! Secrets with values in an environment's namespace, which are kept out of the decision for that reason: the key by which Secrets
//! are named, and the copies of pull Secrets ([`super::pull`]).

use base64::Engine as _;
use serde_json::json;

use super::Round;
use crate::kinds::conditions::Reason;
use crate::operator::cluster::{ApiError, Class};
use crate::operator::object::{self, ObjectKind};
use crate::operator::reconcile::apply;
use crate::operator::reconcile::observe;

/// The Secret that holds the key by which Secrets of this environment are named.
pub const KEY_SECRET: &str = "pdp-key";

impl Round<'_> {
    /// The key, and copies of pull Secrets that are needed here. Returns what is missing, if anything.
    #[expect(clippy::indexing_slicing, reason = "members of JSON objects that are made here")]
    pub(super) async fn secrets(&self, namespace: &str) -> Result<Option<Reason>, ApiError> {
        if self.pause.is_some() {
            return Ok(None);
        }
        if observe::secret(self.shared, self.owner(), namespace, KEY_SECRET).await?.is_none() {
            let Some(key) = random_key() else {
                return Ok(Some(Reason::new(
                    "NoRandomness",
                    "the system gives no random bytes for the environment's key",
                )));
            };
            let labels = object::environment_labels(&self.shared.id, self.name);
            let mut secret = object::head(ObjectKind::Secret, KEY_SECRET, Some(namespace), &labels);
            secret["type"] = json!("Opaque");
            secret["immutable"] = json!(true);
            secret["data"] = json!({"key": key});
            match apply::create(self.shared, &secret).await {
                Ok(()) => {}
                // Made meanwhile: the one that is there counts.
                Err(error) if error.class() == Class::Conflict => {}
                // The RoleBinding was just made and takes a moment.
                Err(error) if error.class() == Class::Rights => {
                    return Ok(Some(Reason::new("RightsPending", "rights in the namespace are not in effect yet")));
                }
                Err(error) => return Err(error),
            }
        }
        super::pull::keep(self.shared, self.name, namespace).await
    }
}

/// 32 random bytes, twice encoded: as text for the HMAC, and as a Secret's data.
fn random_key() -> Option<String> {
    let mut bytes = [0; 32];
    rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut bytes).ok()?;
    let engine = base64::engine::general_purpose::STANDARD;
    Some(engine.encode(engine.encode(bytes)))
}

//! The API server as the operator uses it: reads by name, and writes with a precondition each.
//!
//! Leadership is checked before every write; every call has a time limit, and creates without an answer are remembered. Objects are
//! JSON and are never logged: a Secret is among them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use protocol::name::Kind;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::object::ObjectKind;
use super::object::owner::Owner;
use crate::api::{ApiStatus, CallError};
use crate::elector::Leadership;
#[cfg(feature = "failpoints")]
use crate::failpoints::{Act, Edge, reach};
use crate::telemetry::Metrics;
use fields::converted;
use unanswered::Unanswered;

mod api;
mod error;
mod fields;
mod http;
mod paths;
pub mod unanswered;

pub use super::cluster::http::Http;
pub use api::{Api, Request};
pub use error::{ApiError, Class};
pub use fields::rival;
pub use paths::Path;
use paths::address;

/// Longest a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    verb: &'static str,
    kind: &'static str,
}

/// Handle on the API server. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    api: Arc<dyn Api>,
    leadership: Leadership,
    writes: Arc<Family<WriteLabels, Counter>>,
    unanswered: Arc<Mutex<Unanswered>>,
    started: Instant,
}

impl Cluster {
    /// A handle that counts its writes.
    #[must_use]
    pub fn new(api: Arc<dyn Api>, leadership: Leadership, metrics: &Metrics) -> Self {
        let writes = Family::<WriteLabels, Counter>::default();
        metrics.register(|registry| {
            registry.register("operator_writes", "Writes of the operator that the API server accepted", writes.clone());
        });
        let (unanswered, started) = (Arc::default(), Instant::now());
        Self { api, leadership, writes: Arc::new(writes), unanswered, started }
    }

    fn unanswered(&self) -> MutexGuard<'_, Unanswered> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another process led before this one, and may have left calls under way.
    pub fn leadership_acquired(&self) {
        self.unanswered().leadership_acquired(self.started.elapsed());
    }

    /// How long a create for `owner` that got no answer may still be carried out.
    #[must_use]
    pub fn settles(&self, owner: Owner<'_>) -> Option<Duration> {
        self.unanswered().left(owner, self.started.elapsed())
    }

    /// One object, or none.
    ///
    /// # Errors
    /// The API server refused or did not answer.
    pub async fn get(&self, kind: ObjectKind, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        self.one(kind, name, Request::Get(&Path::of(kind, namespace, Some(name))?)).await
    }

    /// Metadata of one object, or none. Its content is not fetched, so this is how to check whether a Secret exists.
    ///
    /// # Errors
    /// The API server refused or did not answer.
    pub async fn head(&self, kind: ObjectKind, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        self.one(kind, name, Request::Head(&Path::of(kind, namespace, Some(name))?)).await
    }

    async fn one(&self, kind: ObjectKind, name: &str, request: Request<'_>) -> Result<Option<Value>, ApiError> {
        match self.call(&format!("get {} {name}", kind.names().1), request).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.class() == Class::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is at a path, read-only.
    ///
    /// # Errors
    /// The API server refused or did not answer.
    pub async fn get_path(&self, path: &Path) -> Result<Value, ApiError> {
        self.call(&format!("get {}", path.as_str()), Request::Get(path)).await
    }

    /// Objects of a kind in a namespace, by label.
    ///
    /// # Errors
    /// The API server refused or did not answer.
    pub async fn list(&self, kind: ObjectKind, namespace: &str, selector: &str) -> Result<Vec<Value>, ApiError> {
        let request = Request::List { at: &Path::of(kind, namespace, None)?, selector };
        Ok(items(self.call(&format!("list {}", kind.names().2), request).await?))
    }

    /// Metadata of the first `limit` objects at a path, by label. Their content is not fetched.
    ///
    /// # Errors
    /// The API server refused or did not answer.
    pub async fn heads(&self, at: &Path, selector: &str, limit: usize) -> Result<Vec<Value>, ApiError> {
        Ok(items(self.call(&format!("list {}", at.as_str()), Request::Heads { at, selector, limit }).await?))
    }

    /// Creates `object`; fails if it exists.
    ///
    /// # Errors
    /// Not leading, refused, or no answer.
    pub async fn create(&self, object: &Value) -> Result<Value, ApiError> {
        // An object without kind or name is never sent, so no create of it can be left without an answer.
        address(object)?;
        let create = self.unanswered().begin(object, CALL_TIMEOUT, self.started.elapsed());
        let answer = self.post(object, false).await;
        if !answer.as_ref().is_err_and(ApiError::leaves_open) {
            self.unanswered().answered(create);
        }
        answer
    }

    /// Whether `object` could be created.
    ///
    /// # Errors
    /// Not leading, refused, or no answer.
    pub async fn try_create(&self, object: &Value) -> Result<(), ApiError> {
        self.post(object, true).await.map(drop)
    }

    async fn post(&self, object: &Value, dry_run: bool) -> Result<Value, ApiError> {
        let (kind, namespace, name) = address(object)?;
        let request = Request::Create { at: &Path::of(kind, namespace, None)?, object, dry_run };
        self.write("create", kind.names().1, name, request).await
    }

    /// Applies our fields onto an existing object, also those that another manager owns (`force`).
    ///
    /// # Errors
    /// Not leading, refused, or no answer. A conflict means that the object changed since it was read.
    pub async fn apply(&self, object: &Value, uid: &str, resource_version: &str) -> Result<Value, ApiError> {
        self.patch(object, uid, resource_version, false).await
    }

    /// Whether our fields could be applied (a dry run). Managed fields are converted first where needed, so this may write.
    ///
    /// # Errors
    /// As for [`Cluster::apply`].
    pub async fn try_apply(&self, object: &Value, uid: &str, resource_version: &str) -> Result<(), ApiError> {
        self.patch(object, uid, resource_version, true).await.map(drop)
    }

    async fn patch(&self, object: &Value, uid: &str, resource_version: &str, dry_run: bool) -> Result<Value, ApiError> {
        let (kind, namespace, name) = address(object)?;
        // Before a dry run too: otherwise fields that we no longer set would still be in the object that is checked.
        let version = self.convert(kind, namespace, name, uid, resource_version).await?;
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("uid".to_owned(), json!(uid));
            metadata.insert("resourceVersion".to_owned(), json!(version));
        }
        let request = Request::Apply { at: &Path::of(kind, namespace, Some(name))?, object: &object, dry_run };
        self.write("apply", kind.names().1, name, request).await
    }

    /// After a create our fields belong to an `Update` entry, and apply would not remove what it later leaves out. The entry
    /// becomes `Apply` here, under the same precondition. Returns the resource version to go on with.
    async fn convert(
        &self,
        kind: ObjectKind,
        namespace: &str,
        name: &str,
        uid: &str,
        version: &str,
    ) -> Result<String, ApiError> {
        let Some(live) = self.head(kind, namespace, name).await? else {
            return Err(ApiError::changed("apply", kind, name));
        };
        let at = |pointer: &str| live.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if at("/metadata/uid") != uid || at("/metadata/resourceVersion") != version {
            return Err(ApiError::changed("apply", kind, name));
        }
        let Some(entries) = converted(&live) else { return Ok(version.to_owned()) };
        let patch = json!([
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "replace", "path": "/metadata/managedFields", "value": entries},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        ]);
        let request = Request::JsonPatch { at: &Path::of(kind, namespace, Some(name))?, patch: &patch };
        let object = self.write("convert", kind.names().1, name, request).await?;
        Ok(object.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or(version).to_owned())
    }

    /// Deletes the object that was seen, and what it owns in the background. One that is gone already is no error.
    ///
    /// # Errors
    /// Not leading, refused, or no answer.
    pub async fn delete(
        &self,
        kind: ObjectKind,
        namespace: &str,
        name: &str,
        uid: &str,
        version: &str,
    ) -> Result<(), ApiError> {
        let options = json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid, "resourceVersion": version},
        });
        let request = Request::Delete { at: &Path::of(kind, namespace, Some(name))?, options: &options };
        match self.write("delete", kind.names().1, name, request).await {
            Ok(_) => Ok(()),
            Err(error) if error.class() == Class::Missing => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the status of one of our own objects, and returns its new resource version. `object` carries uid and resource
    /// version of what was seen.
    ///
    /// # Errors
    /// Not leading, refused, or no answer.
    pub async fn replace_status(&self, kind: Kind, object: &Value) -> Result<Value, ApiError> {
        let at = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (namespace, name) = (at("/metadata/namespace"), at("/metadata/name"));
        let at = Path::own(kind.plural(), namespace, name)?.part("status");
        self.write("status", kind.as_str(), name, Request::ReplaceStatus { at: &at, object }).await
    }

    /// Merges into one of our own objects, or into its status. `at` is namespace and name; `patch` carries uid and resource version.
    ///
    /// # Errors
    /// Not leading, refused, or no answer.
    pub async fn merge(&self, kind: Kind, at: &str, status: bool, patch: &Value) -> Result<Value, ApiError> {
        let (namespace, name) = at.split_once('/').unwrap_or_default();
        let path = Path::own(kind.plural(), namespace, name)?;
        let (at, verb) = if status { (path.part("status"), "status") } else { (path, "apply") };
        self.write(verb, kind.as_str(), name, Request::Merge { at: &at, patch }).await
    }

    /// Merges into a namespace: uid and resource version of what was seen are part of `patch`.
    ///
    /// # Errors
    /// Not leading, refused, or no answer.
    pub async fn merge_namespace(&self, name: &str, patch: &Value) -> Result<Value, ApiError> {
        let at = Path::of(ObjectKind::Namespace, "", Some(name))?;
        self.write("apply", "Namespace", name, Request::Merge { at: &at, patch }).await
    }

    /// A token of an environment's ServiceAccount for one audience.
    ///
    /// # Errors
    /// Not leading, refused, or no answer.
    pub async fn token(
        &self,
        namespace: &str,
        account: &str,
        audience: &str,
        seconds: i64,
    ) -> Result<SecretString, ApiError> {
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": seconds},
        });
        let at = Path::of(ObjectKind::ServiceAccount, namespace, Some(account))?.part("token");
        self.leadership.check()?;
        let doing = format!("request a token of ServiceAccount {account}");
        let answer = self.call(&doing, Request::Token { at: &at, request: &request }).await?;
        let token = answer.pointer("/status/token").and_then(Value::as_str).unwrap_or_default();
        Ok(SecretString::from(token))
    }

    /// The one place where all writes pass.
    async fn write(
        &self,
        verb: &'static str,
        kind: &'static str,
        name: &str,
        request: Request<'_>,
    ) -> Result<Value, ApiError> {
        self.leadership.check()?;
        let dry_run = matches!(request, Request::Create { dry_run: true, .. } | Request::Apply { dry_run: true, .. });
        let doing =
            if dry_run { format!("{verb} {kind} {name} as a dry run") } else { format!("{verb} {kind} {name}") };
        #[cfg(feature = "failpoints")]
        let point = request.body().and_then(|body| Act::of_write(verb, kind, dry_run, body));
        #[cfg(feature = "failpoints")]
        reach(Edge::Before, point);
        let answer = self.call(&doing, request).await?;
        #[cfg(feature = "failpoints")]
        reach(Edge::After, point);
        if !dry_run {
            self.writes.get_or_create(&WriteLabels { verb, kind }).inc();
            tracing::debug!(verb, kind, name, "wrote an object");
        }
        Ok(answer)
    }

    async fn call(&self, doing: &str, request: Request<'_>) -> Result<Value, ApiError> {
        let doing = || doing.to_owned();
        match tokio::time::timeout(CALL_TIMEOUT, self.api.call(request)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(CallError::Refused(ApiStatus { code, reason, message, .. }))) => {
                Err(ApiError::Refused { doing: doing(), code, reason, message })
            }
            Ok(Err(CallError::NoAnswer(cause))) => Err(ApiError::NoAnswer { doing: doing(), cause }),
            Err(_) => {
                let cause = format!("none within {} s", CALL_TIMEOUT.as_secs());
                Err(ApiError::NoAnswer { doing: doing(), cause })
            }
        }
    }
}

fn items(mut list: Value) -> Vec<Value> {
    list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default()
}

//! The API server as the operator uses it: reads by name, and writes with a precondition each.
//!
//! Before every write leadership is checked; every call has an end, and creates that had no answer are remembered. Objects are JSON
//! and are never logged: a Secret is among them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, Request};
use kube::Client;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use secrecy::SecretString;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::fields::converted;
use super::object::ObjectKind;
use super::unanswered::Unanswered;
use crate::elector::Leadership;
#[cfg(feature = "failpoints")]
use crate::failpoints::{Act, Edge, reach};
use crate::telemetry::Metrics;

mod error;
mod fields;
mod paths;

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
    client: Client,
    leadership: Leadership,
    writes: Arc<Family<WriteLabels, Counter>>,
    unanswered: Arc<Mutex<Unanswered>>,
    started: Instant,
}

impl Cluster {
    /// A handle that counts its writes.
    #[must_use]
    pub fn new(client: Client, leadership: Leadership, metrics: &Metrics) -> Self {
        let writes = Family::<WriteLabels, Counter>::default();
        metrics.register(|registry| {
            registry.register("operator_writes", "Writes of the operator that the API server accepted", writes.clone());
        });
        let (unanswered, started) = (Arc::default(), Instant::now());
        Self { client, leadership, writes: Arc::new(writes), unanswered, started }
    }

    fn unanswered(&self) -> MutexGuard<'_, Unanswered> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another process led before this one, and may have left calls under way.
    pub fn took_over(&self) {
        self.unanswered().took_over(self.started.elapsed());
    }

    /// How long something may still be created for the owner that `label` names, by a call that had no answer.
    #[must_use]
    pub fn settles(&self, label: &str, name: &str) -> Option<Duration> {
        self.unanswered().left(label, name, self.started.elapsed())
    }

    /// The client, for watches.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// One object, or none.
    ///
    /// # Errors
    /// The API server refused or did not answer.
    pub async fn get(&self, kind: ObjectKind, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        self.one(kind, namespace, name, JSON).await
    }

    /// The head of one object, or none: what it holds stays where it is, so this is how to ask whether a Secret is there.
    ///
    /// # Errors
    /// The API server refused or did not answer.
    pub async fn head(&self, kind: ObjectKind, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        self.one(kind, namespace, name, HEAD).await
    }

    async fn one(
        &self,
        kind: ObjectKind,
        namespace: &str,
        name: &str,
        accept: &str,
    ) -> Result<Option<Value>, ApiError> {
        let path = Path::of(kind, namespace, Some(name))?;
        match self.call(&format!("get {} {name}", kind.names().1), Method::GET, &path, JSON, accept, None).await {
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
        self.call(&format!("get {}", path.as_str()), Method::GET, path, JSON, JSON, None).await
    }

    /// Objects of a kind in a namespace, by label.
    ///
    /// # Errors
    /// The API server refused or did not answer.
    pub async fn list(&self, kind: ObjectKind, namespace: &str, selector: &str) -> Result<Vec<Value>, ApiError> {
        let path = Path::of(kind, namespace, None)?.with(&[&format!("labelSelector={selector}")]);
        let mut list: Value =
            self.call(&format!("list {}", kind.names().2), Method::GET, &path, JSON, JSON, None).await?;
        Ok(list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default())
    }

    /// Creates `object`; fails if it exists.
    ///
    /// # Errors
    /// Not leading, refused, or no answer.
    pub async fn create(&self, object: &Value) -> Result<Value, ApiError> {
        // What is no object is never sent, and so leaves nothing open.
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
        self.post(object, true).await.map(|IgnoredAny| ())
    }

    async fn post<T: DeserializeOwned>(&self, object: &Value, dry_run: bool) -> Result<T, ApiError> {
        let (kind, namespace, name) = address(object)?;
        let path = Path::of(kind, namespace, None)?.written(dry_run);
        self.write("create", kind.names().1, name, dry_run, Method::POST, &path, JSON, object).await
    }

    /// Applies our fields onto an existing object, taking them from whoever has them.
    ///
    /// # Errors
    /// Not leading, refused, or no answer. A conflict means that the object is not the one that was seen.
    pub async fn apply(&self, object: &Value, uid: &str, resource_version: &str) -> Result<Value, ApiError> {
        self.patch(object, uid, resource_version, false).await
    }

    /// Whether our fields could be applied. What is ours is made ready for that, so it may write.
    ///
    /// # Errors
    /// As for [`Cluster::apply`].
    pub async fn try_apply(&self, object: &Value, uid: &str, resource_version: &str) -> Result<(), ApiError> {
        self.patch(object, uid, resource_version, true).await.map(|IgnoredAny| ())
    }

    async fn patch<T: DeserializeOwned>(
        &self,
        object: &Value,
        uid: &str,
        resource_version: &str,
        dry_run: bool,
    ) -> Result<T, ApiError> {
        let (kind, namespace, name) = address(object)?;
        // Before a dry run too: otherwise what is left out now would still stand in the object that is checked.
        let version = self.convert(kind, namespace, name, uid, resource_version).await?;
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("uid".to_owned(), json!(uid));
            metadata.insert("resourceVersion".to_owned(), json!(version));
        }
        let path = Path::of(kind, namespace, Some(name))?.with(&["force=true"]).written(dry_run);
        self.write("apply", kind.names().1, name, dry_run, Method::PATCH, &path, APPLY, &object).await
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
        let path = Path::of(kind, namespace, Some(name))?;
        let object: Value =
            self.write("convert", kind.names().1, name, false, Method::PATCH, &path, JSON_PATCH, &patch).await?;
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
        let path = Path::of(kind, namespace, Some(name))?;
        match self
            .write::<IgnoredAny>("delete", kind.names().1, name, false, Method::DELETE, &path, JSON, &options)
            .await
        {
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
    pub async fn replace_status(
        &self,
        kind: &'static str,
        plural: &'static str,
        object: &Value,
    ) -> Result<Value, ApiError> {
        let at = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (namespace, name) = (at("/metadata/namespace"), at("/metadata/name"));
        let path = Path::own(plural, namespace, name)?.part("status").written(false);
        self.write("status", kind, name, false, Method::PUT, &path, JSON, object).await
    }

    /// Merges into one of our own objects, or into its status. `at` is namespace and name; `patch` carries uid and resource version.
    ///
    /// # Errors
    /// Not leading, refused, or no answer.
    pub async fn merge(
        &self,
        kind: &'static str,
        plural: &'static str,
        at: &str,
        status: bool,
        patch: &Value,
    ) -> Result<Value, ApiError> {
        let (namespace, name) = at.split_once('/').unwrap_or_default();
        let path = Path::own(plural, namespace, name)?;
        let path = if status { path.part("status") } else { path }.written(false);
        let verb = if status { "status" } else { "apply" };
        self.write(verb, kind, name, false, Method::PATCH, &path, MERGE_PATCH, patch).await
    }

    /// Merges into a namespace: uid and resource version of what was seen are part of `patch`.
    ///
    /// # Errors
    /// Not leading, refused, or no answer.
    pub async fn merge_namespace(&self, name: &str, patch: &Value) -> Result<Value, ApiError> {
        let path = Path::of(ObjectKind::Namespace, "", Some(name))?.written(false);
        self.write("apply", "Namespace", name, false, Method::PATCH, &path, MERGE_PATCH, patch).await
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
        let path = Path::of(ObjectKind::ServiceAccount, namespace, Some(account))?.part("token");
        self.leadership.check()?;
        let doing = format!("request a token of ServiceAccount {account}");
        let answer: Value = self.call(&doing, Method::POST, &path, JSON, JSON, Some(&request)).await?;
        let token = answer.pointer("/status/token").and_then(Value::as_str).unwrap_or_default();
        Ok(SecretString::from(token))
    }

    #[expect(clippy::too_many_arguments, reason = "one place where all writes pass")]
    async fn write<T: DeserializeOwned>(
        &self,
        verb: &'static str,
        kind: &'static str,
        name: &str,
        dry_run: bool,
        method: Method,
        path: &Path,
        content_type: &str,
        body: &Value,
    ) -> Result<T, ApiError> {
        self.leadership.check()?;
        let doing =
            if dry_run { format!("{verb} {kind} {name} as a dry run") } else { format!("{verb} {kind} {name}") };
        #[cfg(feature = "failpoints")]
        let point = Act::of_write(verb, kind, dry_run, body);
        #[cfg(feature = "failpoints")]
        reach(Edge::Before, point);
        let answer = self.call(&doing, method, path, content_type, JSON, Some(body)).await?;
        #[cfg(feature = "failpoints")]
        reach(Edge::After, point);
        if !dry_run {
            self.writes.get_or_create(&WriteLabels { verb, kind }).inc();
            tracing::debug!(verb, kind, name, "wrote an object");
        }
        Ok(answer)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        doing: &str,
        method: Method,
        path: &Path,
        content_type: &str,
        accept: &str,
        body: Option<&Value>,
    ) -> Result<T, ApiError> {
        let no_answer = |cause: String| ApiError::NoAnswer { doing: doing.to_owned(), cause };
        let bytes = body.map(serde_json::to_vec).transpose().map_err(|error| no_answer(error.to_string()))?;
        let request = Request::builder()
            .method(method)
            .uri(path.as_str())
            .header("Content-Type", content_type)
            .header("Accept", accept)
            .body(bytes.unwrap_or_default())
            .map_err(|error| no_answer(error.to_string()))?;
        match tokio::time::timeout(CALL_TIMEOUT, self.client.request::<T>(request)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(kube::Error::Api(status))) => Err(ApiError::Refused {
                doing: doing.to_owned(),
                code: status.code,
                reason: status.reason.clone(),
                message: status.message,
            }),
            Ok(Err(error)) => Err(no_answer(crate::telemetry::chain(&error))),
            Err(_) => Err(no_answer(format!("none within {} s", CALL_TIMEOUT.as_secs()))),
        }
    }
}

const JSON: &str = "application/json";
/// Metadata of an object and nothing else of it.
const HEAD: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
/// JSON is YAML, and the API server wants this name for it.
const APPLY: &str = "application/apply-patch+yaml";

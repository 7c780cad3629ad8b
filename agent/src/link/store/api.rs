//! The real API server, over `kube`'s client.
//!
//! Requests are made by hand, because two things matter that `kube`'s typed calls do not offer: `fieldValidation=Strict` on
//! create and update, and the `Retry-After` header of an error. Everything stays in one namespace.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Limited};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::client::Body;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{ApiCause, ApiError, ApiStatus, Call, Change, Reply, Store, Table};

/// Field manager of the link's writes.
const MANAGER: &str = "pdp-agent-link";
/// One call, all told. Longer than a webhook of the customer may take (10 s), so that its time-out is seen as such.
const DEADLINE: Duration = Duration::from_secs(15);
/// Objects of one page of a list.
const PAGE: u32 = 50;
/// Longest answer that is read: an object with its managed fields.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// The API server.
#[derive(Clone)]
pub struct KubeStore {
    client: kube::Client,
    namespace: String,
}

impl KubeStore {
    /// Works in `namespace` only.
    #[must_use]
    pub fn new(client: kube::Client, namespace: String) -> Self {
        Self { client, namespace }
    }

    fn path(&self, table: Table, name: Option<&str>) -> String {
        let root = match table {
            Table::Secret => "/api/v1".to_owned(),
            Table::DataPlane | Table::Environment | Table::Release | Table::TaskRun | Table::DataPlanePolicy => {
                format!("/apis/{}", table.api_version())
            }
        };
        let name = name.map_or_else(String::new, |name| format!("/{name}"));
        format!("{root}/namespaces/{}/{}{name}", self.namespace, table.plural())
    }

    fn request(&self, call: &Call) -> (Method, String, Option<Value>) {
        let write = format!("?fieldManager={MANAGER}&fieldValidation=Strict");
        match call {
            Call::Get { table, name } => (Method::GET, self.path(*table, Some(name)), None),
            Call::Create { table, name: _, body } => {
                (Method::POST, format!("{}{write}", self.path(*table, None)), Some(body.clone()))
            }
            Call::Update { table, name, body } => {
                (Method::PUT, format!("{}{write}", self.path(*table, Some(name))), Some(body.clone()))
            }
            Call::UpdateStatus { table, name, body } => {
                (Method::PUT, format!("{}/status{write}", self.path(*table, Some(name))), Some(body.clone()))
            }
            Call::Delete { table, name, uid, resource_version } => {
                let options = json!({
                    "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
                    "preconditions": { "uid": uid, "resourceVersion": resource_version },
                });
                (Method::DELETE, self.path(*table, Some(name)), Some(options))
            }
        }
    }
}

impl Store for KubeStore {
    async fn call(&self, call: Call) -> Reply {
        let (method, path, body) = self.request(&call);
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Body::from(body))
            .map_err(|error| ApiError::Lost { detail: error.to_string() })?;
        let exchange = async {
            let answer = self.client.send(request).await.map_err(|error| lost(&error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| ApiError::Lost { detail: error.to_string() })?.to_bytes();
            Ok((head, body))
        };
        let (head, body) = timeout(DEADLINE, exchange)
            .await
            .map_err(|_| ApiError::Lost { detail: format!("no answer within {} s", DEADLINE.as_secs()) })??;
        if head.status.is_success() {
            // A broken answer to a write leaves open what was written, as a lost one does.
            let value: Value =
                serde_json::from_slice(&body).map_err(|error| ApiError::Lost { detail: error.to_string() })?;
            return Ok(Some(value));
        }
        let status = status(head.status.as_u16(), head.headers.get(header::RETRY_AFTER), &body);
        if let Call::Get { name, .. } = &call
            && status.code == 404
            && status.reason == "NotFound"
            && status.message.contains(&format!("\"{name}\""))
        {
            return Ok(None);
        }
        Err(ApiError::Answered(status))
    }

    fn watch(&self, table: Table) -> BoxStream<'static, Change> {
        let (group, version) = table.api_version().split_once('/').unwrap_or(("", "v1"));
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: table.api_version().to_owned(),
            kind: table.kind().to_owned(),
            plural: table.plural().to_owned(),
        };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        // A page is read whole before its first object is taken.
        watcher(api, watcher::Config::default().page_size(PAGE))
            .default_backoff()
            .map(|event| match event {
                Ok(Event::Init) => Change::Begin,
                Ok(Event::InitApply(object)) => Change::Found(value(object)),
                Ok(Event::InitDone) => Change::Complete,
                Ok(Event::Apply(object)) => Change::Applied(value(object)),
                Ok(Event::Delete(object)) => Change::Deleted(value(object)),
                Err(error) => Change::Failed(watch_error(&error)),
            })
            .boxed()
    }
}

fn value(mut object: DynamicObject) -> Value {
    // Half of an object and nobody's concern here.
    object.metadata.managed_fields = None;
    serde_json::to_value(object).unwrap_or(Value::Null)
}

fn lost(error: &kube::Error) -> ApiError {
    ApiError::Lost { detail: crate::telemetry::chain(error) }
}

fn watch_error(error: &watcher::Error) -> ApiError {
    ApiError::Lost { detail: crate::telemetry::chain(error) }
}

/// Reads an error answer: a `Status` of the API server, or whatever a proxy in front of it said.
fn status(code: u16, retry_after: Option<&http::HeaderValue>, body: &[u8]) -> ApiStatus {
    let header = retry_after.and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    let Ok(status) = serde_json::from_slice::<Value>(body) else {
        let message = String::from_utf8_lossy(body).chars().take(1024).collect();
        return ApiStatus { code, message, retry_after: header.map(Duration::from_secs), ..ApiStatus::default() };
    };
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let details = status.get("details").unwrap_or(&Value::Null);
    let causes = details.get("causes").and_then(Value::as_array).into_iter().flatten();
    let seconds = details.get("retryAfterSeconds").and_then(Value::as_u64).filter(|seconds| *seconds > 0);
    ApiStatus {
        code,
        reason: text(&status, "reason"),
        message: text(&status, "message"),
        causes: causes.map(|cause| ApiCause { field: text(cause, "field"), message: text(cause, "message") }).collect(),
        retry_after: header.or(seconds).map(Duration::from_secs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_answer_is_read_whatever_it_is() {
        let body = br#"{"kind":"Status","reason":"Invalid","message":"m","code":422,"details":{"causes":[{"reason":"FieldValueInvalid","message":"c","field":"spec.image"}],"retryAfterSeconds":3}}"#;
        let read = status(422, None, body);
        assert_eq!((read.reason.as_str(), read.message.as_str()), ("Invalid", "m"));
        assert_eq!(read.causes, [ApiCause { field: "spec.image".into(), message: "c".into() }]);
        assert_eq!(read.retry_after, Some(Duration::from_secs(3)));

        let header = http::HeaderValue::from_static("7");
        let read = status(503, Some(&header), b"upstream is down");
        assert_eq!((read.message.as_str(), read.retry_after), ("upstream is down", Some(Duration::from_secs(7))));
    }
}

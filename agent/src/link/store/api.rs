//! The real API server, over `kube`'s client.
//!
//! Everything stays in one namespace, and every create and update says `fieldValidation=Strict`.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::Method;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Call, Change, Reply, Store, Table};
use crate::api::{self, CallError, JSON};

/// Field manager of the link's writes.
const MANAGER: &str = "pdp-agent-link";
/// Longest time of one call in total. More than a webhook of the customer may take (10 s), so that its time-out is seen as such.
const DEADLINE: Duration = Duration::from_secs(15);
/// Objects of one page of a list.
const PAGE: u32 = 50;

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
            Table::Document(_) | Table::DataPlanePolicy => {
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
        let answer = timeout(DEADLINE, api::call(&self.client, method, &path, [JSON, JSON], body.as_ref())).await;
        let late = || CallError::NoAnswer(format!("none within {} s", DEADLINE.as_secs()));
        match answer.map_err(|_| late())? {
            Ok(value) => Ok(Some(value)),
            Err(CallError::Refused(status)) => match &call {
                Call::Get { name, .. }
                    if status.code == 404
                        && status.reason == "NotFound"
                        && status.message.contains(&format!("\"{name}\"")) =>
                {
                    Ok(None)
                }
                Call::Get { .. }
                | Call::Create { .. }
                | Call::Update { .. }
                | Call::UpdateStatus { .. }
                | Call::Delete { .. } => Err(CallError::Refused(status)),
            },
            Err(unanswered) => Err(unanswered),
        }
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
    // About half of an object, and nobody here needs it.
    object.metadata.managed_fields = None;
    serde_json::to_value(object).unwrap_or(Value::Null)
}

fn watch_error(error: &watcher::Error) -> CallError {
    CallError::NoAnswer(crate::telemetry::chain(error))
}

//! Requests over HTTP, by the client of the process.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Method;
use kube::Client;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::api::{Api, Request};
use super::paths::Path;
use crate::api::{self, CallError, JSON, Types};

/// Metadata of an object and nothing else of it.
const HEAD: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// The same of a list.
const HEADS: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
/// JSON is YAML, and the API server wants this name for it.
const APPLY: &str = "application/apply-patch+yaml";

/// The API server that the client is connected to.
pub struct Http(Client);

impl Http {
    /// As the client's account.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self(client)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &Path,
        types: Types,
        body: Option<&Value>,
    ) -> Result<T, CallError> {
        api::call(&self.0, method, path.as_str(), types, body).await
    }

    async fn answer(&self, request: Request<'_>) -> Result<Value, CallError> {
        let plain = [JSON, JSON];
        match request {
            Request::Get(at) => self.send(Method::GET, at, plain, None).await,
            Request::Head(at) => self.send(Method::GET, at, [JSON, HEAD], None).await,
            Request::List { at, selector } => {
                let at = at.clone().with(&[&format!("labelSelector={selector}")]);
                self.send(Method::GET, &at, plain, None).await
            }
            Request::Heads { at, selector, limit } => {
                let at = at.clone().with(&[&format!("labelSelector={selector}"), &format!("limit={limit}")]);
                self.send(Method::GET, &at, [JSON, HEADS], None).await
            }
            Request::Create { at, object, dry_run: false } => {
                self.send(Method::POST, &at.clone().written(false), plain, Some(object)).await
            }
            Request::Create { at, object, dry_run: true } => {
                let at = at.clone().written(true);
                self.send(Method::POST, &at, plain, Some(object)).await.map(|IgnoredAny| Value::Null)
            }
            Request::Apply { at, object, dry_run } => {
                let (at, types) = (at.clone().with(&["force=true"]).written(dry_run), [APPLY, JSON]);
                if dry_run {
                    self.send(Method::PATCH, &at, types, Some(object)).await.map(|IgnoredAny| Value::Null)
                } else {
                    self.send(Method::PATCH, &at, types, Some(object)).await
                }
            }
            Request::JsonPatch { at, patch } => {
                self.send(Method::PATCH, &at.clone().written(false), [JSON_PATCH, JSON], Some(patch)).await
            }
            Request::Merge { at, patch } => {
                self.send(Method::PATCH, &at.clone().written(false), [MERGE_PATCH, JSON], Some(patch)).await
            }
            Request::ReplaceStatus { at, object } => {
                self.send(Method::PUT, &at.clone().written(false), plain, Some(object)).await
            }
            Request::Delete { at, options } => {
                let at = at.clone().written(false);
                self.send(Method::DELETE, &at, plain, Some(options)).await.map(|IgnoredAny| Value::Null)
            }
            Request::Token { at, request } => self.send(Method::POST, at, plain, Some(request)).await,
        }
    }
}

impl Api for Http {
    fn call<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Value, CallError>> {
        self.answer(request).boxed()
    }
}

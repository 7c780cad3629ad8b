//! One call over HTTP, by the client of the process.
//!
//! Calls are made by hand, because `kube`'s typed ones have no `fieldValidation=Strict`, keep neither the causes of an error nor its
//! `Retry-After`, and print what they could not read.

use std::error::Error;

use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ApiStatus, CallError};
use crate::telemetry::chain;

/// The usual media type.
pub const JSON: &str = "application/json";

/// Longest answer that is read.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Media types of a call: what is sent, and what is wanted back.
pub type Types = [&'static str; 2];

/// Makes one call. It has no deadline of its own. Not cancel safe for calls that write: dropping the future loses the answer, not the write.
///
/// # Errors
/// The API server refused, or there was no answer that can be read. If the answer to a write is lost or broken, the write may or
/// may not have happened.
pub async fn call<T: DeserializeOwned>(
    client: &Client,
    method: Method,
    path: &str,
    [content_type, accept]: Types,
    body: Option<&Value>,
) -> Result<T, CallError> {
    let unsent = |error: &dyn Error| CallError::NoAnswer(error.to_string());
    let body = body.map(serde_json::to_vec).transpose().map_err(|error| unsent(&error))?;
    let body = bytes::Bytes::from(body.unwrap_or_default());
    let request = || {
        Request::builder()
            .method(method.clone())
            .uri(path)
            .header(header::CONTENT_TYPE, content_type)
            .header(header::ACCEPT, accept)
            .body(Body::from(body.clone()))
            .map_err(|error| unsent(&error))
    };
    let sent = match client.send(request()?).await {
        Err(error) if is_unread(&error) => client.send(request()?).await,
        sent => sent,
    };
    let answer = sent.map_err(|error| CallError::NoAnswer(chain(&error)))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    let body = body.map_err(|error| CallError::NoAnswer(error.to_string()))?.to_bytes();
    if head.status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| CallError::NoAnswer(unread(&error)));
    }
    Err(CallError::Refused(ApiStatus::read(head.status.as_u16(), head.headers.get(header::RETRY_AFTER), &body)))
}

/// Whether the server said, as it closed the connection, that it did not look at this request (RFC 9113, section 6.8).
fn is_unread(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref::<h2::Error>() {
        Some(error) => error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR),
        None => error.source().is_some_and(is_unread),
    }
}

/// The position where an answer cannot be parsed, without the text there: it may be part of a Secret.
fn unread(error: &serde_json::Error) -> String {
    format!("its answer cannot be read at line {} column {}", error.line(), error.column())
}

//! Errors of a call. Pure.

use std::time::Duration;

use http::HeaderValue;
use serde_json::Value;

/// A call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The API server refused.
    #[error("the API server answered {}: {}", .0.code, .0.message)]
    Refused(ApiStatus),
    /// The API server could not be reached, or its answer could not be read: a write may or may not have happened.
    #[error("no answer from the API server: {0}")]
    NoAnswer(String),
}

/// An error as the API server words it (`meta/v1.Status`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiStatus {
    /// HTTP status code.
    pub code: u16,
    /// One word: `AlreadyExists`, `Conflict`, `Invalid`, …; empty when the answer was not a Status.
    pub reason: String,
    pub message: String,
    /// Details, one for each fault.
    pub causes: Vec<ApiCause>,
    /// Wait as the server asked, from the header or the details.
    pub retry_after: Option<Duration>,
}

/// One fault of several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiCause {
    /// `spec.env[0].name`; empty when it is about no field.
    pub field: String,
    pub message: String,
}

/// Longest text of an answer that is no Status.
const FOREIGN: usize = 1024;

impl ApiStatus {
    /// Reads the body of an error answer: a `Status` of the API server, or whatever a proxy in front of it said.
    #[must_use]
    pub fn read(code: u16, retry_after: Option<&HeaderValue>, body: &[u8]) -> Self {
        let header = retry_after.and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
        let Ok(status) = serde_json::from_slice::<Value>(body) else {
            let message = String::from_utf8_lossy(body).chars().take(FOREIGN).collect();
            return Self { code, message, retry_after: header.map(Duration::from_secs), ..Self::default() };
        };
        let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let details = status.get("details").unwrap_or(&Value::Null);
        let causes = details.get("causes").and_then(Value::as_array).into_iter().flatten();
        let seconds = details.get("retryAfterSeconds").and_then(Value::as_u64).filter(|seconds| *seconds > 0);
        Self {
            code,
            reason: text(&status, "reason"),
            message: text(&status, "message"),
            causes: causes
                .map(|cause| ApiCause { field: text(cause, "field"), message: text(cause, "message") })
                .collect(),
            retry_after: header.or(seconds).map(Duration::from_secs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_answer_is_read_whatever_it_is() {
        let body = br#"{"kind":"Status","reason":"Invalid","message":"m","code":422,"details":{"causes":[{"reason":"FieldValueInvalid","message":"c","field":"spec.image"}],"retryAfterSeconds":3}}"#;
        let read = ApiStatus::read(422, None, body);
        assert_eq!((read.reason.as_str(), read.message.as_str()), ("Invalid", "m"));
        assert_eq!(read.causes, [ApiCause { field: "spec.image".into(), message: "c".into() }]);
        assert_eq!(read.retry_after, Some(Duration::from_secs(3)));

        let header = HeaderValue::from_static("7");
        let read = ApiStatus::read(503, Some(&header), b"upstream is down");
        assert_eq!((read.message.as_str(), read.retry_after), ("upstream is down", Some(Duration::from_secs(7))));
    }
}

//! What an error of the API server means for a document: read again, deferred, or refused.
//!
//! The words that policies, webhooks and quotas of the customer chose are passed on as they are; values that the schema quotes are not.

use std::time::Duration;

use protocol::message::{DeferReason, FieldError, RefusalClass};

use crate::api::{ApiCause, ApiStatus, CallError, Refusal, refusal};

/// Wait when the API server does not say how long.
const RETRY: Duration = Duration::from_secs(2);
/// Wait after a webhook did not answer: it has timed out once already.
const RETRY_WEBHOOK: Duration = Duration::from_secs(5);
/// Wait when only a person can help: rights or definitions are missing.
const RETRY_SETUP: Duration = Duration::from_secs(30);
/// Longest wait that is passed on.
const RETRY_MAX: Duration = Duration::from_secs(15 * 60);
/// Most reasons in one refusal.
const MAX_REASONS: usize = 64;
/// Longest message of one reason, in bytes.
const MAX_MESSAGE: usize = 1024;

/// Why a document is deferred, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferral {
    pub reason: DeferReason,
    /// A sentence for people.
    pub message: String,
    /// Earliest next try.
    pub retry_after: Duration,
}

/// Meaning of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Somebody else was there first: read and decide again.
    ReadAgain,
    /// The write may have happened: read back. If it has not, this is the answer.
    Uncertain(Deferral),
    /// It has not happened, and may later.
    Deferred(Deferral),
    /// It cannot succeed as it is.
    Refused(RefusalClass, Vec<FieldError>),
}

/// Says what `error` means for a write of our kinds.
#[must_use]
pub fn classify(error: &CallError) -> Meaning {
    let status = match error {
        CallError::Refused(status) => status,
        CallError::NoAnswer(detail) => {
            return Meaning::Uncertain(unavailable(format!("the API server did not answer: {detail}"), None, RETRY));
        }
    };
    let deferred = |message: String, usual| Meaning::Deferred(unavailable(message, status.retry_after, usual));
    match refusal(status.code, &status.reason, &status.message) {
        Refusal::Missing | Refusal::Conflict => Meaning::ReadAgain,
        Refusal::NotServed => deferred(
            format!(
                "the API server does not serve this kind or namespace ({}): are the custom resource definitions installed?",
                cut(&status.message)
            ),
            RETRY_SETUP,
        ),
        Refusal::Quota => refused(RefusalClass::Quota, status),
        Refusal::QuotaUncounted => {
            deferred("the cluster has not counted yet what a quota in the agent's namespace limits".to_owned(), RETRY)
        }
        Refusal::Policy => refused(RefusalClass::Policy, status),
        Refusal::Invalid => {
            let unknown = strict_decoding_errors(&status.message);
            if unknown.is_empty() {
                refused(RefusalClass::Invalid, status)
            } else {
                Meaning::Refused(RefusalClass::UnknownField, unknown)
            }
        }
        Refusal::Unauthorized => {
            deferred("the API server does not accept the agent's account token at the moment".to_owned(), RETRY)
        }
        // Our own installation is wrong, the document is not.
        Refusal::Rights | Refusal::Admission => deferred(
            format!("the agent's account may not do this, check the installation's rights: {}", cut(&status.message)),
            RETRY_SETUP,
        ),
        Refusal::Terminating => deferred("the agent's namespace is being deleted".to_owned(), RETRY_SETUP),
        Refusal::Busy => deferred("the API server asks to slow down".to_owned(), RETRY),
        Refusal::Webhook => Meaning::Deferred(Deferral {
            reason: DeferReason::WebhookUnavailable,
            message: cut(&status.message),
            retry_after: bounded(status.retry_after, RETRY_WEBHOOK),
        }),
        Refusal::Server => {
            let message = format!("the API server answered {}: {}", status.code, cut(&status.message));
            Meaning::Uncertain(unavailable(message, status.retry_after, RETRY))
        }
        Refusal::Other => deferred(format!("the API server answered {}: {}", status.code, cut(&status.message)), RETRY),
    }
}

fn refused(class: RefusalClass, status: &ApiStatus) -> Meaning {
    let mut reasons: Vec<FieldError> =
        status.causes.iter().filter(|cause| !cause.message.is_empty()).take(MAX_REASONS).map(reason).collect();
    // A policy's sentence stands whole in the message; its causes repeat a part of it.
    if reasons.is_empty() || class == RefusalClass::Policy {
        reasons = vec![FieldError { field: String::new(), message: cut(&without_values(&status.message)) }];
    }
    Meaning::Refused(class, reasons)
}

fn reason(cause: &ApiCause) -> FieldError {
    FieldError { field: pointer(&cause.field), message: cut(&without_values(&cause.message)) }
}

/// `spec.env[0].name` as a JSON pointer into the body: `/env/0/name`.
fn pointer(field: &str) -> String {
    let path = field.strip_prefix("spec").unwrap_or(field);
    path.split(['.', '[', ']'])
        .filter(|part| !part.is_empty())
        .fold(String::new(), |pointer, part| format!("{pointer}/{}", part.replace('~', "~0").replace('/', "~1")))
}

/// The fields in `strict decoding error: unknown field "spec.a", duplicate field "spec.b"`.
fn strict_decoding_errors(message: &str) -> Vec<FieldError> {
    let Some((_, list)) = message.split_once("strict decoding error: ") else { return Vec::new() };
    list.split(", ")
        .filter_map(|item| {
            let (what, rest) = item.split_once(" field \"")?;
            let field = rest.trim_end().strip_suffix('"')?;
            let message = match what {
                "unknown" => {
                    "the installed custom resource definition does not know this field: it is older than the document"
                }
                _ => "the field stands there more than once",
            };
            Some(FieldError { field: pointer(field), message: message.to_owned() })
        })
        .take(MAX_REASONS)
        .collect()
}

/// Leaves out what the schema quotes after `Invalid value:` and the like: it may be a value of an environment variable.
fn without_values(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some((before, after)) = split_at_value(rest) {
        out.push_str(before);
        rest = match quoted_end(after) {
            Some(end) => {
                out.push('…');
                after.get(end..).unwrap_or_default()
            }
            None => after,
        };
    }
    out.push_str(rest);
    out
}

fn split_at_value(text: &str) -> Option<(&str, &str)> {
    ["Invalid value: ", "Unsupported value: ", "Duplicate value: "]
        .iter()
        .filter_map(|marker| text.find(marker).map(|at| at + marker.len()))
        .min()
        .and_then(|at| text.split_at_checked(at))
}

/// Length of the Go-quoted string that `text` starts with.
fn quoted_end(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    if chars.next()?.1 != '"' {
        return None;
    }
    let mut escaped = false;
    for (index, c) in chars {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(index + 1),
            _ => {}
        }
    }
    // An open quote: everything after it is the value.
    Some(text.len())
}

fn unavailable(message: String, asked: Option<Duration>, usual: Duration) -> Deferral {
    Deferral { reason: DeferReason::ApiServerUnavailable, message, retry_after: bounded(asked, usual) }
}

fn bounded(asked: Option<Duration>, usual: Duration) -> Duration {
    asked.unwrap_or(usual).clamp(Duration::from_millis(100), RETRY_MAX)
}

/// At most [`MAX_MESSAGE`] bytes of `text`, cut between characters.
pub(super) fn cut(text: &str) -> String {
    if text.len() <= MAX_MESSAGE {
        return text.to_owned();
    }
    let end = (0..=MAX_MESSAGE).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests;

//! The one shape of a refusal: a code for machines, a sentence for people, the field it speaks of, and what to do.
//!
//! Everything that a person can do wrong ends in a [`Problem`], whether the store, the API or a document refuses it. It never
//! carries a value that may be secret.

use protocol::document::Breach;
use protocol::document::rules::of_display_name;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Kinds of problems; each has one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Code {
    /// The request breaks a rule; `field` says which part.
    Invalid,
    /// There is no such thing here, or it belongs to somebody else.
    NotFound,
    /// It exists already, or its state does not allow this.
    Conflict,
    /// The token is missing or not known.
    Unauthenticated,
    /// The token may not do this.
    Forbidden,
    /// An enrolment token was used by another key, or has expired.
    TokenUsed,
    /// An enrolment token is not known or too old.
    TokenExpired,
    /// The data plane has no link now.
    NotConnected,
    /// The server failed; its log says more.
    Internal,
    /// A scripted fault, or the server is stopping.
    Unavailable,
}

impl Code {
    /// HTTP status of this code.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 422,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Unauthenticated => 401,
            Self::Forbidden | Self::TokenUsed | Self::TokenExpired => 403,
            Self::NotConnected | Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// For machines.
    pub code: Code,
    /// What is wrong, in one sentence.
    pub message: String,
    /// JSON pointer or parameter name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without field and hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None, hint: None }
    }

    /// A field that breaks a rule.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Code::Invalid, message).at(field)
    }

    /// A rule of documents that is broken, at a field of what was sent.
    pub fn of(field: impl Into<String>, breach: Breach) -> Self {
        let Breach { field: _, what, fix, weight: _ } = breach;
        let problem = Self::invalid(field, what);
        if fix.is_empty() { problem } else { problem.hint(fix) }
    }

    /// Something that is not there, `what` being `project shop`.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("{what} does not exist"))
    }

    /// With the field it speaks of.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// With what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Refuses a handle that is not a DNS label; handles become labels and parts of names in the cluster.
///
/// # Errors
/// `Invalid` at `field`.
pub fn check_handle(field: &str, handle: &str) -> Result<(), Problem> {
    if protocol::name::is_label(handle) {
        return Ok(());
    }
    Err(Problem::invalid(
        field,
        format!(
            "a name has 1 to 63 lower-case letters, digits and dashes, and no dash at its ends; this one has {} characters",
            handle.chars().count()
        ),
    )
    .hint("use something like web-shop"))
}

/// Refuses a name for people that is too long, or that would steer a terminal which shows it.
///
/// # Errors
/// `Invalid` at `field`.
pub fn check_display_name(field: &str, name: Option<&str>) -> Result<(), Problem> {
    match name.and_then(of_display_name) {
        None => Ok(()),
        Some(breach) => Err(Problem::of(field, breach)),
    }
}

//! What the API server's refusals mean. Pure.

use crate::api::{Refusal, refusal};
use crate::elector::NotLeading;
use crate::operator::object::ObjectKind;

/// Why a call did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// This process may not write now.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// The API server refused.
    #[error("{doing}: {message}")]
    Refused {
        /// Verb and object.
        doing: String,
        /// HTTP status.
        code: u16,
        /// Machine-readable reason.
        reason: String,
        message: String,
    },
    /// The API server could not be reached, or did not answer in time.
    #[error("{doing}: the API server gave no answer: {cause}")]
    NoAnswer {
        /// Verb and object.
        doing: String,
        /// What went wrong on the way.
        cause: String,
    },
}

/// What an error means for what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// This process does not lead: the leader does the work.
    NotLeading,
    /// The object changed since it was read: read again.
    Conflict,
    /// It is not there.
    Missing,
    /// The namespace's quota is used up.
    Quota,
    /// A policy of the customer or of Pod Security refuses it.
    Policy,
    /// The API server refuses the object as such.
    Invalid,
    /// Our account may not do it.
    Rights,
    /// Try again later.
    Transient,
}

impl ApiError {
    /// The conflict that the API server would report: the object changed since it was read.
    pub(super) fn changed(verb: &str, kind: ObjectKind, name: &str) -> Self {
        Self::Refused {
            doing: format!("{verb} {} {name}", kind.names().1),
            code: 409,
            reason: "Conflict".to_owned(),
            message: "it changed since it was looked at".to_owned(),
        }
    }

    /// Where retry decisions come from.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::NotLeading(_) => Class::NotLeading,
            Self::NoAnswer { .. } => Class::Transient,
            Self::Refused { code, reason, message, .. } => refusal(*code, reason, message).into(),
        }
    }

    /// Whether the request may have been carried out despite the error.
    #[must_use]
    pub fn leaves_open(&self) -> bool {
        match self {
            Self::NotLeading(_) => false,
            Self::Refused { code, .. } => *code >= 500,
            Self::NoAnswer { .. } => true,
        }
    }

    /// Without the message of a refusal, which may quote the values of the object: for Secrets. The class stays.
    #[must_use]
    pub fn withheld(self) -> Self {
        let class = self.class();
        match (self, class) {
            (Self::Refused { doing, code, reason, .. }, Class::Policy | Class::Quota | Class::Invalid) => {
                let message = match class {
                    Class::Quota => "exceeded quota: the namespace has no room for the Secret",
                    Class::Policy => "a policy of the cluster denied the request for the Secret",
                    Class::NotLeading
                    | Class::Conflict
                    | Class::Missing
                    | Class::Invalid
                    | Class::Rights
                    | Class::Transient => "the API server refuses the Secret as such",
                };
                Self::Refused { doing, code, reason, message: message.to_owned() }
            }
            (other, _) => other,
        }
    }

    /// The API server's own message, if it answered.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Refused { message, .. } => message.clone(),
            Self::NotLeading(_) | Self::NoAnswer { .. } => self.to_string(),
        }
    }
}

impl From<Refusal> for Class {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing | Refusal::NotServed => Self::Missing,
            Refusal::Conflict => Self::Conflict,
            Refusal::Quota => Self::Quota,
            Refusal::Policy | Refusal::Admission => Self::Policy,
            Refusal::Invalid => Self::Invalid,
            Refusal::Unauthorized | Refusal::Rights => Self::Rights,
            Refusal::QuotaUncounted
            | Refusal::Terminating
            | Refusal::Busy
            | Refusal::Webhook
            | Refusal::Server
            | Refusal::Other => Self::Transient,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_secret_keeps_its_class_and_none_of_the_words() {
        for (code, message) in [
            (400, "admission webhook \"w\" denied the request: data.a is s3cret"),
            (403, "secrets \"a\" is forbidden: exceeded quota: s3cret"),
            (422, "Secret \"a\" is invalid: data[s3cret]: Invalid value"),
        ] {
            let refused = || ApiError::Refused {
                doing: "create Secret ns/a".to_owned(),
                code,
                reason: "Invalid".to_owned(),
                message: message.to_owned(),
            };
            let withheld = refused().withheld();
            assert_eq!(withheld.class(), refused().class(), "{message}");
            assert!(!format!("{withheld} {withheld:?} {}", withheld.message()).contains("s3cret"), "{withheld:?}");
        }
    }
}

//! Why there is no certificate, in words that say what to do, and when to try again.

use std::time::Duration;

use protocol::enrol::{EnrolError, EnrolErrorClass, EnrolErrorCode};

use crate::api::CallError;
use crate::elector::NotLeading;
use crate::link::dial::DialError;
use crate::link::identity::IdentityError;

/// No certificate.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// There is no Secret to write the key into.
    #[error("Secret {name} is missing; installing the chart again makes it")]
    SecretMissing { name: String },
    /// The API server does not let us read or write it.
    #[error("Secret {name} cannot be used: {source}")]
    Secret { name: String, source: CallError },
    /// Not enrolled, and nothing to enrol with.
    #[error(
        "this data plane is not enrolled and there is no token: make one at the control plane and put it into the enrolment Secret, key token"
    )]
    NoToken,
    /// Not the leader any more.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// The control plane could not be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The control plane refused.
    #[error("the control plane gives no certificate: {0}")]
    Refused(EnrolError),
    /// The control plane's answer makes no sense.
    #[error("the control plane's answer cannot be used: {detail}")]
    BadAnswer { detail: String },
    /// The token is for another data plane.
    #[error(
        "the token enrols data plane {offered}, but this installation is {own}: use a token of {own}, or install a new data plane elsewhere"
    )]
    OtherDataPlane {
        /// What the control plane offers.
        offered: String,
        own: String,
    },
    /// Our own key or certificate is broken.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl KeepError {
    /// One word in PascalCase, for the condition `Connected`.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::SecretMissing { .. } => "IdentitySecretMissing",
            Self::Secret { .. } => "IdentitySecretUnusable",
            Self::NoToken => "TokenMissing",
            Self::NotLeading(_) => "NotLeading",
            Self::Dial(error) => error.reason(),
            Self::Refused(error) => match error.code {
                EnrolErrorCode::InvalidRequest => "RequestRefused",
                EnrolErrorCode::TokenUnknown => "TokenUnknown",
                EnrolErrorCode::TokenExpired => "TokenExpired",
                EnrolErrorCode::TokenUsed => "TokenUsed",
                EnrolErrorCode::DataPlaneUnknown => "DataPlaneUnknown",
                EnrolErrorCode::DataPlaneRevoked => "AccessRevoked",
                EnrolErrorCode::IdentityLocked => "IdentityLocked",
                EnrolErrorCode::BadProof => "BadProof",
                EnrolErrorCode::ClockSkew => "ClockSkew",
                EnrolErrorCode::GraceOver => "CertificateTooOld",
                EnrolErrorCode::Busy => "Busy",
                EnrolErrorCode::Other => "RequestRefused",
            },
            Self::BadAnswer { .. } => "UnexpectedAnswer",
            Self::OtherDataPlane { .. } => "OtherDataPlane",
            Self::Identity(_) => "BadIdentity",
        }
    }

    /// Earliest next try, before spreading. Where only a person can help, that is every half minute: a try is cheap and the person
    /// is waiting.
    #[must_use]
    pub fn retry_after(&self, failures: u32) -> Duration {
        let growing = Duration::from_millis(500).saturating_mul(1 << failures.min(6)).min(Duration::from_secs(30));
        match self {
            Self::Refused(error) => match (error.retry_after_ms, error.code.class()) {
                (Some(ms), _) => Duration::from_millis(ms).min(Duration::from_secs(15 * 60)),
                (None, EnrolErrorClass::BackOff) => growing,
                (None, EnrolErrorClass::NeedsPerson) => growing.max(Duration::from_secs(10)),
            },
            Self::SecretMissing { .. }
            | Self::Secret { .. }
            | Self::NoToken
            | Self::NotLeading(_)
            | Self::Dial(_)
            | Self::BadAnswer { .. }
            | Self::OtherDataPlane { .. }
            | Self::Identity(_) => growing,
        }
    }

    /// Whether a token in the enrolment file may help: the control plane does not know the old key any more.
    pub(super) const fn new_enrolment_may_help(&self) -> bool {
        match self {
            Self::Refused(error) => matches!(
                error.code,
                EnrolErrorCode::DataPlaneUnknown
                    | EnrolErrorCode::DataPlaneRevoked
                    | EnrolErrorCode::IdentityLocked
                    | EnrolErrorCode::BadProof
                    | EnrolErrorCode::GraceOver
            ),
            Self::SecretMissing { .. }
            | Self::Secret { .. }
            | Self::NoToken
            | Self::NotLeading(_)
            | Self::Dial(_)
            | Self::BadAnswer { .. }
            | Self::OtherDataPlane { .. }
            | Self::Identity(_) => false,
        }
    }
}

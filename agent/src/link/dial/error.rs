//! Why a connection did not come about, in words that say what to do.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;

use protocol::session::DialFailure;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use super::pin::Unpinned;
use super::upgrade_header::UpgradeHeader;

/// Where time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Resolve,
    /// TCP.
    Connect,
    /// CONNECT at a proxy.
    Proxy,
    /// TLS.
    Tls,
    /// HTTP request.
    Http,
    /// WebSocket upgrade.
    Upgrade,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving the name",
            Self::Connect => "connecting",
            Self::Proxy => "waiting for the proxy",
            Self::Tls => "the TLS handshake",
            Self::Http => "waiting for the HTTP answer",
            Self::Upgrade => "waiting for the WebSocket upgrade",
        })
    }
}

/// No connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The bundle of the installation cannot be read.
    #[error("CA bundle {path} cannot be used: {detail}; check controlPlane.caBundle")]
    Bundle {
        /// File.
        path: PathBuf,
        detail: String,
    },
    /// Our own certificate or key cannot be used.
    #[error("the agent's own certificate cannot be used: {detail}")]
    OwnIdentity { detail: String },
    /// No address.
    #[error("{host} cannot be resolved: {detail}; check controlPlane.url and the cluster's DNS")]
    Resolve { host: String, detail: String },
    /// No TCP connection.
    #[error(
        "cannot connect to {host} port {port}: {detail}; is the control plane up, and may the agent's pod reach it?"
    )]
    Connect {
        host: String,
        /// Port.
        port: u16,
        detail: String,
    },
    /// A stage took too long.
    #[error("no answer in time while {stage}")]
    Timeout { stage: Stage },
    /// The proxy refused.
    #[error("the proxy refused the connection with status {status}{}", if *status == 407 { "; check user and password in HTTPS_PROXY" } else { "; may this host be reached through it?" })]
    ProxyRefused {
        /// Its HTTP status.
        status: u16,
    },
    /// The proxy cannot be used.
    #[error("the proxy cannot be used: {detail}; check HTTPS_PROXY and NO_PROXY")]
    ProxyUnusable { detail: String },
    /// The control plane's certificate does not verify.
    #[error("the control plane's certificate is not trusted: {detail}")]
    Untrusted {
        /// Why, and what to do.
        detail: String,
    },
    /// The control plane's certificate verifies, and its key is not pinned.
    #[error(
        "the control plane's certificate is trusted, but the pin of its key is none of controlPlane.pins: {seen}; if the control plane \
         announced that key, add it there, and if not, find out what answers at controlPlane.url"
    )]
    Unpinned {
        /// The pin that it would need.
        seen: String,
    },
    /// The control plane does not take our certificate.
    #[error("the control plane does not accept the agent's certificate: {detail}")]
    CertificateRefused { detail: String },
    /// Another answer than an upgrade.
    #[error("the control plane answered {status} to the upgrade{}", hint(*status))]
    Status {
        /// HTTP status.
        status: u16,
        /// `Retry-After`, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// An upgrade, but not the one that was asked for.
    #[error("the answer to the upgrade is not for this agent: {header} {found}, and it must be {expected}; {}", header.remedy())]
    NotAsAsked {
        /// What is wrong.
        header: UpgradeHeader,
        /// What it is, for people.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// HTTP went wrong.
    #[error("no usable HTTP answer: {detail}")]
    Http { detail: String },
    /// The connection broke.
    #[error("the connection broke during {stage}: {detail}")]
    Broken { stage: Stage, detail: String },
    /// Our own fault.
    #[error("internal error: {detail}")]
    Internal { detail: String },
}

impl DialError {
    /// One word in PascalCase, for the condition `Connected`.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Bundle { .. } => "BadCaBundle",
            Self::OwnIdentity { .. } => "BadIdentity",
            Self::Resolve { .. } => "NameNotResolved",
            Self::Connect { .. } | Self::Timeout { .. } | Self::Broken { .. } => "Unreachable",
            Self::ProxyRefused { .. } | Self::ProxyUnusable { .. } => "ProxyFailed",
            Self::Untrusted { .. } => "UntrustedCertificate",
            Self::Unpinned { .. } => "UnpinnedKey",
            Self::CertificateRefused { .. } | Self::Status { status: 401, .. } => "CertificateRefused",
            Self::Status { status: 403, .. } => "AccessRevoked",
            Self::Status { status: 404, .. } => "NotFound",
            Self::Status { status: 429 | 503, .. } => "Busy",
            Self::Status { .. } | Self::Http { .. } => "UnexpectedAnswer",
            Self::NotAsAsked { header: UpgradeHeader::Protocol, .. } => "NoCommonVersion",
            Self::NotAsAsked { .. } => "UnexpectedAnswer",
            Self::Internal { .. } => "InternalError",
        }
    }

    /// What it means for the next attempt.
    #[must_use]
    pub const fn failure(&self) -> DialFailure {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Broken { .. }
            | Self::ProxyRefused { .. }
            | Self::ProxyUnusable { .. }
            | Self::Bundle { .. } => DialFailure::Unreachable,
            Self::Untrusted { .. } | Self::Unpinned { .. } => DialFailure::Untrusted,
            Self::CertificateRefused { .. } | Self::OwnIdentity { .. } => DialFailure::CertificateRefused,
            Self::Status { status, retry_after_ms } => DialFailure::of_status(*status, *retry_after_ms),
            Self::NotAsAsked { .. } | Self::Http { .. } | Self::Internal { .. } => DialFailure::Protocol,
        }
    }
}

const fn hint(status: u16) -> &'static str {
    match status {
        300..=399 => ", a redirect, which is never followed; set controlPlane.url to the final address",
        401 => "; the agent renews its certificate",
        403 => "; the access of this data plane was taken away, ask an administrator of the control plane",
        404 => "; is controlPlane.url the address of the link?",
        429 | 503 => "; it has too much to do",
        _ => "",
    }
}

/// Classifies the error of a stream. With TLS 1.3 the refusal of a client certificate comes only after the handshake.
pub(super) fn of_io(stage: Stage, error: &io::Error) -> DialError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => of_tls(stage, tls),
        None => DialError::Broken { stage, detail: error.to_string() },
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an enum of another crate, which grows")]
fn of_tls(stage: Stage, error: &rustls::Error) -> DialError {
    match error {
        rustls::Error::InvalidCertificate(certificate) => match unpinned(certificate) {
            Some(Unpinned { seen }) => DialError::Unpinned { seen: seen.clone() },
            None => DialError::Untrusted { detail: untrusted(certificate) },
        },
        rustls::Error::AlertReceived(alert) if refuses_certificate(*alert) => {
            DialError::CertificateRefused { detail: format!("TLS alert {alert:?}") }
        }
        other => DialError::Broken { stage, detail: other.to_string() },
    }
}

fn unpinned(error: &CertificateError) -> Option<&Unpinned> {
    if let CertificateError::Other(other) = error { other.0.downcast_ref() } else { None }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an enum of another crate, which grows")]
fn untrusted(error: &CertificateError) -> String {
    match error {
        // An authority of the same name with another key gives a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "it is signed by an authority that this installation does not know; check controlPlane.caBundle".to_owned()
        }
        // The library's own words hold the present time: the sentence would be another one at every attempt.
        CertificateError::Expired => "it has expired, or the clock of this node is ahead".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("it expired at {}, or the clock of this node is ahead", at(*not_after))
        }
        CertificateError::NotValidYet => "it is not valid yet, or the clock of this node is behind".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("it is valid from {} only, or the clock of this node is behind", at(*not_before))
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("{error}; check the host name in controlPlane.url")
        }
        other => other.to_string(),
    }
}

/// RFC 3339; seconds since 1970 where that cannot be written.
fn at(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    seconds.map_or_else(|| time.as_secs().to_string(), |time| time.to_string())
}

const fn refuses_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired
    )
}

pub(super) fn of_hyper(error: &hyper::Error) -> DialError {
    of_http(Stage::Http, error)
}

pub(super) fn of_upgrade(error: &hyper::Error) -> DialError {
    of_http(Stage::Upgrade, error)
}

fn of_http(stage: Stage, error: &hyper::Error) -> DialError {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            return of_io(stage, error);
        }
        source = inner.source();
    }
    if error.is_incomplete_message() {
        return DialError::Broken { stage, detail: "it ended before an answer".to_owned() };
    }
    DialError::Http { detail: error.to_string() }
}

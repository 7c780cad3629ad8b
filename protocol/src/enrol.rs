//! How an agent gets and keeps its certificate: `POST /v1/enrol` and `POST /v1/renew`, over server-authenticated HTTPS.
//!
//! Enrolment spends a one-time token. The token binds at first use to the key of the request, so that the holder of that key,
//! and nobody else, may ask again for a lost answer. Renewal needs no token and no valid certificate: the key that is
//! registered signs the request, also long after the certificate has ended, and is certified again. A new key takes its place over
//! an open link only. Signing and verifying is the caller's; the bytes
//! that are signed are made here.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Path of enrolment.
pub const ENROL_PATH: &str = "/v1/enrol";
/// Path of renewal.
pub const RENEW_PATH: &str = "/v1/renew";

/// Longest body of a request or an answer that is read, in bytes.
pub const MAX_ENROL_BODY: usize = 64 * 1024;

/// Seconds by which the time of a renewal may be off, both ways. A signed request that is copied within that time gains
/// nothing: what it gives is a certificate for the key in the request.
pub const MAX_RENEW_SKEW_SECONDS: u64 = 600;

/// A one-time token. Not printable by accident.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EnrolmentToken(String);

impl EnrolmentToken {
    /// Wraps what was read from a file or a request; white space around it is not part of it.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self(token.trim().to_owned())
    }

    /// The token itself, for hashing and sending.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolmentToken([redacted])")
    }
}

/// Body of `POST /v1/enrol`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrolRequest {
    /// One-time token.
    pub token: EnrolmentToken,
    /// PKCS #10 request, PEM. Only its key is used: names come from the token's data plane.
    pub csr: String,
}

/// Body of `POST /v1/renew`. Sent without a client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenewRequest {
    /// Id of the data plane.
    pub data_plane: String,
    /// PKCS #10 request, PEM, of the registered key.
    pub csr: String,
    /// Seconds since 1970-01-01T00:00:00Z at the agent.
    pub time: i64,
    /// Signature of [`renewal_statement`] by the registered key: ECDSA P-256 with SHA-256, ASN.1 DER, base64 (RFC 4648,
    /// section 4).
    pub signature: String,
    /// Last certificate of the key, PEM, whatever its times: a control plane that was restored from a backup learns from it that
    /// the key is newer than all it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// Body of a 200 answer to either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrolResponse {
    /// Id of the data plane.
    pub data_plane: String,
    /// Certificate chain in PEM, leaf first.
    pub certificate: String,
    /// Authorities of the control plane, PEM. An agent shows people what of it their installation does not trust, and trusts
    /// nothing for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
}

/// Body of any other answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct EnrolError {
    /// For machines.
    pub code: EnrolErrorCode,
    /// A sentence for people: what, why, what to do. Never the token.
    pub message: String,
    /// Earliest next try, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Why there is no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EnrolErrorCode {
    /// The body or the certificate request cannot be read, or the key is of a kind that is not allowed.
    InvalidRequest,
    /// No such token.
    TokenUnknown,
    /// The token's time is over.
    TokenExpired,
    /// The token was used by another key.
    TokenUsed,
    /// No such data plane.
    DataPlaneUnknown,
    /// A person took the data plane's access away.
    DataPlaneRevoked,
    /// A key that has been replaced was used: somebody may have copied it, and a person has to find out.
    IdentityLocked,
    /// The signature is not that of the registered key.
    BadProof,
    /// The time of the request is too far from the control plane's.
    ClockSkew,
    /// The certificate ended too long ago; a new token is needed.
    GraceOver,
    /// Too many at once, or the store does not answer. Try again.
    Busy,
    /// A code of a later version.
    #[serde(other)]
    Other,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrolErrorClass {
    /// Try again with a growing delay.
    BackOff,
    /// Only a person can help; try again slowly or when something changes.
    NeedsPerson,
}

impl EnrolErrorCode {
    /// Status code of the HTTP answer.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::TokenUnknown | Self::TokenExpired | Self::BadProof | Self::ClockSkew => 401,
            Self::DataPlaneRevoked | Self::IdentityLocked | Self::GraceOver => 403,
            Self::DataPlaneUnknown => 404,
            Self::TokenUsed => 409,
            Self::Busy => 503,
            Self::Other => 500,
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn class(self) -> EnrolErrorClass {
        match self {
            Self::Busy | Self::ClockSkew | Self::Other => EnrolErrorClass::BackOff,
            Self::InvalidRequest
            | Self::TokenUnknown
            | Self::TokenExpired
            | Self::TokenUsed
            | Self::DataPlaneUnknown
            | Self::DataPlaneRevoked
            | Self::IdentityLocked
            | Self::BadProof
            | Self::GraceOver => EnrolErrorClass::NeedsPerson,
        }
    }
}

/// The bytes that prove possession of a key in a renewal, and nothing else: the first line keeps them apart from all else
/// that the key may sign (TLS puts 64 spaces first, RFC 8446 section 4.4.3).
///
/// Four lines, each ended by LF: `pdp-agent renew v1`, the data plane's id, the SHA-256 of the bytes of `csr` as sent in
/// lower-case hexadecimal, `time` in decimal.
#[must_use]
pub fn renewal_statement(data_plane: &str, csr: &str, time: i64) -> Vec<u8> {
    let digest: String = Sha256::digest(csr).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("pdp-agent renew v1\n{data_plane}\n{digest}\n{time}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_is_four_lines() {
        assert_eq!(
            String::from_utf8(renewal_statement("dp-1", "", 17)).unwrap(),
            "pdp-agent renew v1\ndp-1\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n17\n"
        );
    }

    #[test]
    fn a_token_is_sent_and_never_printed() {
        let request = EnrolRequest { token: EnrolmentToken::new(" s3cret\n"), csr: String::new() };
        assert_eq!(serde_json::to_string(&request).unwrap(), r#"{"token":"s3cret","csr":""}"#);
        assert!(!format!("{request:?}").contains("s3cret"));
    }

    #[test]
    fn a_code_of_a_later_version_is_retried() {
        let error: EnrolError = serde_json::from_str(r#"{"code":"MoonPhase","message":"m"}"#).unwrap();
        assert_eq!(error.code.class(), EnrolErrorClass::BackOff);
    }
}

//! The agent's settings at its start, parsed once into types that cannot be wrong.
//!
//! Flags and environment come in by `cli`; nothing else in the agent reads the environment.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

/// What every role needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Namespace of the agent: all our kinds live there.
    pub namespace: String,
    /// Name of the Helm release; names of Leases, Secrets and roles start with it.
    pub fullname: String,
    /// What the label `pdp-agent.dev/agent` says on namespaces of this installation: the chart makes the word, for the admission
    /// policies as for us.
    pub agent: String,
    /// Whether the chart made admission policies: then the operator works only while they hold.
    pub admission_policies: bool,
    /// Where probes and metrics are served.
    pub admin_address: SocketAddr,
    /// Unique per process: `<host name>_<uuid>`.
    pub instance: String,
}

/// What the link needs beside.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// Where the control plane is.
    pub control_plane: ControlPlaneUrl,
    /// Hosts beside the control plane's own that bulk connections may go to.
    pub bulk_hosts: Vec<String>,
    /// CA bundle of the control plane, PEM; platform roots when left out.
    pub ca_bundle_file: Option<PathBuf>,
    /// Keys of which the control plane must have one; any when left out.
    pub pins: Vec<Pin>,
    /// One-time token; needed only until enrolment is done. The file may be missing.
    pub enrolment_token_file: Option<PathBuf>,
}

/// `https://host:port`, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneUrl {
    /// Host name or address, without brackets.
    pub host: String,
    /// 443 when left out.
    pub port: u16,
}

/// The text is not the address of a control plane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlPlaneUrlError {
    /// Not a URL at all.
    #[error("not a URL: write https://host or https://host:port")]
    Malformed,
    /// Plain text is never spoken.
    #[error("the scheme must be https")]
    Scheme,
    /// The agent makes the paths.
    #[error("only scheme, host and port are allowed: leave out user, path, query and fragment")]
    Extra,
}

impl std::str::FromStr for ControlPlaneUrl {
    type Err = ControlPlaneUrlError;

    fn from_str(text: &str) -> Result<Self, ControlPlaneUrlError> {
        let uri: http::Uri = text.parse().map_err(|_| ControlPlaneUrlError::Malformed)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(ControlPlaneUrlError::Malformed);
        };
        if scheme != "https" {
            return Err(ControlPlaneUrlError::Scheme);
        }
        if authority.as_str().contains('@') || uri.path().len() > 1 || uri.query().is_some() || text.contains('#') {
            return Err(ControlPlaneUrlError::Extra);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, port)) if !port.contains(']') => port.parse().map_err(|_| ControlPlaneUrlError::Malformed)?,
            _ => 443,
        };
        if host.is_empty() || port == 0 {
            return Err(ControlPlaneUrlError::Malformed);
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl ControlPlaneUrl {
    /// `host:port`, with brackets around an IPv6 address: the `Host` header and the target of CONNECT.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for ControlPlaneUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

/// SHA-256 of the key of a server's certificate (its SubjectPublicKeyInfo, DER), written as `sha256/BASE64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

/// The text is no pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pin is `sha256/` and the base64 of the 32 bytes of a SHA-256")]
pub struct PinError;

impl Pin {
    /// Pin of a key.
    #[must_use]
    pub fn of(public_key_info: &[u8]) -> Self {
        Self(Sha256::digest(public_key_info).into())
    }
}

impl std::str::FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let digest = text.strip_prefix("sha256/").and_then(|text| BASE64_STANDARD.decode(text).ok());
        digest.and_then(|digest| digest.try_into().ok()).map(Self).ok_or(PinError)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", BASE64_STANDARD.encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_as_it_is_written() {
        let pin = Pin::of(b"key");
        assert_eq!(pin.to_string().parse(), Ok(pin));
        for text in ["", "sha256/", "sha256/YQ==", "sha1/LHDhK3oGRvkiefQnx7OOczTY5Tic/xZ6HcMOc/gmtoM=", "sha256/%"] {
            assert_eq!(text.parse::<Pin>(), Err(PinError), "{text}");
        }
    }

    #[test]
    fn an_address_is_https_host_and_port() {
        for (text, expected) in [
            ("https://cp.example.com", Ok("https://cp.example.com:443")),
            ("https://cp.example.com/", Ok("https://cp.example.com:443")),
            ("https://cp.example.com:8443", Ok("https://cp.example.com:8443")),
            ("https://10.77.1.1:8443", Ok("https://10.77.1.1:8443")),
            ("https://[fd00::1]:8443", Ok("https://[fd00::1]:8443")),
            ("https://[fd00::1]", Ok("https://[fd00::1]:443")),
            ("http://cp.example.com", Err(ControlPlaneUrlError::Scheme)),
            ("cp.example.com:8443", Err(ControlPlaneUrlError::Malformed)),
            ("https://cp.example.com/api", Err(ControlPlaneUrlError::Extra)),
            ("https://cp.example.com?x=1", Err(ControlPlaneUrlError::Extra)),
            ("https://user:pw@cp.example.com", Err(ControlPlaneUrlError::Extra)),
            ("https://cp.example.com:0", Err(ControlPlaneUrlError::Malformed)),
            ("https://cp.example.com:99999", Err(ControlPlaneUrlError::Malformed)),
            ("", Err(ControlPlaneUrlError::Malformed)),
        ] {
            let parsed = text.parse::<ControlPlaneUrl>().map(|url| url.to_string());
            assert_eq!(parsed, expected.map(str::to_owned), "{text}");
        }
    }
}

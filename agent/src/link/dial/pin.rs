//! Pins, compared within the TLS handshake: a server whose key is not pinned gets no client certificate, though its own is trusted.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};

use super::trust;
use crate::settings::Pin;

/// The server's certificate is trusted, and its key is none of the pins.
#[derive(Debug, thiserror::Error)]
#[error("the key is not pinned: {seen}")]
pub(super) struct Unpinned {
    /// The pin that it would need.
    pub(super) seen: String,
}

/// The ordinary verification, and then the pins.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) ordinary: Arc<WebPkiServerVerifier>,
    pub(super) pins: Vec<Pin>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.ordinary.verify_server_cert(leaf, intermediates, name, ocsp, now)?;
        trust::pinned(&self.pins, Some(leaf))
            .map_err(|seen| CertificateError::Other(OtherError(Arc::new(Unpinned { seen }))))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.ordinary.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.ordinary.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.ordinary.supported_verify_schemes()
    }
}

//! TLS of the link: version 1.3 only, the control plane verified against what the installation trusts (see [`super::trust`]), before
//! it gets the client certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use secrecy::ExposeSecret as _;

use super::ClientIdentity;
use super::error::DialError;
use super::pin::Pinned;
use super::trust;
use crate::settings::Pin;

/// The name that the control plane's certificate must carry.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, DialError> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| DialError::Resolve { host: host.to_owned(), detail: "not a host name".to_owned() })
}

/// What the installation trusts, read anew: the bundle file may have been replaced.
pub(super) async fn trusted(bundle_file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, DialError> {
    match bundle_file {
        Some(path) => {
            let unreadable = |detail: String| DialError::Bundle { path: path.to_owned(), detail };
            let pem = tokio::fs::read(path).await.map_err(|error| unreadable(error.to_string()))?;
            trust::certificates(Some(&pem)).map_err(unreadable)
        }
        None => {
            let found = tokio::task::spawn_blocking(|| trust::certificates(None)).await;
            let found = found.map_err(|error| DialError::Internal { detail: error.to_string() })?;
            found.map_err(|detail| DialError::Untrusted { detail })
        }
    }
}

pub(super) async fn config(
    bundle_file: Option<&Path>,
    pins: &[Pin],
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, DialError> {
    let roots = trust::roots(trusted(bundle_file).await?).map_err(|detail| match bundle_file {
        Some(path) => DialError::Bundle { path: path.to_owned(), detail },
        None => DialError::Untrusted {
            detail: "this image has no root certificates; give the control plane's by controlPlane.caBundle".to_owned(),
        },
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let ordinary = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| DialError::Internal { detail: error.to_string() })?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| DialError::Internal { detail: error.to_string() })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { ordinary, pins: pins.to_vec() }));
    let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(identity.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| DialError::OwnIdentity { detail: "the certificate is not PEM".to_owned() })?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.expose_secret().as_bytes())
        .map_err(|_| DialError::OwnIdentity { detail: "the key is not PEM".to_owned() })?;
    let mut config = builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| DialError::OwnIdentity { detail: error.to_string() })?;
    // A resumed session would carry the identity of an older certificate.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

//! TLS of the link: version 1.3 only, the control plane verified against the bundle of the installation or the platform's roots.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret as _;

use super::ClientIdentity;
use super::error::DialError;

/// The name that the control plane's certificate must carry.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, DialError> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| DialError::Resolve { host: host.to_owned(), detail: "not a host name".to_owned() })
}

/// Reads trust anew: the bundle file may have been replaced. `extra` is what the control plane handed out itself, over a
/// connection that was trusted then, so that a renewed CA does not cut the link.
pub(super) async fn config(
    bundle_file: Option<&Path>,
    extra: Option<&str>,
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, DialError> {
    let mut roots = RootCertStore::empty();
    match bundle_file {
        Some(path) => {
            let unreadable = |detail: String| DialError::Bundle { path: path.to_owned(), detail };
            let pem = tokio::fs::read(path).await.map_err(|error| unreadable(error.to_string()))?;
            if add(&mut roots, &pem).map_err(unreadable)? == 0 {
                return Err(unreadable("it holds no certificate".to_owned()));
            }
        }
        None => {
            let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
            let found = found.map_err(|error| DialError::Internal { detail: error.to_string() })?;
            roots.add_parsable_certificates(found.certs);
        }
    }
    if let Some(pem) = extra {
        // What cannot be read adds no trust; the bundle above still counts.
        let _nothing_added = add(&mut roots, pem.as_bytes());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| DialError::Internal { detail: error.to_string() })?
        .with_root_certificates(roots);
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

fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<usize, String> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| "it is not PEM".to_owned())?;
    let (added, _ignored) = roots.add_parsable_certificates(certificates);
    Ok(added)
}

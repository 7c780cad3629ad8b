//! Which certificates the link accepts for the control plane: those that the installation configures, never those that the control
//! plane sends.
//!
//! A bundle of the installation is used alone, and the platform's roots only where there is no bundle. Certificates that a control
//! plane hands out are compared with those and shown to people, but not trusted: else whoever impersonates the control plane for a
//! minute would be trusted for ever.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use crate::settings::Pin;

/// Certificates of a bundle, or the platform's without one. Reads files: not for a thread of the runtime where there is no bundle.
///
/// # Errors
/// The bundle is not PEM, or empty.
pub fn certificates(bundle: Option<&[u8]>) -> Result<Vec<CertificateDer<'static>>, String> {
    let Some(pem) = bundle else { return Ok(rustls_native_certs::load_native_certs().certs) };
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| "it is not PEM".to_owned())?;
    if found.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(found) }
}

/// The root store of these certificates.
///
/// # Errors
/// None of the certificates can be used.
pub fn roots(certificates: Vec<CertificateDer<'static>>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // Platforms carry roots that this library cannot read; the others serve.
    let (added, _ignored) = roots.add_parsable_certificates(certificates);
    if added == 0 { Err("it holds no usable certificate".to_owned()) } else { Ok(roots) }
}

/// Whether the key of a verified server is one of `pins`, where there are any. Only the server's own certificate counts: whatever
/// else it sends along proves nothing.
///
/// # Errors
/// It is not; the pin that it would need.
pub fn pinned(pins: &[Pin], leaf: Option<&CertificateDer<'_>>) -> Result<(), String> {
    if pins.is_empty() {
        return Ok(());
    }
    let leaf = leaf.and_then(|leaf| x509_parser::parse_x509_certificate(leaf).ok());
    let Some((_, leaf)) = leaf else { return Err("one that cannot be read".to_owned()) };
    let seen = Pin::of(leaf.public_key().raw);
    if pins.contains(&seen) { Ok(()) } else { Err(seen.to_string()) }
}

/// SHA-256 fingerprints, as openssl writes them, of certificates in `handed_out` that are not among `trusted`.
pub(super) fn unknown(handed_out: &str, trusted: &[CertificateDer<'_>]) -> Vec<String> {
    let fingerprint = |certificate: &CertificateDer<'_>| {
        let bytes: Vec<String> = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect();
        bytes.join(":")
    };
    // Entries that are no certificates are skipped: there is nothing that a person could trust.
    let handed_out = CertificateDer::pem_slice_iter(handed_out.as_bytes()).filter_map(Result::ok);
    handed_out.filter(|one| !trusted.contains(one)).map(|one| fingerprint(&one)).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};

    use super::*;

    fn certificate(key: &KeyPair) -> rcgen::Certificate {
        CertificateParams::new(vec!["control-plane.test".into()]).unwrap().self_signed(key).unwrap()
    }

    #[test]
    fn what_was_handed_out_is_told_apart_from_what_is_trusted() {
        let (old, new) = (certificate(&KeyPair::generate().unwrap()), certificate(&KeyPair::generate().unwrap()));
        let trusted = certificates(Some(old.pem().as_bytes())).unwrap();
        let both = format!("{}{}", old.pem(), new.pem());
        let [fingerprint] = unknown(&both, &trusted).try_into().unwrap();
        assert_eq!((fingerprint.len(), fingerprint.matches(':').count()), (32 * 3 - 1, 31));
        assert_eq!(unknown(&both, &certificates(Some(both.as_bytes())).unwrap()), Vec::<String>::new());
        assert_eq!(unknown("nonsense", &trusted), Vec::<String>::new());
    }

    #[test]
    fn a_bundle_without_a_usable_certificate_is_no_bundle() {
        for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n"] {
            assert!(certificates(Some(pem.as_bytes())).is_err(), "{pem}");
        }
        assert!(roots(vec![CertificateDer::from(vec![1, 2, 3])]).is_err());
    }

    #[test]
    fn a_pin_is_of_the_key_and_outlives_the_certificate() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let pin = Pin::of(&key.subject_public_key_info());
        for leaf in [certificate(&key), certificate(&key)] {
            assert_eq!(pinned(&[pin], Some(leaf.der())), Ok(()));
        }
        let stranger = Pin::of(&other.subject_public_key_info());
        assert_eq!(pinned(&[stranger, pin], Some(certificate(&key).der())), Ok(()));
        assert_eq!(pinned(&[pin], Some(certificate(&other).der())), Err(stranger.to_string()));
        assert!(pinned(&[pin], None).is_err());
        assert_eq!(pinned(&[], None), Ok(()));
    }
}

//! The control plane's own certificate authority: one root, the server's certificate, short-lived ones for data planes.
//!
//! Root and server key live in the store, so that a restart changes nothing that agents trust. A client certificate names its
//! data plane and the generation of its key by a URI (`spiffe://<trust domain>/data-plane/<id>/generation/<n>`; 0 where the end
//! is missing); what else a request asks for is left out. Serial numbers are random (RFC 5280, section 4.1.2.2, allows 20 bytes; these have 16).

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
    string::Ia5String,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, alg_id};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Trust domain in the names of data planes.
pub const TRUST_DOMAIN: &str = "control-plane.pdp-agent.dev";

/// Clocks may be off by this much: certificates are valid from so long before they are made.
const BACKDATED: Duration = Duration::from_secs(5 * 60);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Making or reading a certificate failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate could not be made.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// A name for the server's certificate is no DNS name and no address.
    #[error("{name:?} is neither a DNS name nor an IP address; check --san")]
    Name {
        /// The name.
        name: String,
    },
    /// The request of an agent is not usable.
    #[error("the certificate request cannot be used: {0}")]
    Request(&'static str),
    /// A certificate cannot be read.
    #[error("a certificate cannot be read: {0}")]
    Read(&'static str),
}

/// The authority. Cheap to share behind an `Arc`.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Root certificates, PEM: the issuing one, and beside it another while authorities change.
    pub bundle: String,
    lifetime: Duration,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// A key with its certificate chain, PEM.
#[derive(Clone)]
pub struct Pair {
    /// Chain, leaf first.
    pub certificate: String,
    /// Private key. Never printed.
    pub key: String,
}

/// What an agent asks to have certified.
#[derive(Debug)]
pub struct Request {
    params: CertificateSigningRequestParams,
    /// SubjectPublicKeyInfo of its key, base64.
    pub key: String,
}

/// A certificate made for a data plane.
#[derive(Debug)]
pub struct Issued {
    /// Chain in PEM, leaf first.
    pub certificate: String,
    /// Serial number, hexadecimal.
    pub serial: String,
    pub not_after: Timestamp,
}

/// What a client certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Id of the data plane.
    pub data_plane: String,
    /// SubjectPublicKeyInfo of its key, base64.
    pub key: String,
    /// Generation of the key.
    pub generation: i64,
    pub not_after: Timestamp,
}

/// Makes a new root.
///
/// # Errors
/// `Make`.
pub fn new_root() -> Result<Pair, Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    name(&mut params, "control-plane-mock root");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    times(&mut params, DAY * 3650);
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

impl Authority {
    /// From a stored root. Client certificates live for `lifetime`.
    ///
    /// # Errors
    /// `Make` when the root cannot be read.
    pub fn new(root: Pair, lifetime: Duration) -> Result<Self, Error> {
        let key = KeyPair::from_pem(&root.key)?;
        let issuer = Issuer::from_ca_cert_pem(&root.certificate, key)?;
        Ok(Self { issuer, bundle: root.certificate, lifetime })
    }

    /// Takes client certificates of `other`, the root before or after this one, and hands it out too.
    #[must_use]
    pub fn beside(self, other: &str) -> Self {
        Self { bundle: format!("{}{other}", self.bundle), ..self }
    }

    /// A certificate for the server itself.
    ///
    /// # Errors
    /// `Name` for a SAN that is none.
    pub fn server(&self, sans: &[String]) -> Result<Pair, Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        name(&mut params, "control-plane-mock");
        for san in sans {
            let bad = || Error::Name { name: san.clone() };
            params.subject_alt_names.push(match IpAddr::from_str(san) {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(Ia5String::try_from(san.as_str()).map_err(|_| bad())?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        times(&mut params, DAY * 90);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Certifies the key of a request for a data plane as one of its keys, and nothing else of the request.
    ///
    /// # Errors
    /// `Make`.
    pub fn issue(&self, mut request: Request, data_plane: &str, generation: i64) -> Result<Issued, Error> {
        let serial = *uuid::Uuid::new_v4().as_bytes();
        let mut params = CertificateParams::default();
        name(&mut params, data_plane);
        let uri = format!("spiffe://{TRUST_DOMAIN}/data-plane/{data_plane}/generation/{generation}");
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(uri).map_err(|_| Error::Request("name"))?)];
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let not_after = times(&mut params, self.lifetime);
        request.params.params = params;
        let certificate = request.params.signed_by(&self.issuer)?;
        Ok(Issued { certificate: certificate.pem(), serial: crate::store::hex(&serial), not_after })
    }
}

fn name(params: &mut CertificateParams, common_name: &str) {
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
}

/// Sets both ends of a certificate's life and returns the end. X.509 knows whole seconds only.
fn times(params: &mut CertificateParams, life: Duration) -> Timestamp {
    let now = std::time::SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + life).into();
    let seconds = params.not_after.unix_timestamp();
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// Reads a request and proves that its sender holds the key. Only ECDSA P-256 is taken.
///
/// # Errors
/// `Request`, in words for the agent's log.
pub fn read_request(pem: &str) -> Result<Request, Error> {
    let params = CertificateSigningRequestParams::from_pem(pem).map_err(|error| {
        if error == rcgen::Error::InvalidCertificationRequestSignature {
            Error::Request("its signature is not that of its key")
        } else {
            Error::Request("it is not a PKCS #10 request in PEM")
        }
    })?;
    if *params.public_key.algorithm() != rcgen::PKCS_ECDSA_P256_SHA256 {
        return Err(Error::Request("its key is not ECDSA P-256"));
    }
    let key = STANDARD.encode(params.public_key.subject_public_key_info());
    Ok(Request { params, key })
}

/// Whether `signature` over `message` is that of a key (SubjectPublicKeyInfo, base64): ECDSA P-256 with SHA-256, ASN.1 DER.
#[must_use]
pub fn proves(key: &str, message: &[u8], signature: &[u8]) -> bool {
    let Ok(info) = STANDARD.decode(key) else { return false };
    let Ok((_, info)) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&info) else { return false };
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    algorithms
        .all
        .iter()
        .filter(|a| a.public_key_alg_id() == alg_id::ECDSA_P256 && a.signature_alg_id() == alg_id::ECDSA_SHA256)
        .any(|a| a.verify_signature(&info.subject_public_key.data, message, signature).is_ok())
}

/// Reads a client certificate in PEM that one of `authorities` (PEM) has signed, however old it is.
///
/// # Errors
/// `Read` when it is not one of ours.
pub fn read_signed(pem: &str, authorities: &str) -> Result<Peer, Error> {
    let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| Error::Read("not PEM"))?;
    let (_, certificate) = X509Certificate::from_der(&leaf).map_err(|_| Error::Read("not X.509"))?;
    let (signed, signature) = (certificate.tbs_certificate.as_ref(), &certificate.signature_value.data);
    let ours = CertificateDer::pem_slice_iter(authorities.as_bytes()).filter_map(Result::ok).any(|root| {
        X509Certificate::from_der(&root)
            .is_ok_and(|(_, root)| proves(&STANDARD.encode(root.public_key().raw), signed, signature))
    });
    if ours { read_peer(&leaf) } else { Err(Error::Read("no authority of ours has signed it")) }
}

/// Reads a client certificate that TLS has verified already.
///
/// # Errors
/// `Read` when it is not one of ours.
pub fn read_peer(certificate: &CertificateDer<'_>) -> Result<Peer, Error> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| Error::Read("not X.509"))?;
    let names = certificate.subject_alternative_name().map_err(|_| Error::Read("its names are malformed"))?;
    let prefix = format!("spiffe://{TRUST_DOMAIN}/data-plane/");
    let data_plane = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .find_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(&prefix),
            GeneralName::OtherName(..)
            | GeneralName::RFC822Name(_)
            | GeneralName::DNSName(_)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::IPAddress(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::Invalid(..) => None,
        })
        .ok_or(Error::Read("it names no data plane"))?;
    let (data_plane, generation) = data_plane.split_once("/generation/").unwrap_or((data_plane, "0"));
    let end = certificate.validity().not_after.timestamp();
    Ok(Peer {
        data_plane: data_plane.to_owned(),
        key: STANDARD.encode(certificate.public_key().raw),
        generation: generation.parse().map_err(|_| Error::Read("its generation is no number"))?,
        not_after: Timestamp::from_second(end).map_err(|_| Error::Read("its end is out of range"))?,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::SigningKey;

    use super::*;

    fn authority() -> Authority {
        Authority::new(new_root().unwrap(), Duration::from_secs(120)).unwrap()
    }

    fn request(key: &KeyPair) -> String {
        let mut params = CertificateParams::new(vec!["evil.test".into()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.serialize_request(key).unwrap().pem().unwrap()
    }

    #[test]
    fn a_certificate_names_its_data_plane_and_nothing_that_was_asked_for() {
        let key = KeyPair::generate().unwrap();
        let request = read_request(&request(&key)).unwrap();
        let registered = request.key.clone();
        let issued = authority().issue(request, "dp-1", 3).unwrap();
        let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        let peer = read_peer(&der).unwrap();
        assert_eq!(
            peer,
            Peer { data_plane: "dp-1".into(), key: registered, generation: 3, not_after: issued.not_after }
        );
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        assert!(!parsed.is_ca() && !issued.certificate.is_empty());
        assert_eq!(parsed.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 1);
    }

    #[test]
    fn only_a_certificate_that_an_authority_of_ours_has_signed_says_anything() {
        let (ours, theirs) = (authority(), authority());
        let issue = |by: &Authority| {
            let request = read_request(&request(&KeyPair::generate().unwrap())).unwrap();
            by.issue(request, "dp-1", 7).unwrap().certificate
        };
        let both = format!("{}{}", theirs.bundle, ours.bundle);
        for trusted in [&ours.bundle, &both] {
            assert_eq!(read_signed(&issue(&ours), trusted).unwrap().generation, 7);
        }
        assert!(read_signed(&issue(&theirs), &ours.bundle).is_err());
        assert!(read_signed(&ours.bundle, &ours.bundle).is_err(), "it names no data plane");
        assert!(read_signed("nonsense", &ours.bundle).is_err());
    }

    #[test]
    fn possession_is_proven_by_the_key_alone() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let registered = read_request(&request(&key)).unwrap().key;
        let statement = protocol::enrol::renewal_statement("dp-1", "csr", 17);
        assert!(proves(&registered, &statement, &key.sign(&statement).unwrap()));
        assert!(!proves(&registered, &statement, &other.sign(&statement).unwrap()));
        assert!(!proves(&registered, b"something else", &key.sign(&statement).unwrap()));
    }

    #[test]
    fn a_request_that_was_changed_is_refused() {
        let key = KeyPair::generate().unwrap();
        let pem = request(&key);
        let mut lines: Vec<String> = pem.lines().map(str::to_owned).collect();
        let middle = lines.len() / 2;
        lines[middle] = lines[middle].chars().rev().collect();
        assert!(read_request(&lines.join("\n")).is_err());
    }
}

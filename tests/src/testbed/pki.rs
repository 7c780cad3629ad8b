//! Keys and certificates of one instance: one authority for everything inside the customer's network.
//!
//! All are X.509 version 3; clients with rustls refuse older ones.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::instance::{CLUSTER_IP, CONTROL_PLANE_HOST, CONTROL_PLANE_IP, Instance, NODE_IP, REGISTRY_HOST, VAULT_HOST};
use super::{Error, files};

/// Clients of the API server: file name, user, group.
const CLIENTS: &[(&str, &str, &str)] = &[
    ("admin", "admin", "system:masters"),
    ("controller-manager", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("kubelet", "system:node:node1", "system:nodes"),
    ("proxy", "system:kube-proxy", ""),
    ("kube-router", "kube-router", "system:masters"),
    ("kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
    ("front-proxy", "front-proxy", ""),
];

/// Servers: file name, names and addresses besides `localhost` and `127.0.0.1`.
const SERVERS: &[(&str, &[&str])] = &[
    (
        "apiserver",
        &[
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "10.96.0.1",
            CLUSTER_IP,
            NODE_IP,
        ],
    ),
    ("registry", &[REGISTRY_HOST, NODE_IP]),
    ("vault", &[VAULT_HOST, NODE_IP]),
    ("control-plane", &[CONTROL_PLANE_HOST, CONTROL_PLANE_IP]),
];

/// Makes all keys and certificates, once per instance.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn ensure(instance: &Instance) -> Result<(), Error> {
    let folder = instance.path("pki");
    let done = folder.join("done");
    if done.exists() {
        return Ok(());
    }
    let authority = authority()?;
    files::write(&folder.join("ca.crt"), authority.pem())?;
    files::write_private(&folder.join("ca.key"), authority.key().serialize_pem())?;
    for (name, user, group) in CLIENTS {
        let mut params = leaf(user, ExtendedKeyUsagePurpose::ClientAuth)?;
        if !group.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        issue(&folder, name, &params, &authority)?;
    }
    for (name, names) in SERVERS {
        let mut params = leaf(name, ExtendedKeyUsagePurpose::ServerAuth)?;
        for san in names.iter().chain(&["localhost", "127.0.0.1"]) {
            params.subject_alt_names.push(match san.parse::<IpAddr>() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName((*san).try_into().map_err(failed(name))?),
            });
        }
        issue(&folder, name, &params, &authority)?;
    }
    let accounts = KeyPair::generate().map_err(failed("service accounts"))?;
    files::write_private(&folder.join("service-account.key"), accounts.serialize_pem())?;
    files::write(&folder.join("service-account.pub"), accounts.public_key_pem())?;
    files::write(&done, "")
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, Error> {
    let subject = "customer test authority";
    let mut params = dated(subject);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().map_err(failed(subject))?;
    CertifiedIssuer::self_signed(params, key).map_err(failed(subject))
}

fn leaf(subject: &str, usage: ExtendedKeyUsagePurpose) -> Result<CertificateParams, Error> {
    let mut params = dated(subject);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Valid from a year ago for at least three years: an instance never outlives its certificates.
fn dated(subject: &str) -> CertificateParams {
    let year = i32::from(jiff::Zoned::now().year());
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
    params.not_after = rcgen::date_time_ymd(year + 3, 1, 1);
    params
}

fn issue(
    folder: &Path,
    name: &str,
    params: &CertificateParams,
    authority: &CertifiedIssuer<'_, KeyPair>,
) -> Result<(), Error> {
    let key = KeyPair::generate().map_err(failed(name))?;
    let certificate = params.signed_by(&key, authority).map_err(failed(name))?;
    files::write(&folder.join(format!("{name}.crt")), certificate.pem())?;
    files::write_private(&folder.join(format!("{name}.key")), key.serialize_pem())
}

fn failed(subject: &str) -> impl FnOnce(rcgen::Error) -> Error {
    let subject = subject.to_owned();
    move |source| Error::Certificate { subject, source }
}

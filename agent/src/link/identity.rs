//! Who this data plane is: keys and certificates in the one Secret that the link may read and write.
//!
//! The Secret has two slots. A new key or certificate goes to `pending` and becomes `active` only after the control plane has
//! welcomed a session with it, so that a step that fails half-way leaves the identity that worked. The key of an enrolment
//! is written before the token is spent: a lost answer can then be asked for again. This module is pure; `enrol` does the rest.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use protocol::enrol::renewal_statement;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey as _};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::dial::ClientIdentity;

/// Certificates begin so many seconds before they are issued.
const BACKDATED: i64 = 300;

/// Keys of the Secret.
mod field {
    pub(super) const PENDING_KEY: &str = "pending.key";
    pub(super) const PENDING_CERTIFICATE: &str = "pending.crt";
    pub(super) const ACTIVE_KEY: &str = "active.key";
    pub(super) const ACTIVE_CERTIFICATE: &str = "active.crt";
    pub(super) const CA: &str = "ca.crt";
    pub(super) const DATA_PLANE: &str = "data-plane-id";
}

/// A certificate chain with the times of its leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// PEM, leaf first.
    pub pem: String,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
}

/// One slot.
#[derive(Debug, Clone)]
pub struct Slot {
    /// PKCS #8, PEM.
    pub key: SecretString,
    /// None until it was issued.
    pub certificate: Option<Certificate>,
}

/// The Secret's content.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Not yet welcomed with.
    pub pending: Option<Slot>,
    /// Welcomed with.
    pub active: Option<Slot>,
    /// CA bundle that the control plane handed out, PEM.
    pub ca: Option<String>,
    /// Id from enrolment.
    pub data_plane: Option<String>,
}

/// The identity cannot be used or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A certificate that nobody can read.
    #[error("the certificate is unusable: {detail}")]
    Certificate {
        /// Why.
        detail: String,
    },
    /// A key that nobody can read, or that could not be made.
    #[error("the key is unusable: {detail}")]
    Key {
        /// Why, without the key.
        detail: String,
    },
}

/// What to do to be able to dial.
#[derive(Debug, Clone)]
pub enum Plan {
    /// Nothing: this one is good.
    Dial(ClientIdentity),
    /// Ask for a new certificate with this key as proof.
    Renew(SecretString),
    /// Spend a token with this key.
    Enrol(SecretString),
    /// Make a key first, and store it.
    MakeKey,
}

impl Certificate {
    /// Reads a chain.
    ///
    /// # Errors
    /// No PEM, or no certificate in it.
    pub fn read(pem: &str) -> Result<Self, IdentityError> {
        let unusable = |detail: String| IdentityError::Certificate { detail };
        let (_, block) =
            x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|_| unusable("it is not PEM".to_owned()))?;
        let leaf = block.parse_x509().map_err(|error| unusable(error.to_string()))?;
        let validity = leaf.validity();
        Ok(Self {
            pem: pem.to_owned(),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// Whether it has ended by this clock.
    #[must_use]
    pub const fn has_ended(&self, now: i64) -> bool {
        now >= self.not_after
    }

    /// When to renew it: at two thirds of its life, which begins five minutes after `not_before` (the allowance for clocks that
    /// the protocol prescribes).
    #[must_use]
    pub fn renew_at(&self) -> i64 {
        let issued = (self.not_before + BACKDATED).min(self.not_after);
        issued + (self.not_after - issued) * 2 / 3
    }
}

impl Slot {
    fn usable(&self, now: i64) -> Option<ClientIdentity> {
        let certificate = self.certificate.as_ref().filter(|certificate| !certificate.has_ended(now))?;
        Some(self.client(certificate))
    }

    fn client(&self, certificate: &Certificate) -> ClientIdentity {
        ClientIdentity { certificate: certificate.pem.clone(), key: self.key.clone() }
    }
}

impl Identity {
    /// Reads the Secret. What cannot be read counts as absent: it will be made anew.
    #[must_use]
    pub fn read(secret: &Value) -> Self {
        let data = |name: &str| -> Option<Zeroizing<String>> {
            let bytes = BASE64_STANDARD.decode(secret.pointer(&format!("/data/{name}"))?.as_str()?).ok()?;
            let text = Zeroizing::new(String::from_utf8(bytes).ok()?);
            (!text.trim().is_empty()).then_some(text)
        };
        let slot = |key: &str, certificate: &str| {
            let key = SecretString::from(data(key)?.as_str());
            let certificate = data(certificate).and_then(|pem| Certificate::read(&pem).ok());
            Some(Slot { key, certificate })
        };
        Self {
            pending: slot(field::PENDING_KEY, field::PENDING_CERTIFICATE),
            active: slot(field::ACTIVE_KEY, field::ACTIVE_CERTIFICATE),
            ca: data(field::CA).map(|text| text.to_string()),
            data_plane: data(field::DATA_PLANE).map(|text| text.trim().to_owned()),
        }
    }

    /// Writes itself into the Secret as it was read; keys that are not ours stay.
    pub fn write(&self, secret: &mut Value) {
        let Some(members) = secret.as_object_mut() else { return };
        let data = members.entry("data").or_insert_with(|| json!({}));
        if !data.is_object() {
            *data = Value::Object(Map::new());
        }
        let Some(data) = data.as_object_mut() else { return };
        let mut put = |name: &str, value: Option<&str>| {
            match value {
                Some(value) => data.insert(name.to_owned(), json!(BASE64_STANDARD.encode(value))),
                None => data.remove(name),
            };
        };
        let key = |slot: &Option<Slot>| slot.as_ref().map(|slot| slot.key.clone());
        let certificate =
            |slot: &Option<Slot>| slot.as_ref().and_then(|slot| Some(slot.certificate.as_ref()?.pem.clone()));
        put(field::PENDING_KEY, key(&self.pending).as_ref().map(ExposeSecret::expose_secret));
        put(field::PENDING_CERTIFICATE, certificate(&self.pending).as_deref());
        put(field::ACTIVE_KEY, key(&self.active).as_ref().map(ExposeSecret::expose_secret));
        put(field::ACTIVE_CERTIFICATE, certificate(&self.active).as_deref());
        put(field::CA, self.ca.as_deref());
        put(field::DATA_PLANE, self.data_plane.as_deref());
    }

    /// What comes next, at `now` seconds since 1970. `renew`: the control plane does not take the certificate.
    #[must_use]
    pub fn plan(&self, now: i64, renew: bool) -> Plan {
        let slots = || [&self.pending, &self.active].into_iter().flatten();
        if !renew && let Some(client) = slots().find_map(|slot| slot.usable(now)) {
            return Plan::Dial(client);
        }
        // A key with a certificate is registered: it can prove itself, however old the certificate.
        if self.data_plane.is_some()
            && let Some(slot) = slots().find(|slot| slot.certificate.is_some())
        {
            return Plan::Renew(slot.key.clone());
        }
        match &self.pending {
            Some(slot) => Plan::Enrol(slot.key.clone()),
            None => Plan::MakeKey,
        }
    }

    /// The certificate that the next dial uses, whatever its times.
    #[must_use]
    pub fn newest(&self) -> Option<ClientIdentity> {
        let slot = [&self.pending, &self.active].into_iter().flatten().find(|slot| slot.certificate.is_some())?;
        Some(slot.client(slot.certificate.as_ref()?))
    }

    /// The times of the certificate that `client` uses.
    #[must_use]
    pub fn certificate_of(&self, client: &ClientIdentity) -> Option<&Certificate> {
        [&self.pending, &self.active]
            .into_iter()
            .flatten()
            .filter_map(|slot| slot.certificate.as_ref())
            .find(|certificate| certificate.pem == client.certificate)
    }

    /// The key that signs the next certificate request over the link.
    #[must_use]
    pub fn key(&self) -> Option<&SecretString> {
        [&self.pending, &self.active]
            .into_iter()
            .flatten()
            .find(|slot| slot.certificate.is_some())
            .map(|slot| &slot.key)
    }

    /// A new certificate for `key`: into the pending slot.
    ///
    /// # Errors
    /// It cannot be read. Nothing has changed then.
    pub fn issued(&mut self, key: SecretString, pem: &str, ca: Option<String>) -> Result<(), IdentityError> {
        let certificate = Certificate::read(pem)?;
        self.pending = Some(Slot { key, certificate: Some(certificate) });
        if ca.is_some() {
            self.ca = ca;
        }
        Ok(())
    }

    /// A session was welcomed with `client`: if that is the pending one, it is active from now on. Tells whether so.
    pub fn welcomed(&mut self, client: &ClientIdentity) -> bool {
        let is_it =
            |slot: &Slot| slot.certificate.as_ref().is_some_and(|certificate| certificate.pem == client.certificate);
        if !self.pending.as_ref().is_some_and(is_it) {
            return false;
        }
        self.active = self.pending.take();
        true
    }
}

/// A new key: ECDSA P-256, PKCS #8, PEM.
///
/// # Errors
/// The system gives no random numbers.
pub fn new_key() -> Result<SecretString, IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|error| IdentityError::Key { detail: error.to_string() })?;
    Ok(SecretString::from(key.serialize_pem()))
}

/// A certificate request (PKCS #10, PEM). Names in it do not matter: the control plane sets its own.
///
/// # Errors
/// The key cannot be read.
pub fn certificate_request(key: &SecretString) -> Result<String, IdentityError> {
    let key = key_pair(key)?;
    let unusable = |error: rcgen::Error| IdentityError::Key { detail: error.to_string() };
    let mut params = CertificateParams::new(Vec::new()).map_err(unusable)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "pdp-agent");
    params.serialize_request(&key).and_then(|request| request.pem()).map_err(unusable)
}

/// Proof of possession of `key` for a renewal.
///
/// # Errors
/// The key cannot be read.
pub fn renewal_signature(key: &SecretString, data_plane: &str, csr: &str, time: i64) -> Result<String, IdentityError> {
    let signature = key_pair(key)?
        .sign(&renewal_statement(data_plane, csr, time))
        .map_err(|error| IdentityError::Key { detail: error.to_string() })?;
    Ok(BASE64_STANDARD.encode(signature))
}

fn key_pair(key: &SecretString) -> Result<KeyPair, IdentityError> {
    // rcgen's own words may quote what it could not read.
    KeyPair::from_pem(key.expose_secret())
        .map_err(|_| IdentityError::Key { detail: "it is not a PKCS #8 key".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;

    /// A certificate for `key` that lives from `from` to `to`, seconds since 1970.
    fn certificate(key: &SecretString, from: i64, to: i64) -> String {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let at =
            |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds.unsigned_abs());
        (params.not_before, params.not_after) = (at(from), at(to));
        params.self_signed(&KeyPair::from_pem(key.expose_secret()).unwrap()).unwrap().pem()
    }

    fn word(plan: &Plan) -> &'static str {
        match plan {
            Plan::Dial(_) => "dial",
            Plan::Renew(_) => "renew",
            Plan::Enrol(_) => "enrol",
            Plan::MakeKey => "make key",
        }
    }

    #[test]
    fn an_empty_secret_leads_to_a_session_step_by_step() {
        let mut identity = Identity::read(&json!({ "metadata": { "name": "x" } }));
        assert_eq!(word(&identity.plan(0, false)), "make key");

        let key = new_key().unwrap();
        identity.pending = Some(Slot { key: key.clone(), certificate: None });
        assert_eq!(word(&identity.plan(0, false)), "enrol");

        identity.data_plane = Some("dp-1".into());
        identity.issued(key.clone(), &certificate(&key, 0, 3 * HOUR), Some("ca".into())).unwrap();
        let Plan::Dial(client) = identity.plan(HOUR, false) else { panic!() };
        assert!(identity.welcomed(&client));
        assert!(identity.pending.is_none());
        assert!(!identity.welcomed(&client), "only once");
        assert_eq!(identity.certificate_of(&client).unwrap().renew_at(), 300 + (3 * HOUR - 300) * 2 / 3);

        assert_eq!(word(&identity.plan(2 * HOUR, false)), "dial");
        assert_eq!(word(&identity.plan(2 * HOUR, true)), "renew");
        assert_eq!(word(&identity.plan(1000 * HOUR, false)), "renew");
    }

    #[test]
    fn a_pending_certificate_goes_first_and_an_ended_one_does_not() {
        let (old, new) = (new_key().unwrap(), new_key().unwrap());
        let slot = |key: &SecretString, to: i64| Slot {
            key: key.clone(),
            certificate: Some(Certificate::read(&certificate(key, 0, to)).unwrap()),
        };
        let identity = Identity {
            pending: Some(slot(&new, 2 * HOUR)),
            active: Some(slot(&old, 4 * HOUR)),
            ca: None,
            data_plane: Some("dp-1".into()),
        };
        for (now, expected) in [(HOUR, &new), (3 * HOUR, &old)] {
            let Plan::Dial(client) = identity.plan(now, false) else { panic!() };
            assert_eq!(client.key.expose_secret(), expected.expose_secret());
        }
    }

    #[test]
    fn the_secret_holds_all_of_it_and_keeps_what_is_not_ours() {
        let key = new_key().unwrap();
        let mut identity = Identity { data_plane: Some("dp-1".into()), ..Identity::default() };
        identity.issued(key.clone(), &certificate(&key, 0, HOUR), Some("bundle".into())).unwrap();
        let mut secret = json!({ "metadata": { "resourceVersion": "1" }, "data": { "other": "eA==" } });
        identity.write(&mut secret);
        let read = Identity::read(&secret);
        assert_eq!(read.pending.unwrap().certificate, identity.pending.unwrap().certificate);
        assert_eq!((read.ca.as_deref(), read.data_plane.as_deref()), (Some("bundle"), Some("dp-1")));
        assert_eq!(secret["data"]["other"], "eA==");
        assert_eq!(secret["metadata"]["resourceVersion"], "1");

        Identity::default().write(&mut secret);
        assert_eq!(secret["data"], json!({ "other": "eA==" }));
    }

    #[test]
    fn a_damaged_secret_is_as_good_as_an_empty_one() {
        for data in [json!({ "active.key": "%%%", "active.crt": 3 }), json!("x"), json!({ "pending.key": "" })] {
            let identity = Identity::read(&json!({ "data": data }));
            assert_eq!(word(&identity.plan(0, false)), "make key", "{data}");
        }
    }

    #[test]
    fn a_request_and_a_proof_are_made_by_the_key() {
        let key = new_key().unwrap();
        let csr = certificate_request(&key).unwrap();
        assert!(csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        let (_, block) = x509_parser::pem::parse_x509_pem(csr.as_bytes()).unwrap();
        assert_eq!(block.label, "CERTIFICATE REQUEST");
        let signature = renewal_signature(&key, "dp-1", &csr, 17).unwrap();
        let public = KeyPair::from_pem(key.expose_secret()).unwrap();
        let public = rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .all
            .iter()
            .find(|algorithm| {
                let statement = renewal_statement("dp-1", &csr, 17);
                let signature = BASE64_STANDARD.decode(&signature).unwrap();
                algorithm.verify_signature(rcgen::PublicKeyData::der_bytes(&public), &statement, &signature).is_ok()
            })
            .copied();
        assert!(public.is_some(), "the signature does not verify");
    }

    #[test]
    fn nothing_secret_is_printed() {
        let key = new_key().unwrap();
        let identity = Identity { pending: Some(Slot { key: key.clone(), certificate: None }), ..Identity::default() };
        let body: String = key.expose_secret().lines().nth(1).unwrap().to_owned();
        assert!(!format!("{identity:?}").contains(&body));
        let error = certificate_request(&SecretString::from(body.clone())).unwrap_err();
        assert!(!format!("{error:?} {error}").contains(&body));
    }
}

//! Who this data plane is: keys and certificates in the one Secret that the link may read and write.
//!
//! The Secret has two slots. A new key or certificate goes to `pending` and becomes `active` only after the control plane has
//! welcomed a session with it, so that a step that fails half-way leaves the identity that worked. A new key is stored before it is
//! sent, so that the request can be repeated if the answer is lost. Each renewal over the link is for a new key; without a link the
//! existing key requests its own renewal. Once the pending key has a certificate the active one is not used any more: the control
//! plane may have seen the new one already, and takes the use of a replaced key for theft. This module is pure; `enrol` does the
//! rest.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use protocol::enrol::renewal_statement;
use protocol::mutant::{self, Mutant};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SigningKey as _};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::dial::ClientIdentity;
use crate::kinds::{LOCAL, is_data_plane_id};

/// Certificates begin so many seconds before they are issued.
const BACKDATED: i64 = 300;

/// Keys of the Secret.
mod field {
    pub(super) const PENDING_KEY: &str = "pending.key";
    pub(super) const PENDING_CERTIFICATE: &str = "pending.crt";
    pub(super) const ACTIVE_KEY: &str = "active.key";
    pub(super) const ACTIVE_CERTIFICATE: &str = "active.crt";
    pub(super) const PROPOSED: &str = "ca.crt";
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
    /// No session was welcomed with it yet.
    pub pending: Option<Slot>,
    /// A session was welcomed with it.
    pub active: Option<Slot>,
    /// CA bundle that the control plane handed out last, PEM. Shown to people and never trusted.
    pub proposed: Option<String>,
    /// Id from enrolment.
    pub data_plane: Option<String>,
}

/// The identity cannot be used or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A certificate that nobody can read.
    #[error("the certificate is unusable: {detail}")]
    Certificate { detail: String },
    /// An id that is no DNS label: in a label selector it could select objects of others.
    #[error(
        "the control plane names this data plane {id:?}, which cannot be the id of one: it must be a DNS label of at most 63 \
         characters and not {LOCAL}, since objects are found by it; give the data plane another id at the control plane and use a \
         token of it"
    )]
    DataPlaneId {
        /// As received, cut.
        id: String,
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
    /// Ask for a new certificate of this key, with the key as proof.
    Renew(Slot),
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

    fn is_of(&self, key: &SecretString) -> Result<bool, IdentityError> {
        let key = key_pair(key)?.subject_public_key_info();
        let leaf = x509_parser::pem::parse_x509_pem(self.pem.as_bytes()).ok();
        Ok(leaf.is_some_and(|(_, block)| block.parse_x509().is_ok_and(|leaf| leaf.public_key().raw == key)))
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

/// Whether `id` may be that of a data plane: an older agent stored any id unchecked.
///
/// # Errors
/// It may not.
pub fn usable(id: &str) -> Result<(), IdentityError> {
    let refused = || IdentityError::DataPlaneId { id: id.chars().take(100).collect() };
    is_data_plane_id(id).then_some(()).ok_or_else(refused)
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
            proposed: data(field::PROPOSED).map(|text| text.to_string()),
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
        put(field::PROPOSED, self.proposed.as_deref());
        put(field::DATA_PLANE, self.data_plane.as_deref());
    }

    /// What comes next, at `now` seconds since 1970. `renew`: the control plane does not take the certificate.
    #[must_use]
    pub fn plan(&self, now: i64, renew: bool) -> Plan {
        let certified = self.certified();
        if !renew && let Some(client) = certified.and_then(|slot| slot.usable(now)) {
            return Plan::Dial(client);
        }
        // A key with a certificate is registered: it can prove itself, however old the certificate.
        if self.data_plane.is_some()
            && let Some(slot) = certified
        {
            return Plan::Renew(slot.clone());
        }
        match &self.pending {
            Some(slot) => Plan::Enrol(slot.key.clone()),
            None => Plan::MakeKey,
        }
    }

    /// The certificate that the next dial uses, whatever its times.
    #[must_use]
    pub fn newest(&self) -> Option<ClientIdentity> {
        let slot = self.certified()?;
        Some(slot.client(slot.certificate.as_ref()?))
    }

    /// The newest key with a certificate.
    fn certified(&self) -> Option<&Slot> {
        [&self.pending, &self.active].into_iter().flatten().find(|slot| slot.certificate.is_some())
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

    /// The key for the next certificate over the link: the pending one, unless a session was welcomed with it, else a new one.
    /// `client` opened the present session.
    ///
    /// # Errors
    /// The system gives no random numbers. Nothing has changed then.
    pub fn next_key(&mut self, client: &ClientIdentity) -> Result<SecretString, IdentityError> {
        self.welcomed(client);
        let key = match &self.pending {
            Some(slot) => slot.key.clone(),
            None => match &self.active {
                Some(active) if mutant::is(Mutant::KeyKept) => active.key.clone(),
                Some(_) | None => new_key()?,
            },
        };
        self.pending.get_or_insert_with(|| Slot { key: key.clone(), certificate: None });
        Ok(key)
    }

    /// Takes the id that the control plane chose.
    ///
    /// # Errors
    /// It cannot be one. Nothing has changed then.
    pub fn named(&mut self, id: String) -> Result<(), IdentityError> {
        usable(&id)?;
        self.data_plane = Some(id);
        Ok(())
    }

    /// A new certificate for `key`: into the pending slot.
    ///
    /// # Errors
    /// It cannot be read, or is of another key. Nothing has changed then.
    pub fn issued(&mut self, key: SecretString, pem: &str, ca: Option<String>) -> Result<(), IdentityError> {
        let certificate = Certificate::read(pem)?;
        if !certificate.is_of(&key)? {
            return Err(IdentityError::Certificate {
                detail: "it is of another key than the one asked for".to_owned(),
            });
        }
        self.pending = Some(Slot { key, certificate: Some(certificate) });
        if ca.is_some() {
            self.proposed = ca;
        }
        Ok(())
    }

    /// The key whose certificate request is under way over the link.
    #[must_use]
    pub fn asked(&self) -> Option<&SecretString> {
        self.pending.as_ref().map(|slot| &slot.key)
    }

    /// Drops a pending identity whose key the control plane does not know, if the active one has another key. Returns whether it
    /// did. A pending key without a certificate stays: a token may be bound to it, and the answer was lost.
    pub fn fall_back(&mut self) -> bool {
        let key = |slot: &Option<Slot>| slot.as_ref().map(|slot| slot.key.expose_secret().to_owned());
        let certified = self.pending.as_ref().is_some_and(|slot| slot.certificate.is_some());
        let falls = self.active.is_some() && certified && key(&self.active) != key(&self.pending);
        if falls {
            self.pending = None;
        }
        falls
    }

    /// A session was welcomed with `client`: if that is the pending one, it is active from now on. Returns whether it is.
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
mod tests;

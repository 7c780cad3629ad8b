//! Getting and keeping a certificate: reads and writes the one Secret, spends the token, proves possession.
//!
//! [`Keeper`] is owned by the leader alone, which is checked before each write of the Secret. It never gives up by itself: every
//! error says whether trying again may help or a person is needed, and the next try reads token, bundle and Secret anew,
//! so that putting the right thing there is enough.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::enrol::{
    ENROL_PATH, EnrolError, EnrolRequest, EnrolResponse, EnrolmentToken, MAX_ENROL_BODY, RENEW_PATH, RenewRequest,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use tracing::{debug, info, warn};

use super::dial::{ClientIdentity, Dialer};
use super::identity::{
    Certificate, Identity, IdentityError, Plan, Slot, certificate_request, new_key, renewal_signature,
};
use super::store::{Call, Store, Table};
use crate::elector::Leadership;
#[cfg(feature = "failpoints")]
use crate::failpoints::{Act, Edge, reach};
use crate::settings::{ControlPlaneUrl, LinkSettings};

mod error;

pub use error::KeepError;

/// Steps from an empty Secret to a certificate; more means that it goes round in circles.
const MAX_STEPS: u8 = 5;

/// Keeps the identity of this data plane.
#[derive(Debug, Clone)]
pub struct Keeper<S> {
    store: S,
    leadership: Leadership,
    dialer: Dialer,
    url: ControlPlaneUrl,
    token_file: Option<PathBuf>,
    secret: String,
}

/// What is needed to dial.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Id of the data plane.
    pub data_plane: String,
    /// Certificate and key.
    pub client: ClientIdentity,
    /// Times of the certificate.
    pub certificate: Option<Certificate>,
    /// Fingerprints of certificates that the control plane hands out and that this installation does not trust.
    pub proposed: Vec<String>,
}

impl<S: Store> Keeper<S> {
    /// `secret` is the name of the one Secret.
    #[must_use]
    pub fn new(store: S, leadership: Leadership, dialer: Dialer, settings: &LinkSettings, secret: String) -> Self {
        Self {
            store,
            leadership,
            dialer,
            url: settings.control_plane.clone(),
            token_file: settings.enrolment_token_file.clone(),
            secret,
        }
    }

    /// A certificate to dial with: the stored one, a renewed one or a first one. `renew`: the control plane does not take the
    /// stored one.
    ///
    /// # Errors
    /// See [`KeepError`]. Not cancel safe in the sense that a spent token stays spent, but safe to repeat: the key is stored.
    pub async fn credentials(&self, mut renew: bool) -> Result<Credentials, KeepError> {
        let mut fresh = false;
        for _ in 0..MAX_STEPS {
            let (mut secret, mut identity) = self.read().await?;
            // A certificate that was issued just now is used even if this node's clock says that it is not valid.
            let plan = match identity.newest() {
                Some(client) if fresh => Plan::Dial(client),
                _ => identity.plan(now(), renew),
            };
            match plan {
                Plan::Dial(client) => {
                    let certificate = identity.certificate_of(&client).cloned();
                    let Some(data_plane) = identity.data_plane else {
                        return Err(KeepError::BadAnswer { detail: "the Secret has no data-plane-id".to_owned() });
                    };
                    super::identity::usable(&data_plane)?;
                    let proposed = self.dialer.proposed(identity.proposed.as_deref()).await;
                    return Ok(Credentials { data_plane, client, certificate, proposed });
                }
                Plan::MakeKey => {
                    if self.token().await.is_none() {
                        return Err(KeepError::NoToken);
                    }
                    identity.pending = Some(Slot { key: new_key()?, certificate: None });
                    identity.write(&mut secret);
                    self.write(secret).await?;
                }
                Plan::Enrol(key) => {
                    let token = self.token().await.ok_or(KeepError::NoToken)?;
                    let csr = certificate_request(&key)?;
                    let answer = self.post(ENROL_PATH, &EnrolRequest { token, csr }).await?;
                    self.keep(secret, identity, key, answer).await?;
                    info!("enrolled at the control plane");
                    (fresh, renew) = (true, false);
                }
                Plan::Renew(slot) => match self.renew(&identity, &slot).await {
                    Ok(answer) => {
                        self.keep(secret, identity, slot.key, answer).await?;
                        info!("certificate renewed with proof of possession");
                        (fresh, renew) = (true, false);
                    }
                    Err(error) if error.new_enrolment_may_help() && identity.fall_back() => {
                        warn!(%error, "the pending key is not known, going back to the active one");
                        identity.write(&mut secret);
                        self.write(secret).await?;
                    }
                    Err(error) if error.new_enrolment_may_help() && self.token().await.is_some() => {
                        debug!(%error, "the registered key is not taken any more, enrolling anew with the token that is there");
                        // If the token is refused too (an old one), report why the renewal was refused.
                        let anew = self.enrol_anew().await;
                        return if matches!(anew, Err(KeepError::Refused(_))) { Err(error) } else { anew };
                    }
                    Err(error) => return Err(error),
                },
            }
        }
        Err(KeepError::BadAnswer { detail: "certificates from the control plane never fit".to_owned() })
    }

    /// The control plane has taken the access of `rejected` away. Asks whether its key counts, and enrols with the token that is in
    /// place if not. None if the key counts: then nothing has changed that would let it in.
    ///
    /// # Errors
    /// See [`KeepError`]: the key does not count, and no token helps.
    pub async fn instead_of(&self, rejected: &ClientIdentity) -> Result<Option<Credentials>, KeepError> {
        let found = self.credentials(true).await?;
        let key = |client: &ClientIdentity| client.key.expose_secret().to_owned();
        Ok((key(&found.client) != key(rejected)).then_some(found))
    }

    /// Fingerprints of what the control plane handed out last and this installation does not trust.
    ///
    /// # Errors
    /// The Secret cannot be read.
    pub async fn proposed(&self) -> Result<Vec<String>, KeepError> {
        let (_, identity) = self.read().await?;
        Ok(self.dialer.proposed(identity.proposed.as_deref()).await)
    }

    /// A certificate request for a renewal over the link whose session `client` has opened: for a new key, which is stored first.
    ///
    /// # Errors
    /// The Secret cannot be read or written.
    pub async fn renewal_request(&self, client: &ClientIdentity) -> Result<String, KeepError> {
        let (mut secret, mut identity) = self.read().await?;
        let key = identity.next_key(client)?;
        let before = secret.clone();
        identity.write(&mut secret);
        if secret != before {
            self.write(secret).await?;
        }
        Ok(certificate_request(&key)?)
    }

    /// Stores a certificate renewed over the link. Returns it, and the fingerprints of certificates in `ca` that are not trusted
    /// here.
    ///
    /// # Errors
    /// The certificate cannot be read, or the Secret not be written.
    pub async fn renewed(&self, pem: &str, ca: Option<String>) -> Result<(Certificate, Vec<String>), KeepError> {
        let (mut secret, mut identity) = self.read().await?;
        let key =
            identity.asked().cloned().ok_or_else(|| IdentityError::Key { detail: "none was asked for".to_owned() })?;
        identity.issued(key, pem, ca)?;
        identity.write(&mut secret);
        self.write(secret).await?;
        Ok((Certificate::read(pem)?, self.dialer.proposed(identity.proposed.as_deref()).await))
    }

    /// A session was welcomed with `client`.
    ///
    /// # Errors
    /// The Secret cannot be read or written; the certificate stays pending then and is tried first again.
    pub async fn welcomed(&self, client: &ClientIdentity) -> Result<(), KeepError> {
        let (mut secret, mut identity) = self.read().await?;
        if identity.welcomed(client) {
            identity.write(&mut secret);
            self.write(secret).await?;
        }
        Ok(())
    }

    /// Enrols with a new key and the token. The active identity stays until a session was welcomed with the new one.
    async fn enrol_anew(&self) -> Result<Credentials, KeepError> {
        let (mut secret, mut identity) = self.read().await?;
        let token = self.token().await.ok_or(KeepError::NoToken)?;
        // If the answer was lost, the token is already bound to the pending key: use the same one again.
        let key = match &identity.pending {
            Some(Slot { key, certificate: None }) => key.clone(),
            Some(Slot { certificate: Some(_), .. }) | None => {
                let key = new_key()?;
                identity.pending = Some(Slot { key: key.clone(), certificate: None });
                identity.write(&mut secret);
                (secret, identity) = self.write(secret).await?;
                key
            }
        };
        let csr = certificate_request(&key)?;
        let answer = self.post(ENROL_PATH, &EnrolRequest { token, csr }).await?;
        let identity = self.keep(secret, identity, key, answer).await?;
        info!("enrolled anew at the control plane");
        let client =
            identity.newest().ok_or_else(|| IdentityError::Certificate { detail: "there is none".to_owned() })?;
        let certificate = identity.certificate_of(&client).cloned();
        let proposed = self.dialer.proposed(identity.proposed.as_deref()).await;
        Ok(Credentials { data_plane: identity.data_plane.unwrap_or_default(), client, certificate, proposed })
    }

    async fn renew(&self, identity: &Identity, Slot { key, certificate }: &Slot) -> Result<EnrolResponse, KeepError> {
        let data_plane = identity.data_plane.clone().unwrap_or_default();
        let (csr, time) = (certificate_request(key)?, now());
        let signature = renewal_signature(key, &data_plane, &csr, time)?;
        let certificate = certificate.as_ref().map(|certificate| certificate.pem.clone());
        self.post(RENEW_PATH, &RenewRequest { data_plane, csr, time, signature, certificate }).await
    }

    async fn keep(
        &self,
        mut secret: serde_json::Value,
        mut identity: Identity,
        key: SecretString,
        answer: EnrolResponse,
    ) -> Result<Identity, KeepError> {
        let EnrolResponse { data_plane, certificate, ca_bundle } = answer;
        if let Some(own) = &identity.data_plane
            && *own != data_plane
        {
            return Err(KeepError::OtherDataPlane { offered: data_plane, own: own.clone() });
        }
        identity.named(data_plane)?;
        identity.issued(key, &certificate, ca_bundle)?;
        identity.write(&mut secret);
        Ok(self.write(secret).await?.1)
    }

    async fn post<B: Serialize>(&self, path: &str, body: &B) -> Result<EnrolResponse, KeepError> {
        let body = serde_json::to_vec(body).map_err(|error| KeepError::BadAnswer { detail: error.to_string() })?;
        let answer = self.dialer.post(&self.url, path, body, MAX_ENROL_BODY).await?;
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body)
                .map_err(|_| KeepError::BadAnswer { detail: format!("no certificate in the answer to {path}") });
        }
        Err(match serde_json::from_slice::<EnrolError>(&answer.body) {
            Ok(error) => KeepError::Refused(error),
            Err(_) => KeepError::BadAnswer { detail: format!("status {} to POST {path}", answer.status.as_u16()) },
        })
    }

    async fn token(&self) -> Option<EnrolmentToken> {
        let text = SecretString::from(tokio::fs::read_to_string(self.token_file.as_ref()?).await.ok()?);
        let token = EnrolmentToken::new(text.expose_secret());
        (!token.expose().is_empty()).then_some(token)
    }

    async fn read(&self) -> Result<(serde_json::Value, Identity), KeepError> {
        let call = Call::Get { table: Table::Secret, name: self.secret.clone() };
        match self.store.call(call).await {
            Ok(Some(secret)) => {
                let identity = Identity::read(&secret);
                Ok((secret, identity))
            }
            Ok(None) => Err(KeepError::SecretMissing { name: self.secret.clone() }),
            Err(source) => Err(KeepError::Secret { name: self.secret.clone(), source }),
        }
    }

    async fn write(&self, secret: serde_json::Value) -> Result<(serde_json::Value, Identity), KeepError> {
        self.leadership.check()?;
        let call = Call::Update { table: Table::Secret, name: self.secret.clone(), body: secret };
        #[cfg(feature = "failpoints")]
        let point = Act::of_call(&call, false);
        #[cfg(feature = "failpoints")]
        reach(Edge::Before, point);
        let reply = self.store.call(call).await;
        #[cfg(feature = "failpoints")]
        reach(Edge::After, point.filter(|_| reply.is_ok()));
        match reply {
            Ok(Some(secret)) => {
                let identity = Identity::read(&secret);
                Ok((secret, identity))
            }
            Ok(None) => Err(KeepError::SecretMissing { name: self.secret.clone() }),
            Err(source) => Err(KeepError::Secret { name: self.secret.clone(), source }),
        }
    }
}

/// Seconds since 1970 by the clock of this node.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

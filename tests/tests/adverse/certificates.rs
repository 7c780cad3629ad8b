//! Certificates outside their validity, on both sides: the agent renews its own, and reports the control plane's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use control_plane_mock::domain::SCHEMA;
use control_plane_mock::store::{Store, setting};
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use tests::guest::Guest;
use tests::support::{LIMIT, agent};
use tests::testbed::wait_until;

use super::impostor::{Days, Impostor, URL, set_times};
use super::then_mend;

const EXPIRED: Days = (-3, -2);
const NOT_YET: Days = (2, 3);

#[tokio::test]
async fn a_control_plane_with_an_expired_or_future_certificate_is_told_apart_by_the_clock() {
    let (mut guest, token) = Guest::new("wrong-times").await;
    let impostor = Impostor::start(&agent().await.bed, EXPIRED);
    guest.install(Some(&token), json!({ "controlPlane": { "url": URL, "caBundle": impostor.ca } })).await;
    guest.is_told("UntrustedCertificate", &["it expired at", "the clock of this node is ahead"]).await;
    impostor.show(NOT_YET);
    guest.is_told("UntrustedCertificate", &["it is valid from", "the clock of this node is behind"]).await;
    // The token was not sent to the untrusted server, so it is still valid.
    guest.install(Some(&token), json!({})).await;
    guest.connects().await;
    guest.close().await;
}

#[tokio::test]
async fn an_agent_with_an_expired_or_future_certificate_renews_it_by_its_key_without_a_person() {
    let plane = &agent().await.control_plane;
    let (mut guest, token) = Guest::new("stale").await;
    guest.install(Some(&token), json!({})).await;
    guest.connects().await;
    for days in [EXPIRED, NOT_YET] {
        plane.stop().await.unwrap();
        let replaced = async {
            let identity = guest.identity().await;
            let text = |field: &str| {
                let data = identity["data"][field].as_str().unwrap_or_default();
                String::from_utf8(STANDARD.decode(data).unwrap()).unwrap()
            };
            let [certificate, key] = match identity["data"]["pending.key"].as_str() {
                Some(_) => ["pending.crt", "pending.key"],
                None => ["active.crt", "active.key"],
            };
            let pem = certify(&text(key), &text("data-plane-id"), days).await;
            let encoded = STANDARD.encode(&pem);
            guest.set_identity(json!({ certificate: encoded })).await;
            (encoded, text("data-plane-id"))
        };
        let (replaced, id) = then_mend(replaced, async { plane.restart().await.unwrap() }).await;
        guest.connects().await;
        let renewals = plane.pdpctl().record(&format!("what=Renew&dataPlane={id}")).await.unwrap();
        let by_key = |one: &Value| one["data"]["by"] == "https" && one["data"]["accepted"] == true;
        assert!(renewals.iter().any(by_key), "{days:?}: connected without a renewal: {renewals:?}");
        wait_until(LIMIT, "a good certificate to be kept", || async {
            let data = guest.identity().await["data"].take();
            if data["active.crt"] == replaced.as_str() { Err("the bad one is there") } else { Ok(()) }
        })
        .await
        .unwrap();
    }
    guest.close().await;
}

/// A certificate as the control plane issues them, for another time.
async fn certify(key: &str, data_plane: &str, days: Days) -> String {
    let store = agent().await.control_plane.state().join("store.db");
    let store = Store::open(Some(&store), SCHEMA, |_| {}).unwrap();
    let root = store.run(|c| Ok(setting(c, "ca_certificate")?.zip(setting(c, "ca_key")?))).await.unwrap();
    let (root, root_key) = root.unwrap();
    let issuer = Issuer::from_ca_cert_pem(&root, KeyPair::from_pem(&root_key).unwrap()).unwrap();
    let mut params = CertificateParams::default();
    let uri = format!("spiffe://{}/data-plane/{data_plane}", control_plane_mock::gateway::ca::TRUST_DOMAIN);
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(uri).unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    set_times(&mut params, days);
    params.signed_by(&KeyPair::from_pem(key).unwrap(), &issuer).unwrap().pem()
}

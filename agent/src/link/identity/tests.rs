//! From an empty Secret to a session, and back after damage.

use protocol::mutant::{self, Mutant};

use super::*;

const HOUR: i64 = 3600;

/// A certificate for `key` that lives from `from` to `to`, seconds since 1970.
fn certificate(key: &SecretString, from: i64, to: i64) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    let at = |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds.unsigned_abs());
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
fn a_pending_certificate_goes_first_and_renews_itself_when_it_has_ended() {
    let (old, new) = (new_key().unwrap(), new_key().unwrap());
    let slot = |key: &SecretString, to: i64| Slot {
        key: key.clone(),
        certificate: Some(Certificate::read(&certificate(key, 0, to)).unwrap()),
    };
    let identity = Identity {
        pending: Some(slot(&new, 2 * HOUR)),
        active: Some(slot(&old, 4 * HOUR)),
        proposed: None,
        data_plane: Some("dp-1".into()),
    };
    let Plan::Dial(client) = identity.plan(HOUR, false) else { panic!() };
    assert_eq!(client.key.expose_secret(), new.expose_secret());
    // The control plane may have welcomed the new key already: use of the older one, though its certificate is still valid, would
    // look like theft.
    for (now, renew) in [(HOUR, true), (3 * HOUR, false), (3 * HOUR, true)] {
        let Plan::Renew(slot) = identity.plan(now, renew) else { panic!() };
        assert_eq!(slot.key.expose_secret(), new.expose_secret());
    }
}

#[test]
fn every_crash_of_a_rotation_goes_on_with_a_key_that_counts() {
    let (old, new) = (new_key().unwrap(), new_key().unwrap());
    let slot = |key: &SecretString, to: i64| {
        let certificate = (to > 0).then(|| Certificate::read(&certificate(key, 0, to)).unwrap());
        Some(Slot { key: key.clone(), certificate })
    };
    // Killed after: nothing, storing the new key or asking, storing its certificate or the welcome, storing it as active. The cut
    // outlasts the old certificate, or both.
    for (situation, pending, active, now, expected, key) in [
        ("nothing", None, slot(&old, 2 * HOUR), HOUR, "dial", &old),
        ("stored", slot(&new, 0), slot(&old, 2 * HOUR), HOUR, "dial", &old),
        ("stored, long cut", slot(&new, 0), slot(&old, 2 * HOUR), 3 * HOUR, "renew", &old),
        ("certified", slot(&new, 4 * HOUR), slot(&old, 2 * HOUR), HOUR, "dial", &new),
        ("certified, old one over", slot(&new, 4 * HOUR), slot(&old, 2 * HOUR), 3 * HOUR, "dial", &new),
        ("certified, long cut", slot(&new, 4 * HOUR), slot(&old, 2 * HOUR), 5 * HOUR, "renew", &new),
        ("active", None, slot(&new, 4 * HOUR), HOUR, "dial", &new),
        ("active, long cut", None, slot(&new, 4 * HOUR), 5 * HOUR, "renew", &new),
    ] {
        let mut identity = Identity { pending, active, data_plane: Some("dp-1".into()), ..Identity::default() };
        let plan = identity.plan(now, false);
        let used = match &plan {
            Plan::Dial(client) => client.key.clone(),
            Plan::Renew(slot) => slot.key.clone(),
            Plan::Enrol(_) | Plan::MakeKey => panic!("{situation}: a person is needed"),
        };
        assert_eq!((word(&plan), used.expose_secret()), (expected, key.expose_secret()), "{situation}");

        // Renewed if needed, and welcomed: the next renewal is for a key that is not used, the same one until there is an answer.
        if let Plan::Renew(slot) = plan {
            identity.issued(slot.key.clone(), &certificate(&slot.key, 0, 9 * HOUR), None).unwrap();
        }
        let client = identity.newest().unwrap();
        assert_eq!(client.key.expose_secret(), key.expose_secret(), "{situation}");
        let next = identity.next_key(&client).unwrap();
        assert_ne!(next.expose_secret(), key.expose_secret(), "{situation}");
        let mut secret = json!({});
        identity.write(&mut secret);
        let mut identity = Identity::read(&secret);
        assert_eq!(identity.next_key(&client).unwrap().expose_secret(), next.expose_secret(), "{situation}");
        assert_eq!(identity.asked().unwrap().expose_secret(), next.expose_secret(), "{situation}");
        identity.issued(next.clone(), &certificate(&next, 0, 9 * HOUR), None).unwrap();
        let Plan::Dial(client) = identity.plan(HOUR, false) else { panic!("{situation}") };
        assert_eq!(client.key.expose_secret(), next.expose_secret(), "{situation}");
        assert!(identity.welcomed(&client) && identity.pending.is_none(), "{situation}");
    }
}

#[test]
fn a_renewal_for_the_key_that_there_is_would_be_seen() {
    let keys = || {
        let key = new_key().unwrap();
        let mut identity = Identity { data_plane: Some("dp-1".into()), ..Identity::default() };
        identity.issued(key.clone(), &certificate(&key, 0, HOUR), None).unwrap();
        let Plan::Dial(client) = identity.plan(60, false) else { panic!("{identity:?}") };
        (key, identity.next_key(&client).unwrap())
    };
    mutant::choose(Some(Mutant::KeyKept));
    let (kept, same) = keys();
    mutant::choose(None);
    assert_eq!(kept.expose_secret(), same.expose_secret());
    let (old, new) = keys();
    assert_ne!(old.expose_secret(), new.expose_secret());
}

#[test]
fn a_certificate_of_another_key_is_not_kept() {
    let (key, other) = (new_key().unwrap(), new_key().unwrap());
    let mut identity = Identity::default();
    let error = identity.issued(key, &certificate(&other, 0, HOUR), None).unwrap_err();
    assert!(error.to_string().contains("of another key"), "{error}");
    assert!(identity.pending.is_none());
}

#[test]
fn an_unknown_pending_key_gives_way_to_the_active_one_and_never_to_itself() {
    let (old, new) = (new_key().unwrap(), new_key().unwrap());
    let slot = |key: &SecretString| {
        let certificate = Certificate::read(&certificate(key, 0, HOUR)).ok();
        Some(Slot { key: key.clone(), certificate })
    };
    let mut other = Identity { pending: slot(&new), active: slot(&old), ..Identity::default() };
    assert!(other.fall_back() && other.pending.is_none() && !other.fall_back());
    let mut same = Identity { pending: slot(&old), active: slot(&old), ..Identity::default() };
    assert!(!same.fall_back() && same.pending.is_some());
    let mut first = Identity { pending: slot(&new), ..Identity::default() };
    assert!(!first.fall_back() && first.pending.is_some());
    let asked = Some(Slot { key: new, certificate: None });
    let mut waits = Identity { pending: asked, active: slot(&old), ..Identity::default() };
    assert!(!waits.fall_back() && waits.pending.is_some(), "a token may be bound to it");
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
    assert_eq!((read.proposed.as_deref(), read.data_plane.as_deref()), (Some("bundle"), Some("dp-1")));
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

#[test]
fn an_id_that_could_ask_for_what_belongs_to_others_is_refused() {
    for id in ["", "local", "a,local", "a)", "in (a)", "A", "a b", "-a", "a/b", "ü", &"x".repeat(64)] {
        let mut identity = Identity::default();
        let error = identity.named(id.to_owned()).unwrap_err();
        assert!(error.to_string().contains("must be a DNS label of at most 63 characters and not local"), "{error}");
        assert_eq!(identity.data_plane, None, "{id}");
    }
    for id in ["dp-1", "dp-0123456789abcdef0123456789abcdef"] {
        let mut identity = Identity::default();
        identity.named(id.to_owned()).unwrap();
        assert_eq!(identity.data_plane.as_deref(), Some(id));
    }
}

//! Whom an installation trusts, and who is trusted to be it: pins, an announced CA, a key from an old backup.

use control_plane_mock::domain::SCHEMA;
use control_plane_mock::gateway::authority::{RotationStep, step};
use control_plane_mock::store::Store;
use serde_json::{Value, json};
use tests::support::{LIMIT, agent};
use tests::testbed::wait_until;

use super::then_mend;
use tests::guest::Guest;

/// So that renewals need no waiting.
const SHORT: [&str; 2] = ["--certificate-lifetime", "20s"];

#[tokio::test]
async fn a_key_that_is_not_pinned_is_told_with_the_pin_that_it_would_need() {
    let (mut guest, token) = Guest::new("pinned").await;
    let other = "sha256/LHDhK3oGRvkiefQnx7OOczTY5Tic/xZ6HcMOc/gmtoM=";
    guest.install(Some(&token), json!({ "controlPlane": { "pins": [other] } })).await;
    guest.is_told("UnpinnedKey", &["none of controlPlane.pins", "sha256/"]).await;
    let message = guest.condition().await.unwrap()["message"].as_str().unwrap_or_default().to_owned();
    let seen = message.split_whitespace().find(|word| word.starts_with("sha256/")).unwrap().trim_end_matches(';');
    guest.install(Some(&token), json!({ "controlPlane": { "pins": [other, seen] } })).await;
    guest.connects().await;
    guest.close().await;
}

#[tokio::test]
async fn an_announced_ca_is_shown_until_it_is_in_the_bundle() {
    let plane = &agent().await.control_plane;
    let (mut guest, token) = Guest::new("announced").await;
    guest.install(Some(&token), json!({})).await;
    guest.connects().await;
    take(RotationStep::Announce).await;
    let shown = async {
        plane.with(&SHORT).restart().await.unwrap();
        let proposed = wait_until(LIMIT * 2, "the condition CaProposed", || async {
            let condition = guest.condition_of("CaProposed").await?;
            let message = condition["message"].as_str().unwrap_or_default().to_owned();
            if message.contains("controlPlane.caBundle") { Ok(message) } else { Err(condition.to_string()) }
        });
        let message = proposed.await.unwrap();
        let (_, said) = guest.doctor().await;
        assert!(said.contains(&message), "the doctor does not repeat {message}: {said}");
        assert!(guest.log().await.contains(&message), "the log does not say {message}");
        // The usual values have the CA bundle that the control plane hands out now: both CAs.
        guest.install(None, json!({})).await;
        guest.connects().await;
        wait_until(LIMIT, "the condition to go", || async {
            match guest.condition_of("CaProposed").await {
                Ok(condition) => Err(condition.to_string()),
                Err(_) => Ok(()),
            }
        })
        .await
        .unwrap();
        guest.close().await;
    };
    let mend = async {
        take(RotationStep::Back).await;
        plane.restart().await.unwrap();
        agent().await.connected(LIMIT).await.unwrap();
    };
    then_mend(shown, mend).await;
}

async fn take(next: RotationStep) {
    let store = agent().await.control_plane.state().join("store.db");
    let store = Store::open(Some(&store), SCHEMA, |_| {}).unwrap();
    store.run(move |c| step(c, next)).await.unwrap();
}

#[tokio::test]
async fn an_identity_out_of_an_old_backup_is_locked_until_a_person_gives_a_token() {
    let plane = &agent().await.control_plane;
    let cli = plane.pdpctl().within("acme", "");
    let (mut guest, token) = Guest::new("backup").await;
    plane.with(&SHORT).restart().await.unwrap();
    let locked = async {
        guest.install(Some(&token), json!({})).await;
        guest.connects().await;
        let mut backup = guest.identity().await["data"].take();
        wait_until(LIMIT * 2, "a new key in use", || async {
            let now = guest.identity().await["data"].take();
            let rotated = now["active.key"].is_string()
                && ![&backup["active.key"], &backup["pending.key"]].contains(&&now["active.key"]);
            if rotated { Ok(()) } else { Err("the key is the same") }
        })
        .await
        .unwrap();
        for slot in ["pending.key", "pending.crt", "active.key", "active.crt"] {
            // What the backup does not have is removed.
            if backup[slot].is_null() {
                backup[slot] = Value::Null;
            }
        }
        guest.set_identity(backup).await;
        guest.restart_link().await;
        guest.is_told("IdentityLocked", &["has been replaced", "find out who has it", "pdpctl create enrolment"]).await;
        let seen = cli.run(&["get", "data-plane", &guest.name]).await.unwrap();
        assert!(seen.contains("Locked") && seen.contains("has been replaced"), "{seen}");
        let enrolment = cli.json(&["create", "enrolment", &guest.name]).await.unwrap();
        guest.install(enrolment["token"].as_str(), json!({})).await;
        guest.connects().await;
        guest.close().await;
    };
    let mend = async {
        plane.restart().await.unwrap();
        agent().await.connected(LIMIT).await.unwrap();
    };
    then_mend(locked, mend).await;
}

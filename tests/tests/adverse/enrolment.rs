//! An installation that cannot enrol says why where a person looks, and needs nothing but the right thing to go on.

use anyhow::ensure;
use serde_json::json;
use tests::guest::Guest;
use tests::support::{LIMIT, agent};
use tests::testbed::wait_until;

use super::then_mend;

#[tokio::test]
async fn an_expired_token_is_told_and_a_new_one_is_enough() {
    let plane = &agent().await.control_plane;
    plane.with(&["--token-lifetime", "1s"]).restart().await.unwrap();
    let made = async {
        let (guest, _) = Guest::new("expired").await;
        let cli = plane.pdpctl().within("acme", "");
        (cli.json(&["create", "enrolment", &guest.name]).await.unwrap(), guest, cli)
    };
    let (enrolment, mut guest, cli) = then_mend(made, async { plane.restart().await.unwrap() }).await;
    let end: jiff::Timestamp = enrolment["expires"].as_str().unwrap().parse().unwrap();
    let over = || async { if jiff::Timestamp::now() > end { Ok(()) } else { Err("it lives") } };
    wait_until(LIMIT, "the token's end", over).await.unwrap();
    guest.install(enrolment["token"].as_str(), json!({})).await;
    guest.is_told("TokenExpired", &["has expired", "pdpctl create enrolment"]).await;
    let seen = cli.run(&["get", "data-plane", &guest.name]).await.unwrap();
    assert!(seen.contains("NotEnrolled") && seen.contains("this enrolment token has expired"), "{seen}");
    let enrolment = cli.json(&["create", "enrolment", &guest.name]).await.unwrap();
    guest.install(enrolment["token"].as_str(), json!({})).await;
    guest.connects().await;
    guest.close().await;
}

#[tokio::test]
async fn a_token_that_another_installation_has_used_is_told_and_changes_nothing_for_that_one() {
    let (mut first, token) = Guest::new("first").await;
    first.install(Some(&token), json!({})).await;
    first.connects().await;
    let (mut second, _) = Guest::new("second").await;
    second.install(Some(&token), json!({})).await;
    second.is_told("TokenUsed", &["used by another key", "find out who used it", "pdpctl create enrolment"]).await;
    // The first one's renewals begin a session anew and take the note away until the second asks again.
    let cli = agent().await.control_plane.pdpctl().within("acme", "");
    wait_until(LIMIT, "the first to be connected, and the token to be told", || async {
        let condition = first.condition().await.map_err(anyhow::Error::msg)?;
        let seen = cli.run(&["get", "data-plane", &first.name]).await?;
        let told = seen.contains("Connected") && seen.contains("used by another key");
        ensure!(told && condition["status"] == "True", "{condition} {seen}");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();
    first.close().await;
    second.close().await;
}

#[tokio::test]
async fn a_wrong_authority_is_told_with_the_value_to_correct() {
    let (mut guest, token) = Guest::new("wrong-ca").await;
    let key = rcgen::KeyPair::generate().unwrap();
    let stranger = rcgen::CertificateParams::new(vec!["stranger.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    guest.install(Some(&token), json!({ "controlPlane": { "caBundle": stranger.pem() } })).await;
    guest
        .is_told(
            "UntrustedCertificate",
            &["an authority that this installation does not know", "controlPlane.caBundle"],
        )
        .await;
    guest.install(Some(&token), json!({})).await;
    guest.connects().await;
    guest.close().await;
}

#[tokio::test]
async fn an_agent_that_starts_before_its_control_plane_says_so_and_connects_once_it_is_up() {
    let plane = &agent().await.control_plane;
    let (mut guest, token) = Guest::new("early").await;
    plane.stop().await.unwrap();
    let waiting = async {
        guest.install(Some(&token), json!({})).await;
        guest.is_told("Unreachable", &["control-plane.test port 8443", "is the control plane up"]).await;
    };
    then_mend(waiting, async { plane.restart().await.unwrap() }).await;
    guest.connects().await;
    guest.close().await;
}

#[tokio::test]
async fn a_token_of_another_data_plane_is_refused_and_one_of_its_own_goes_on() {
    let plane = &agent().await.control_plane;
    let cli = plane.pdpctl().within("acme", "");
    let (mut guest, token) = Guest::new("own").await;
    guest.install(Some(&token), json!({})).await;
    guest.connects().await;
    let (other, foreign) = Guest::new("other").await;
    cli.run(&["revoke", &guest.name]).await.unwrap();
    guest.install(Some(&foreign), json!({})).await;
    guest
        .is_told("OtherDataPlane", &["the token enrols data plane", "but this installation is", "use a token of"])
        .await;
    let other = cli.json(&["get", "data-plane", &other.name]).await.unwrap();
    assert_ne!(other["status"], "Connected", "{other}");
    let enrolment = cli.json(&["create", "enrolment", &guest.name]).await.unwrap();
    guest.install(enrolment["token"].as_str(), json!({})).await;
    guest.connects().await;
    guest.close().await;
}

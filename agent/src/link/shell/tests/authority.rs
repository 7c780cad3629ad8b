//! Whom the link trusts: the bundle of the installation alone, a pin in addition, and a change of authority that a customer
//! follows.

use control_plane_mock::ControlPlane;
use control_plane_mock::gateway::authority::{RotationStep, step};

use super::*;
use crate::settings::Pin;

/// The store outlives the control plane, and certificates are renewed often enough to hear of what is handed out.
async fn lasting() -> (tempfile::TempDir, Config, ControlPlane, Agent) {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        store: Some(folder.path().join("store")),
        certificate_lifetime: Duration::from_secs(4),
        ..Config::default()
    };
    let (plane, _api, agent) = pair(config.clone()).await;
    let config = Config { listen: plane.address(), ..config };
    (folder, config, plane, agent)
}

async fn take(plane: ControlPlane, next: RotationStep, config: &Config) -> ControlPlane {
    plane.store().run(move |c| step(c, next)).await.unwrap();
    plane.shutdown().await;
    control_plane(config.clone()).await
}

fn trusts(agent: &Agent, pem: &str) {
    std::fs::write(&agent.bundle, pem).unwrap();
}

#[tokio::test]
async fn a_ca_that_is_handed_out_is_shown_and_not_trusted() {
    let (_folder, config, plane, agent) = lasting().await;
    let old = plane.ca().to_owned();
    let running = agent.run();
    agent.until_connected().await;
    assert_eq!(agent.proposed(), None);

    let plane = take(plane, RotationStep::Announce, &config).await;
    let message = until("the proposal", async || agent.proposed()).await;
    assert!(message.contains("SHA-256") && message.contains("--set-file controlPlane.caBundle="), "{message}");
    let plane = take(plane, RotationStep::Switch, &config).await;
    let message = agent.until_reason("UntrustedCertificate").await;
    assert!(message.contains("controlPlane.caBundle"), "{message}");

    // A bundle that an older agent stored is not trusted either.
    assert!(agent.secret("ca.crt").is_some());
    let plane = take(plane, RotationStep::Back, &config).await;
    trusts(&agent, &old);
    agent.until_connected().await;
    running.stop().await;
    let other = control_plane(Config::default()).await;
    trusts(&agent, other.ca());
    other.shutdown().await;
    agent.leadership.send_replace(leading(2));
    let running = agent.run();
    agent.until_reason("UntrustedCertificate").await;
    trusts(&agent, &old);
    agent.until_connected().await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn whoever_follows_the_announcement_never_loses_the_link() {
    let (_folder, config, plane, agent) = lasting().await;
    let old = plane.ca().to_owned();
    let running = agent.run();
    agent.until_connected().await;

    let plane = take(plane, RotationStep::Announce, &config).await;
    until("the proposal", async || agent.proposed()).await;
    let both = plane.ca().to_owned();
    assert!(both.starts_with(&old));
    trusts(&agent, &both);
    until("the proposal to be taken", async || agent.proposed().is_none().then_some(())).await;

    let untrusted = async || {
        let why = agent.connected().map(|(_, reason, _)| reason);
        assert_ne!(why.as_deref(), Some("UntrustedCertificate"));
    };
    let plane = take(plane, RotationStep::Switch, &config).await;
    let first = agent.secret("active.crt");
    until("a certificate of the new authority", async || {
        untrusted().await;
        (agent.secret("active.crt") != first).then_some(())
    })
    .await;
    let plane = take(plane, RotationStep::Finish, &config).await;
    let new = plane.ca().to_owned();
    assert!(!new.contains(&old) && both.ends_with(&new));
    let second = agent.secret("active.crt");
    until("a certificate after the end of the old authority", async || {
        untrusted().await;
        (agent.secret("active.crt") != second).then_some(())
    })
    .await;
    trusts(&agent, &new);
    agent.until_connected().await;
    assert_eq!(agent.proposed(), None);
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_key_that_is_not_pinned_is_refused_though_its_certificate_is_trusted() {
    let (plane, _api, mut agent) = pair(Config::default()).await;
    agent.pins = vec![Pin::of(b"another key")];
    let running = agent.run();
    let message = agent.until_reason("UnpinnedKey").await;
    running.stop().await;
    // The message names the pin to add. The server without that pin got no request: the token is still unused.
    let seen = message.split_whitespace().find_map(|word| word.trim_end_matches(';').parse().ok()).unwrap();
    agent.pins.push(seen);
    let running = agent.run();
    agent.until_connected().await;
    running.stop().await;
    plane.shutdown().await;
}

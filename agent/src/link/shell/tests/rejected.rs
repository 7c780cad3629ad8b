//! A control plane that takes the access away, or does not know the address: minutes pass before the next dial, whatever the answer was,
//! unless another key, token or bundle is there.

use control_plane_mock::ControlPlane;

use super::*;

/// How often a fault may still happen.
fn left(plane: &ControlPlane) -> Option<u32> {
    plane.faults().list().first().and_then(|scripted| scripted.times)
}

/// Waits until the agent has asked whether its key counts, and has stored the answer, which makes `writes` of the Secret in all, and for
/// what follows at once.
async fn asked(plane: &ControlPlane, agent: &Agent, writes: usize) {
    until("a renewal without the link", async || {
        let https = |entry: &control_plane_mock::record::Entry| entry.what == "Renew" && entry.data["by"] == "https";
        (plane.record().after(0).iter().any(https) && agent.store.writes(Table::Secret) >= writes).then_some(())
    })
    .await;
    // What comes at once has come by the next tick.
    tokio::time::sleep(TICK).await;
}

#[tokio::test]
async fn a_rejected_upgrade_is_not_made_again_at_once_and_another_token_ends_the_wait() {
    for (status, reason) in [(404, "NotFound"), (403, "AccessRevoked")] {
        let (plane, _api, agent) = pair(Config::default()).await;
        plane.faults().add(fault(Fault::RefuseUpgrade { status, retry_after: None }, 3));
        let running = agent.run();
        agent.until_reason(reason).await;
        // A key, its certificate, and the renewed one.
        asked(&plane, &agent, 3).await;
        assert_eq!(left(&plane), Some(2), "one upgrade");
        plane.faults().clear();
        let token = std::fs::read_to_string(&agent.token).unwrap();
        std::fs::write(&agent.token, format!("{token}\n")).unwrap();
        agent.until_connected().await;
        running.stop().await;
        plane.shutdown().await;
    }
}

#[tokio::test]
async fn a_session_that_is_closed_as_revoked_is_not_dialled_again_at_once() {
    let (plane, _api, agent) = pair(Config::default()).await;
    let running = agent.run();
    agent.until_connected().await;
    assert_eq!(sessions(&plane), 1);
    plane.faults().add(fault(Fault::Close { code: 4007 }, 1));
    agent.until_reason("AccessRevoked").await;
    // A key, its certificate, the promotion of both, and the renewed one.
    asked(&plane, &agent, 4).await;
    assert_eq!(sessions(&plane), 1);
    running.stop().await;
    plane.shutdown().await;
}

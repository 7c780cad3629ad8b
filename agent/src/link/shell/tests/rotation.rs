//! A new key at every renewal: over crashes, cuts longer than a certificate lives, and an identity that somebody else holds too.

use control_plane_mock::ControlPlane;

use super::*;

const LIFETIME: Duration = Duration::from_secs(4);

async fn short_lived() -> (ControlPlane, Api, Agent) {
    pair(Config { certificate_lifetime: LIFETIME, ..Config::default() }).await
}

async fn key_after(agent: &Agent, old: &str) -> String {
    until("another key in use", async || agent.secret("active.key").filter(|now| now != old)).await
}

async fn shown(api: &Api) -> Value {
    api.call("GET", HOME, Value::Null).await
}

#[tokio::test]
async fn each_renewal_over_the_link_is_for_a_new_key_and_without_one_the_key_renews_itself() {
    let (plane, _api, agent) = short_lived().await;
    let running = agent.run();
    let first = until("promotion", async || agent.secret("active.key")).await;
    let second = key_after(&agent, &first).await;
    key_after(&agent, &second).await;
    agent.until_connected().await;
    running.stop().await;

    // Whichever key had the last certificate: that has ended, and the key gets a new one.
    let newest = || agent.secret("pending.crt").and(agent.secret("pending.key")).or_else(|| agent.secret("active.key"));
    let last = newest().unwrap();
    tokio::time::sleep(LIFETIME + Duration::from_secs(1)).await;
    agent.leadership.send_replace(leading(2));
    let running = agent.run();
    until("the same key in use", async || (agent.secret("active.key")? == last).then_some(())).await;
    agent.until_connected().await;
    key_after(&agent, &last).await;
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_rotation_that_breaks_off_anywhere_goes_on_without_a_person() {
    let (plane, api, agent) = short_lived().await;
    let mut keys = std::collections::BTreeSet::new();
    for turn in 1..=6 {
        agent.leadership.send_replace(leading(turn));
        let running = agent.run();
        agent.until_connected().await;
        if turn % 2 == 0 {
            agent.store.fail_next_write(Table::Secret, StoreFault::LoseAnswer);
        }
        // A different moment of the certificate's life each time, and once after its end.
        tokio::time::sleep(LIFETIME * u32::try_from(turn).unwrap() / 4).await;
        keys.extend(agent.secret("active.key"));
        running.stop().await;
        assert_ne!(shown(&api).await["status"], "Locked", "turn {turn}");
    }
    assert!(keys.len() > 1, "no new key was used");
    plane.shutdown().await;
}

#[tokio::test]
async fn an_identity_out_of_an_old_backup_is_locked_says_so_and_takes_a_new_token() {
    let (plane, api, agent) = short_lived().await;
    let running = agent.run();
    let first = until("promotion", async || agent.secret("active.key")).await;
    let backup = agent.store.get(Table::Secret, "pdp-agent-identity").unwrap()["data"].clone();
    key_after(&agent, &first).await;
    running.stop().await;

    agent.store.edit(Table::Secret, "pdp-agent-identity", |secret| secret["data"] = backup.clone());
    agent.leadership.send_replace(leading(2));
    let running = agent.run();
    let message = agent.until_reason("IdentityLocked").await;
    assert!(message.contains("has been replaced") && message.contains("pdpctl create enrolment"), "{message}");
    let locked = shown(&api).await;
    assert_eq!(locked["status"], "Locked", "{locked}");
    assert!(message.contains(locked["message"].as_str().unwrap()), "{message}");

    let enrolment = api.post(&format!("{HOME}/enrolment"), Value::Null).await;
    std::fs::write(&agent.token, enrolment["token"].as_str().unwrap()).unwrap();
    agent.until_connected().await;
    assert_eq!(shown(&api).await["status"], "Connected");
    running.stop().await;
    plane.shutdown().await;
}

#[tokio::test]
async fn a_stolen_identity_is_noticed_by_the_next_one_who_uses_it() {
    let (plane, api, owner) = short_lived().await;
    let running = owner.run();
    owner.until_connected().await;
    let first = until("promotion", async || owner.secret("active.key")).await;
    running.stop().await;

    // The thief says the same of itself as the owner would, and renews.
    let thief = Agent::new(&plane, "");
    let stolen = owner.store.get(Table::Secret, "pdp-agent-identity").unwrap()["data"].clone();
    thief.store.edit(Table::Secret, "pdp-agent-identity", |secret| secret["data"] = stolen.clone());
    thief.leadership.send_replace(leading(2));
    let running = thief.run();
    key_after(&thief, &first).await;
    running.stop().await;

    owner.leadership.send_replace(leading(3));
    let running = owner.run();
    owner.until_reason("IdentityLocked").await;
    assert_eq!(shown(&api).await["status"], "Locked");
    running.stop().await;
    plane.shutdown().await;
}

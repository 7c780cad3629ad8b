//! The vault that all environments share is sealed: what runs goes on, what is new waits and says for what.

use tests::support::canary::{everything_said, leaks};
use tests::support::{LIMIT, agent, ask, deploy, objects, phase, place, put_secrets};
use tests::testbed::{Sample, Testbed, wait_until};

use super::then_mend;

#[tokio::test]
async fn a_sealed_vault_stalls_what_is_new_and_hurts_nothing_that_runs() {
    let bed = &agent().await.bed;
    let (running, waiting) = (place("sealed-runs").await, place("sealed-waits").await);
    for place in [&running, &waiting] {
        put_secrets(place, "s").await;
    }
    assert_eq!(deploy(&running, Sample::HttpbinOld, &[]).await.code, 0);
    bed.vault_seal().await.unwrap();
    let deploying = deploy(&waiting, Sample::HttpbinNew, &[]);
    let looking = async {
        let row = phase(&waiting, "httpbin", "Stalled").await;
        let message = row["message"].as_str().unwrap_or_default();
        assert!(message.contains("VaultSealed") && message.contains("unsealed"), "{message}");
        assert!(!message.contains("vault.customer.test"), "the control plane hears where the vault is: {message}");
        // Repair needs no vault.
        let name = objects(&running, "deployments").await.unwrap()[0]["metadata"]["name"].as_str().unwrap().to_owned();
        bed.kubectl(&["delete", "deployment", &name, "-n", &running.namespace, "--wait=true"]).await.unwrap();
        wait_until(LIMIT, "the deleted Deployment to serve again", || async {
            let answer = ask(&running, "/version").await.map_err(|error| error.to_string())?;
            if answer.contains(Testbed::sample_version(Sample::HttpbinOld)) { Ok(()) } else { Err(answer) }
        })
        .await
        .unwrap();
        assert!(objects(&waiting, "deployments").await.unwrap().is_empty(), "something was made without its secret");
    };
    let looking = then_mend(looking, async { bed.vault_unseal().await.unwrap() });
    let (ended, ()) = tokio::join!(deploying, looking);
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[tokio::test]
async fn a_login_that_the_vault_refuses_says_whom_and_where_in_the_cluster_only_and_shows_no_token() {
    let bed = &agent().await.bed;
    let place = place("no-login").await;
    let canary = format!("canary/{}", uuid::Uuid::new_v4());
    put_secrets(&place, &canary).await;
    let role = |role: &'static str| async move {
        let patch = serde_json::json!({ "spec": { "vault": { "role": role } } }).to_string();
        let policy = ["dataplanepolicies.pdp-agent.dev", "default", "-n", "pdp-agent", "--type=merge", "-p", &patch];
        bed.kubectl(&[&["patch"], &policy[..]].concat()).await.unwrap();
    };
    role("nobody").await;
    let deploying = deploy(&place, Sample::HttpbinOld, &[]);
    let looking = async {
        let row = phase(&place, "httpbin", "Stalled").await;
        let message = row["message"].as_str().unwrap_or_default();
        assert!(message.contains("VaultDenied") && message.contains("operator's log"), "{message}");
        for word in ["vault.customer.test", "nobody", &place.namespace] {
            assert!(!message.contains(word), "the control plane hears {word}: {message}");
        }
        let log = bed.kubectl(&["logs", "-n", "pdp-agent", "deploy/pdp-agent-operator", "--tail=2000"]).await.unwrap();
        let line = log.lines().find(|line| line.contains("refuses to log in") && line.contains(&*place.namespace));
        let line = line.unwrap_or_else(|| panic!("the operator's log does not say what the vault refuses: {log}"));
        for word in ["vault.customer.test:8200", "pdp-vault", "nobody", "bind"] {
            assert!(line.contains(word), "{word} is not in {line}");
        }
        let said = everything_said(&place).await.unwrap();
        assert_eq!(leaks(&said, &canary), [""; 0]);
    };
    let looking = then_mend(looking, role("pdp-agent"));
    let (ended, ()) = tokio::join!(deploying, looking);
    assert_eq!(ended.code, 0, "{ended:?}");
}

//! No secret value outside its Secret, the vault and the process that needs it.

use serde_json::json;
use tests::support::canary::{everything_said, forms, leaks};
use tests::testbed::{Sample, wait_until};

use tests::support::{LIMIT, agent, component, deploy, phase, place, put_secrets};

#[tokio::test]
async fn a_secret_is_found_nowhere_but_in_its_secret_at_the_most_talkative_level_too() {
    let canary = format!("canary/{}", uuid::Uuid::new_v4());
    let place = place("canary").await;
    let bed = &agent().await.bed;
    let level = |level: &'static str| async move {
        let patch = json!({ "spec": { "logLevel": level } }).to_string();
        let patch = ["patch", "dataplanes.pdp-agent.dev", "default", "-n", "pdp-agent", "--type=merge", "-p", &patch];
        bed.kubectl(&patch).await.unwrap();
    };
    level("Trace").await;
    for role in ["link", "operator"] {
        wait_until(LIMIT, &format!("{role} to say everything"), || async {
            let args = ["logs", &format!("deploy/pdp-agent-{role}"), "-n", "pdp-agent", "--tail=-1"];
            let log = bed.kubectl(&args).await.map_err(|error| error.to_string())?;
            let set = log.lines().any(|line| line.contains("log level set") && line.contains("Trace"));
            if set { Ok(()) } else { Err("the level is another one".to_owned()) }
        })
        .await
        .unwrap();
    }
    // A release that works, one whose key is missing beside the value, and one whose path is missing.
    put_secrets(&place, &canary).await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    let image = bed.sample(Sample::HttpbinOld).unwrap();
    for (name, reference) in [("no-key", "path: httpbin, key: absent"), ("no-path", "path: nowhere, key: api-token")] {
        let text = format!(
            "apiVersion: pdp-agent.dev/v1alpha1\nkind: Component\nname: {name}\ntype: Service\nimage: {image}\n\
             env:\n- name: HTTPBIN_ENV_A\n  secretRef: {{{reference}}}\n"
        );
        let deploying = component(&place, &text);
        let looking = async {
            let row = phase(&place, name, "Stalled").await;
            assert!(row["message"].as_str().unwrap().contains("SecretMissing"), "{row}");
            place.cli.run(&["undeploy", name, "--environment", "dev"]).await.unwrap();
        };
        // Somebody asked for something else meanwhile.
        let (ended, ()) = tokio::join!(deploying, looking);
        assert_ne!(ended.code, 0, "{ended:?}");
        assert!(forms(&canary).iter().all(|form| !format!("{ended:?}").contains(form)), "{ended:?}");
    }
    let said = everything_said(&place).await.unwrap();
    level("Info").await;
    assert_eq!(leaks(&said, &canary), [""; 0]);
    // The search can find: the Secret itself holds it.
    let secrets = bed.kubectl(&["get", "secrets", "-n", &place.namespace, "-o", "yaml"]).await.unwrap();
    assert_ne!(leaks(&[("secrets".to_owned(), secrets)], &canary), [""; 0], "the search would not find it either");
}

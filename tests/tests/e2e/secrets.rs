//! No secret value outside its Secret, the vault and the process that needs it.

use serde_json::json;
use tests::support::canary::{everything_said, leaks};
use tests::testbed::{Sample, wait_until};

use tests::support::{LIMIT, agent, deploy, phase, place, put_secrets};

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
            let last = log.lines().rfind(|line| line.contains("log level set"));
            if last.is_some_and(|line| line.contains("Trace")) {
                Ok(())
            } else {
                Err("the level is another one".to_owned())
            }
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
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("component.yaml");
        std::fs::write(&file, text).unwrap();
        place.cli.run(&["deploy", "-f", &file.to_string_lossy(), "--environment", "dev"]).await.unwrap();
        let row = phase(&place, name, "Stalled").await;
        assert!(row["message"].as_str().unwrap().contains("SecretMissing"), "{row}");
    }
    let said = everything_said(&place).await.unwrap();
    level("Info").await;
    assert_eq!(leaks(&said, &canary), [""; 0]);
    // The search itself works: it finds the value in the Secret.
    let secrets = bed.kubectl(&["get", "secrets", "-n", &place.namespace, "-o", "yaml"]).await.unwrap();
    assert_ne!(leaks(&[("secrets".to_owned(), secrets)], &canary), [""; 0], "the search would not find it either");
}

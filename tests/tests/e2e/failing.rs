//! Whatever goes wrong in a deployment ends in a message that the developer sees, and nothing is lost.

use serde_json::Value;
use tests::installation::Place;
use tests::testbed::{Sample, Testbed, wait_until};

use tests::support::{LIMIT, agent, ask, component, component_within, deploy, phase, place, put_secrets, release};

#[tokio::test]
async fn a_crashing_version_goes_back_by_itself_once_and_says_why() {
    let place = place("crash").await;
    put_secrets(&place, "s").await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    // The probe image ends at once with an error when it is given a command that it does not know.
    let image = agent().await.bed.sample(Sample::Probe).unwrap();
    let ended = component(&place, &format!("{SERVICE}image: {image}\nargs: [no-such-command]\n")).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let row = phase(&place, "httpbin", "RolledBack").await;
    assert!(facts(&row).contains(&"Failed".to_owned()) && facts(&row).contains(&"RolledBack".to_owned()), "{row}");
    let answer = ask(&place, "/version").await.unwrap();
    assert!(answer.contains(Testbed::sample_version(Sample::HttpbinOld)), "{answer}");
    // A good version after it is taken at once.
    assert_eq!(deploy(&place, Sample::HttpbinNew, &[]).await.code, 0);
}

#[tokio::test]
async fn an_absent_image_stalls_while_the_old_version_serves() {
    let place = place("absent").await;
    put_secrets(&place, "s").await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    let image = format!("registry.customer.test:5000/httpbin@sha256:{}", "0".repeat(64));
    let ended = component_within(&place, &format!("{SERVICE}image: {image}\n"), "30s").await;
    assert_eq!(ended.code, 3, "{ended:?}");
    says(&place, "Stalled", &["image"]).await;
    assert!(ask(&place, "/version").await.unwrap().contains(Testbed::sample_version(Sample::HttpbinOld)));
}

#[tokio::test]
async fn a_root_image_fails_with_the_reason() {
    let place = place("root").await;
    let image = agent().await.bed.sample(Sample::HttpbinOld).unwrap();
    let ended = component(&place, &format!("{SERVICE}image: {image}\nsecurity: {{runAsUser: 0}}\n")).await;
    assert_ne!(ended.code, 0, "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("component.yaml:7") && said.contains("root"), "{said}");
}

#[tokio::test]
async fn a_missing_secret_names_path_and_key_and_goes_on_once_it_is_there() {
    let place = place("secret").await;
    let image = agent().await.bed.sample(Sample::HttpbinOld).unwrap();
    let text =
        format!("{SERVICE}image: {image}\nenv:\n- name: API_TOKEN\n  secretRef: {{path: late/one, key: token}}\n");
    let waiting = component(&place, &text);
    let watching = async {
        says(&place, "Stalled", &["late/one"]).await;
        let bed = &agent().await.bed;
        bed.vault_put(&format!("{}/late/one", place.namespace), serde_json::json!({ "other": "x" })).await.unwrap();
        says(&place, "Stalled", &["late/one", "token"]).await;
        bed.vault_put(&format!("{}/late/one", place.namespace), serde_json::json!({ "token": "x" })).await.unwrap();
    };
    let (ended, ()) = tokio::join!(waiting, watching);
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[tokio::test]
async fn a_quota_that_is_used_up_stalls_with_its_words() {
    let agent = agent().await;
    let project = format!("quota-{}", &uuid::Uuid::new_v4().simple().to_string()[..6]);
    let place = agent.environment_with(&project, &["--quota-pods", "1"]).await.unwrap();
    let image = agent.bed.sample(Sample::HttpbinOld).unwrap();
    let ended = component_within(&place, &format!("{SERVICE}image: {image}\nscaling: {{replicas: 4}}\n"), "50s").await;
    assert_eq!(ended.code, 3, "{ended:?}");
    says(&place, "Stalled", &["quota"]).await;
}

#[tokio::test]
async fn an_admission_policy_of_the_customer_speaks_before_anything_changes() {
    let place = place("admission").await;
    put_secrets(&place, "s").await;
    let bed = &agent().await.bed;
    let name = format!("no-widgets-{}", place.project);
    let namespace = &place.namespace;
    bed.apply(&format!(
        "{{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {{name: {name}}}, spec: {{\
         matchConstraints: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}, resourceRules: [\
         {{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}}]}}, \
         validations: [{{expression: \"object.metadata.labels.exists(l, l == 'allowed-by-us')\", message: ask the platform team for a widget}}]}}}}\n---\n\
         {{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {{name: {name}}}, spec: {{\
         policyName: {name}, validationActions: [Deny]}}}}\n"
    ))
    .await
    .unwrap();
    wait_until(LIMIT, "the policy to be in force", || async {
        let args = ["create", "deployment", "try", "--image=none", "--dry-run=server", "-n", &place.namespace];
        match bed.kubectl(&args).await {
            Err(error) if error.to_string().contains("widget") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    let image = bed.sample(Sample::HttpbinOld).unwrap();
    let text = format!("{SERVICE}image: {image}\n");
    let waiting = component(&place, &text);
    let watching = async {
        says(&place, "Stalled", &["ask the platform team for a widget"]).await;
        bed.kubectl(&["delete", "validatingadmissionpolicybinding", &name]).await.unwrap();
    };
    let (_, ()) = tokio::join!(waiting, watching);
    bed.kubectl(&["delete", "validatingadmissionpolicy", &name]).await.unwrap();
    phase(&place, "httpbin", "Ready").await;
}

const SERVICE: &str = "apiVersion: pdp-agent.dev/v1alpha1\nkind: Component\nname: httpbin\ntype: Service\n\
                       endpoints: [{name: http, port: 8080, kind: HTTP}]\n";

/// Waits until the release is in this phase with all these words in its message.
async fn says(place: &Place, phase: &str, words: &[&str]) {
    wait_until(LIMIT, &format!("{phase} with {words:?}"), || async {
        let row = release(place, "httpbin").await.map_err(|error| error.to_string())?;
        let message = row["message"].as_str().unwrap_or_default().to_lowercase();
        if row["phase"] == phase && words.iter().all(|word| message.contains(word)) {
            Ok(())
        } else {
            Err(row.to_string())
        }
    })
    .await
    .unwrap();
}

fn facts(row: &Value) -> Vec<String> {
    let facts = row["facts"].as_array().cloned().unwrap_or_default();
    facts.iter().filter_map(|fact| fact["kind"].as_str()).map(str::to_owned).collect()
}

//! Bad input: every refusal names the field, the rule and the fix, and nothing reaches the cluster.

use tests::testbed::Sample;

use tests::support::{agent, component, objects, place};

const HEAD: &str = "apiVersion: pdp-agent.dev/v1alpha1\nkind: Component\nname: httpbin\ntype: Service\n";

#[tokio::test]
async fn a_malformed_file_is_refused_with_its_line() {
    refused("bad-yaml", "apiVersion: [\n", 2, &["component.yaml:1"]).await;
}

#[tokio::test]
async fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let image = agent().await.bed.sample(Sample::HttpbinOld).unwrap();
    refused("bad-key", &format!("{HEAD}image: {image}\nendpionts: []\n"), 2, &["endpionts", "endpoints", "component.yaml:6"])
        .await;
}

#[tokio::test]
async fn an_image_by_tag_is_refused_with_the_way_to_its_digest() {
    refused("bad-tag", &format!("{HEAD}image: registry.customer.test:5000/httpbin:latest\n"), 2, &["by digest", "skopeo inspect"])
        .await;
}

#[tokio::test]
async fn a_registry_that_the_customer_does_not_allow_is_refused_by_the_agent() {
    let image = format!("registry.example.com/httpbin@sha256:{}", "1".repeat(64));
    refused("bad-registry", &format!("{HEAD}image: {image}\n"), 1, &["registry.example.com", "registr"]).await;
}

#[tokio::test]
async fn an_unknown_environment_is_refused_with_those_that_exist() {
    let place = place("bad-env").await;
    let ended = place.cli.ended(&["status", "--environment", "devv"]).await.unwrap();
    assert_ne!(ended.code, 0, "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("devv") && said.contains("dev"), "{said}");
}

/// Deploys `text`, expects this exit code and these words, and finds the namespace empty.
async fn refused(name: &str, text: &str, code: i32, words: &[&str]) {
    let place = place(name).await;
    let ended = component(&place, text).await;
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, code, "{said}");
    for word in words {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
    assert!(objects(&place, "deployments").await.unwrap().is_empty(), "something was made");
}

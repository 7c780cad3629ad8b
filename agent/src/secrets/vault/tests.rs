use serde_json::json;

use super::fake::{self, Answer, login, serve};
use super::*;

const READER: Reader<'static> =
    Reader { namespace: "dp-acme-shop-dev", organization: "acme", project: "shop", environment: "dev" };

fn policy(address: &str) -> VaultPolicy {
    serde_json::from_value(json!({
        "address": address, "mount": "secret", "authMount": "kubernetes", "role": "pdp", "audience": "vault",
        "prefix": "{organization}/{environment}",
    }))
    .unwrap()
}

fn reference(path: &str, key: &str) -> SecretRef {
    SecretRef { path: path.to_owned(), key: key.to_owned(), version: None }
}

async fn jwt() -> Result<SecretString, std::fmt::Error> {
    Ok(SecretString::from("jwt"))
}

fn secret(body: serde_json::Value) -> Answer {
    fake::secret("GET /v1/secret/data/acme/dev/db", body)
}

async fn read(rules: Vec<Answer>, reference: SecretRef) -> Result<String, VaultError> {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let (address, _, _server) = serve(rules).await;
    let references = BTreeMap::from([("env.A".to_owned(), reference)]);
    let values = Vault::default().read(&policy(&address), &READER, &references, jwt).await?;
    Ok(String::from_utf8(values["env.A"].expose_secret().to_vec()).unwrap())
}

#[tokio::test]
async fn a_value_is_read_below_the_prefix_of_its_environment() {
    let rules = vec![login(), secret(json!({"password": "canary", "port": 5432}))];
    assert_eq!(read(rules.clone(), reference("db", "password")).await.unwrap(), "canary");
    assert_eq!(read(rules, reference("db", "port")).await.unwrap(), "5432");
}

#[tokio::test]
async fn every_refusal_has_a_reason_and_names_what_to_do() {
    let errors = |status: u16, start: &'static str| (start, status, json!({"errors": ["no"]}).to_string());
    let data = "GET /v1/secret/data/acme/dev/db";
    let deleted = json!({"data": {"data": null, "metadata": {}}}).to_string();
    // The condition, and so the control plane, gets neither vault nor mount, prefix or role.
    let internal = ["127.0.0.1", "secret/", "acme/dev", "dp-acme-shop-dev", "role pdp"];
    for (rules, reason, part) in [
        (vec![errors(503, "POST")], "VaultSealed", "sealed"),
        (vec![errors(403, "POST")], "VaultDenied", "namespace dp-acme-shop-dev"),
        (vec![login(), errors(403, data)], "VaultDenied", "secret/acme/dev/db"),
        (vec![login(), errors(404, data)], "SecretMissing", "nothing at secret/acme/dev/db"),
        (vec![login(), (data, 404, deleted)], "SecretMissing", "nothing at secret/acme/dev/db"),
        (vec![login(), secret(json!({"user": "canary"}))], "SecretMissing", "no key password at secret/acme/dev/db"),
        (vec![login(), errors(500, data)], "VaultUnavailable", "status 500"),
    ] {
        let error = read(rules, reference("db", "password")).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(part), "{part} in {text}");
        assert!(!text.contains("canary") && !text.contains("s.token"), "{text}");
        let outside = error.outside();
        assert!(outside.starts_with("the vault ") && !internal.iter().any(|word| outside.contains(word)), "{outside}");
        assert_eq!(outside.contains("secretRef.path db"), text.contains("secret/acme/dev/db"), "{outside}");
    }
}

#[tokio::test]
async fn an_unreachable_vault_is_named_by_its_address() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let references = BTreeMap::from([("env.A".to_owned(), reference("db", "password"))]);
    let error = Vault::default().read(&policy("http://127.0.0.1:1"), &READER, &references, jwt).await.unwrap_err();
    assert_eq!(error.reason(), "VaultUnavailable");
    assert!(error.to_string().contains("http://127.0.0.1:1 cannot be reached"), "{error}");
}

#[tokio::test]
async fn a_vault_is_not_asked_in_clear_over_the_network() {
    let references = BTreeMap::from([("env.A".to_owned(), reference("db", "password"))]);
    for address in ["http://vault.example.com:8200", "http://127.0.0.1.example.com", "http://10.0.0.1"] {
        let error = Vault::default().read(&policy(address), &READER, &references, jwt).await.unwrap_err();
        assert_eq!(error.reason(), "VaultSettings");
        assert!(error.to_string().contains("address is not https"), "{error}");
    }
}

#[test]
fn placeholders_of_the_prefix_are_replaced() {
    for (prefix, path) in [
        ("{organization}/{project}/{environment}/", "acme/shop/dev/db"),
        ("/{namespace}", "dp-acme-shop-dev/db"),
        ("", "db"),
    ] {
        let policy = VaultPolicy { prefix: prefix.to_owned(), ..policy("https://x") };
        assert_eq!(full_path(&policy, &READER, "db"), path);
    }
}

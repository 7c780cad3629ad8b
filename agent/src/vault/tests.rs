use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

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

/// Answers one request per connection by the first rule whose start matches the request line.
async fn serve(rules: Vec<(&'static str, u16, String)>) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 8192];
            let read = socket.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let rule = rules.iter().find(|(start, _, _)| request.starts_with(start));
            let (status, body) = rule.map_or((500, String::new()), |(_, status, body)| (*status, body.clone()));
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            socket.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    (address, tasks)
}

/// What surrounds every answer of a vault.
fn envelope(mut body: serde_json::Value) -> serde_json::Value {
    for (key, value) in
        [("lease_id", json!("")), ("lease_duration", json!(0)), ("renewable", json!(false)), ("request_id", json!("r"))]
    {
        body[key] = value;
    }
    body
}

fn login() -> (&'static str, u16, String) {
    let auth = envelope(
        json!({"auth": {"client_token": "s.token", "accessor": "", "policies": [], "token_policies": [], "metadata": null,
        "lease_duration": 600, "renewable": true, "entity_id": "", "token_type": "service", "orphan": true}}),
    );
    ("POST /v1/auth/kubernetes/login", 200, auth.to_string())
}

fn secret(body: serde_json::Value) -> (&'static str, u16, String) {
    let metadata =
        json!({"created_time": "", "deletion_time": "", "custom_metadata": null, "destroyed": false, "version": 1});
    (
        "GET /v1/secret/data/acme/dev/db",
        200,
        envelope(json!({"data": {"data": body, "metadata": metadata}})).to_string(),
    )
}

async fn read(rules: Vec<(&'static str, u16, String)>, reference: SecretRef) -> Result<String, VaultError> {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let (address, _server) = serve(rules).await;
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

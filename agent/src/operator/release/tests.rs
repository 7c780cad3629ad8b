//! What a round asks of the API server and of the vault.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::*;
use crate::kinds::{DataPlanePolicy, Environment};
use crate::operator::environment::KEY_SECRET;
use crate::operator::fixture;
use crate::operator::fixture::server::{self, Server};
use crate::operator::object::fixed::namespace_name;
use crate::operator::world::index::Own;
use crate::vault::fake;

/// An environment that is ready, and one release in it that nobody has looked at.
fn put(shared: &Shared, vault: &str) -> Release {
    let own = |kind: &str, name: &str, spec: Value, status: Value| {
        json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": kind, "spec": spec, "status": status,
            "metadata": {"name": name, "uid": name, "resourceVersion": "1", "generation": 1}})
    };
    let environment: Environment = serde_json::from_value(own(
        "Environment",
        "shop-dev",
        json!({"state": "Present", "organization": "acme", "project": "shop", "environment": "dev"}),
        json!({"namespace": namespace_name("acme", "shop", "dev"), "conditions": [{"type": "Ready", "status": "True",
            "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
    ))
    .unwrap();
    let policy = json!({
        "registries": [{"prefix": "registry.example.com/"}],
        "logs": {"mode": "Disabled"},
        "vault": {"address": vault, "mount": "secret", "authMount": "kubernetes", "role": "r", "audience": "vault", "prefix": ""},
    });
    let release: Release = serde_json::from_value(own("Release", "web", json!(fixture::service()), json!({}))).unwrap();
    let mut contents = shared.index.lock();
    contents.policy = Some(DataPlanePolicy::new("default", serde_json::from_value(policy).unwrap()));
    contents.environments.insert("shop-dev".to_owned(), Own::Read(Arc::new(environment)));
    contents.releases.insert("web".to_owned(), Own::Read(Arc::new(release.clone())));
    release
}

/// What admission read for the Secret's name is what the Secret is made of.
#[tokio::test]
async fn the_round_that_takes_up_new_content_asks_vault_and_key_once() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let value = json!({"password": "value", "token": "value"});
    let [db, api] = ["GET /v1/secret/data/shop/db", "GET /v1/secret/data/shop/api"];
    let rules = vec![fake::login(), fake::secret(db, value.clone()), fake::secret(api, value)];
    let (address, asked, _vault) = fake::serve(rules).await;
    let server: Arc<Mutex<Server>> = Arc::default();
    let namespace = namespace_name("acme", "shop", "dev");
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
    let key = json!({"kind": "Secret", "metadata": {"name": KEY_SECRET, "uid": "k", "resourceVersion": "1"}, "data": {"key": "a2V5"}});
    server.lock().unwrap().objects.insert(format!("{secrets}/{KEY_SECRET}"), key);
    let shared = server::shared(&server);
    let release = put(&shared, &address);

    Release::reconcile(&shared, "web", &release, Timestamp::UNIX_EPOCH).await.unwrap();

    let asked = asked.lock().unwrap().clone();
    let of = |part: &str| asked.iter().filter(|line| line.contains(part)).count();
    assert_eq!((of("/login"), of("/shop/db"), of("/shop/api")), (1, 1, 1), "{asked:?}");
    let server = server.lock().unwrap();
    let keys = server.asked.iter().filter(|line| **line == format!("GET {secrets}/{KEY_SECRET}")).count();
    assert_eq!(keys, 1, "{:?}", server.asked);
    let made = server.objects.iter().find(|(path, _)| path.starts_with(&format!("{secrets}/web-secret-")));
    let (path, made) = made.unwrap_or_else(|| panic!("no Secret was made: {:?}", server.asked));
    let values: Vec<&Value> = made["data"].as_object().unwrap().values().collect();
    assert_eq!(values, ["dmFsdWU=", "dmFsdWU="], "{path}");
}

/// Nothing serves yet that a refusal in the middle could hurt: only a pod is tried before.
#[tokio::test]
async fn a_first_release_takes_at_most_ten_calls() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let shared = server::shared(&server);
    let mut release = put(&shared, "http://127.0.0.1:1");
    release.spec.body = fixture::small_service();
    let status = "/apis/pdp-agent.dev/v1alpha1/namespaces/pdp/releases/web/status";
    let mut calls = 0;
    loop {
        Release::reconcile(&shared, "web", &release, Timestamp::UNIX_EPOCH).await.unwrap();
        let server = server.lock().unwrap();
        if server.asked.len() == calls {
            break;
        }
        calls = server.asked.len();
        if let Some(stored) = server.objects.get(status) {
            let mut stored = stored.clone();
            stored["spec"] = json!(release.spec);
            release = serde_json::from_value(stored).unwrap();
        }
    }
    let asked = server.lock().unwrap().asked.clone();
    assert!(asked.iter().any(|line| line.ends_with("/deployments")), "{asked:#?}");
    assert!(asked.len() <= 10, "{asked:#?}");
}

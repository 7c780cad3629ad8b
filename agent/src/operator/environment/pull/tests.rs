//! Where copies come and go, against an API server of a few lines: objects by path, and what was asked of it.

use std::sync::{Arc, Mutex};

use protocol::document::ReleaseSpec;
use serde_json::Value;

use super::*;
use crate::kinds::{DataPlanePolicy, SecurityLevel};
use crate::operator::fixture::{self, server, server::Server};

const COPY: &str = "/api/v1/namespaces/env/secrets/";

/// A leader with this API server, and a policy of two registries with a pull Secret each.
fn shared(server: &Arc<Mutex<Server>>) -> Shared {
    let shared = server::shared(server);
    let registries = json!([
        {"prefix": "registry.example.com/", "pullSecret": "reg"},
        {"prefix": "quay.example.com/", "pullSecret": "quay"},
    ]);
    shared.index.lock().policy = Some(policy(registries));
    shared
}

fn policy(registries: Value) -> DataPlanePolicy {
    let spec = json!({"registries": registries, "logs": {"mode": "Disabled"}});
    DataPlanePolicy::new("default", serde_json::from_value(spec).unwrap())
}

fn put(contents: &mut Contents, name: &str, spec: &ReleaseSpec, status: &Value) {
    let release = json!({
        "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Release", "metadata": {"name": name}, "spec": spec, "status": status,
    });
    contents.releases.insert(name.to_owned(), Own::Read(std::sync::Arc::new(serde_json::from_value(release).unwrap())));
}

#[tokio::test]
async fn a_copy_comes_with_the_first_release_of_its_registry_and_goes_when_nothing_needs_it() {
    let api = Arc::<Mutex<Server>>::default();
    for source in ["reg", "quay"] {
        let secret = json!({"kind": "Secret", "metadata": {"name": source}, "type": "Opaque", "data": {"k": source}});
        api.lock().unwrap().objects.insert(format!("/api/v1/namespaces/pdp/secrets/{source}"), secret);
    }
    let shared = shared(&api);
    let copies = || {
        let api = api.lock().unwrap();
        let below = api.objects.iter().filter(|(path, _)| path.starts_with(COPY));
        below.map(|(_, copy)| copy["data"]["k"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keep(&shared, "shop-dev", "env").await.unwrap(), None);
    assert_eq!(copies(), [""; 0], "an environment without releases holds no credentials");

    put(&mut shared.index.lock(), "web", &fixture::service(), &json!({}));
    let place = may_run::Prepared {
        environment: "shop-dev".to_owned(),
        namespace: "env".to_owned(),
        owner: ["acme", "shop", "dev"].map(str::to_owned),
        level: SecurityLevel::Restricted,
    };
    ensure(&shared, &place, "reg").await.unwrap();
    assert_eq!(copies(), ["reg"]);
    keep(&shared, "shop-dev", "env").await.unwrap();
    assert_eq!(copies(), ["reg"]);

    // The release goes; its Deployment is still there.
    shared.index.lock().releases.clear();
    let deployment = json!({"spec": {"template": {"spec": {"imagePullSecrets": [{"name": name("reg")}]}}}});
    api.lock().unwrap().objects.insert("/apis/apps/v1/namespaces/env/deployments/web".to_owned(), deployment);
    keep(&shared, "shop-dev", "env").await.unwrap();
    assert_eq!(copies(), ["reg"], "pods are still made with it");
    api.lock().unwrap().objects.retain(|path, _| !path.contains("deployments"));
    api.lock().unwrap().asked.clear();
    keep(&shared, "shop-dev", "env").await.unwrap();
    assert_eq!(copies(), [""; 0]);
    // The check whether it may be removed fetched no content.
    let asked = api.lock().unwrap().asked.clone();
    let fetched = |line: &&String| line.starts_with("GET") && line.contains("/secrets/") && !line.ends_with("(head)");
    assert_eq!(asked.iter().filter(fetched).count(), 0, "{asked:?}");
    assert!(asked.contains(&format!("GET {COPY}{} (head)", name("reg"))), "{asked:?}");
}

#[test]
fn a_pull_secret_is_needed_where_a_release_is_served_from_its_registry_or_shall_be() {
    let registries = json!([
        {"prefix": "registry.example.com/", "pullSecret": "reg"},
        {"prefix": "old.example.com/", "pullSecret": "old"},
        {"prefix": "quay.example.com/", "pullSecret": "quay"},
        {"prefix": "open.example.com/"},
    ]);
    let mut contents = Contents::default();
    contents.policy = Some(policy(registries));
    let mut needed = |name: &str, spec: ReleaseSpec, status: Value| -> Vec<String> {
        put(&mut contents, name, &spec, &status);
        sources(&contents, "shop-dev").into_iter().filter_map(|(name, needed)| needed.then_some(name)).collect()
    };
    let mut absent = fixture::service();
    absent.state = Desired::Absent;
    let elsewhere = ReleaseSpec { environment: Some("shop-prod".to_owned()), ..fixture::service() };
    let free = ReleaseSpec { image: Some(fixture::IMAGE.replace("registry", "open")), ..fixture::service() };
    let none: Vec<String> = Vec::new();
    assert_eq!(needed("absent", absent, json!({})), none);
    assert_eq!(needed("elsewhere", elsewhere, json!({})), none);
    assert_eq!(needed("free", free, json!({})), none);
    // The previous image serves until the new one does, and a run may still be made from it.
    let serves = json!({"effective": {"revision": "r", "image": fixture::IMAGE.replace("registry", "old")}});
    assert_eq!(needed("web", fixture::service(), serves), ["old", "reg"]);
    assert_eq!(needed("web", fixture::service(), json!({})), ["reg"]);
    let mut gated = policy(
        json!([{"prefix": "registry.example.com/", "pullSecret": "reg"}, {"prefix": "tools.example.com/", "pullSecret": "tools"}]),
    );
    let gate = json!({"image": fixture::IMAGE.replace("registry", "tools")});
    gated.spec.start_gate = serde_json::from_value(gate).unwrap();
    contents.policy = Some(gated);
    let needed = |environment: &str| sources(&contents, environment).values().filter(|needed| **needed).count();
    assert_eq!((needed("shop-dev"), needed("shop-empty")), (2, 0), "the start gate of its pods is pulled too");
    contents.policy = None;
    assert_eq!(sources(&contents, "shop-dev").len(), 0);
}

#[tokio::test]
async fn a_source_of_another_type_makes_the_copy_anew() {
    let api = Arc::<Mutex<Server>>::default();
    let source = |kind: &str| {
        let secret = json!({"kind": "Secret", "metadata": {"name": "reg"}, "type": kind, "data": {"k": "v"}});
        api.lock().unwrap().objects.insert("/api/v1/namespaces/pdp/secrets/reg".to_owned(), secret);
    };
    let shared = shared(&api);
    put(&mut shared.index.lock(), "web", &fixture::service(), &json!({}));
    for kind in ["Opaque", "kubernetes.io/dockerconfigjson"] {
        source(kind);
        api.lock().unwrap().asked.clear();
        assert_eq!(keep(&shared, "shop-dev", "env").await.unwrap(), None);
        let copy = format!("{COPY}{}", name("reg"));
        let api = api.lock().unwrap();
        assert_eq!(api.objects[&copy]["type"], kind);
        assert!(!api.asked.iter().any(|line| line.starts_with("PATCH")), "a type cannot be changed: {:?}", api.asked);
    }
    source("kubernetes.io/dockercfg");
    let told = keep(&shared, "shop-dev", "env").await.unwrap().unwrap();
    assert!(told.message.contains("not of type kubernetes.io/dockerconfigjson"), "{}", told.message);
    assert_eq!(
        api.lock().unwrap().objects[&format!("{COPY}{}", name("reg"))]["type"],
        "kubernetes.io/dockerconfigjson"
    );
}

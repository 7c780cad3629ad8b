//! What a round asks of the API server and of the vault.

use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::*;
use crate::kinds::DataPlanePolicy;
use crate::operator::environment::KEY_SECRET;
use crate::operator::fixture::server::{self, Server};
use crate::operator::fixture::{self, own, put_environment};
use crate::operator::object::ObjectKind;
use crate::operator::object::fixed::namespace_name;
use crate::operator::world::index::{Own, Place, Tracked, View};
use crate::operator::world::view;
use crate::secrets::vault::fake;

/// An environment that is ready, and one release in it that nobody has looked at.
fn put(shared: &Shared, vault: &str) -> Release {
    put_environment(shared, "dev");
    let policy = json!({
        "registries": [{"prefix": "registry.example.com/"}],
        "logs": {"mode": "Disabled"},
        "vault": {"address": vault, "mount": "secret", "authMount": "kubernetes", "role": "r", "audience": "vault", "prefix": ""},
    });
    let release: Release = serde_json::from_value(own("Release", "web", json!(fixture::service()), json!({}))).unwrap();
    let mut contents = shared.index.lock();
    contents.policy = Some(DataPlanePolicy::new("default", serde_json::from_value(policy).unwrap()));
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

/// Its pods are in one environment, and its spec names another one, whose values must not come to those pods.
#[tokio::test]
async fn a_secret_that_is_gone_is_not_made_again_of_another_environments_values() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let value = json!({"password": "value", "token": "value"});
    let [db, api] = ["GET /v1/secret/data/shop/db", "GET /v1/secret/data/shop/api"];
    let rules = vec![fake::login(), fake::secret(db, value.clone()), fake::secret(api, value)];
    let (address, asked, _vault) = fake::serve(rules).await;
    let server: Arc<Mutex<Server>> = Arc::default();
    let shared = server::shared(&server);
    let mut release = put(&shared, &address);
    put_environment(&shared, "prod");
    for handle in ["dev", "prod"] {
        let path = format!("/api/v1/namespaces/{}/secrets/{KEY_SECRET}", namespace_name("acme", "shop", handle));
        let key = json!({"kind": "Secret", "metadata": {"name": KEY_SECRET, "uid": "k", "resourceVersion": "1"}, "data": {"key": "a2V5"}});
        server.lock().unwrap().objects.insert(path, key);
    }
    Release::reconcile(&shared, "web", &release, Timestamp::UNIX_EPOCH).await.unwrap();
    let before = asked.lock().unwrap().len();
    let status = "/apis/pdp-agent.dev/v1alpha1/namespaces/pdp/releases/web/status";
    {
        let mut server = server.lock().unwrap();
        let stored = server.objects.get(status).unwrap().clone();
        release.status = serde_json::from_value(stored["status"].clone()).unwrap();
        server.objects.retain(|path, _| !path.contains("/secrets/web-secret-"));
    }
    assert!(release.status.as_ref().is_some_and(|status| status.rollout.is_some() && !status.bindings.is_empty()));

    release.spec.body.environment = Some("shop-prod".to_owned());
    Release::reconcile(&shared, "web", &release, Timestamp::UNIX_EPOCH).await.unwrap();

    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), before, "the vault is not asked: {asked:?}");
    let server = server.lock().unwrap();
    assert!(server.objects.keys().all(|path| !path.contains("/secrets/web-secret-")), "{:?}", server.asked);
    assert!(server.objects[status].to_string().contains("StillElsewhere"), "{}", server.objects[status]);
}

/// What a round left in the API server, and the release with the status that it wrote.
fn round(server: &Arc<Mutex<Server>>, release: &mut Release) -> (String, String) {
    let server = server.lock().unwrap();
    let status = "/apis/pdp-agent.dev/v1alpha1/namespaces/pdp/releases/web/status";
    release.status = serde_json::from_value(server.objects[status]["status"].clone()).unwrap();
    let path = |part: &str| server.objects.keys().find(|path| path.contains(part)).cloned().unwrap_or_default();
    (path("/controllerrevisions/web-"), path("/secrets/web-secret-"))
}

/// Nobody finds it anywhere else after a restart, and a run reads it too.
#[tokio::test]
async fn a_stored_rendering_that_somebody_deletes_is_written_again() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let shared = server::shared(&server);
    let mut release = put(&shared, "http://127.0.0.1:1");
    release.spec.body = fixture::small_service();
    Release::reconcile(&shared, "web", &release, Timestamp::UNIX_EPOCH).await.unwrap();
    let (revision, _) = round(&server, &mut release);
    let stored = server.lock().unwrap().objects.remove(&revision).unwrap();
    let name = revision.rsplit('/').next().unwrap();
    let namespace = namespace_name("acme", "shop", "dev");
    shared.index.lock().remove(&Place::new(ObjectKind::ControllerRevision, &namespace, name));

    Release::reconcile(&shared, "web", &release, Timestamp::UNIX_EPOCH).await.unwrap();

    assert_eq!(server.lock().unwrap().objects.get(&revision), Some(&stored), "{revision}");
}

/// No watch follows Secrets, so a pod that cannot start without one says that it is gone.
#[tokio::test]
async fn a_secret_that_a_pod_waits_for_is_looked_for_and_made_again() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let value = json!({"password": "value", "token": "value"});
    let [db, api] = ["GET /v1/secret/data/shop/db", "GET /v1/secret/data/shop/api"];
    let (address, _, _vault) =
        fake::serve(vec![fake::login(), fake::secret(db, value.clone()), fake::secret(api, value)]).await;
    let server: Arc<Mutex<Server>> = Arc::default();
    let shared = server::shared(&server);
    let mut release = put(&shared, &address);
    let namespace = namespace_name("acme", "shop", "dev");
    let key = json!({"kind": "Secret", "metadata": {"name": KEY_SECRET, "uid": "k", "resourceVersion": "1"}, "data": {"key": "a2V5"}});
    server.lock().unwrap().objects.insert(format!("/api/v1/namespaces/{namespace}/secrets/{KEY_SECRET}"), key);
    let again = async |release: &mut Release| {
        Release::reconcile(&shared, "web", release, Timestamp::UNIX_EPOCH).await.unwrap();
        round(&server, release).1
    };
    again(&mut release).await;
    let secret = again(&mut release).await;
    server.lock().unwrap().objects.remove(&secret).unwrap();
    assert_eq!(again(&mut release).await, "", "nothing says yet that it is gone");

    let waiting = json!({"state": {"waiting": {"reason": "CreateContainerConfigError"}}, "name": "main", "ready": false,
        "restartCount": 0, "image": "", "imageID": ""});
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web-1", "namespace": namespace, "uid": "p", "labels": {"pdp-agent.dev/release": "web"}},
        "status": {"containerStatuses": [waiting]},
    }))
    .unwrap();
    let view = View::Pod(Box::new(view::pod(&pod)));
    shared.index.lock().put(Place::new(ObjectKind::Pod, &namespace, "web-1"), Tracked::new(&pod.metadata, view));
    assert_eq!(again(&mut release).await, secret);
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

/// Both were never enrolled, or this one was later: their objects say `local`.
#[tokio::test]
async fn an_absent_release_leaves_what_another_installation_made_for_one_of_its_name() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let shared = server::shared(&server);
    let mut release = put(&shared, "http://127.0.0.1:1");
    release.spec.body.state = protocol::document::Desired::Absent;
    let see = |kind: ObjectKind, namespace: &str, name: &str, labels: Value| {
        let object = json!({"metadata": {"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1", "labels": labels}});
        let path = format!("/apis/apps/v1/namespaces/{namespace}/controllerrevisions/{name}");
        server.lock().unwrap().objects.insert(path, object.clone());
        crate::operator::reconcile::observe::absorb(&shared, &Place::new(kind, namespace, name), &object);
    };
    for (namespace, agent) in [("dp-theirs", "other.pdp-agent"), ("dp-ours", "pdp.pdp-agent")] {
        see(
            ObjectKind::Namespace,
            "",
            namespace,
            json!({"pdp-agent.dev/agent": agent, "pdp-agent.dev/data-plane": "local"}),
        );
        let labels = json!({"pdp-agent.dev/release": "web", "pdp-agent.dev/data-plane": "local"});
        see(ObjectKind::ControllerRevision, namespace, &format!("web-in-{namespace}"), labels);
    }
    Release::reconcile(&shared, "web", &release, Timestamp::UNIX_EPOCH).await.unwrap();
    let asked = server.lock().unwrap().asked.clone();
    let deleted: Vec<_> = asked.iter().filter(|line| line.starts_with("DELETE")).collect();
    assert_eq!(deleted, ["DELETE /apis/apps/v1/namespaces/dp-ours/controllerrevisions/web-in-dp-ours"], "{asked:?}");
}

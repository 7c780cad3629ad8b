//! What an upgrade, uninstalling and installing again leave as it is.

use serde_json::{Value, json};

use super::asking::LIMIT;
use super::installation::Installation;
use super::running;
use tests::testbed::wait_until;

/// Everything that is the customer's stays.
pub(crate) async fn uninstalled_and_installed_again(installation: Installation) {
    let (name, own) = (installation.name.clone(), installation.namespace.clone());
    let admin = installation.admin();
    let kinds = format!("/apis/pdp-agent.dev/v1alpha1/namespaces/{own}");
    let identity = format!("/api/v1/namespaces/{own}/secrets/{name}-identity");
    let policy = format!("{kinds}/dataplanepolicies/default");
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{own}/leases/{name}-link");
    for (path, change) in [
        (&identity, json!({"stringData": {"active.key": "a key"}})),
        (&policy, json!({"spec": {"registries": [{"prefix": "quay.io/", "pullSecret": "from-quay"}]}})),
        (&lease, json!({"spec": {"holderIdentity": "somebody", "leaseTransitions": 3}})),
    ] {
        let answer = admin.patch(path, &change).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    let local = json!({
        "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Environment", "metadata": {"name": "local"},
        "spec": {"state": "Present", "organization": "acme", "project": "shop", "environment": "dev"},
    });
    let answer = admin.post(&format!("{kinds}/environments"), &local).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let kept = async || {
        let mut kept = Vec::new();
        for path in [&identity, &policy, &format!("{kinds}/dataplanes/default"), &format!("{kinds}/environments/local")]
        {
            let mut object = admin.get(path).await.json();
            // Helm changes its own marks in the metadata; uid and content are what counts.
            kept.push(json!([path, object["metadata"]["uid"].take(), object["data"].take(), object["spec"].take()]));
        }
        kept
    };
    let before = kept().await;

    installation.upgrade(&["--set", "log.level=debug"]).await;
    assert_eq!(kept().await, before, "an upgrade changed what is the customer's");
    assert_eq!(admin.get(&lease).await.json()["spec"]["leaseTransitions"], 3, "an upgrade changed the Lease");
    let role = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{own}/roles/{name}-operator");
    assert!(admin.get(&role).await.text.contains("from-quay"), "the operator's rights did not follow the policy");

    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/environments.pdp-agent.dev";
    let answer = admin.delete(&format!("{definition}?dryRun=All")).await;
    // Another installation on this cluster may be the one that refuses.
    let how = "kubectl annotate crd environments.pdp-agent.dev pdp-agent.dev/allow-delete=yes";
    assert!(answer.text.contains(how), "a definition could be deleted by accident: {}", answer.text);

    installation.uninstall().await;
    assert_eq!(kept().await, before, "uninstalling took what is the customer's");
    assert_eq!(admin.get(&role).await.status, 404, "uninstalling left the operator's rights");
    assert_eq!(admin.get(definition).await.status, 200);

    installation.upgrade(&[]).await;
    assert_eq!(kept().await, before, "installing again did not find what was there");
    installation.close().await;
}

pub(crate) async fn enrolled_later(installation: Installation) {
    let (name, admin) = (&installation.name, installation.admin());
    let kinds = format!("/apis/pdp-agent.dev/v1alpha1/namespaces/{}", installation.namespace);
    let made = pdp_agent::operator::object::fixed::namespace_name("acme", name, "dev");
    let environment = json!({
        "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Environment", "metadata": {"name": "dev"},
        "spec": {"state": "Present", "organization": "acme", "project": name, "environment": "dev"},
    });
    assert_eq!(admin.post(&format!("{kinds}/environments"), &environment).await.status, 201);
    let operator = installation.account("operator").await;
    let running = running::start(&installation, &operator);
    let ready_as = async |id: &str| {
        wait_until(2 * LIMIT, &format!("the environment of {id} to be ready"), async || {
            let environment = admin.get(&format!("{kinds}/environments/dev")).await.json();
            let mut conditions = environment["status"]["conditions"].as_array().into_iter().flatten();
            let ready = conditions.any(|one| one["type"] == "Ready" && one["status"] == "True");
            let namespace = admin.get(&format!("/api/v1/namespaces/{made}")).await.json();
            let account = admin.get(&format!("/api/v1/namespaces/{made}/serviceaccounts/pdp-vault")).await.json();
            let id_of = |object: &Value, key: &str| object["metadata"]["labels"][key] == id;
            let named = id_of(&namespace, "pdp-agent.dev/installation")
                && [&namespace, &account].iter().all(|object| id_of(object, "pdp-agent.dev/data-plane"));
            if ready && named { Ok(()) } else { Err(format!("{environment} {namespace} {account}")) }
        })
        .await
        .unwrap();
    };
    ready_as("local").await;
    installation.enrolled_as(name).await;
    ready_as(name).await;
    running.stop().await;
    installation.remove_namespace(&made).await;
    installation.close().await;
}

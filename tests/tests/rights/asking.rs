//! Asking as an account: what must be refused, and what must go through all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tests::testbed::wait_until;

use super::account::{Account, Answer};
use super::attacks::{Attack, Places};
use super::{bodies, rendered};

/// Longest that a change may take to be in force.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// What stands in the Secret that every attack is after.
pub(crate) const CANARY: &str = "canary-4b1d9f7e0c";

pub(crate) async fn all_refused(account: &Account, attacks: &[Attack]) {
    let mut survivors = Vec::new();
    for attack in attacks {
        let answer = account.send(attack).await;
        assert!(!answer.text.contains(CANARY), "{} gave the secret away: {}", attack.title, answer.text);
        if let Err(why) = refused(attack, &answer) {
            survivors.push(why);
        }
    }
    assert!(survivors.is_empty(), "{} of {}:\n{}", survivors.len(), attacks.len(), survivors.join("\n"));
}

/// RBAC refuses what the API server does not serve too, so a slip of the pen would look like a refusal: each path must name a resource
/// that is in the discovery documents.
pub(crate) async fn all_served(admin: &Account, attacks: &[Attack]) {
    let mut known = BTreeMap::<String, BTreeSet<String>>::new();
    let mut unknown = Vec::new();
    for attack in attacks {
        let Some((group, resource)) = resource(&attack.path) else { continue };
        if !known.contains_key(&group) {
            let answer = admin.get(&format!("/{group}")).await;
            let names = |found: &Value| {
                let all = found["resources"].as_array().into_iter().flatten();
                all.filter_map(|one| one["name"].as_str().map(str::to_owned)).collect()
            };
            known.insert(group.clone(), if answer.status == 200 { names(&answer.json()) } else { BTreeSet::new() });
        }
        // One of them is off unless somebody turns it on.
        if !known[&group].contains(&resource) && resource != "mutatingadmissionpolicies" {
            unknown.push(format!("- {}: {group} has no {resource}: {}", attack.title, attack.path));
        }
    }
    assert!(unknown.is_empty(), "paths that nobody serves:\n{}", unknown.join("\n"));
}

/// Group with version, and resource with subresource, of a path; nothing for one outside of the API.
fn resource(path: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = path.split('?').next()?.split('/').filter(|part| !part.is_empty()).collect();
    let (group, mut rest) = parts.split_at_checked(if *parts.first()? == "apis" { 3 } else { 2 })?;
    if !["api", "apis"].contains(&group[0]) {
        return None;
    }
    if let ["watch", more @ ..] = rest {
        rest = more;
    }
    if let ["namespaces", _, inner, more @ ..] = rest
        && *inner != "finalize"
    {
        return Some((group.join("/"), named(inner, more)));
    }
    let [plural, more @ ..] = rest else { return None };
    Some((group.join("/"), named(plural, more)))
}

/// A resource, with its subresource if the rest of the path has one.
fn named(plural: &str, rest: &[&str]) -> String {
    rest.get(1).map_or_else(|| plural.to_owned(), |sub| format!("{plural}/{sub}"))
}

/// What the customer puts on an environment's namespace, or takes from it.
pub(crate) async fn customers_marks(admin: &Account, namespace: &str, there: bool) {
    let mark = |value: &str| if there { json!(value) } else { Value::Null };
    let marks = json!({"metadata": {
        "labels": {"bank.test/pci": mark("enforced"), "bank.test/scanned": mark("")},
        "annotations": {"bank.test/owner": mark("payments")},
        "finalizers": if there { json!(["bank.test/records"]) } else { Value::Null },
    }});
    let answer = admin.patch(&format!("/api/v1/namespaces/{namespace}"), &marks).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// The Lease of a role: somebody who replaces it has to name its version.
pub(crate) async fn lease(account: &Account, agent: &str, role: &str) -> Value {
    let answer = account.get(&format!("/apis/coordination.k8s.io/v1/namespaces/{agent}/leases/{agent}-{role}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// A refusal counts only with the expected reason: a typing error in the path would be refused too.
fn refused(attack: &Attack, answer: &Answer) -> Result<(), String> {
    // Where two policies refuse one request, the API server says the words of either.
    let expected = attack.refusal.split('|').any(|words| answer.text.contains(words));
    if (answer.status == 403 || answer.status == 422) && expected {
        return Ok(());
    }
    let text: String = answer.text.chars().take(400).collect();
    Err(format!("- {}: {} without {:?}: {text}", attack.title, answer.status, attack.refusal))
}

/// What the operator does for an environment, as it does it. Also waits until the policies are in force.
pub(crate) async fn allowed_path(operator: &Account, places: &Places) {
    let stranger = bodies::namespace("dp-no-label", &json!({"pod-security.kubernetes.io/enforce": "restricted"}));
    wait_until(LIMIT, "the admission policies to be in force", async || {
        let answer = operator.post("/api/v1/namespaces?dryRun=All", &stranger).await;
        if answer.text.contains("only namespaces that carry its label") { Ok(()) } else { Err(answer.text) }
    })
    .await
    .unwrap();
    let base = format!("/api/v1/namespaces/{}", places.ours);
    let accepted = async |path: &str, body: &Value| {
        let answer = operator.post(path, body).await;
        assert_eq!(answer.status, 201, "{path} {body}: {}", answer.text);
    };
    accepted("/api/v1/namespaces", &bodies::namespace(&places.ours, &bodies::labels(&places.agent))).await;
    let bindings = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings", places.ours);
    for (role, account) in [("workloads", "operator"), ("logs", "link")] {
        accepted(&bindings, &bodies::binding(places, role, account)).await;
    }
    // The API server learns of the binding by its own watch.
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "config"}, "stringData": {"key": "value"}});
    wait_until(LIMIT, "the binding to be in force", async || {
        let answer = operator.post(&format!("{base}/secrets"), &secret).await;
        if answer.status == 201 { Ok(()) } else { Err(answer.text) }
    })
    .await
    .unwrap();
    // It takes up policies as it hears of them: that one is in force says nothing of the others.
    let deployments = format!("/apis/apps/v1/namespaces/{}/deployments", places.ours);
    let open = bodies::workload("Deployment", &json!({"hostNetwork": true}), &json!({}));
    wait_until(LIMIT, "the policy on pod templates to be in force", async || {
        let answer = operator.post(&format!("{deployments}?dryRun=All"), &open).await;
        if answer.status == 403 { Ok(()) } else { Err(answer.text) }
    })
    .await
    .unwrap();
    for object in rendered::environment(places).into_iter().chain(rendered::workloads(places)) {
        written(operator, &object).await;
    }
    let token = format!("{base}/serviceaccounts/pdp-vault/token");
    wait_until(LIMIT, "the policy on tokens to be in force", async || {
        let answer = operator.post(&token, &bodies::token("other", 600)).await;
        if answer.text.contains("ValidatingAdmissionPolicy") { Ok(()) } else { Err(answer.text) }
    })
    .await
    .unwrap();
    accepted(&token, &bodies::token("vault", 600)).await;
    accepted(&format!("{base}/services"), &bodies::service(&json!({}))).await;
    accepted(&format!("{base}/pods?dryRun=All"), &bodies::pod(&json!({}), &json!({}))).await;
    let deployment = bodies::workload("Deployment", &json!({}), &json!({}));
    accepted(&deployments, &deployment).await;
    let job = bodies::workload("Job", &json!({}), &json!({}));
    accepted(&format!("/apis/batch/v1/namespaces/{}/jobs", places.ours), &job).await;
    // It leads by a Lease in the agent's own namespace.
    let mut held = lease(operator, &places.agent, "operator").await;
    held["spec"] = json!({"holderIdentity": "operator-0"});
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{0}/leases/{0}-operator", places.agent);
    let answer = operator.put(&path, &held).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    // Where the customer allowed it, an environment may be baseline.
    let mut legacy = bodies::labels(&places.agent);
    legacy["pod-security.kubernetes.io/enforce"] = "baseline".into();
    legacy["pdp-agent.dev/organization"] = "acme".into();
    legacy["pdp-agent.dev/environment-name"] = "legacy".into();
    accepted("/api/v1/namespaces?dryRun=All", &bodies::namespace("dp-legacy", &legacy)).await;
}

/// Creates an object as the operator would, or applies it where the cluster has made it first. What would start pods is tried only.
async fn written(operator: &Account, object: &Value) {
    let (kind, reference) = pdp_agent::operator::object::reference(object).unwrap();
    let (api, _, plural) = kind.names();
    let root = if api.contains('/') { "apis" } else { "api" };
    let namespace = object["metadata"]["namespace"].as_str().unwrap();
    let dry = if ["Deployment", "Job"].contains(&kind.names().1) { "?dryRun=All" } else { "" };
    let path = format!("/{root}/{api}/namespaces/{namespace}/{plural}");
    let mut answer = operator.post(&format!("{path}{dry}"), object).await;
    if answer.status == 409 {
        answer = operator.patch(&format!("{path}/{}", reference.name), object).await;
    }
    assert!(answer.status < 300, "{path} {}: {}", reference.name, answer.text);
}

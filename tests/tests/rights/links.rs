//! What an attacker with the link's token would try, as data: every way that leads out of what the link is for. What it would write
//! into the objects and statuses that it may write is in [`statuses`](super::statuses).

mod cluster;
mod kinds;
mod reading;
mod workloads;

use serde_json::{Value, json};
use tests::testbed::wait_until;

pub(crate) use self::kinds::on_lease;
use super::account::Account;
use super::asking::{CANARY, LIMIT};
use super::attacks::{Attack, NO_RIGHT, Places, attack};
use super::installation::Installation;

/// Part of what the API server says where the policy on the link's account refuses a mark of somebody else's.
const MARKS: &str = "the link of pdp-agent leaves annotations|the link of pdp-agent sets no";

/// Everything that comes to mind. The link reads logs in `places.ours`; in `quiet`, another environment, it may do nothing.
/// `lease` is its Lease as it stands.
pub(crate) fn all(places: &Places, quiet: &str, lease: &Value) -> Vec<Attack> {
    let mut attacks = reading::secrets(places);
    attacks.extend(reading::objects(places, quiet));
    attacks.extend(reading::impersonation(places));
    attacks.extend(kinds::documents(places));
    attacks.extend(kinds::marks(places));
    attacks.extend(kinds::paths(places));
    attacks.extend(kinds::leases(places));
    attacks.extend(on_lease(places, "link", lease, MARKS));
    attacks.extend(workloads::pods(places, quiet));
    attacks.extend(workloads::objects(places));
    attacks.extend(cluster::rights(places));
    attacks.extend(cluster::objects(places));
    attacks
}

/// Makes what the attacks are after: two environments, and Secrets by the names that are known to whoever reads the documentation.
pub(crate) async fn bait(installation: &Installation, places: &Places, quiet: &str) {
    installation.environment(&places.ours, &["workloads", "logs"]).await;
    installation.environment(quiet, &["workloads"]).await;
    let enrolment = format!("{}-enrolment", places.agent);
    for (namespace, name) in [
        (&places.agent, enrolment.as_str()),
        (&places.agent, "registry"),
        (&places.ours, "config"),
        (&places.ours, "pdp-key"),
    ] {
        let mut secret = object("v1", "Secret", name);
        secret["metadata"]["namespace"] = namespace.as_str().into();
        secret["stringData"] = json!({ "key": CANARY });
        installation.apply(&secret).await;
    }
}

/// What the link is for goes through: a list of refusals would be true of a token without any right.
pub(crate) async fn allowed_path(link: &Account, places: &Places) {
    let Places { agent, ours, .. } = places;
    let kinds = format!("/apis/pdp-agent.dev/v1alpha1/namespaces/{agent}");
    for (path, status) in [
        (format!("{kinds}/releases"), 200),
        (format!("{kinds}/dataplanepolicies/default"), 200),
        (format!("/api/v1/namespaces/{agent}/secrets/{agent}-identity"), 200),
        (format!("/apis/coordination.k8s.io/v1/namespaces/{agent}/leases/{agent}-link"), 200),
        (format!("/api/v1/namespaces/{ours}/pods"), 200),
        // Allowed, and not there.
        (format!("/api/v1/namespaces/{ours}/pods/x/log"), 404),
    ] {
        // The API server learns of bindings by its own watch.
        wait_until(LIMIT, &path, async || {
            let answer = link.get(&path).await;
            if answer.status == status { Ok(()) } else { Err(answer.text) }
        })
        .await
        .unwrap();
    }
    let identity = format!("/api/v1/namespaces/{agent}/secrets/{agent}-identity");
    let mut key = link.get(&identity).await.json();
    key["data"] = json!({"active.key": "eA=="});
    let answer = link.put(&identity, &key).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{agent}/leases/{agent}-link");
    let mut held = link.get(&lease).await.json();
    held["spec"] = json!({"holderIdentity": "link-0"});
    let answer = link.put(&lease, &held).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// A read that RBAC refuses.
fn get(title: &str, path: impl Into<String>) -> Attack {
    attack(title, "GET", path.into(), None, NO_RIGHT)
}

/// A write that RBAC refuses; a dry run, should it go through. `APPLY` is a server-side apply, `JSON` a JSON patch.
fn write(title: &str, method: &'static str, path: &str, body: Value) -> Attack {
    let (method, kind, more) = match method {
        "APPLY" => ("PATCH", Some("application/apply-patch+yaml"), "&fieldManager=thief&force=true"),
        "JSON" => ("PATCH", Some("application/json-patch+json"), ""),
        other => (other, None, ""),
    };
    let headers = kind.map(|kind| ("content-type", kind.to_owned())).into_iter().collect();
    let body = (method != "DELETE").then_some(body);
    let path = format!("{path}?dryRun=All{more}");
    Attack { title: title.to_owned(), method, path, body, headers, refusal: NO_RIGHT }
}

/// An object of which only the name counts.
fn object(api: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}})
}

//! Attacks by an installation on the environments of another one on the same cluster.

use serde_json::json;

use super::attacks::{Attack, NO_RIGHT, Places, attack};
use super::bodies::{bind, binding, labels, namespace, token};

/// What the operator of `places.agent` would try in `theirs`, an environment of another installation. `bound`: somebody has bound its
/// role there, so that the policies alone keep it out.
pub(crate) fn all(places: &Places, theirs: &str, bound: bool) -> Vec<Attack> {
    let agent = &places.agent;
    let group = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{theirs}/rolebindings");
    let within = format!("/api/v1/namespaces/{theirs}");
    let change = |head| Some(json!({"metadata": head}));
    let link = json!({"kind": "ServiceAccount", "name": format!("{agent}-link"), "namespace": agent});
    let only = "only in namespaces that it created";
    let own = "only namespaces that it created";
    let policy = |words| if bound { words } else { NO_RIGHT };
    let token_path = format!("{within}/serviceaccounts/pdp-vault/token");
    let mut attacks = vec![
        attack(
            "binds its role",
            "POST",
            format!("{group}?dryRun=All"),
            Some(binding(places, "workloads", "operator")),
            only,
        ),
        attack(
            "binds the logs",
            "POST",
            format!("{group}?dryRun=All"),
            Some(bind(&format!("{agent}-logs"), &link)),
            only,
        ),
        attack(
            "marks the namespace",
            "PATCH",
            within.clone(),
            change(json!({"labels": {"pdp-agent.dev/x": "y"}})),
            own,
        ),
        attack("takes the namespace", "PATCH", within.clone(), change(json!({"labels": labels(agent)})), own),
        attack(
            "orphans the namespace",
            "PATCH",
            within.clone(),
            change(json!({"labels": {"pdp-agent.dev/agent": null}})),
            own,
        ),
        attack("replaces the namespace", "PUT", within.clone(), Some(namespace(theirs, &labels(agent))), own),
        attack("deletes the namespace", "DELETE", within.clone(), None, own),
        attack(
            "asks for a token of its vault account",
            "POST",
            token_path,
            Some(token("vault", 600)),
            policy("in namespaces that it created"),
        ),
    ];
    if !bound {
        for name in ["pdp-key", "config"] {
            let title = format!("reads the Secret {name}");
            attacks.push(attack(&title, "GET", format!("{within}/secrets/{name}"), None, NO_RIGHT));
        }
    }
    for attack in &mut attacks {
        attack.title = format!(
            "{} of another installation's environment{}",
            attack.title,
            if bound { ", bound there" } else { "" }
        );
    }
    attacks
}

/// What it would try with namespaces that a version before the label `agent` made.
pub(crate) fn old(places: &Places, unlabelled: &str) -> Vec<Attack> {
    let path = format!("/api/v1/namespaces/{unlabelled}?dryRun=All");
    let own = "only namespaces that it created";
    let change = |labels| Some(json!({"metadata": {"labels": labels}}));
    vec![
        attack("adopts an old namespace", "PATCH", path.clone(), change(labels(&places.agent)), own),
        attack("marks an old namespace", "PATCH", path.clone(), change(json!({"pdp-agent.dev/x": "y"})), own),
        attack("deletes an old namespace", "DELETE", path, None, own),
    ]
}

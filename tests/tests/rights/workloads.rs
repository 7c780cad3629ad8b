//! Attacks by what runs: pods and their templates, other objects of an environment, the cluster itself.

use serde_json::{Value, json};

use super::attacks::{Attack, NO_RIGHT, POLICIES, Places, attack};
use super::bodies::{pod, service, workload};
use super::shapes::shapes;

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
    for (title, spec, container, refusal) in shapes() {
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
    let deployments = format!("/apis/apps/v1/namespaces/{ours}/deployments");
    let template = |spec: Value| Some(json!({"spec": {"template": {"spec": spec}}}));
    let marked = |head: Value| Some(json!({"spec": {"template": {"metadata": head}}}));
    let mut selects = workload("Deployment", &json!({}), &json!({}));
    selects["metadata"]["name"] = "thief".into();
    selects["spec"]["selector"]["matchLabels"]["app"] = "thief".into();
    selects["spec"]["template"]["metadata"]["labels"]["app"] = "thief".into();
    let mut adopts = workload("Job", &json!({}), &json!({}));
    adopts["metadata"]["name"] = "thief".into();
    adopts["spec"]["manualSelector"] = true.into();
    adopts["spec"]["selector"] = json!({"matchLabels": {"pdp-agent.dev/release": "thief"}});
    for (title, change, refusal) in [
        ("opens a Deployment that was harmless", template(json!({"hostNetwork": true})), "spec has only the fields"),
        ("gives it a token", template(json!({"automountServiceAccountToken": true})), "spec has only the fields"),
        ("gives it another account", template(json!({"serviceAccountName": "pdp-vault"})), "spec has only the fields"),
        (
            "makes it unpacked by root",
            template(json!({"securityContext": {"runAsUser": 0}})),
            "securityContext has only",
        ),
        (
            "has a sidecar put into it",
            marked(json!({"annotations": {"sidecar.istio.io/inject": "true"}})),
            "metadata has only the fields annotations (its own)",
        ),
        (
            "has it select by others' labels",
            marked(json!({"labels": {"azure.workload.identity/use": "true"}})),
            "metadata has only the fields annotations (its own)",
        ),
    ] {
        attacks.push(attack(title, "PATCH", format!("{deployments}/allowed?dryRun=All"), change, refusal));
    }
    attacks.extend([
        attack(
            "Deployment of pods by another label",
            "POST",
            format!("{deployments}?dryRun=All"),
            Some(selects),
            "has only the fields",
        ),
        attack(
            "Job that takes other pods for its own",
            "POST",
            format!("/apis/batch/v1/namespaces/{ours}/jobs?dryRun=All"),
            Some(adopts),
            "has only the fields",
        ),
    ]);
    for (group, kind) in [("apps/v1", "ReplicaSet"), ("apps/v1", "StatefulSet"), ("batch/v1", "CronJob")] {
        attacks.push(attack(
            kind,
            "POST",
            format!("/apis/{group}/namespaces/{ours}/{}s", kind.to_lowercase()),
            Some(json!({"apiVersion": group, "kind": kind, "metadata": {"name": "thief"}})),
            NO_RIGHT,
        ));
    }
    for (kind, plural) in [("ReplicationController", "replicationcontrollers"), ("PodTemplate", "podtemplates")] {
        attacks.push(attack(
            kind,
            "POST",
            format!("/api/v1/namespaces/{ours}/{plural}"),
            Some(json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "thief"}})),
            NO_RIGHT,
        ));
    }
    for (group, kind, plural) in [("apps", "DaemonSet", "daemonsets"), ("networking.k8s.io", "Ingress", "ingresses")] {
        attacks.push(attack(
            kind,
            "POST",
            format!("/apis/{group}/v1/namespaces/{ours}/{plural}"),
            Some(json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": "thief"}})),
            NO_RIGHT,
        ));
    }
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
            "only its own annotations|secrets of pdp-agent: it has only the fields",
        ),
        attack(
            "writes a record of Helm's",
            "POST",
            format!("/api/v1/namespaces/{ours}/secrets"),
            Some(
                json!({"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1", "metadata": {"name": "thief"}}),
            ),
            "secrets of pdp-agent: it has only the fields",
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
        ("at an address of its choice", json!({"clusterIP": "10.96.200.200"})),
        ("without an address", json!({"clusterIP": "None"})),
        ("for pods by another label", json!({"selector": {"app": "thief"}})),
        ("that keeps callers", json!({"sessionAffinity": "ClientIP"})),
        ("for pods that are not ready", json!({"publishNotReadyAddresses": true})),
    ] {
        let title = format!("Service {title}");
        let path = format!("/api/v1/namespaces/{ours}/services?dryRun=All");
        let refusal = if spec["clusterIP"].is_string() { "chooses no address" } else { "services of pdp-agent: spec" };
        attacks.push(attack(&title, "POST", path, Some(service(&spec)), refusal));
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
    for name in POLICIES {
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

//! What an attacker with the operator's token would try, as data: one request and the reason for which it must be refused. The link's
//! are in [`links`](super::links).

use serde_json::{Value, json};

use super::bodies::{labels, namespace};
use super::{granting, isolation, workloads};

/// Where the attacks happen. The release is named like its namespace.
pub(crate) struct Places {
    /// The agent's namespace and the name of the release.
    pub(crate) agent: String,
    /// A namespace that the operator made.
    pub(crate) ours: String,
    /// The Secret in `kube-system` that all are after.
    pub(crate) secret: String,
}

/// One request that must be refused.
pub(crate) struct Attack {
    pub(crate) title: String,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Part of the refusal; `|` stands between those of two policies that both refuse.
    pub(crate) refusal: &'static str,
}

pub(crate) fn attack(
    title: &str,
    method: &'static str,
    path: String,
    body: Option<Value>,
    refusal: &'static str,
) -> Attack {
    Attack { title: title.to_owned(), method, path, body, headers: Vec::new(), refusal }
}

/// The chart's admission policies, without the name of the release.
pub(crate) const POLICIES: [&str; 11] = [
    "definitions",
    "isolation",
    "link",
    "namespaces",
    "objects",
    "pod-templates",
    "pods",
    "rbac",
    "secrets",
    "services",
    "tokens",
];

/// What RBAC says.
pub(crate) const NO_RIGHT: &str = "cannot";

/// What the policy on the operator's account says of marks that are not its own.
pub(crate) const MARKS: &str = "only its own labels|only its own annotations|neither finalizers nor owners";

/// Everything that comes to mind.
pub(crate) fn all(places: &Places) -> Vec<Attack> {
    let mut attacks = reading(places);
    attacks.extend(namespaces(places));
    attacks.extend(granting::granting(places));
    attacks.extend(granting::tokens(places));
    attacks.extend(workloads::pods(places));
    attacks.extend(workloads::objects(places));
    attacks.extend(isolation::isolation(places));
    attacks.extend(isolation::heads(places));
    attacks.extend(workloads::cluster(places));
    attacks
}

fn reading(places: &Places) -> Vec<Attack> {
    let Places { agent, ours, secret } = places;
    let system = "/api/v1/namespaces/kube-system";
    let get = |title, path: String| attack(title, "GET", path, None, NO_RIGHT);
    let mut attacks = vec![
        get("reads the Secret", format!("{system}/secrets/{secret}")),
        get("lists Secrets of kube-system", format!("{system}/secrets")),
        get("lists Secrets of the cluster", "/api/v1/secrets".into()),
        get("watches Secrets of the cluster", "/api/v1/secrets?watch=true&timeoutSeconds=1".into()),
        get("lists Secrets by field", format!("{system}/secrets?fieldSelector=metadata.name%3D{secret}")),
        get("lists Secrets of its own environment", format!("/api/v1/namespaces/{ours}/secrets")),
        get(
            "watches Secrets of its own environment",
            format!("/api/v1/namespaces/{ours}/secrets?watch=true&timeoutSeconds=1"),
        ),
        get("reads the agent's key", format!("/api/v1/namespaces/{agent}/secrets/{agent}-identity")),
        get("reads the enrolment token", format!("/api/v1/namespaces/{agent}/secrets/{agent}-enrolment")),
        get(
            "reads Helm's record with all values",
            format!("/api/v1/namespaces/{agent}/secrets/sh.helm.release.v1.{agent}.v1"),
        ),
        get("lists the agent's Secrets", format!("/api/v1/namespaces/{agent}/secrets")),
        get("reads a ConfigMap elsewhere by name", format!("{system}/configmaps/extension-apiserver-authentication")),
        get("reads the kubelet's configuration through the node", "/api/v1/nodes/node1/proxy/configz".into()),
        get("reads logs through the node", "/api/v1/nodes/node1/proxy/logs/".into()),
        get("reads the API server's metrics", "/metrics".into()),
        get("reads logs of the agent", format!("/api/v1/namespaces/{agent}/pods/any/log")),
        get("reads logs of its environment", format!("/api/v1/namespaces/{ours}/pods/any/log")),
    ];
    let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "stringData": {"more": "x"}});
    for (title, method) in
        [("replaces the Secret", "PUT"), ("patches the Secret", "PATCH"), ("deletes the Secret", "DELETE")]
    {
        attacks.push(attack(
            title,
            method,
            format!("{system}/secrets/{secret}?dryRun=All"),
            Some(body.clone()),
            NO_RIGHT,
        ));
    }
    attacks.push(attack("deletes all Secrets", "DELETE", format!("{system}/secrets?dryRun=All"), None, NO_RIGHT));
    for headers in [
        &[("impersonate-user", "admin")][..],
        &[("impersonate-user", "system:serviceaccount:kube-system:default")],
        &[("impersonate-user", "system:kube-controller-manager")],
        &[("impersonate-user", "x"), ("impersonate-group", "system:masters")],
        &[("impersonate-uid", "0"), ("impersonate-user", "x")],
    ] {
        let title = format!("reads the Secret as {:?}", headers.iter().map(|(_, value)| *value).collect::<Vec<_>>());
        let path = format!("{system}/secrets/{secret}");
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        attacks.push(Attack { title, method: "GET", path, body: None, headers, refusal: "impersonate" });
    }
    attacks
}

/// Annotations, finalizers and owners of namespaces: what other people's controllers go by.
fn heads(places: &Places) -> Vec<Attack> {
    let Places { agent, ours, .. } = places;
    let all = "/api/v1/namespaces";
    let mut attacks = Vec::new();
    let owner = json!([{"apiVersion": "v1", "kind": "Namespace", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000"}]);
    for (title, head, refusal) in [
        (
            "the users of OpenShift",
            json!({"annotations": {"openshift.io/sa.scc.uid-range": "0/10000"}}),
            "only its own annotations",
        ),
        (
            "the roles of kube2iam",
            json!({"annotations": {"iam.amazonaws.com/allowed-roles": ".*"}}),
            "only its own annotations",
        ),
        (
            "the nodes of PodNodeSelector",
            json!({"annotations": {"scheduler.alpha.kubernetes.io/node-selector": ""}}),
            "only its own annotations",
        ),
        (
            "a project of Rancher",
            json!({"annotations": {"field.cattle.io/projectId": "c-1:p-1"}}),
            "only its own annotations",
        ),
        ("a finalizer", json!({"finalizers": ["thief.test/stays"]}), "neither finalizers nor owners"),
        ("an owner", json!({"ownerReferences": owner}), "neither finalizers nor owners"),
    ] {
        let mut made = namespace("dp-x", &labels(agent));
        for (key, value) in head.as_object().into_iter().flatten() {
            made["metadata"][key] = value.clone();
        }
        let title = format!("a namespace with {title}");
        attacks.push(attack(&format!("creates {title}"), "POST", format!("{all}?dryRun=All"), Some(made), refusal));
        let change = Some(json!({"metadata": head}));
        attacks.push(attack(
            &format!("makes its own {title}"),
            "PATCH",
            format!("{all}/{ours}?dryRun=All"),
            change,
            refusal,
        ));
    }
    for (title, head, refusal) in [
        (
            "removes an annotation of the customer",
            json!({"annotations": {"bank.test/owner": null}}),
            "only its own annotations",
        ),
        (
            "changes an annotation of the customer",
            json!({"annotations": {"bank.test/owner": ""}}),
            "only its own annotations",
        ),
        ("removes a finalizer of the customer", json!({"finalizers": null}), "neither finalizers nor owners"),
    ] {
        let change = Some(json!({"metadata": head}));
        attacks.push(attack(title, "PATCH", format!("{all}/{ours}?dryRun=All"), change, refusal));
    }
    let mut held = namespace("dp-x", &labels(agent));
    held["spec"] = json!({"finalizers": ["kubernetes", "thief.test/stays"]});
    attacks.push(attack(
        "creates a namespace that never ends",
        "POST",
        format!("{all}?dryRun=All"),
        Some(held),
        "neither finalizers nor owners",
    ));
    attacks
}

fn namespaces(places: &Places) -> Vec<Attack> {
    let Places { agent, ours, .. } = places;
    let all = "/api/v1/namespaces";
    let with = |key: &str, value: &str| {
        let mut labels = labels(agent);
        labels[key] = value.into();
        labels
    };
    let enforce = "pod-security.kubernetes.io/enforce";
    let label = "pdp-agent.dev/installation";
    let agents = "pdp-agent.dev/agent";
    let change = |labels: Value| Some(json!({"metadata": {"labels": labels}}));
    let mut attacks = Vec::new();
    for (title, name, labels, refusal) in [
        ("without its label", "dp-x", json!({enforce: "restricted"}), "only namespaces that carry its label"),
        ("named like the system's", "kube-x", labels(agent), "name starts with dp-"),
        (
            "without Pod Security",
            "dp-x",
            json!({label: agent, agents: format!("{agent}.{agent}")}),
            "enforce Pod Security restricted",
        ),
        ("of another agent", "dp-x", with(agents, "other.other"), "only namespaces that carry its label"),
        ("of nobody", "dp-x", with(agents, ""), "only namespaces that carry its label"),
        ("privileged", "dp-x", with(enforce, "privileged"), "enforce Pod Security restricted"),
        ("baseline where it is not allowed", "dp-x", with(enforce, "baseline"), "enforce Pod Security restricted"),
        (
            "of an old Pod Security",
            "dp-x",
            with("pod-security.kubernetes.io/enforce-version", "v1.0"),
            "latest version",
        ),
        (
            "that a customer's policies skip",
            "dp-x",
            with("admission.gatekeeper.sh/ignore", "yes"),
            "only its own labels",
        ),
        (
            "that a customer's policies skip for a label without value",
            "dp-x",
            with("admission.gatekeeper.sh/ignore", ""),
            "only its own labels",
        ),
        ("of the control plane's kind", "dp-x", with("control-plane", ""), "only its own labels"),
    ] {
        let title = format!("creates a namespace {title}");
        attacks.push(attack(&title, "POST", format!("{all}?dryRun=All"), Some(namespace(name, &labels)), refusal));
    }
    for (title, name, labels, refusal) in [
        ("adopts kube-system", "kube-system", labels(agent), "only namespaces that it created"),
        ("adopts default", "default", labels(agent), "only namespaces that it created"),
        ("adopts the agent's namespace", agent.as_str(), labels(agent), "only namespaces that it created"),
        ("disowns its namespace", ours, json!({label: null}), "only namespaces that it created"),
        ("gives its namespace away", ours, json!({label: "other"}), "not the label"),
        ("takes its word from its namespace", ours, json!({agents: null}), "not the label"),
        ("gives its namespace to another agent", ours, json!({agents: "other.other"}), "not the label"),
        ("opens its namespace", ours, json!({enforce: "privileged"}), "enforce Pod Security restricted"),
        ("lowers its namespace", ours, json!({enforce: "baseline"}), "enforce Pod Security restricted"),
        ("drops Pod Security", ours, json!({enforce: null}), "enforce Pod Security restricted"),
        ("labels its namespace for others", ours, json!({"istio-injection": "disabled"}), "only its own labels"),
        ("labels its namespace with nothing", ours, json!({"istio-injection": ""}), "only its own labels"),
        (
            "takes its namespace from Gatekeeper",
            ours,
            json!({"admission.gatekeeper.sh/ignore": ""}),
            "only its own labels",
        ),
        ("makes its namespace a control plane", ours, json!({"control-plane": ""}), "only its own labels"),
        ("removes a label of the customer", ours, json!({"bank.test/pci": null}), "only its own labels"),
        ("empties a label of the customer", ours, json!({"bank.test/pci": ""}), "only its own labels"),
        ("changes a label of the customer", ours, json!({"bank.test/pci": "none"}), "only its own labels"),
        ("removes an empty label of the customer", ours, json!({"bank.test/scanned": null}), "only its own labels"),
        ("fills an empty label of the customer", ours, json!({"bank.test/scanned": "no"}), "only its own labels"),
    ] {
        attacks.push(attack(title, "PATCH", format!("{all}/{name}?dryRun=All"), change(labels), refusal));
    }
    attacks.extend(heads(places));
    for name in ["kube-node-lease", agent] {
        let title = format!("deletes {name}");
        attacks.push(attack(
            &title,
            "DELETE",
            format!("{all}/{name}?dryRun=All"),
            None,
            "only namespaces that it created",
        ));
    }
    let finalize = Some(namespace(ours, &labels(agent)));
    attacks.push(attack("ends a namespace by force", "PUT", format!("{all}/{ours}/finalize"), finalize, NO_RIGHT));
    attacks
}

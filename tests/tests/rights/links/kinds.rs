//! What the link's token would do with kinds of our own, beyond what it may: the customer's policy, marks of people, Leases.

use serde_json::{Value, json};

use super::super::attacks::{Attack, Places};
use super::{MARKS, object, write};

const API: &str = "pdp-agent.dev/v1alpha1";

pub(super) fn documents(places: &Places) -> Vec<Attack> {
    let Places { agent, ours, .. } = places;
    let kinds = |namespace: &str| format!("/apis/{API}/namespaces/{namespace}");
    let own = kinds(agent);
    let mut attacks = Vec::new();
    let mut wide = object(API, "DataPlanePolicy", "default");
    wide["spec"] = json!({"registries": [{"prefix": "evil.test/"}], "environments": [{"organization": "acme"}]});
    let policy = format!("{own}/dataplanepolicies/default");
    for (how, method) in [("replacing", "PUT"), ("patching", "PATCH"), ("applying", "APPLY")] {
        attacks.push(write(&format!("widens the customer's policy by {how} it"), method, &policy, wide.clone()));
    }
    let remove = json!([{"op": "remove", "path": "/spec/limits"}]);
    attacks.push(write("takes the limits out of the customer's policy", "JSON", &policy, remove));
    attacks.push(write("deletes the customer's policy", "DELETE", &policy, Value::Null));
    for (plural, kind) in [("dataplanepolicies", "DataPlanePolicy"), ("dataplanes", "DataPlane")] {
        let path = format!("{own}/{plural}");
        for (how, method, at) in
            [("", "POST", ""), (" by replacing it", "PUT", "/other"), (" by applying it", "APPLY", "/other")]
        {
            let title = format!("creates another {kind}{how}");
            attacks.push(write(&title, method, &format!("{path}{at}"), object(API, kind, "other")));
        }
        attacks.push(write(&format!("deletes every {kind}"), "DELETE", &path, Value::Null));
    }
    let plane = format!("{own}/dataplanes/default");
    attacks.push(write("deletes the DataPlane", "DELETE", &plane, Value::Null));
    attacks.push(write("patches the DataPlane", "PATCH", &plane, json!({"spec": {}})));
    for (plural, kind) in [("releases", "Release"), ("environments", "Environment"), ("taskruns", "TaskRun")] {
        let path = format!("{own}/{plural}");
        let mut changed = object(API, kind, "x");
        changed["spec"] = json!({"state": "Absent"});
        attacks.extend([
            write(&format!("patches a {kind}"), "PATCH", &format!("{path}/x"), changed.clone()),
            write(&format!("patches a {kind} part by part"), "JSON", &format!("{path}/x"), json!([])),
            write(&format!("applies a {kind}"), "APPLY", &format!("{path}/x"), changed.clone()),
            write(&format!("deletes every {kind} at once"), "DELETE", &path, Value::Null),
        ]);
        for (namespace, title) in
            [("default", "in another namespace"), (ours.as_str(), "in an environment's namespace")]
        {
            attacks.push(write(
                &format!("creates a {kind} {title}"),
                "POST",
                &format!("{}/{plural}", kinds(namespace)),
                changed.clone(),
            ));
        }
    }
    attacks
}

/// [`heads`] and a person's pause on each object that it may write, but its Lease.
pub(super) fn marks(places: &Places) -> Vec<Attack> {
    let agent = &places.agent;
    let own = format!("/apis/{API}/namespaces/{agent}");
    let mut attacks = Vec::new();
    let pause = json!({"annotations": {"pdp-agent.dev/paused-until": "2030-01-01T00:00:00Z"}});
    for (title, head) in [("a pause", pause)].into_iter().chain(heads()) {
        for (plural, kind, spec) in [
            ("releases", "Release", json!({"state": "Absent"})),
            (
                "environments",
                "Environment",
                json!({"state": "Present", "organization": "acme", "project": "shop", "environment": "dev"}),
            ),
            ("taskruns", "TaskRun", json!({"release": "web"})),
        ] {
            let mut made = object(API, kind, "thief");
            made["spec"] = spec;
            set(&mut made, &head);
            let title = format!("creates a {kind} with {title}");
            attacks.push(Attack { refusal: MARKS, ..write(&title, "POST", &format!("{own}/{plural}"), made) });
        }
        let path = format!("/api/v1/namespaces/{agent}/secrets/{agent}-identity");
        let mut key = object("v1", "Secret", &format!("{agent}-identity"));
        set(&mut key, &head);
        for (how, method) in [("replaces", "PUT"), ("patches", "PATCH"), ("applies", "APPLY")] {
            let title = format!("{how} its key with {title}");
            attacks.push(Attack { refusal: MARKS, ..write(&title, method, &path, key.clone()) });
        }
    }
    attacks
}

/// The same on the Lease of a role, which stays as it is but for that.
pub(crate) fn on_lease(places: &Places, role: &str, lease: &Value, refusal: &'static str) -> Vec<Attack> {
    let agent = &places.agent;
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{agent}/leases/{agent}-{role}");
    let with = |(title, head): (&str, Value)| {
        let mut lease = lease.clone();
        set(&mut lease, &head);
        Attack { refusal, ..write(&format!("replaces its Lease with {title}"), "PUT", &path, lease) }
    };
    heads().into_iter().map(with).collect()
}

/// Marks by which controllers of others and Helm know an object.
fn heads() -> [(&'static str, Value); 6] {
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000"}]);
    [
        (
            "somebody's source of copies",
            json!({"annotations": {"replicator.v1.mittwald.de/replicate-from": "kube-system/x"}}),
        ),
        (
            "permission to be copied",
            json!({"annotations": {"reflector.v1.k8s.emberstack.com/reflection-allowed": "true"}}),
        ),
        ("the label of a sidecar", json!({"labels": {"grafana_datasource": "1"}})),
        ("Helm's label", json!({"labels": {"helm.sh/chart": "thief"}})),
        ("a finalizer", json!({"finalizers": ["thief.test/stays"]})),
        ("an owner that is gone", json!({"ownerReferences": owner})),
    ]
}

fn set(object: &mut Value, head: &Value) {
    for (key, value) in head.as_object().into_iter().flatten() {
        match (object["metadata"][key].as_object_mut(), value.as_object()) {
            (Some(known), Some(more)) => known.extend(more.clone()),
            (None | Some(_), _) => object["metadata"][key] = value.clone(),
        }
    }
}

/// Paths in the vault, and other words of a document that would become parts of a path.
pub(super) fn paths(places: &Places) -> Vec<Attack> {
    let path = format!("/apis/{API}/namespaces/{}/releases", places.agent);
    let image = format!("registry.customer.test:5000/web@sha256:{}", "0".repeat(64));
    let release = |change: Value| {
        let mut made = object(API, "Release", "thief");
        made["spec"] = json!({
            "state": "Present", "environment": "dev", "image": image, "type": "Service", "owner": {"component": "web", "track": "v1.0"},
        });
        for (key, value) in change.as_object().into_iter().flatten() {
            made["spec"][key] = value.clone();
        }
        made
    };
    let mut attacks = Vec::new();
    for secret in [
        "../prod/db",
        "db/../../prod/db",
        "..",
        "./db",
        "db/.",
        "/secret/data/prod",
        "db//x",
        "db/",
        "%2e%2e/prod",
        "db%2f..",
        "db?version=1",
        "db#x",
        "..\\prod",
        "db\n",
        "sys mounts",
        "",
    ] {
        let reference = json!({"path": secret, "key": "password"});
        for (what, change) in [
            ("variable", json!({"env": [{"name": "A", "secretRef": reference}]})),
            ("file", json!({"files": [{"path": "/etc/a", "secretRef": reference}]})),
        ] {
            let title = format!("has a {what} read from {secret:?} of the vault");
            let refusal = "secretRef.path in body should match";
            attacks.push(Attack { refusal, ..write(&title, "POST", &path, release(change)) });
        }
    }
    for (title, change, refusal) in [
        ("an environment that is a path", json!({"environment": "../prod"}), "spec.environment in body should match"),
        (
            "a component that is a path",
            json!({"owner": {"component": "../x", "track": "v1.0"}}),
            "spec.owner.component in body should match",
        ),
        (
            "a track that is a path",
            json!({"owner": {"component": "web", "track": "v1.0/../x"}}),
            "spec.owner.track in body should match",
        ),
        ("an image by tag", json!({"image": "registry.customer.test:5000/web:1"}), "spec.image in body should match"),
        (
            "a name that is none of a variable",
            json!({"env": [{"name": "A=B\nC", "value": ""}]}),
            "name in body should match",
        ),
        (
            "a file over another mount",
            json!({"files": [{"path": "etc:/x", "content": ""}]}),
            "path in body should match",
        ),
    ] {
        attacks.push(Attack {
            refusal,
            ..write(&format!("creates a Release with {title}"), "POST", &path, release(change))
        });
    }
    attacks
}

pub(super) fn leases(places: &Places) -> Vec<Attack> {
    let agent = &places.agent;
    let api = "coordination.k8s.io/v1";
    let leases = format!("/apis/{api}/namespaces/{agent}/leases");
    let named = |name: &str| object(api, "Lease", name);
    let mut attacks = vec![
        write("creates a Lease", "POST", &leases, named("other")),
        write("creates a Lease of its own name by POST", "POST", &leases, named(&format!("{agent}-link"))),
        write(
            "creates a Lease of a made name",
            "POST",
            &leases,
            json!({"apiVersion": api, "kind": "Lease", "metadata": {"generateName": "x-"}}),
        ),
        write("creates a Lease by replacing it", "PUT", &format!("{leases}/other"), named("other")),
        write("deletes its Lease", "DELETE", &format!("{leases}/{agent}-link"), Value::Null),
        write("deletes all Leases", "DELETE", &leases, Value::Null),
        write("patches its Lease", "PATCH", &format!("{leases}/{agent}-link"), json!({"spec": {}})),
        write("applies its Lease", "APPLY", &format!("{leases}/{agent}-link"), named(&format!("{agent}-link"))),
    ];
    let held = |name: &str| {
        let mut lease = named(name);
        lease["spec"] = json!({"holderIdentity": "thief"});
        lease
    };
    for (verb, method) in [("replaces", "PUT"), ("patches", "PATCH"), ("applies", "APPLY"), ("deletes", "DELETE")] {
        for (what, namespace, name) in [
            ("the operator's Lease", agent.as_str(), format!("{agent}-operator")),
            ("the scheduler's Lease", "kube-system", "kube-scheduler".to_owned()),
            ("a node's Lease", "kube-node-lease", "node1".to_owned()),
            ("a Lease of its name elsewhere", "kube-system", format!("{agent}-link")),
        ] {
            let path = format!("/apis/{api}/namespaces/{namespace}/leases/{name}");
            attacks.push(write(&format!("{verb} {what}"), method, &path, held(&name)));
        }
    }
    attacks
}

//! What the operator's own code makes, to be sent with the operator's token: the policies must take all of it.

use pdp_agent::kinds::{SecurityLevel, StartGate};
use pdp_agent::operator::environment::objects;
use pdp_agent::operator::reconcile::rendering::{SECRETS, Slots};
use pdp_agent::operator::release::parsed::ValidRelease;
use pdp_agent::operator::release::render::{Input, build};
use protocol::document::{Quota, ReleaseSpec};
use serde_json::{Value, json};

use super::attacks::Places;

/// Ranges that no pod reaches, as the installation's policy has them.
pub(crate) const RANGES: [&str; 2] = ["10.96.0.0/12", "fd00:96::/112"];

/// Private ranges that pods may reach all the same.
pub(crate) const REACHABLE: [&str; 3] = ["10.0.0.0/8", "192.168.7.0/24", "fd00::/8"];

/// Where the installation's policy has the cluster's DNS.
pub(crate) const DNS: (&str, u16) = ("openshift-dns", 5353);

/// Everything of an environment but its namespace.
pub(crate) fn environment(places: &Places) -> Vec<Value> {
    let ranges = RANGES.map(str::to_owned);
    let quota = Quota { cpu: Some("4".to_owned()), memory: Some("8Gi".to_owned()), pods: Some(20) };
    let wanted = objects::wanted(&objects::Input {
        data_plane: "dp1",
        agent: &format!("{0}.{0}", places.agent),
        name: "dev",
        namespace: &places.ours,
        owner: ["acme", "shop", "dev"],
        agent_namespace: &places.agent,
        fullname: &places.agent,
        level: SecurityLevel::Restricted,
        quota: Some(&quota),
        egress: true,
        internal_ranges: Some(&ranges),
        reachable_ranges: &REACHABLE.map(str::to_owned),
        dns: DNS,
        logs: true,
    });
    wanted.present.into_iter().skip(1).collect()
}

/// A service and a task with all that a document can say.
pub(crate) fn workloads(places: &Places) -> Vec<Value> {
    let image = format!("registry.customer.test:5000/none@sha256:{}", "0".repeat(64));
    let gate = StartGate { image: image.clone(), address: Some("10.96.0.1:443".to_owned()) };
    let probe = json!({
        "port": 8080, "path": "/", "headers": [{"name": "X-Health", "value": "1"}], "initialDelaySeconds": 1,
        "periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 3,
    });
    let command = json!({"exec": {"command": ["/alive"]}});
    let secret = json!({"path": "shop/db", "key": "password"});
    let common = json!({
        "state": "Present", "environment": "dev", "image": image, "command": ["/bin/web"], "args": ["-port", "8080"],
        "env": [{"name": "GREETING", "value": "hello"}, {"name": "PASSWORD", "secretRef": secret}],
        "files": [{"path": "/etc/app/a", "content": "a"}, {"path": "/etc/app/b", "secretRef": secret}],
        "resources": {"cpuRequest": "100m", "memoryLimit": "256Mi"}, "security": {"runAsUser": 10001, "fsGroup": 10001},
        "restartToken": "once",
    });
    let mut objects = Vec::new();
    for (name, rest) in [
        (
            "web",
            json!({
                "owner": {"component": "web", "track": "v1.0"}, "type": "Service",
                "endpoints": [
                    {"name": "http", "port": 8080, "kind": "HTTP"}, {"name": "rpc", "port": 9090, "kind": "gRPC"},
                    {"name": "udp", "port": 5353, "kind": "UDP"},
                ],
                "probes": {"startup": probe, "liveness": command, "readiness": {"port": 8080}},
            }),
        ),
        ("bare", json!({"owner": {"component": "bare", "track": "v1.0"}, "type": "Service"})),
        (
            "migrate",
            json!({
                "owner": {"component": "migrate", "track": "v1.0"}, "type": "ManualTask", "task": {"retries": 2, "timeoutSeconds": 60},
            }),
        ),
    ] {
        let mut spec = common.clone();
        // Large enough to show that the policies' cost stays within the API server's limits.
        let many = (0..250).map(|index| json!({"name": format!("VARIABLE_{index}"), "value": "x".repeat(100)}));
        spec["env"].as_array_mut().unwrap().extend(many);
        if name == "bare" {
            spec = json!({"state": "Present", "environment": "dev", "image": image});
        }
        spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let spec: ReleaseSpec = serde_json::from_value(spec).unwrap();
        let release = ValidRelease::parse(&spec).unwrap();
        let rendering = build(&Input {
            data_plane: "dp1",
            name,
            environment: "dev",
            project: "shop",
            namespace: &places.ours,
            content_hash: "0123456789abcdef",
            level: SecurityLevel::Restricted,
            pull_secrets: &["pdp-pull-registry".to_owned()],
            gate: (name != "bare").then_some(&gate),
            release: &release,
        });
        let slots = Slots::from([(SECRETS.to_owned(), format!("{name}-secret"))]);
        objects.extend(rendering.bound("r", &slots).unwrap());
        objects.extend(rendering.bound_job("r", &slots).unwrap());
        objects.push(rendering.stored(
            &format!("{name}-0123456789"),
            &places.ours,
            1,
            &std::collections::BTreeMap::new(),
        ));
    }
    objects
}

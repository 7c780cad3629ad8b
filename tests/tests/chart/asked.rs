//! What the chart asks the cluster for while it renders, with an API server that knows a few objects and nothing else.

#![expect(clippy::indexing_slicing, reason = "members of JSON objects that are made or rendered here")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use pdp_agent::kinds::{DNS, SecurityLevel};
use pdp_agent::operator::environment::objects::{Input, wanted};
use serde_json::{Value, json};

use super::rendering::{objects, of_kind, template};

/// Answers by path.
type Answers = BTreeMap<String, Value>;

/// Address of an API server with these answers. It runs until the test process ends.
fn serve(answers: Answers) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, answers) = (stream.unwrap(), answers.clone());
            std::thread::spawn(move || answer(stream, &answers));
        }
    });
    format!("http://{address}")
}

/// One request, one answer. What is not known is not there.
fn answer(mut stream: TcpStream, answers: &Answers) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
    lines.find(String::is_empty);
    let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404});
    let (status, body) = answers.get(&path).map_or(("404 Not Found", &missing), |body| ("200 OK", body));
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    // Helm may have gone.
    _ = stream.write_all(format!("{head}{body}").as_bytes());
}

/// Name, protocol and number.
type Port = (&'static str, &'static str, u16);

/// EndpointSlices of a namespace: the names of their Services, and their ports.
fn slices(namespace: &str, of: &[(&str, &[Port])]) -> (String, Value) {
    let items: Vec<Value> = of
        .iter()
        .map(|(service, ports)| {
            let ports: Vec<Value> = ports
                .iter()
                .map(|(name, protocol, port)| json!({"name": name, "protocol": protocol, "port": port}))
                .collect();
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": ports,
                "metadata": {"name": format!("{service}-x"), "namespace": namespace, "labels": {"kubernetes.io/service-name": service}},
                "endpoints": [{"addresses": ["10.0.0.9"]}],
            })
        })
        .collect();
    let list =
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList", "metadata": {}, "items": items});
    (format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"), list)
}

/// The chart as Helm renders it for a cluster with these objects; an empty list where it has none of a kind.
fn rendered(known: impl IntoIterator<Item = (String, Value)>, more: &[&str]) -> Vec<Value> {
    let resource =
        |name: &str, kind: &str| json!({"name": name, "kind": kind, "namespaced": true, "verbs": ["get", "list"]});
    let list = |group: &str, resources: Value| json!({"kind": "APIResourceList", "groupVersion": group, "resources": resources});
    let ours = json!([resource("dataplanepolicies", "DataPlanePolicy"), resource("dataplanes", "DataPlane")]);
    let mut answers = Answers::from([
        ("/version".to_owned(), json!({"major": "1", "minor": "35", "gitVersion": "v1.35.0"})),
        (
            "/apis/discovery.k8s.io/v1".to_owned(),
            list("discovery.k8s.io/v1", json!([resource("endpointslices", "EndpointSlice")])),
        ),
        ("/apis/pdp-agent.dev/v1alpha1".to_owned(), list("pdp-agent.dev/v1alpha1", ours)),
    ]);
    answers.extend(["default", "kube-system", "openshift-dns"].map(|namespace| slices(namespace, &[])));
    answers.extend(known);
    let cluster = json!([{"name": "c", "cluster": {"server": serve(answers)}}]);
    let context = json!([{"name": "c", "context": {"cluster": "c", "user": ""}}]);
    let config =
        json!({"apiVersion": "v1", "kind": "Config", "clusters": cluster, "contexts": context, "current-context": "c"});
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), config.to_string()).unwrap();
    let kubeconfig = file.path().display().to_string();
    let mut args = vec!["--dry-run=server", "--kubeconfig", &kubeconfig, "--api-versions", "pdp-agent.dev/v1alpha1"];
    args.extend(more);
    objects(&template("minimal", &args).unwrap())
}

const KUBEADM: &[Port] = &[("dns", "UDP", 53), ("dns-tcp", "TCP", 53), ("metrics", "TCP", 9153)];
const GARDENER: &[Port] = &[("metrics", "TCP", 9153), ("dns-tcp", "TCP", 8053), ("dns", "UDP", 8053)];
const OPENSHIFT: &[Port] = &[("dns-tcp", "TCP", 5353), ("dns", "UDP", 5353), ("metrics", "TCP", 9154)];

/// `dns` of the policy, what the link reaches beside ports, and the spec that `pdp-dns` has to have.
fn told(objects: &[Value]) -> (Value, Vec<Value>, Value) {
    let policies = of_kind(objects, "DataPlanePolicy");
    let policy = policies.first().map_or(Value::Null, |policy| policy["spec"]["dns"].clone());
    let own =
        of_kind(objects, "NetworkPolicy").into_iter().find(|one| one["metadata"]["name"] == "pdp-agent-link").unwrap();
    let others = own["spec"]["egress"].as_array().unwrap().iter().filter(|rule| rule["to"].is_array());
    let isolation = of_kind(objects, "ValidatingAdmissionPolicy");
    let isolation = isolation.into_iter().find(|one| one["metadata"]["name"] == "pdp-agent-isolation").unwrap();
    let rules = isolation["spec"]["validations"].as_array().unwrap();
    let rule = rules.iter().find(|one| one["message"].as_str().unwrap().starts_with("pdp-dns holds exactly")).unwrap();
    let rule = rule["expression"].as_str().unwrap();
    let literal = rule.split("object.spec == ").nth(1).unwrap().split(" || variables.old").next().unwrap();
    let spec = serde_json::from_str(&literal.replace("dyn(", "").replace(')', "")).unwrap();
    (policy, others.cloned().collect(), spec)
}

/// The spec of `pdp-dns` as the operator writes it.
fn written(dns: (&str, u16)) -> Value {
    let wanted = wanted(&Input {
        data_plane: "dp1",
        agent: "pdp-agent.pdp-agent",
        name: "dev",
        namespace: "dp-acme-shop-dev",
        owner: ["acme", "shop", "dev"],
        agent_namespace: "pdp-agent",
        fullname: "pdp-agent",
        level: SecurityLevel::Restricted,
        quota: None,
        egress: false,
        internal_ranges: None,
        reachable_ranges: &[],
        dns,
        logs: false,
    });
    wanted.present.into_iter().find(|object| object["metadata"]["name"] == "pdp-dns").unwrap()["spec"].clone()
}

#[test]
fn the_cluster_is_asked_where_its_dns_listens_and_policy_and_rules_follow() {
    for (known, found) in [
        (vec![], None),
        (vec![slices("kube-system", &[("metrics-server", &[("https", "TCP", 4443)]), ("kube-dns", KUBEADM)])], None),
        (vec![slices("kube-system", &[("kube-dns", GARDENER)])], Some(("kube-system", 8053))),
        (
            vec![
                slices("kube-system", &[("kubelet", &[("x", "UDP", 10250)])]),
                slices("openshift-dns", &[("dns-default", OPENSHIFT)]),
            ],
            Some(("openshift-dns", 5353)),
        ),
        (vec![slices("openshift-dns", &[("dns-default", &[])])], None),
    ] {
        let (policy, own, rule) = told(&rendered(known, &[]));
        let Some((namespace, port)) = found else {
            assert_eq!((policy, own.len()), (Value::Null, 0));
            assert_eq!(rule, written(DNS));
            continue;
        };
        assert_eq!(policy, json!({"namespace": namespace, "port": port}));
        let pods = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}});
        let ports = json!([{"protocol": "UDP", "port": port}, {"protocol": "TCP", "port": port}]);
        assert_eq!(own, [json!({"to": [pods], "ports": ports})]);
        assert_eq!(rule, written((namespace, port)));
    }
}

#[test]
fn what_the_values_say_of_the_dns_is_not_asked_of_the_cluster() {
    let openshift = || [slices("openshift-dns", &[("dns-default", OPENSHIFT)])];
    let (policy, own, rule) = told(&rendered(openshift(), &["--set", "policy.dns.port=8053"]));
    assert_eq!((policy, own.len(), rule), (json!({"port": 8053}), 1, written(("kube-system", 8053))));
    let (policy, own, rule) = told(&rendered(openshift(), &["--set-json", "policy.dns={}"]));
    assert_eq!((policy, own.len(), rule), (json!({}), 0, written(DNS)));
    // The customer makes the policy, and the values repeat it.
    let (policy, own, rule) = told(&rendered(openshift(), &["--set", "policy.create=false"]));
    assert_eq!((policy, own.len(), rule), (Value::Null, 0, written(DNS)));
}

#[test]
fn the_customers_policy_counts_once_it_is_there_and_the_cluster_is_not_asked_any_more() {
    let policy = |spec: Value| {
        let head = json!({"name": "default", "namespace": "pdp-agent"});
        let object =
            json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": "DataPlanePolicy", "metadata": head, "spec": spec});
        ("/apis/pdp-agent.dev/v1alpha1/namespaces/pdp-agent/dataplanepolicies/default".to_owned(), object)
    };
    let openshift = slices("openshift-dns", &[("dns-default", OPENSHIFT)]);
    let silent = policy(json!({"registries": [], "logs": {"mode": "Disabled"}}));
    let (made, own, rule) = told(&rendered([silent, openshift.clone()], &[]));
    assert_eq!((made, own.len()), (Value::Null, 0), "the customer's policy is written again");
    assert_eq!(rule, written(DNS));
    let edited = json!({"registries": [], "logs": {"mode": "Disabled"}, "dns": {"namespace": "dns", "port": 1053}});
    let (_, own, rule) = told(&rendered([policy(edited), openshift], &[]));
    assert_eq!(own[0]["ports"][0]["port"], 1053);
    assert_eq!(rule, written(("dns", 1053)));
}

//! Test vectors for implementations in other languages; `vectors/check.py` is one that checks them.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a file of tests")]

mod golden;

use protocol::document::{Desired, check};
use protocol::enrol::renewal_statement;
use protocol::hash::canonical;
use protocol::inventory::{Inventory, bucket_of};
use protocol::message::InventoryEntry;
use protocol::name::{Kind, ResourceKey, joined};
use protocol::report::{State, digest};
use protocol::{ContentHash, Tree};
use serde_json::{Value, json};

#[test]
fn vectors_are_those_of_this_code() {
    let folder = golden::folder("vectors");
    let mut files = vec!["check.py".to_owned()];
    for (name, value) in [
        ("bodies", bodies()),
        ("hash", hashes()),
        ("inventory", inventory()),
        ("names", names()),
        ("renewal", renewal()),
    ] {
        let text = serde_json::to_string_pretty(&value).unwrap();
        golden::same(&folder.join(format!("{name}.json")), &format!("{text}\n"));
        files.push(format!("{name}.json"));
    }
    golden::only(&folder, &files);
}

/// Bodies of documents that their schema allows, each with the fields by which it is refused: none where it is accepted.
fn bodies() -> Value {
    let digest = "0".repeat(64);
    let release = json!({
        "state": "Present", "environment": "dev", "owner": {"component": "web", "track": "v1.0"}, "type": "Service",
        "image": format!("registry.example/web@sha256:{digest}"),
    });
    let image = |name: &str| json!({"image": format!("{name}@sha256:{digest}")});
    let files = |paths: &[&str]| json!({"files": paths.iter().map(|path| json!({"path": path, "content": ""})).collect::<Vec<_>>()});
    let memory = |size: &str| json!({"path": format!("/{size}"), "size": size, "medium": "Memory"});
    let secret = |path: &str, key: &str| json!({"env": [{"name": "A", "secretRef": {"path": path, "key": key}}]});
    let releases = [
        ("an image of a host with a port", image("registry.example:5000/team/web")),
        ("an image with a scheme", image("https://registry.example/web")),
        ("an image in upper case", image("registry.example/Web")),
        ("an image with a line feed", image("registry.example/web\n")),
        ("NUL in an argument", json!({"args": ["a\0b"]})),
        ("a path that turns the direction of writing", files(&["/etc/\u{202e}app"])),
        ("two files", files(&["/etc/app/a", "/etc/app/b"])),
        ("a path with ..", files(&["/etc/../app"])),
        ("a path with an empty part", files(&["/etc//app"])),
        ("a path below /proc", files(&["/proc/app"])),
        ("a path twice", files(&["/etc/app", "/etc/app"])),
        ("a path below another", files(&["/etc/app", "/etc/app/a"])),
        ("a folder with / at its end", json!({"volumes": [{"path": "/data/", "size": "1Gi"}]})),
        ("a secret", secret("team/db", "password")),
        ("a secret with .. in its path", secret("team/../db", "password")),
        ("a secret without a key", secret("team/db", "")),
        ("a variable twice", json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]})),
        ("a variable of 250 bytes", json!({"env": [{"name": "A".repeat(250), "value": ""}]})),
        (
            "two endpoints on one port",
            json!({"endpoints": [{"name": "a", "port": 80, "kind": "HTTP"}, {"name": "b", "port": 80, "kind": "HTTP"}]}),
        ),
        (
            "two endpoints of one name",
            json!({"endpoints": [{"name": "a", "port": 80, "kind": "HTTP"}, {"name": "a", "port": 81, "kind": "HTTP"}]}),
        ),
        (
            "a value and a secret",
            json!({"env": [{"name": "A", "value": "1", "secretRef": {"path": "db", "key": "password"}}]}),
        ),
        ("neither value nor secret", json!({"env": [{"name": "A"}]})),
        ("a probe by path and gRPC", json!({"probes": {"liveness": {"port": 80, "path": "/", "grpc": {}}}})),
        ("a probe by a command", json!({"probes": {"liveness": {"exec": {"command": ["/alive"]}}}})),
        (
            "a probe by a command and a port",
            json!({"probes": {"liveness": {"port": 80, "exec": {"command": ["/alive"]}}}}),
        ),
        ("a probe of no port", json!({"probes": {"liveness": {"path": "/"}}})),
        (
            "a probe with headers",
            json!({"probes": {"liveness": {"port": 80, "path": "/", "headers": [{"name": "A", "value": ""}]}}}),
        ),
        (
            "headers without a path",
            json!({"probes": {"liveness": {"port": 80, "headers": [{"name": "A", "value": ""}]}}}),
        ),
        ("content in base64", json!({"files": [{"path": "/a", "encoding": "Base64", "content": "AA=="}]})),
        (
            "content in base64 without padding",
            json!({"files": [{"path": "/a", "encoding": "Base64", "content": "AA"}]}),
        ),
        (
            "content in base64 with bits left over",
            json!({"files": [{"path": "/a", "encoding": "Base64", "content": "AB=="}]}),
        ),
        ("a request above its limit", json!({"resources": {"cpuRequest": "1.5", "cpuLimit": "1000m"}})),
        ("memory in parts of a byte", json!({"resources": {"memoryLimit": "100m"}})),
        ("a memory limit of less than 1Mi", json!({"resources": {"memoryLimit": "64"}})),
        ("a volume of less than 4Ki", json!({"volumes": [{"path": "/data", "size": "64"}]})),
        ("volumes in memory that fill the usual limit", json!({"volumes": [memory("256Mi"), memory("0.25Gi")]})),
        ("volumes in memory that are more", json!({"volumes": [memory("256Mi"), memory("257Mi")]})),
        (
            "volumes in memory within a larger request",
            json!({"volumes": [memory("1Gi")], "resources": {"memoryRequest": "1Gi"}}),
        ),
        ("pods that have to stay ready beyond the deadline", json!({"minReadySeconds": 300})),
        (
            "a Worker with an endpoint",
            json!({"type": "Worker", "endpoints": [{"name": "a", "port": 80, "kind": "HTTP"}]}),
        ),
        ("a task that scales", json!({"type": "ManualTask", "scaling": {"replicas": 2}})),
        ("a Service with settings of a task", json!({"task": {"retries": 1}})),
        (
            "an endpoint that others see",
            json!({"endpoints": [{"name": "a", "port": 80, "kind": "HTTP", "visibility": ["Organization"]}]}),
        ),
    ];
    let with = |(about, more): (&'static str, Value)| {
        let mut body = release.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        (about, Kind::Release, body)
    };
    let others = [
        ("a quota of less than 1Mi", Kind::Environment, json!({"state": "Present", "quota": {"memory": "64"}})),
        ("NUL in an argument of a run", Kind::TaskRun, json!({"release": "web", "args": ["\0"]})),
        ("a name that turns the direction of writing", Kind::DataPlane, json!({"displayName": "\u{202e}"})),
    ];
    let fields = |kind, body: &Value| match check(kind, &body.to_string()) {
        Ok(_) => Vec::new(),
        Err(refusal) => refusal.reasons.into_iter().map(|reason| reason.field).collect(),
    };
    let all = releases.into_iter().map(with).chain(others);
    all.map(|(about, kind, body)| {
        let refused = fields(kind, &body);
        json!({"about": about, "kind": kind.as_str(), "body": body, "refused": refused})
    })
    .collect()
}

fn hashes() -> Value {
    let bodies = [
        ("absent", r#"{"state":"Absent"}"#),
        ("white space and order do not count", "{ \"b\" : [ 1 , 2 ] ,\n\t\"a\" : null }"),
        ("order is by UTF-16 code units", r#"{"€":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"ö":7}"#),
        ("escapes have one spelling", r#"{"s":"\u0061\/\u000f\u000a\"\\\u2028\u007f\b\f\t"}"#),
        ("integers are exact", "[0,9007199254740991,-9007199254740991]"),
        ("empty", "{}"),
        ("booleans and nesting", r#"{"a":{"b":[true,false,{"c":[]}]}}"#),
        ("large integers are text", r#"{"n":"9007199254740993"}"#),
    ];
    let hashed: Vec<_> = bodies
        .iter()
        .map(|(about, body)| {
            let tree = Tree::parse(body.as_bytes()).unwrap();
            let hash = ContentHash::of_document("Release", "web", &tree).to_string();
            let resource = json!({"kind": "Release", "name": "web"});
            json!({"about": about, "resource": resource, "body": body, "canonicalBody": canonical(&tree), "hash": hash})
        })
        .collect();
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let refused = [
        ("duplicate key", r#"{"a":1,"a":1}"#),
        ("duplicate key after unescaping", r#"{"a":1,"\u0061":1}"#),
        ("fraction", "1.0"),
        ("minus zero", "-0"),
        ("exponent", "1e2"),
        ("integer beyond 2^53 − 1", "9007199254740992"),
        ("lone surrogate", r#""\ud800""#),
        ("nested deeper than 64", deep.as_str()),
        ("something after the document", "{} {}"),
        ("nothing", ""),
    ];
    let refused: Vec<_> = refused
        .iter()
        .map(|(about, body)| {
            assert!(Tree::parse(body.as_bytes()).is_err(), "{about}");
            json!({"about": about, "body": body})
        })
        .collect();
    let state = State { observed_generation: Some(3), ..State::default() };
    let states = [
        json!({"state": null, "digest": digest(None)}),
        json!({"state": serde_json::to_value(&state).unwrap(), "digest": digest(Some(&state))}),
    ];
    json!({"documents": hashed, "refused": refused, "states": states})
}

fn inventory() -> Value {
    let entries: Vec<_> = (1..=12_i64)
        .map(|n| InventoryEntry {
            key: ResourceKey { kind: Kind::ALL[usize::try_from(n % 3).unwrap()], name: format!("r{n}") },
            generation: n,
            hash: ContentHash::of(&Tree::Integer(n)).to_string(),
            state: if n % 4 == 0 { Desired::Absent } else { Desired::Present },
        })
        .collect();
    let listed: Vec<_> = entries
        .iter()
        .map(|entry| {
            let mut value = serde_json::to_value(entry).unwrap();
            value["bucket"] = bucket_of(&entry.key).into();
            value
        })
        .collect();
    let mut inventory: Inventory = entries.into_iter().collect();
    let root = inventory.root();
    json!({"entries": listed, "digests": inventory.digests(), "root": root, "emptyRoot": Inventory::default().root()})
}

fn names() -> Value {
    let tuples: [&[&str]; 5] = [
        &["acme", "shop", "dev"],
        &["a-b", "c"],
        &["a", "b-c"],
        &["Über", "Web_Shop", ""],
        &["a-very-long-word-that-is-cut"; 4],
    ];
    tuples.iter().map(|words| json!({"words": words, "max": 63, "name": joined(words, 63)})).collect()
}

fn renewal() -> Value {
    let csr = "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n";
    let statement = String::from_utf8(renewal_statement("dp-7c1e", csr, 1_772_366_400)).unwrap();
    json!({"dataPlane": "dp-7c1e", "csr": csr, "time": 1_772_366_400, "statement": statement})
}

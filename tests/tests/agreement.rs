//! Every rule is the same everywhere: component file, arriving document, definitions and operator give the same verdict on a value.
//!
//! `pdpctl` and the control plane check the file, the link the document, the API server the stored object by the definitions, the
//! operator what is stored. A value that is refused in a new document but could have worked goes on working where it is stored already;
//! each such rule is listed here.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "members of JSON objects that are made here")]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use control_plane_model::component;
use pdp_agent::operator::release::parsed::ValidRelease;
use proptest::prelude::*;
use protocol::document::ReleaseSpec;
use protocol::name::Kind;
use regex_lite::Regex;
use serde_json::{Value, json};

const IMAGE: &str = "registry.example/web@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What shall be said of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Refused, but it goes on where it is stored.
    New,
    /// Refused everywhere: it could never have worked.
    Never,
}
use Verdict::{Good, Never, New};

fn body(field: &str, value: &Value) -> Value {
    let mut body = json!({
        "state": "Present", "environment": "dev", "owner": {"component": "web", "track": "v1.0", "release": 1},
        "type": "Service", "image": IMAGE,
    });
    body[field] = value.clone();
    body
}

/// The same as a component file; the value stands for all environments or in one.
fn file(field: &str, value: &Value, in_environment: bool) -> Value {
    let mut file = json!({
        "apiVersion": component::API_VERSION, "kind": component::KIND, "name": "web", "type": "Service", "image": IMAGE,
    });
    match in_environment {
        true => file["environments"] = json!({"dev": {field: value}}),
        false => file[field] = value.clone(),
    }
    file
}

fn refused_by_intake(field: &str, value: &Value) -> BTreeSet<String> {
    let checked = protocol::document::check(Kind::Release, &body(field, value).to_string());
    checked.err().into_iter().flat_map(|refusal| refusal.reasons).map(|reason| reason.field).collect()
}

fn refused_by_file(field: &str, value: &Value, in_environment: bool) -> BTreeSet<String> {
    let problems = component::from_json(&file(field, value, in_environment)).err().unwrap_or_default();
    problems.into_iter().filter_map(|problem| problem.field).collect()
}

fn endpoint(rest: &Value) -> Value {
    let mut endpoint = json!({"name": "http", "port": 8080, "kind": "HTTP"});
    for (name, value) in rest.as_object().into_iter().flatten() {
        endpoint[name] = value.clone();
    }
    json!([endpoint])
}

fn plain_file(path: &str) -> Value {
    json!([{"path": path, "content": ""}])
}

fn files(paths: [&str; 2]) -> Value {
    json!(paths.map(|path| json!({"path": path, "content": ""})))
}

fn variable(name: &str) -> Value {
    json!([{"name": name, "value": ""}])
}

fn secret(path: &str) -> Value {
    json!([{"name": "A", "secretRef": {"path": path, "key": "k"}}])
}

fn cases() -> Vec<(&'static str, Value, Verdict)> {
    let digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let long = |length: usize| "a".repeat(length);
    let two = |kinds: [&str; 2]| json!([{"name": "a", "port": 53, "kind": kinds[0]}, {"name": "b", "port": 53, "kind": kinds[1]}]);
    let mut all = vec![
        ("image", json!(format!("docker://r.example/web@sha256:{digest}")), New),
        ("image", json!(format!("r.example/Web@sha256:{digest}")), New),
        ("image", json!(format!("web:1@sha256:{digest}")), Good),
        ("image", json!("r.example/web:1"), Never),
        ("args", json!(vec!["a"; 64]), Good),
        ("args", json!(vec!["a"; 65]), New),
        ("args", json!([long(4096)]), Good),
        ("args", json!([long(4097)]), New),
        ("command", json!(["a\0"]), New),
        ("env", variable("A_1"), Good),
        ("env", variable("1A"), New),
        ("env", variable(&long(249)), Good),
        ("env", variable(&long(254)), Never),
        ("env", variable(&long(257)), Never),
        ("env", json!([{"name": "A", "value": "a\0"}]), New),
        ("env", json!([{"name": "A", "value": "a"}, {"name": "A", "value": "b"}]), Never),
        ("env", json!([{"name": "A", "value": "a", "secretRef": {"path": "a", "key": "b"}}]), Never),
        ("env", secret("a/b"), Good),
        ("env", secret("./x"), Never),
        ("env", secret("a/../b"), Never),
        ("env", secret("a/.../b"), New),
        ("env", json!([{"name": "A", "secretRef": {"path": "a", "key": ""}}]), New),
        ("files", plain_file("/etc/app/settings.yaml"), Good),
        ("files", plain_file("/etc/app/"), New),
        ("files", plain_file("/sys/x"), New),
        ("files", plain_file("/etc/./x"), New),
        ("files", plain_file("/etc/../x"), New),
        ("files", plain_file("//"), New),
        ("files", plain_file("/a\nb"), New),
        ("files", plain_file("/a\0b"), New),
        ("files", plain_file(&format!("/{}", long(511))), Good),
        ("files", plain_file(&format!("/{}", long(512))), New),
        ("files", json!([{"path": "/a", "content": long(131_073)}]), New),
        ("files", files(["/etc/app.conf", "/etc/other.conf"]), Good),
        ("files", files(["/etc/app.conf", "/etc/app.conf"]), Never),
        ("files", files(["/etc/app.conf", "/etc//app.conf"]), New),
        ("files", files(["/etc/app.conf", "/etc/app.conf/x"]), Never),
        ("files", json!([{"path": "/a", "content": "x", "mode": "0755"}]), Good),
        ("files", json!([{"path": "/a", "content": "x", "mode": "755"}]), New),
        ("files", json!([{"path": "/a", "content": "x", "mode": "0888"}]), New),
        (
            "volumes",
            json!([{"path": "/data", "size": "1Gi"}, {"path": "/tmp", "medium": "Memory", "size": "64Mi"}]),
            Good,
        ),
        ("volumes", json!([{"path": "/data", "size": "0"}]), Never),
        ("volumes", json!([{"path": "/data", "size": "128m"}]), Never),
        ("volumes", json!([{"path": "/data", "size": "1Gi"}, {"path": "/data/a", "size": "1Gi"}]), Never),
        ("volumes", json!([{"path": "/data/", "size": "1Gi"}]), New),
        ("minReadySeconds", json!(299), Good),
        ("minReadySeconds", json!(300), Never),
        ("minReadySeconds", json!(-1), New),
        ("endpoints", two(["TCP", "UDP"]), Good),
        ("endpoints", two(["TCP", "HTTP"]), Good),
        ("endpoints", two(["HTTP", "HTTP"]), Good),
        ("endpoints", endpoint(&json!({"name": "My_API"})), Good),
        ("endpoints", endpoint(&json!({"name": "my.api"})), New),
        ("endpoints", endpoint(&json!({"port": 0})), New),
        ("endpoints", endpoint(&json!({"basePath": "x"})), New),
        ("endpoints", endpoint(&json!({"basePath": format!("/{}", long(256))})), New),
        ("endpoints", endpoint(&json!({"visibility": ["Project"]})), Good),
        ("endpoints", endpoint(&json!({"visibility": ["Project", "Project"]})), New),
        ("endpoints", endpoint(&json!({"visibility": ["Public"]})), New),
        ("endpoints", endpoint(&json!({"visibility": ["Organization"]})), New),
        ("probes", json!({"liveness": {"port": 1, "path": format!("/{}", long(1024))}}), New),
        ("probes", json!({"startup": {"port": 65_536}}), New),
        ("security", json!({"runAsUser": 0}), New),
        ("scaling", json!({"replicas": 1001}), New),
        ("terminationGraceSeconds", json!(3601), New),
        ("progressDeadlineSeconds", json!(9), New),
        ("task", json!({"retries": 1}), New),
        ("resources", json!({"cpuRequest": "1", "cpuLimit": "1000m"}), Good),
        ("resources", json!({"cpuRequest": "2", "cpuLimit": "1"}), Never),
        ("resources", json!({"memoryRequest": "2Gi", "memoryLimit": "1Gi"}), Never),
        ("resources", json!({"memoryLimit": "128m"}), New),
        ("resources", json!({"memoryRequest": "128m"}), New),
        ("resources", json!({"memoryLimit": "128"}), New),
    ];
    for amount in ["1", ".5", "1.", "1e3", "100u", "2Ei", "1E", "0.123456789", "+1"] {
        all.push(("resources", json!({"cpuLimit": amount, "memoryLimit": "1e9"}), Good));
    }
    for amount in ["", ".", "0.1234567890", "-1", "1x", "1e19", "1,5"] {
        all.push(("resources", json!({"cpuLimit": amount}), New));
    }
    all
}

#[test]
fn file_document_and_operator_say_the_same_of_the_same_release() {
    for (field, value, verdict) in cases() {
        let shown: String = value.to_string().chars().take(200).collect();
        let intake = refused_by_intake(field, &value);
        assert_eq!(intake.is_empty(), verdict == Good, "the link of {field} {shown}: {intake:?}");
        assert_eq!(refused_by_file(field, &value, false), intake, "pdpctl and the link of {field} {shown}");
        if ["env", "files", "scaling", "resources"].contains(&field) {
            let here: BTreeSet<String> = intake.iter().map(|field| format!("/environments/dev{field}")).collect();
            assert_eq!(refused_by_file(field, &value, true), here, "in one environment: {field} {shown}");
        }
        let spec: ReleaseSpec = serde_json::from_value(body(field, &value)).unwrap();
        let stored = ValidRelease::parse(&spec);
        assert_eq!(stored.is_err(), verdict == Never, "the operator of {field} {shown}: {stored:?}");
    }
}

#[test]
fn a_task_has_nothing_that_serves() {
    for field in ["probes", "scaling", "endpoints"] {
        let value = if field == "endpoints" { json!([]) } else { json!({}) };
        let task = |mut document: Value| {
            document["type"] = json!("ManualTask");
            document
        };
        let intake = protocol::document::check(Kind::Release, &task(body(field, &value)).to_string()).unwrap_err();
        let file = component::from_json(&task(file(field, &value, false))).unwrap_err();
        assert_eq!(intake.reasons.len(), 1, "{intake}");
        assert_eq!(file[0].field.as_ref(), Some(&intake.reasons[0].field));
    }
}

#[test]
fn no_pattern_is_shown_and_no_value() {
    let secret = json!([{"name": "A", "value": "hunter2\0"}, {"name": "A", "value": "hunter2"}, {"name": "hunter2!", "value": ""}]);
    for (field, value, _) in cases().into_iter().chain([("env", secret, New)]) {
        let refusal = protocol::document::check(Kind::Release, &body(field, &value).to_string()).err();
        let of_file = component::from_json(&file(field, &value, false)).err().unwrap_or_default();
        let of_file =
            of_file.into_iter().map(|problem| format!("{} {}", problem.message, problem.hint.unwrap_or_default()));
        for sentence in refusal.map(|refusal| refusal.to_string()).into_iter().chain(of_file) {
            assert!(!sentence.contains("[a-z") && !sentence.contains("[0-9") && !sentence.contains(")?"), "{sentence}");
            assert!(!sentence.contains("hunter2\0"), "{sentence}");
        }
    }
}

#[test]
fn the_charts_values_take_the_amounts_that_documents_take() {
    let chart: Value = serde_json::from_str(include_str!("../../helm/pdp-agent/values.schema.json")).unwrap();
    assert_eq!(chart["definitions"]["quantity"]["pattern"], protocol::document::pattern::QUANTITY);
}

static DEFINITION: LazyLock<Vec<(String, Regex, Option<u64>)>> = LazyLock::new(definition);

/// Patterns and longest lengths in the definition of releases, by place.
fn definition() -> Vec<(String, Regex, Option<u64>)> {
    fn walk(schema: &Value, at: &str, found: &mut Vec<(String, Regex, Option<u64>)>) {
        if let Some(pattern) = schema["pattern"].as_str() {
            found.push((at.to_owned(), Regex::new(pattern).unwrap(), schema["maxLength"].as_u64()));
        }
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            walk(member, &format!("{at}/{name}"), found);
        }
        if schema["items"].is_object() {
            walk(&schema["items"], &format!("{at}/0"), found);
        }
    }
    let crds = pdp_agent::kinds::crds().unwrap();
    let release = crds.iter().find(|crd| crd.spec.names.kind == "Release").unwrap();
    let release = serde_json::to_value(release).unwrap();
    let mut found = Vec::new();
    walk(&release["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], "", &mut found);
    found.retain(|(at, _, _)| !at.starts_with("/document") && !at.starts_with("/owner") && at != "/environment");
    found
}

/// A field of a release with `text` at the place `at`.
fn planted(at: &str, text: &str) -> (String, Value) {
    let (field, below) = at.trim_start_matches('/').split_once('/').unwrap_or((at.trim_start_matches('/'), ""));
    let value = match (field, below) {
        ("env", "0/name") => variable(text),
        ("env", "0/secretRef/path") => secret(text),
        ("files", "0/path") => plain_file(text),
        ("files", "0/mode") => json!([{"path": "/a", "content": "x", "mode": text}]),
        ("volumes", "0/path") => json!([{"path": text, "size": "1Mi"}]),
        ("volumes", _) => json!([{"path": "/a", "size": text}]),
        ("files", "0/secretRef/path") => json!([{"path": "/a", "secretRef": {"path": text, "key": "k"}}]),
        ("endpoints", below) => endpoint(&json!({below.trim_start_matches("0/"): text})),
        ("probes", below) => {
            let (probe, of) = below.split_once('/').unwrap_or((below, ""));
            let mut asked = json!({"port": 1, "path": "/"});
            match of {
                "headers/0/name" => asked["headers"] = json!([{"name": text, "value": ""}]),
                "headers/0/value" => asked["headers"] = json!([{"name": "A", "value": text}]),
                of => asked[of] = json!(text),
            }
            json!({probe: asked})
        }
        ("resources", below) => json!({below: text}),
        (_, _) => json!(text),
    };
    (field.to_owned(), value)
}

/// Whether a rule of documents is narrower than the definition here. The definition cannot be narrowed: stored objects may break the
/// rule.
fn narrower(at: &str, text: &str) -> bool {
    match at {
        "/image" => true,
        "/env/0/name" => text.len() > 249,
        "/files/0/path" | "/volumes/0/path" => {
            text.chars().any(char::is_control)
                || text.split('/').skip(1).any(|part| ["", ".", "..", "proc", "sys"].contains(&part))
        }
        "/resources/memoryRequest" | "/resources/memoryLimit" | "/volumes/0/size" => true,
        _ => false,
    }
}

proptest! {
    #[test]
    fn generated_values_are_judged_alike_by_file_document_and_definition(
        characters in proptest::collection::vec(proptest::sample::select("aAz019_-./:+eEmMKi\n\0 ä@".chars().collect::<Vec<_>>()), 0..12),
        start in proptest::sample::select(vec!["", "/", "1", "a", "/proc/"]),
    ) {
        let text = format!("{start}{}", characters.into_iter().collect::<String>());
        for (at, form, longest) in &*DEFINITION {
            let (field, value) = planted(at, &text);
            let taken = form.is_match(&text) && longest.is_none_or(|longest| text.chars().count() as u64 <= longest);
            let intake = refused_by_intake(&field, &value);
            prop_assert!(taken || !intake.is_empty(), "{}: documents take {:?} and the definition does not", at, text);
            prop_assert!(!taken || intake.is_empty() || narrower(at, &text), "{}: {:?} is refused: {:?}", at, text, intake);
            prop_assert_eq!(refused_by_file(&field, &value, false), intake, "{}: {:?}", at, text);
        }
    }
}

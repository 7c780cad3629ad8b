use serde_json::{Value, json};

use super::*;
use crate::document::breaches;
use crate::name::Kind;

mod forms;

const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A release in which the field at `pointer` has that value.
fn with(pointer: &str, value: Value) -> ReleaseSpec {
    let mut release = json!({
        "state": "Present", "environment": "dev", "owner": {"component": "web", "track": "v1.0"}, "type": "Service",
        "image": format!("registry.example/web@sha256:{DIGEST}"),
    });
    release[pointer] = value;
    serde_json::from_value(release).unwrap()
}

/// Fields and sentences of all that is wrong.
fn said(release: &ReleaseSpec) -> Vec<String> {
    breaches(Kind::Release, release).iter().map(|breach| format!("{} {}", breach.field, breach.sentence())).collect()
}

/// Each value passes, or is refused at the field with the words.
#[track_caller]
fn judged(field: &str, make: impl Fn(&str) -> (&'static str, Value), good: &[&str], bad: &[(&str, &str)]) {
    let release = |value: &str| {
        let (pointer, value) = make(value);
        with(pointer, value)
    };
    for value in good {
        assert_eq!(said(&release(value)), Vec::<String>::new(), "{value:?}");
    }
    for (value, words) in bad {
        let said = said(&release(value));
        assert!(
            said.iter().any(|one| one.starts_with(field) && one.contains(words)),
            "{value:?}: {words} not in {said:?}"
        );
        assert!(said.iter().all(|one| !one.contains("[a-z") && !one.contains(".*")), "a pattern is shown: {said:?}");
    }
}

#[test]
fn content_in_base64_is_canonical_and_stands_beside_its_encoding() {
    let content = |content: &str| ("files", json!([{"path": "/logo.png", "encoding": "Base64", "content": content}]));
    let bad = ["A", "AA", "AAA", "A===", "AB==", "AAB=", "AAAA\n", "AA==AAAA", "-_-_", "=", "===="];
    let bad = bad.map(|bad| (bad, "the content is not base64: padded with =, and without line breaks"));
    judged("/files/0/content", content, &["", "AA==", "AAA=", "AAAA", "iVBORw0KGgo=", "+/+/"], &bad);
    let secret = json!([{"path": "/logo.png", "encoding": "Base64", "secretRef": {"path": "db", "key": "k"}}]);
    let said = said(&with("files", secret));
    assert!(said[0].starts_with("/files/0/encoding an encoding belongs to content"), "{said:?}");
}

#[test]
fn images_are_named_by_registry_path_and_digest() {
    let image = |name: &str| ("image", json!(format!("{name}@sha256:{DIGEST}")));
    let name = "not the name of an image";
    judged(
        "/image",
        image,
        &[
            "web",
            "library/web",
            "registry.example/a/b.c/d_e/f__g/h-i/j--k",
            "localhost:5000/web",
            "registry.example/web:1.2",
            "R.example/web",
            "[::1]:5000/web",
            "127.0.0.1:5000/web:v1",
        ],
        &[
            ("https://registry.example/web", name),
            ("docker://registry.example/web", name),
            ("registry.example//web", name),
            ("/web", name),
            ("web:", name),
            ("-web", name),
            ("registry.example/Web", name),
            ("registry.example/web_", name),
            ("registry.example/web/", name),
            ("", "named by digest"),
            ("a b", "named by digest"),
        ],
    );
    judged(
        "/image",
        |text| ("image", json!(text)),
        &[],
        &[("web:1", "named by digest"), ("web@sha256:0A", "named by digest")],
    );
}

#[test]
fn paths_of_files_are_plain() {
    let file = |path: &str| ("files", json!([{"path": path, "content": ""}]));
    judged(
        "/files/0/path",
        file,
        &["/a", "/etc/app/settings.yaml", "/a b/.c/..d/e..", "/process/x", "/system/sys", "/ä"],
        &[
            ("/etc/app/", "empty part"),
            ("/etc//x", "empty part"),
            ("//x", "empty part"),
            ("/etc/./x", "one of . and .."),
            ("/etc/../x", "one of . and .."),
            ("/x/..", "one of . and .."),
            ("/", "absolute"),
            ("etc/x", "absolute"),
            ("", "absolute"),
            ("/a:b", "no colon"),
            ("/a\nb", "control character"),
            ("/a\0b", "control character"),
            ("/proc/x", "below /proc"),
            ("/sys/x", "below /sys"),
        ],
    );
}

#[test]
fn no_file_is_another_or_below_it() {
    let files =
        |second: &str| ("files", json!([{"path": "/etc/app.conf", "content": ""}, {"path": second, "content": ""}]));
    judged(
        "/files/1/path",
        files,
        &["/etc/app.conf2", "/etc/app.con", "/app.conf", "/etc/app"],
        &[
            ("/etc/app.conf", "stands twice"),
            ("/etc//app.conf", "is the same as /etc/app.conf"),
            ("/etc/./app.conf", "is the same"),
            ("/etc/app.conf/x", "one is below the other"),
            ("/etc", "one is below the other"),
        ],
    );
}

#[test]
fn variables_have_names_that_fit_a_config_map() {
    let variable = |name: &str| ("env", json!([{"name": name, "value": ""}]));
    let longest = "a".repeat(249);
    let longer = "a".repeat(254);
    judged(
        "/env/0/name",
        variable,
        &["A", "_a1", &longest],
        &[
            (&longer, "249 are allowed"),
            ("", "letters, digits and _"),
            ("1A", "digit"),
            ("A-B", "letters"),
            ("ä", "letters"),
        ],
    );
    judged("/env/0/value", |value| ("env", json!([{"name": "A", "value": value}])), &["a\nb", ""], &[("a\0b", "NUL")]);
    judged("/args/1", |value| ("args", json!(["a", value])), &["a\nb", ""], &[("a\0b", "NUL")]);
    judged("/command/0", |value| ("command", json!([value])), &["a"], &[("\0", "NUL")]);
}

#[test]
fn arguments_of_a_run_are_judged_as_those_of_a_release() {
    let run = |args: Value| breaches(Kind::TaskRun, &json!({"release": "web", "args": args}));
    assert!(run(json!(["a\nb", ""])).is_empty());
    let found = run(json!(["a", "b\0"]));
    assert!(found[0].field == "/args/1" && found[0].what.contains("NUL"), "{found:?}");
}

#[test]
fn secrets_stay_below_their_prefix() {
    let secret = |path: &str| ("env", json!([{"name": "A", "secretRef": {"path": path, "key": "k"}}]));
    judged(
        "/env/0/secretRef/path",
        secret,
        &["a", "a/b", "a.b/..c/.d/e..", "_/-"],
        &[
            ("./x", "dots alone"),
            ("a/..", "dots alone"),
            ("a/.../b", "dots alone"),
            ("/a", "joined by /"),
            ("a/", "joined by /"),
            ("a//b", "joined by /"),
            ("", "joined by /"),
        ],
    );
    judged(
        "/env/0/secretRef/key",
        |key| ("env", json!([{"name": "A", "secretRef": {"path": "a", "key": key}}])),
        &["k", "a key"],
        &[("", "key is empty")],
    );
}

#[test]
fn amounts_are_those_of_kubernetes() {
    let amount = "not an amount of Kubernetes";
    judged(
        "/resources/cpuLimit",
        |cpu| ("resources", json!({"cpuLimit": cpu})),
        &["1", "500m", ".5", "1.", "0.123456789", "1e3", "1E3", "5e-1", "100u", "2Ei", "1E", "+1", "100n"],
        &[
            ("", amount),
            (".", amount),
            ("1x", amount),
            ("-1", amount),
            ("1 m", amount),
            ("1mi", amount),
            ("1e", amount),
            ("1e19", amount),
            ("0.1234567890", amount),
            ("1,5", amount),
        ],
    );
    judged(
        "/resources/memoryLimit",
        |memory| ("resources", json!({"memoryLimit": memory})),
        &["128Mi", "1Gi", "1.5Gi", "2Ei", "1E", "1e9", "128974848", "1Mi", "0"],
        &[
            ("128m", "parts of a byte"),
            ("1u", "parts of a byte"),
            ("128", "less than 1Mi"),
            ("1023Ki", "less than 1Mi"),
        ],
    );
    judged(
        "/resources/memoryRequest",
        |memory| ("resources", json!({"memoryRequest": memory})),
        &["128Mi", "128"],
        &[("128m", "parts of a byte")],
    );
}

#[test]
fn no_request_is_above_its_limit() {
    judged(
        "/resources/cpuLimit",
        |cpu| ("resources", json!({"cpuRequest": cpu, "cpuLimit": "1"})),
        &["1", "1000m", "1e0", ".5"],
        &[("1001m", "cpuRequest is above cpuLimit"), ("1k", "cpuRequest is above")],
    );
    judged(
        "/resources/memoryLimit",
        |memory| ("resources", json!({"memoryRequest": memory, "memoryLimit": "1Gi"})),
        &["1024Mi", "1G"],
        &[("2Gi", "memoryRequest is above memoryLimit")],
    );
}

#[test]
fn a_quota_of_memory_lets_a_container_start() {
    let said = |memory: &str| {
        let spec = json!({"state": "Present", "organization": "a", "project": "b", "environment": "c", "quota": {"memory": memory}});
        breaches(Kind::Environment, &spec)
            .iter()
            .map(|breach| format!("{} {}", breach.field, breach.what))
            .collect::<String>()
    };
    for good in ["8Gi", "0", "1e9", "1Mi"] {
        assert_eq!(said(good), "", "{good}");
    }
    assert!(said("128m").starts_with("/quota/memory memory is counted in bytes"), "{}", said("128m"));
    assert!(said("128").starts_with("/quota/memory a limit of less than 1Mi"), "{}", said("128"));
    assert!(said("much").contains("not an amount of Kubernetes"), "{}", said("much"));
}

#[test]
fn a_name_for_people_steers_nothing_that_shows_it() {
    let said = |name: &str| {
        let found = breaches(Kind::DataPlane, &json!({"displayName": name}));
        found.iter().map(|breach| format!("{} {}", breach.field, breach.what)).collect::<Vec<_>>().join("\n")
    };
    for good in ["", "Zürich 日本 👩‍💻", &"ä".repeat(256)] {
        assert_eq!(said(good), "", "{good}");
    }
    for bad in ["a\nb", "\u{1b}[2J", "a\u{202e}b", "\u{2066}", "a\u{200f}"] {
        assert!(said(bad).starts_with("/displayName has a control character"), "{bad:?}: {}", said(bad));
    }
    assert_eq!(said(&"ä".repeat(257)), "/displayName has 257 characters, 256 are allowed");
}

#[test]
fn endpoints_may_share_a_port_and_not_a_name() {
    let second = |kind: &str| {
        ("endpoints", json!([{"name": "a", "port": 53, "kind": "TCP"}, {"name": "b", "port": 53, "kind": kind}]))
    };
    judged("/endpoints/1/port", second, &["UDP", "TCP", "HTTP"], &[]);
    let named = |name: &str| {
        ("endpoints", json!([{"name": "a", "port": 1, "kind": "TCP"}, {"name": name, "port": 2, "kind": "TCP"}]))
    };
    let name = "1 to 50 letters";
    let (longest, longer) = ("a".repeat(50), "a".repeat(51));
    judged(
        "/endpoints/1/name",
        named,
        &["b", "a-1", "A", "My_Orders-API", "a--b", &longest],
        &[("a", "stands twice"), ("", name), ("1a", name), ("a-", name), ("a.b", name), (&longer, name)],
    );
}

#[test]
fn only_the_projects_own_circle_is_supported() {
    let circles = |list: &str| {
        let list: Vec<&str> = list.split_whitespace().collect();
        ("endpoints", json!([{"name": "a", "port": 1, "kind": "HTTP", "visibility": list}]))
    };
    judged(
        "/endpoints/0/visibility",
        circles,
        &["", "Project"],
        &[
            ("Public", "not supported yet"),
            ("Project Organization", "not supported yet"),
            ("Project Project", "a circle twice"),
        ],
    );
}

#[test]
fn lengths_are_bounded() {
    let long = |length: usize| "a".repeat(length);
    for (pointer, value, field) in [
        ("args", json!(vec!["a"; 65]), "/args has 65 items"),
        ("args", json!([long(4097)]), "/args/0 has 4097 characters"),
        (
            "env",
            json!([{"name": "A", "value": long(32_769)}]),
            "/env/0/value has 32769 characters, 32768 are allowed; use a file",
        ),
        ("files", json!([{"path": format!("/{}", long(512)), "content": ""}]), "/files/0/path has 513 characters"),
        ("files", json!([{"path": "/a", "content": long(131_073)}]), "/files/0/content has 131073 characters"),
        (
            "endpoints",
            json!([{"name": "a", "port": 1, "kind": "HTTP", "basePath": format!("/{}", long(256))}]),
            "/endpoints/0/basePath has 257",
        ),
        (
            "probes",
            json!({"liveness": {"port": 1, "path": format!("/{}", long(1024))}}),
            "/probes/liveness/path has 1025",
        ),
        (
            "probes",
            json!({"liveness": {"port": 0, "path": "x"}}),
            "/probes/liveness/path a path starts with /; put a / in front",
        ),
        (
            "security",
            json!({"runAsUser": 0}),
            "/security/runAsUser must be from 1 to 2147483647; 0 is root, which is refused",
        ),
    ] {
        let said = said(&with(pointer, value));
        assert!(said.iter().any(|one| one.starts_with(field)), "{field} is not in {said:?}");
    }
    let whole: Vec<Value> = (0..4).map(|n| json!({"path": format!("/{n}"), "content": long(100_000)})).collect();
    assert!(said(&with("files", json!(whole)))[0].contains("262144 are allowed"));
}

#[test]
fn many_files_are_judged_in_little_time() {
    let files: Vec<Value> = (0..12_000).map(|n| json!({"path": format!("/{n}"), "content": ""})).collect();
    assert!(of_release(&with("files", json!(files))).is_empty());
    let last = json!([vec![json!({"path": "/a", "content": ""}); 70], vec![json!({"path": "/b"})]].concat());
    assert!(of_release(&with("files", last)).iter().any(|breach| breach.field == "/files/70"), "each has one source");
}

#[test]
fn what_a_type_does_not_have_is_refused() {
    let mut task = with("type", json!("ManualTask"));
    assert!(said(&task).is_empty());
    task.probes = Some(serde_json::from_value(json!({})).unwrap());
    task.scaling = Some(serde_json::from_value(json!({})).unwrap());
    task.endpoints = Some(Vec::new());
    let fields: Vec<String> = breaches(Kind::Release, &task).into_iter().map(|breach| breach.field).collect();
    assert_eq!(fields, ["/endpoints", "/scaling", "/probes"]);
    assert!(said(&with("task", json!({"retries": 1})))[0].contains("use type ManualTask"));
    let mut worker = with("type", json!("Worker"));
    worker.probes = Some(serde_json::from_value(json!({})).unwrap());
    worker.scaling = Some(serde_json::from_value(json!({})).unwrap());
    assert!(said(&worker).is_empty());
    worker.endpoints = Some(Vec::new());
    assert_eq!(said(&worker), ["/endpoints a Worker has no endpoints; remove it, or use type Service"]);
}

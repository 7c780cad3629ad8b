//! Forms and rules over the same values agree, and each amount that a form takes can be compared.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::judged;
use crate::name::is_label;

fn form(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// Text close to what a form asks for: most of it is nearly right.
fn near(alphabet: &'static str, most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(alphabet.chars().collect::<Vec<_>>()), 0..most)
        .prop_map(|characters| characters.into_iter().collect())
}

proptest! {
    #[test]
    fn a_label_is_one_by_function_and_pattern(text in near("ab0-A.", 8), long in near("a-", 70)) {
        for text in [text, long] {
            prop_assert_eq!(is_label(&text), form(pattern::LABEL).is_match(&text), "{}", text);
        }
    }

    #[test]
    fn each_amount_that_the_pattern_takes_can_be_compared(text in near("019.+-eEmkMKinu", 12)) {
        let taken = form(pattern::QUANTITY).is_match(&text);
        let amount = Quantity::parse(&text);
        prop_assert!(!taken || amount.is_some(), "{} is taken and cannot be read", text);
        // In so short a text only a minus can be parsed and yet not match the pattern.
        prop_assert!(taken || amount.is_none() || text.starts_with('-') || exponent_has_zeros(&text), "{}", text);
    }

    #[test]
    fn a_secret_stays_below_its_prefix_by_rule_and_pattern(path in near("ab./-_:", 10)) {
        let taken = form(pattern::SECRET).is_match(&path);
        let inside = path.split('/').all(|part| !part.is_empty() && part.chars().any(|c| c != '.'));
        prop_assert_eq!(taken, inside && !path.contains(':'), "{}", path);
    }

    #[test]
    fn a_plain_path_has_the_form_of_the_definition(path in near("/a.\n", 10)) {
        let mut found = Found(Vec::new());
        found.path(String::new(), &path, "file", "");
        let plain = found.0.is_empty() && path.starts_with('/');
        prop_assert!(!plain || form(pattern::FILE).is_match(&path), "{}", path);
    }
}

/// `1e007` is read, and too odd for the pattern.
fn exponent_has_zeros(text: &str) -> bool {
    text.split(['e', 'E']).nth(1).is_some_and(|exponent| exponent.trim_start_matches(['+', '-']).len() > 2)
}

#[test]
fn a_volume_is_refused_in_words_of_folders_and_with_a_size_that_holds_something() {
    let said = |path: &str, size: &str| {
        let volumes = serde_json::json!([{ "path": path, "size": size }]);
        super::said(&super::with("volumes", volumes)).join(" ")
    };
    for (path, size, words) in [
        ("/", "64Mi", "/volumes/0/path a path is absolute, names something below / and has no colon"),
        ("/tmp/", "64Mi", "/volumes/0/path the path of a folder has no / at its end"),
        ("/a//b", "64Mi", "the plain path of a folder; write something like /var/cache/app"),
        ("/proc/x", "64Mi", "no folder can be put below /proc"),
        ("/sys", "64Mi", "no folder can be put below /sys"),
        ("tmp", "64Mi", "/var/cache/app for a folder"),
        (
            "/tmp",
            "64",
            "/volumes/0/size a volume of less than 4Ki holds nothing; without a suffix it counts bytes; write something like 64Mi",
        ),
        ("/tmp", "64MB", "leave the B out: write 64M or 64Mi"),
        (
            "/tmp",
            "B",
            "this is not an amount of Kubernetes: up to 15 digits and nine decimals, then a suffix; write something like",
        ),
    ] {
        assert!(said(path, size).contains(words), "{path} {size}: {}", said(path, size));
    }
    assert_eq!(said("/tmp", "4Ki"), "");
}

#[test]
fn a_pod_that_has_to_stay_ready_counts_within_the_progress_deadline() {
    let said = |ready: i32, deadline: Option<i32>, component: &str| {
        let mut release = super::with("minReadySeconds", serde_json::json!(ready));
        release.progress_deadline_seconds = deadline;
        release.component_type = serde_json::from_value(serde_json::json!(component)).unwrap();
        super::said(&release).join(" ")
    };
    for (ready, deadline) in [(299, None), (300, Some(301)), (9, Some(10)), (0, Some(10))] {
        assert_eq!(said(ready, deadline, "Service"), "", "{ready} {deadline:?}");
    }
    for (ready, deadline, words) in [(300, None, "300 s"), (60, Some(60), "60 s"), (11, Some(10), "10 s")] {
        let said = said(ready, deadline, "Worker");
        assert!(
            said.starts_with("/minReadySeconds ") && said.contains(&format!("progressDeadlineSeconds, {words}")),
            "{said}"
        );
    }
    assert_eq!(said(300, None, "ManualTask"), "", "nothing waits for the pods of a task");
}

#[test]
fn volumes_in_memory_fit_together_into_the_limit_that_the_pod_gets() {
    let said = |sizes: &[&str], resources: serde_json::Value| {
        let volume =
            |(index, size)| serde_json::json!({"path": format!("/v{index}"), "size": size, "medium": "Memory"});
        let mut release = super::with("volumes", sizes.iter().enumerate().map(volume).collect());
        release.resources = serde_json::from_value(resources).unwrap();
        super::said(&release).join(" ")
    };
    for (sizes, resources) in [
        (&["256Mi", "256Mi"][..], serde_json::json!(null)),
        (&["1Gi"], serde_json::json!({"memoryRequest": "1Gi"})),
        (&["64Mi", "64Mi"], serde_json::json!({"memoryLimit": "128Mi"})),
    ] {
        assert_eq!(said(sizes, resources.clone()), "", "{sizes:?} {resources}");
    }
    for (sizes, resources, words) in [
        (
            &["256Mi", "257Mi"][..],
            serde_json::json!(null),
            "/volumes/1/size what volumes in memory hold is more than the memory limit of 512Mi",
        ),
        (&["513Mi"], serde_json::json!({"memoryRequest": "1Mi"}), "/volumes/0/size"),
        (&["1Gi", "4Ki"], serde_json::json!({"memoryRequest": "1Gi"}), "limit of 1Gi"),
        (&["64Mi", "65Mi"], serde_json::json!({"memoryLimit": "128Mi"}), "limit of 128Mi"),
    ] {
        let said = said(sizes, resources);
        assert!(said.contains(words), "{sizes:?}: {said}");
    }
}

#[test]
fn a_probe_asks_in_one_way() {
    let probe = |more: &str| {
        let readiness: Value = serde_json::from_str(&format!("{{\"periodSeconds\": 5{more}}}")).unwrap();
        ("probes", json!({ "readiness": readiness }))
    };
    let good = [
        r#", "port": 80"#,
        r#", "port": 80, "path": "/ready", "headers": [{"name": "X-Health", "value": "a b"}], "initialDelaySeconds": 0"#,
        r#", "port": 80, "grpc": {}"#,
        r#", "port": 80, "grpc": {"service": "acme.Orders"}"#,
        r#", "exec": {"command": ["/ready", ""]}"#,
    ];
    let bad = [
        (r#", "port": 80, "path": "/ready", "grpc": {}"#, "has path and grpc; keep one"),
        (r#", "path": "/ready", "exec": {"command": ["/ready"]}"#, "has path and exec; keep one"),
        (r#", "path": "/ready""#, "asks a port; name the port"),
        ("", "asks a port; name the port"),
        (r#", "port": 80, "exec": {"command": ["/ready"]}"#, "asks no port; leave it out"),
        (r#", "port": 80, "headers": []"#, "with a path only; give it a path"),
        (r#", "exec": {"command": []}"#, "/exec/command"),
        (r#", "exec": {"command": ["a\u0000"]}"#, "has a NUL"),
        (
            r#", "port": 80, "path": "/", "headers": [{"name": "A:", "value": ""}]"#,
            "named by letters, digits and dashes",
        ),
        (r#", "port": 80, "path": "/", "headers": [{"name": "A", "value": "b\r\nC: d"}]"#, "ASCII on one line"),
        (r#", "port": 80, "path": "/", "initialDelaySeconds": -1"#, "/initialDelaySeconds"),
    ];
    judged("/probes/readiness", probe, &good, &bad);
}

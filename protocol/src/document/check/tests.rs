use serde_json::value::RawValue;

use super::*;

const GOOD: &str = r#"{"state":"Present","environment":"dev","owner":{"component":"web","track":"v1.0"},"type":"Service",
    "image":"registry.example/web@sha256:0000000000000000000000000000000000000000000000000000000000000000"}"#;

#[test]
fn good_bodies_pass() {
    assert_eq!(check(Kind::Release, GOOD).unwrap().body.desired(), Desired::Present);
    assert_eq!(check(Kind::Release, r#"{"state":"Absent"}"#).unwrap().body.desired(), Desired::Absent);
    check(Kind::Environment, r#"{"state":"Present","organization":"o","project":"p","environment":"dev"}"#).unwrap();
    check(Kind::DataPlane, "{}").unwrap();
    check(Kind::TaskRun, r#"{"release":"job"}"#).unwrap();
}

#[test]
fn every_unknown_field_is_named_at_once_with_the_nearest_known_one() {
    let refusal = refused(GOOD, &[("/imgae", "1"), ("/owner/tracks", "1"), ("/zzzzzzz", "null")]);
    assert_eq!(refusal.class, RefusalClass::UnknownField);
    assert_eq!(
        shown(&refusal),
        [
            "/imgae is not known; did you mean image?",
            "/owner/tracks is not known; did you mean track?",
            "/zzzzzzz is not known"
        ]
    );
}

#[test]
fn all_breaches_are_named_at_once() {
    let refusal = refused(
        GOOD,
        &[
            ("/image", r#""nginx:latest""#),
            ("/scaling", r#"{"replicas":-1}"#),
            ("/command", r#"["a",1,null]"#),
            (
                "/env",
                r#"[{"name":"A","value":"x"},{"name":"A"},{"name":"B","value":"","secretRef":{"path":"p","key":"k"}}]"#,
            ),
            ("/files", r#"[{"path":"/etc/../x","content":""}]"#),
            ("/endpoints", r#"[{"name":"web","port":0,"kind":"HTTP2"}]"#),
            ("/task", r#"{"retries":1}"#),
            ("/resources", r#"{"cpuLimit":"much"}"#),
        ],
    );
    assert_eq!(refusal.class, RefusalClass::Invalid);
    let shown = shown(&refusal).join("\n");
    for line in [
        "/image an image is named by digest",
        "/scaling/replicas must be from 0 to 1000",
        "/command/1 must be a string",
        "/command/2 is null; leave the field out",
        "/endpoints/0/port must be from 1 to 65535",
        "/endpoints/0/kind must be one of HTTP, GraphQL",
        "/resources/cpuLimit this is not an amount of Kubernetes",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
}

#[test]
fn a_string_with_a_noncharacter_is_refused_by_its_field() {
    for (code, refused) in [
        ("\\ufdd0", true),
        ("\\ufdef", true),
        ("\\ufffe", true),
        ("\\uffff", true),
        ("\\ud83f\\udfff", true),
        ("\\udbff\\udfff", true),
        ("\\ufdcf", false),
        ("\\ufdf0", false),
        ("\\ufffd", false),
        ("\\ud83d\\ude00", false),
    ] {
        let body = with(GOOD, &[("/env", &format!(r#"[{{"name":"A","value":"a{code}"}}]"#))]);
        match check(Kind::Release, &body) {
            Ok(_) => assert!(!refused, "{code} passed"),
            Err(refusal) => {
                assert!(refused, "{refusal}");
                assert_eq!(shown(&refusal).len(), 1, "{refusal}");
                assert!(shown(&refusal)[0].starts_with("/env/0/value holds a noncharacter"), "{refusal}");
            }
        }
    }
}

#[test]
fn rules_that_span_fields_are_checked() {
    let cases: &[(&str, &str, &str)] = &[
        ("/env", r#"[{"name":"A","value":""},{"name":"A","value":""}]"#, "/env/1/name variable A stands twice"),
        ("/env", r#"[{"name":"A"}]"#, "/env/0 variable A has neither value nor secretRef; give one"),
        ("/env", r#"[{"name":"A","value":"","secretRef":{"path":"p","key":"k"}}]"#, "/env/0 variable A has both"),
        ("/files", r#"[{"path":"/a","content":""},{"path":"/a","content":""}]"#, "/files/1/path path /a stands twice"),
        ("/files", r#"[{"path":"/etc/../x","content":""}]"#, "/files/0/path the path has an empty part"),
        (
            "/env",
            r#"[{"name":"A","secretRef":{"path":"../b","key":"k"}}]"#,
            "/env/0/secretRef/path a path in the vault",
        ),
        ("/env", r#"[{"name":"A","secretRef":{"path":"a/./b","key":"k"}}]"#, "none is made of dots alone"),
        ("/env", r#"[{"name":"A","secretRef":{"path":"a/.../b","key":"k"}}]"#, "none is made of dots alone"),
        ("/env", r#"[{"name":"A","secretRef":{"path":"a.b/..c/.d/e..","key":"k"}}]"#, ""),
        (
            "/files",
            r#"[{"path":"/a","secretRef":{"path":"a/..","key":"k"}}]"#,
            "/files/0/secretRef/path a path in the vault",
        ),
        ("/task", r#"{"retries":1}"#, "/task a Service has no task settings"),
        ("/type", r#""ManualTask""#, ""),
        (
            "/endpoints",
            r#"[{"name":"a","port":1,"kind":"HTTP","visibility":["Project","Project"]}]"#,
            "/endpoints/0/visibility",
        ),
    ];
    for (field, value, sentence) in cases {
        match check(Kind::Release, &with(GOOD, &[(field, value)])) {
            Ok(_) => assert!(sentence.is_empty(), "{field} {value} passed"),
            Err(refusal) => assert!(shown(&refusal).join("\n").contains(sentence) && !sentence.is_empty(), "{refusal}"),
        }
    }
    let task = with(GOOD, &[("/type", r#""ManualTask""#), ("/scaling", "{}"), ("/probes", "{}"), ("/endpoints", "[]")]);
    assert_eq!(check(Kind::Release, &task).unwrap_err().reasons.len(), 3);
}

#[test]
fn an_absent_document_carries_nothing_else() {
    let refusal = check(Kind::Release, r#"{"state":"Absent","environment":"dev","env":[{"name":"A"}]}"#).unwrap_err();
    assert_eq!(
        shown(&refusal),
        ["/env an Absent document carries state only", "/environment an Absent document carries state only"]
    );
}

#[test]
fn a_present_document_is_complete() {
    let refusal = check(Kind::Release, r#"{"state":"Present"}"#).unwrap_err();
    let fields: Vec<_> = refusal.reasons.iter().map(|reason| reason.field.as_str()).collect();
    assert_eq!(fields, ["/environment", "/owner", "/type", "/image"]);
    assert_eq!(shown(&check(Kind::Release, "{}").unwrap_err())[0], "/state is missing");
}

#[test]
fn values_are_never_shown() {
    let secret = "hunter2-hunter2";
    for field in ["/image", "/type", "/scaling", "/env", "/terminationGraceSeconds", "/state", "/owner"] {
        let refusal = refused(GOOD, &[(field, &format!("{secret:?}"))]);
        assert!(!refusal.to_string().contains("hunter2"), "{refusal}");
    }
    for (field, value) in
        [("/env", r#"[{"name":"A","value":{"hunter2":1}}]"#), ("/scaling", r#"{"replicas":"hunter2"}"#)]
    {
        let refusal = refused(GOOD, &[(field, value)]);
        assert!(!refusal.to_string().contains("hunter2"), "{refusal}");
    }
}

#[test]
fn a_flood_of_breaches_is_cut() {
    let body =
        format!(r#"{{"state":"Present",{}}}"#, (0..500).map(|n| format!(r#""x{n}":1"#)).collect::<Vec<_>>().join(","));
    let refusal = check(Kind::Release, &body).unwrap_err();
    assert_eq!(refusal.reasons.len(), MAX_REASONS);
    assert_eq!(refusal.reasons.last().unwrap().message, "and 455 more");
    let huge = format!("\"{}\"", "x".repeat(MAX_BODY));
    assert!(check(Kind::Release, &huge).unwrap_err().to_string().contains("262144 are allowed"));
}

#[test]
fn a_document_is_checked_with_its_envelope() {
    let hash = ContentHash::of_document("Release", "web", &Tree::parse(GOOD.as_bytes()).unwrap()).to_string();
    let good = document("Release", "web", 1, &hash);
    assert_eq!(check_document(&good).unwrap().key.to_string(), "Release/web");
    for (document, class, words) in [
        (document("Pod", "web", 1, &hash), RefusalClass::Invalid, "known: DataPlane, Environment, Release, TaskRun"),
        (document("Release", "We_b", 1, &hash), RefusalClass::Invalid, "DNS label"),
        (document("DataPlane", "web", 1, &hash), RefusalClass::Invalid, "named default"),
        (document("Release", "web", 0, &hash), RefusalClass::Invalid, "generation"),
        (document("Release", "other", 1, &hash), RefusalClass::HashMismatch, "hash is not that"),
    ] {
        let refusal = check_document(&document).unwrap_err();
        assert_eq!(refusal.class, class);
        assert!(refusal.to_string().contains(words), "{refusal}");
    }
}

fn document(kind: &str, name: &str, generation: i64, hash: &str) -> Document {
    Document {
        id: 1,
        kind: kind.to_owned(),
        name: name.to_owned(),
        generation,
        hash: hash.to_owned(),
        provenance: None,
        body: RawValue::from_string(GOOD.to_owned()).unwrap(),
    }
}

fn refused(base: &str, changes: &[(&str, &str)]) -> Refusal {
    check(Kind::Release, &with(base, changes)).unwrap_err()
}

fn shown(refusal: &Refusal) -> Vec<String> {
    refusal.reasons.iter().map(|reason| format!("{} {}", reason.field, reason.message)).collect()
}

/// `base` with the value at each one- or two-part pointer replaced.
fn with(base: &str, changes: &[(&str, &str)]) -> String {
    let mut value: serde_json::Value = serde_json::from_str(base).unwrap();
    for (pointer, json) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        value.pointer_mut(parent).unwrap()[name] = serde_json::from_str(json).unwrap();
    }
    value.to_string()
}

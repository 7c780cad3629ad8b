//! What the chart does not take, and the words for it.

use super::rendering::{chart, helm, objects, of_kind, template};

#[test]
fn a_value_that_cannot_be_is_refused_with_its_place_and_the_fix() {
    for (set, expected) in [
        ("bogus=1", &["additional properties 'bogus' not allowed"][..]),
        ("controlPlane.URL=https://x.test", &["/controlPlane", "'URL'"]),
        ("controlPlane.url=http://cp.test", &["/controlPlane/url", "^(https://"]),
        ("controlPlane.url=https://cp.test/path", &["/controlPlane/url"]),
        ("controlPlane.url=", &["controlPlane.url is missing", "--set controlPlane.url=https://"]),
        (
            "controlPlane.url=https://control-plane.example.com",
            &["placeholder", "address that the control plane gave you"],
        ),
        (
            "controlPlane.caBundle=abc",
            &["controlPlane.caBundle holds no certificate", "--set-file controlPlane.caBundle="],
        ),
        ("controlPlane.pins[0]=sha1/abc", &["/controlPlane/pins/0", "^sha256/"]),
        ("image.repository=", &["image.repository is missing", "--set image.repository="]),
        ("image.digest=sha256:abc", &["/image/digest", "[0-9a-f]{64}"]),
        ("enrolment.token=a,enrolment.existingSecret=b", &["both set", "not both"]),
        ("mode=triple", &["/mode", "'split', 'single'"]),
        ("link.replicas=9", &["/link/replicas", "maximum"]),
        ("log.level=loud", &["/log/level", "'info'"]),
        ("operator.pullSecrets[0]=*", &["/operator/pullSecrets/0"]),
        ("policy.registries[0].prefix=registry.test", &["policy.registries", "has no `/`", "End it with `/`"]),
        ("policy.logs.mode=Sometimes", &["/policy/logs/mode", "'ThroughLink'"]),
        ("policy.environments[0].security=Privileged", &["/policy/environments/0/security", "'Baseline'"]),
        ("policy.vault.address=https://v.test", &["/policy/vault", "missing properties", "'role'"]),
        ("policy.dns.port=0", &["/policy/dns/port", "minimum"]),
        ("policy.dns.namespace=Kube_System", &["/policy/dns/namespace"]),
        ("policy.dns.service=kube-dns", &["/policy/dns", "'service'"]),
        ("proxy.url=https://p.test:3128", &["proxy.url is https://", "http:// only", "Give that address of the proxy"]),
        (
            "proxy.url=http://me:pw@p.test:3128",
            &["proxy.url holds user or password", "name it in proxy.existingSecret"],
        ),
        ("proxy.existingSecret=proxy", &["without proxy.url", "http://HOST:PORT"]),
        (
            "fullnameOverride=a-name-that-is-much-too-long-for-what-follows",
            &["longer than 40 characters", "fullnameOverride"],
        ),
    ] {
        let Err(refusal) = template("minimal", &["--set", set]) else { panic!("{set} was accepted") };
        for part in expected {
            assert!(refusal.contains(part), "{set} says\n{refusal}\nwithout {part:?}");
        }
    }
    let refusal = template("minimal", &["--namespace", "kube-system"]).unwrap_err();
    assert!(refusal.contains("must not live in kube-system") && refusal.contains("--namespace pdp-agent"), "{refusal}");
}

/// A bundle of two roots as other programs write it: with comments, and the ends of lines of Windows.
fn bundle() -> String {
    let root = |name: &str| {
        format!(
            "# {name}\n{}\n-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUFyWJXsPkKqvJQ9\n-----END CERTIFICATE-----\n",
            "=".repeat(name.len())
        )
    };
    format!("## Bundle of CA roots, Zürich\n\n{}\n{}", root("Root A"), root("Root B")).replace('\n', "\r\n")
}

/// The chart with a file as the value of a key.
fn with_file(key: &str, text: &str) -> Result<String, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    template("full", &["--set-file", &format!("{key}={}", file.path().display())])
}

#[test]
fn a_bundle_may_have_comments_and_the_line_ends_of_windows() {
    let rendered = objects(&with_file("controlPlane.caBundle", &bundle()).unwrap());
    let map = of_kind(&rendered, "ConfigMap").into_iter().find(|map| map["data"]["ca.crt"].is_string()).unwrap();
    let kept = map["data"]["ca.crt"].as_str().unwrap();
    assert_eq!(kept.trim(), bundle().replace("\r\n", "\n").trim());
    let rendered = objects(&with_file("policy.vault.caBundle", &bundle()).unwrap());
    assert_eq!(of_kind(&rendered, "DataPlanePolicy")[0]["spec"]["vault"]["caBundle"], bundle());
    assert!(with_file("controlPlane.caBundle", "\n").is_ok(), "an empty file is no bundle");
}

#[test]
fn a_bundle_that_is_none_is_refused_without_its_text() {
    let secret = "c2VjcmV0IGtleQ";
    for key in ["controlPlane.caBundle", "policy.vault.caBundle"] {
        for (text, words) in [
            (format!("MIIB{secret}"), "holds no certificate"),
            (format!("-----BEGIN CERTIFICATE-----\n{secret}\n"), "holds no certificate"),
            (
                format!("{}-----BEGIN EC PRIVATE KEY-----\n{secret}\n-----END EC PRIVATE KEY-----\n", bundle()),
                "holds a private key",
            ),
        ] {
            let refusal = with_file(key, &text).unwrap_err();
            assert!(refusal.contains(&format!("{key} {words}")), "{refusal}");
            assert!(!refusal.contains(secret) && refusal.lines().count() < 10, "{refusal}");
        }
    }
}

#[test]
fn a_cluster_that_is_too_old_or_not_asked_is_told_with_the_way_to_say_its_version() {
    let values = chart().join("ci/minimal-values.yaml");
    let of = |version: &str| {
        let place = chart();
        let args =
            ["template", "pdp-agent", place.to_str().unwrap(), "--namespace", "pdp-agent", "--kube-version", version];
        helm(&[&args[..], &["--values", values.to_str().unwrap()]].concat())
    };
    // 1.20 is what a Helm says that was built without data of a version.
    for old in ["1.20.0", "1.30.9"] {
        let refusal = of(old).unwrap_err();
        assert!(refusal.contains(&format!("said to be v{old}")) && refusal.contains("--kube-version 1."), "{refusal}");
    }
    for new in ["1.31.0", "1.31.4-eks-5509927", "1.35.0"] {
        assert!(of(new).is_ok(), "{new}");
    }
}

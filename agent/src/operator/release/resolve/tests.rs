//! What the customer allows, asked of releases and of runs.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::kinds::SecurityLevel;
use crate::kinds::labels::ENVIRONMENT;
use crate::kinds::{DataPlanePolicy, Environment};
use crate::operator::fixture;
use crate::operator::object::fixed::namespace_name;
use crate::operator::reconcile::may_run::{job_may_start, tells_exit_codes};
use crate::operator::world::index::Own;
use protocol::mutant::{self, Mutant};

fn policy(spec: serde_json::Value) -> DataPlanePolicy {
    DataPlanePolicy::new("default", serde_json::from_value(spec).unwrap())
}

fn open() -> serde_json::Value {
    json!({
        "registries": [{"prefix": "registry.example.com/", "pullSecret": "reg"}, {"prefix": "registry.example.com/acme"}],
        "logs": {"mode": "Disabled"},
        "vault": {"address": "https://v", "mount": "m", "authMount": "k", "role": "r", "audience": "vault", "prefix": ""},
    })
}

fn contents(policy: Option<DataPlanePolicy>, ready: bool) -> Contents {
    let environment: Environment = serde_json::from_value(json!({
        "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Environment", "metadata": {"name": "shop-dev"},
        "spec": {"state": "Present", "organization": "acme", "project": "shop", "environment": "dev"},
        "status": {"namespace": namespace_name("acme", "shop", "dev"), "conditions": [{"type": "Ready", "status": if ready {"True"} else {"False"},
            "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    }))
    .unwrap();
    let mut contents = Contents::default();
    contents.policy = policy;
    contents.environments.insert("shop-dev".to_owned(), Own::Read(Arc::new(environment)));
    contents
}

#[test]
fn what_the_customer_does_not_allow_is_refused_with_what_to_do() {
    let with = |key: &str, value: serde_json::Value| {
        let mut spec = open();
        spec[key] = value;
        Some(policy(spec))
    };
    let no_vault = || {
        let mut spec = open();
        spec.as_object_mut().unwrap().remove("vault");
        Some(policy(spec))
    };
    for (policy, ready, reason, part) in [
        (None, true, "NoPolicy", "nothing new is accepted"),
        (
            with("registries", json!([])),
            true,
            "PolicyDenied",
            "spec.image: registry.example.com/acme/web is in no registry",
        ),
        (with("registries", json!([{"prefix": "registry.example.com/ac"}])), true, "PolicyDenied", "no registry"),
        (
            with("environments", json!([{"environment": "prod"}])),
            true,
            "PolicyDenied",
            "does not allow environment dev",
        ),
        (no_vault(), true, "PolicyDenied", "names no vault"),
        (
            with("environments", json!([{"maxDisk": "1Gi"}])),
            true,
            "PolicyDenied",
            "spec.volumes: DataPlanePolicy/default allows the volumes on disk of one pod here 1Gi together",
        ),
        (Some(policy(open())), false, "EnvironmentNotReady", "Environment shop-dev is not ready"),
    ] {
        let mut spec = fixture::service();
        spec.volumes = serde_json::from_value(json!([
            {"path": "/data", "size": "1Gi"}, {"path": "/tmp", "size": "1Mi", "medium": "Disk"},
            {"path": "/run", "size": "64Mi", "medium": "Memory"},
        ]))
        .unwrap();
        let why = admissible(&contents(policy, ready), "web", &spec).unwrap_err();
        assert_eq!(why.reason, reason);
        assert!(why.message.contains(part), "{part} in {}", why.message);
    }
}

#[test]
fn a_namespace_that_a_status_claims_is_believed_only_if_the_handles_give_the_same() {
    for forged in [namespace_name("acme", "shop", "prod"), "kube-system".to_owned(), "a/b?x=".to_owned()] {
        let mut contents = contents(Some(policy(open())), true);
        let Some(Own::Read(environment)) = contents.environments.get_mut("shop-dev") else { panic!("none") };
        Arc::make_mut(environment).status.as_mut().unwrap().namespace = Some(forged);
        let why = admissible(&contents, "web", &fixture::service()).unwrap_err();
        assert_eq!(why.reason, "EnvironmentNotReady");
        assert!(why.message.contains("names another namespace in its status"), "{}", why.message);
    }
}

#[test]
fn a_status_that_is_believed_is_found() {
    let mut forged = contents(Some(policy(open())), true);
    let Some(Own::Read(environment)) = forged.environments.get_mut("shop-dev") else { panic!("none") };
    Arc::make_mut(environment).status.as_mut().unwrap().namespace = Some("kube-system".to_owned());
    mutant::choose(Some(Mutant::StatusBelieved));
    let mistaken = admissible(&forged, "web", &fixture::service()).map(|admitted| admitted.place.namespace);
    mutant::choose(None);
    assert_eq!(mistaken.as_deref(), Ok("kube-system"));
    assert!(admissible(&forged, "web", &fixture::service()).is_err());
}

#[test]
fn a_pod_with_secrets_is_one_that_the_customer_allows_whenever_it_starts() {
    let strict = |more: serde_json::Value| {
        let mut spec = open();
        let mut rule = json!({"command": "Forbidden", "taskArgs": "Forbidden", "exitCodes": "Class"});
        for (key, value) in more.as_object().unwrap() {
            rule[key] = value.clone();
        }
        spec["environments"] = json!([{"environment": "dev", "secrets": rule}]);
        contents(Some(policy(spec)), true)
    };
    let denied = |contents: &Contents| admissible(contents, "web", &fixture::service()).unwrap_err().message;
    let said = denied(&strict(json!({"env": ["PASSWORD"], "files": ["/etc/app/token"]})));
    for part in ["args of its own", "variable GREETING", "file /etc/app/settings.yaml"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains("PASSWORD") && !said.contains("/etc/app/token"), "{said}");
    assert_eq!(admissible(&strict(json!({})), "import", &fixture::task()).map(drop), Ok(()));

    let job = |container: serde_json::Value| {
        let mut container = container;
        container["image"] = json!(fixture::IMAGE);
        container["env"] = json!([{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
        json!({
            "metadata": {"labels": {ENVIRONMENT: "shop-dev"}},
            "spec": {"template": {"spec": {"containers": [container]}}},
        })
    };
    let contents = strict(json!({}));
    assert_eq!(job_may_start(&contents, &job(json!({})), false), Ok(()));
    for (job, args, part) in [
        (job(json!({"args": ["exit 7"]})), true, "arguments of a run"),
        (job(json!({})), true, "arguments of a run"),
        (job(json!({"args": ["exit 7"]})), false, "args of its own"),
        (job(json!({"command": ["sh"]})), false, "command of its own"),
    ] {
        let why = job_may_start(&contents, &job, args).unwrap_err();
        assert_eq!(why.reason, "PolicyDenied");
        assert!(why.message.contains(part), "{part} in {}", why.message);
    }
}

#[test]
fn exit_codes_are_told_only_where_the_customer_lets_them() {
    let with = |rules: serde_json::Value| {
        let mut spec = open();
        spec["environments"] = rules;
        contents(Some(policy(spec)), true)
    };
    for (contents, told) in [
        (contents(Some(policy(open())), true), true),
        (with(json!([{"secrets": {"exitCodes": "Full"}}])), true),
        (with(json!([{"secrets": {"exitCodes": "Class"}}])), false),
        (with(json!([{"environment": "prod"}])), false),
        (contents(None, true), false),
    ] {
        assert_eq!(tells_exit_codes(&contents, Some("shop-dev")), told, "{:?}", contents.policy);
        assert!(!tells_exit_codes(&contents, None));
    }
}

#[test]
fn a_run_is_asked_what_its_release_was_asked_whenever_it_starts() {
    let job = json!({
        "metadata": {"labels": {ENVIRONMENT: "shop-dev"}},
        "spec": {"template": {"spec": {"containers": [{"image": fixture::IMAGE}]}}},
    });
    assert_eq!(job_may_start(&contents(Some(policy(open())), true), &job, false), Ok(()));
    let with = |key: &str, value: serde_json::Value| {
        let mut spec = open();
        spec[key] = value;
        Some(policy(spec))
    };
    for (policy, ready, reason) in [
        (None, true, "NoPolicy"),
        (with("registries", json!([{"prefix": "other.example.com/"}])), true, "PolicyDenied"),
        (with("environments", json!([])), true, "PolicyDenied"),
        (with("environments", json!([{"environment": "prod"}])), true, "PolicyDenied"),
        (Some(policy(open())), false, "EnvironmentNotReady"),
    ] {
        let revoked = contents(policy, ready);
        assert_eq!(job_may_start(&revoked, &job, false).unwrap_err().reason, reason);
        assert_eq!(
            admissible(&revoked, "import", &fixture::task()).unwrap_err().reason,
            reason,
            "a release is asked the same"
        );
    }
}

#[test]
fn an_allowed_release_gets_its_place_and_the_most_particular_registry() {
    let mut spec = open();
    spec["environments"] = json!([{"environment": "prod"}, {"organization": "acme", "security": "Baseline"}]);
    let admitted = admissible(&contents(Some(policy(spec)), true), "web", &fixture::service()).unwrap();
    assert_eq!((admitted.place.level, admitted.pull_secrets.len()), (SecurityLevel::Baseline, 0));
    let mut spec = open();
    spec["registries"].as_array_mut().unwrap().pop();
    let admitted = admissible(&contents(Some(policy(spec)), true), "web", &fixture::service()).unwrap();
    assert_eq!(admitted.pull_secrets.into_iter().collect::<Vec<_>>(), ["reg"]);
}

#[test]
fn a_start_gate_is_judged_as_every_image_is_and_brings_its_pull_secret() {
    let with = |gate: serde_json::Value| {
        let mut spec = open();
        spec["registries"].as_array_mut().unwrap().push(json!({"prefix": "tools.example.com/", "pullSecret": "tools"}));
        spec["startGate"] = gate;
        admissible(&contents(Some(policy(spec)), true), "web", &fixture::service())
    };
    let image = fixture::IMAGE.replace("registry.", "tools.");
    let admitted = with(json!({"image": image, "address": "[fd00::1]:443"})).unwrap();
    assert_eq!(admitted.gate.map(|gate| gate.image).as_deref(), Some(image.as_str()));
    assert_eq!(admitted.pull_secrets.into_iter().collect::<Vec<_>>(), ["tools"]);
    for (gate, part) in [
        (json!({"image": "tools.example.com/pdp-agent:1"}), "without digest"),
        (json!({"image": fixture::IMAGE.replace("registry.", "other.")}), "add its registry to spec.registries"),
        (json!({"image": image, "address": "vault:8200"}), "not IP:PORT"),
    ] {
        let why = with(gate).unwrap_err();
        assert_eq!(why.reason, "PolicyDenied");
        assert!(why.message.contains(part) && why.message.contains("platform team"), "{}", why.message);
        assert!(!why.message.contains("example.com"), "{}", why.message);
    }
}

#[test]
fn secrets_are_named_by_content_and_key() {
    let values = |text: &str| BTreeMap::from([("env.A".to_owned(), SecretSlice::from(text.as_bytes().to_vec()))]);
    let (one, two) = (SecretString::from("k1"), SecretString::from("k2"));
    let name = secret_name("web", &one, &values("a"));
    assert_eq!(name, secret_name("web", &one, &values("a")));
    assert_ne!(name, secret_name("web", &one, &values("b")));
    assert_ne!(name, secret_name("web", &two, &values("a")));
    assert_eq!(name.len(), "web-secret-".len() + 16);
}

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use protocol::document::{ComponentType, EndpointKind, ReleaseSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;
use crate::operator::fixture;
use crate::operator::object::shape;
use crate::operator::reconcile::apply::Material;
use crate::operator::reconcile::rendering::{Rendering, Slots, content_hash};
use crate::policy::secrets::Pod;

fn render(spec: &ReleaseSpec, level: SecurityLevel) -> Rendering {
    render_with(None, spec, level)
}

/// The start gate of a customer who has set all of it.
fn gate() -> StartGate {
    StartGate { image: fixture::IMAGE.replace("acme/web", "pdp-agent"), address: Some("10.96.0.1:443".to_owned()) }
}

fn render_with(gate: Option<&StartGate>, spec: &ReleaseSpec, level: SecurityLevel) -> Rendering {
    let release = ValidRelease::parse(spec).unwrap();
    build(&Input {
        data_plane: "dp1",
        name: "shop-web-dev",
        environment: "shop-dev",
        project: "shop",
        namespace: "dp-acme-shop-dev",
        content_hash: &content_hash(spec),
        level,
        pull_secrets: &["pdp-pull-registry".to_owned()],
        gate,
        release: &release,
    })
}

#[test]
fn a_full_service_renders_as_recorded() {
    insta::assert_yaml_snapshot!(render(&fixture::service(), SecurityLevel::Restricted));
}

#[test]
fn a_small_service_renders_as_recorded() {
    insta::assert_yaml_snapshot!(render(&fixture::small_service(), SecurityLevel::Baseline));
}

#[test]
fn a_task_renders_as_recorded() {
    insta::assert_yaml_snapshot!(render(&fixture::task(), SecurityLevel::Restricted));
}

/// What is judged where a document comes in, and again before a run starts.
#[test]
fn a_document_and_what_is_rendered_of_it_make_the_same_choices() {
    for spec in [fixture::service(), fixture::task()] {
        let rendering = render(&spec, SecurityLevel::Restricted);
        let workload = rendering
            .job
            .clone()
            .or_else(|| rendering.objects.iter().find(|object| object["kind"] == "Deployment").cloned());
        let sorted = |mut pod: Pod| {
            pod.files.sort();
            pod.folders.sort();
            pod
        };
        assert_eq!(sorted(Pod::of_rendered(&workload.unwrap())), sorted(Pod::of_release(&spec)));
    }
}

#[test]
fn each_type_is_made_of_what_its_shape_says() {
    for spec in all_types() {
        let component = spec.component_type.unwrap();
        let shape = component.shape();
        let rendering = render(&spec, SecurityLevel::Restricted);
        let has = |kind: &str| rendering.objects.iter().any(|object| object["kind"] == kind);
        assert_eq!(has("Service"), shape.endpoints, "{component:?}");
        assert_eq!(has("PodDisruptionBudget"), shape.disruption_budget, "{component:?}");
        assert_eq!(has("Deployment"), shape.is_kept_running(), "{component:?}");
        assert_eq!(rendering.job.is_some(), shape.is_task(), "{component:?}");
        let drains = rendering.objects.iter().any(|object| object.to_string().contains("preStop"));
        assert_eq!(drains, shape.endpoints, "{component:?}: nobody calls what has no endpoint");
    }
}

#[test]
fn no_field_is_misspelt() {
    fn reads_whole<T: DeserializeOwned + Serialize>(object: &Value) {
        let typed: T = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), *object);
    }
    for spec in all_types() {
        let rendering = render_with(Some(&gate()), &spec, SecurityLevel::Restricted);
        for object in rendering.objects.iter().chain(&rendering.job) {
            match object["kind"].as_str().unwrap() {
                "ConfigMap" => reads_whole::<ConfigMap>(object),
                "Service" => reads_whole::<Service>(object),
                "PodDisruptionBudget" => reads_whole::<PodDisruptionBudget>(object),
                "Deployment" => reads_whole::<Deployment>(object),
                "Job" => reads_whole::<Job>(object),
                other => panic!("{other} is not checked"),
            }
        }
        let stored = rendering.stored("web-0123456789", "ns", 7, &BTreeMap::new());
        reads_whole::<ControllerRevision>(&stored);
        assert_eq!(Rendering::read(&stored).unwrap(), rendering);
    }
}

/// Everything that a document can say, for every type of component.
fn all_types() -> Vec<ReleaseSpec> {
    let probe = serde_json::json!({
        "port": 8080, "path": "/", "headers": [{"name": "X-Health", "value": "1"}], "initialDelaySeconds": 1,
        "periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 3,
    });
    let command = serde_json::json!({"exec": {"command": ["/alive", "$(HOME)"]}});
    let all = ComponentType::ALL.map(|component| {
        let shape = component.shape();
        let mut spec = if shape.is_task() { fixture::task() } else { fixture::service() };
        spec.component_type = Some(component);
        if shape.is_kept_running() {
            spec.probes =
                serde_json::from_value(serde_json::json!({"startup": probe, "liveness": command, "readiness": probe}))
                    .unwrap();
        }
        let endpoints = serde_json::json!([
            {"name": "http", "port": 8080, "kind": "HTTP"}, {"name": "rpc", "port": 9090, "kind": "gRPC"},
            {"name": "udp", "port": 5353, "kind": "UDP"},
        ]);
        spec.endpoints = shape.endpoints.then(|| serde_json::from_value(endpoints).unwrap());
        spec
    });
    let full = |mut spec: ReleaseSpec| {
        spec.command = Some(vec!["/bin/web".to_owned()]);
        spec.security = serde_json::from_value(serde_json::json!({"runAsUser": 10001, "fsGroup": 10001})).unwrap();
        spec.restart_token = Some("once".to_owned());
        spec
    };
    all.into_iter().map(full).chain([fixture::small_service()]).collect()
}

#[test]
fn every_field_is_on_the_list_that_the_admission_policies_are_made_from() {
    let gates = [None, Some(gate()), Some(StartGate { address: None, ..gate() })];
    for (spec, gate) in all_types().into_iter().flat_map(|spec| gates.clone().map(|gate| (spec.clone(), gate))) {
        for level in [SecurityLevel::Restricted, SecurityLevel::Baseline] {
            let rendering = render_with(gate.as_ref(), &spec, level);
            let slots = Slots::from([("secrets".to_owned(), "web-secret-abc".to_owned())]);
            let objects =
                rendering.bound("r", &slots).unwrap().into_iter().chain(rendering.bound_job("r", &slots).unwrap());
            let stored = rendering.stored("web-0123456789", "ns", 7, &labels_of_stored());
            let name = "web-secret-abc".to_owned();
            let secret = Material { name, labels: labels_of_stored(), values: BTreeMap::new() }.secret("ns");
            for object in objects.chain([stored, secret]) {
                assert_eq!(shape::outside(&object), [""; 0], "{} is refused", object["kind"]);
            }
        }
    }
}

fn labels_of_stored() -> BTreeMap<String, String> {
    object::environment_labels("dp1", "shop-dev")
}

#[test]
fn selectors_hold_no_version_and_no_hash() {
    let mut newer = fixture::service();
    newer.owner.as_mut().unwrap().track = "v1.3".to_owned();
    newer.image = Some(fixture::IMAGE.replace("0123", "3210"));
    let selector = |spec: &ReleaseSpec| {
        let objects = render(spec, SecurityLevel::Restricted).objects;
        objects.last().unwrap()["spec"]["selector"].clone()
    };
    assert_eq!(selector(&fixture::service()), selector(&newer));
}

#[test]
fn each_service_asks_for_a_port_that_its_pods_have() {
    let mut spec = fixture::small_service();
    let endpoint = |name: &str, port: i32, kind: &str| {
        serde_json::from_value(json!({"name": name, "port": port, "kind": kind})).unwrap()
    };
    spec.endpoints = Some(vec![
        endpoint("api", 8080, "HTTP"),
        endpoint("admin", 8080, "HTTP"),
        endpoint("dns", 8080, "UDP"),
        endpoint("other", 9090, "TCP"),
    ]);
    let rendering = render(&spec, SecurityLevel::Restricted);
    let deployment = rendering.objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let ports = &deployment["spec"]["template"]["spec"]["containers"][0]["ports"];
    let named = |name: &Value| ports.as_array().unwrap().iter().find(|port| port["name"] == *name).cloned();
    let services = rendering.objects.iter().filter(|object| object["kind"] == "Service");
    let numbers = services.map(|service| {
        let asked = &service["spec"]["ports"][0];
        let found = named(&asked["targetPort"]).unwrap_or_else(|| panic!("{asked} is none of {ports}"));
        assert_eq!((&found["containerPort"], &found["protocol"]), (&asked["port"], &asked["protocol"]), "{asked}");
        found["containerPort"].as_i64().unwrap()
    });
    assert_eq!(numbers.collect::<Vec<_>>(), [8080, 8080, 8080, 9090]);
}

/// A file that only its group may read is of a group that the program is in.
#[test]
fn a_file_that_not_everybody_may_read_is_the_programs_to_read() {
    for (mode, group) in
        [("0755", json!(null)), ("0644", json!(null)), ("0750", json!(65_532)), ("0600", json!(65_532))]
    {
        let mut spec = fixture::small_service();
        let file = json!({"path": "/run.sh", "content": "echo", "mode": mode});
        spec.files = Some(vec![serde_json::from_value(file).unwrap()]);
        let rendering = render(&spec, SecurityLevel::Restricted);
        let deployment = rendering.objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        assert_eq!(deployment["spec"]["template"]["spec"]["securityContext"]["fsGroup"], group, "{mode}");
    }
}

#[test]
fn a_document_cannot_weaken_the_security_context() {
    let rendering = render(&fixture::service(), SecurityLevel::Restricted);
    let pod = &rendering.objects.last().unwrap()["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(pod["automountServiceAccountToken"], false);
}

#[test]
fn the_start_gate_is_before_every_program_and_nothing_of_a_document_is_in_it() {
    let gates: Vec<Value> = all_types()
        .iter()
        .flat_map(|spec| [SecurityLevel::Restricted, SecurityLevel::Baseline].map(|level| (spec, level)))
        .map(|(spec, level)| {
            let rendering = render_with(Some(&gate()), spec, level);
            let workload = rendering.job.as_ref().unwrap_or_else(|| rendering.objects.last().unwrap());
            workload["spec"]["template"]["spec"]["initContainers"].clone()
        })
        .collect();
    assert!(gates.iter().all(|other| *other == gates[0]), "{gates:?}");
    insta::assert_yaml_snapshot!(gates[0]);
}

#[test]
fn no_secret_reference_reaches_an_object_but_by_slot() {
    let rendering = render(&fixture::service(), SecurityLevel::Restricted);
    let text = serde_json::to_string(&rendering.objects).unwrap();
    assert!(!text.contains("shop/db"), "{text}");
    let slots = Slots::from([("secrets".to_owned(), "web-secret-abc".to_owned())]);
    let bound = serde_json::to_string(&rendering.bound("r", &slots).unwrap()).unwrap();
    assert!(bound.contains("web-secret-abc") && !bound.contains("pdp-slot"), "{bound}");
}

#[test]
fn any_name_of_an_endpoint_gives_one_of_a_port() {
    for plain in ["http", "a-1", "abcdefghijklmno"] {
        assert_eq!(pod::as_port(plain), plain);
    }
    let names = ["My_API", "my-api-of-orders", "my_api_of_orders", "a--b", "A", "a_b", "a__b", &"x_".repeat(25)];
    let ports: BTreeSet<String> = names.iter().map(|name| pod::as_port(name)).collect();
    assert_eq!(ports.len(), names.len(), "{ports:?}");
    for port in &ports {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(port.len() <= 15 && port.chars().all(allowed) && !port.contains("--"), "{port}");
        assert!(port.starts_with(|c: char| c.is_ascii_lowercase()) && !port.ends_with('-'), "{port}");
    }
}

#[test]
fn names_of_services_cannot_collide() {
    let endpoint = |name: &str| Endpoint {
        name: name.to_owned(),
        port: 80,
        kind: EndpointKind::Http,
        base_path: None,
        visibility: None,
    };
    assert_eq!(service_name("go-httpbin", &endpoint("http"), "v1.2"), "go-httpbin-http-v1-2");
    assert_ne!(service_name("a", &endpoint("b-c"), "v1.0"), service_name("a-b", &endpoint("c"), "v1.0"));
    let long = service_name(&"x".repeat(63), &endpoint("http"), "v1.0");
    assert!(protocol::name::is_label(&long), "{long}");
    assert!(service_name("9lives", &endpoint("http"), "v1.0").starts_with('x'));
    assert_ne!(service_name("a", &endpoint("B_c"), "v1.0"), service_name("a", &endpoint("b-c"), "v1.0"));
    assert!(protocol::name::is_label(&service_name("a", &endpoint("B_c"), "v1.0")));
}

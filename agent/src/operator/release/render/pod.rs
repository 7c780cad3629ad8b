//! What all pods have in common, whatever they run.

use protocol::document::{Endpoint, ExecCheck, GrpcCheck, Probe, Resources};
use protocol::name::joined;
use protocol::quantity::larger;
use serde_json::{Value, json};

use super::super::parsed::{Setting, Source};
use super::config::Config;
use super::literal::literals;
use super::security::container_security;
use super::{Input, set};
use crate::kinds::SecurityLevel;
use crate::kinds::labels::CONTAINER;
use crate::operator::object::fixed::{DEFAULT_LIMITS, DEFAULT_REQUESTS};

/// Group of files that not everybody may read, where the document names none. Any will do: the kubelet gives the files to it and puts the program into
/// it.
const FILES_GROUP: i64 = 65_532;

/// Seconds for which a pod serves on after it left the addresses, so that nobody is sent to a closed port.
const DRAIN_SECONDS: i64 = 5;

/// Whether the pod serves until it is told to stop, or runs to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Serve,
    Task,
}

pub(super) fn template(input: &Input<'_>, config: &Config, purpose: Purpose) -> Value {
    let release = input.release;
    let mut container = json!({
        "name": CONTAINER,
        "image": release.image,
        "imagePullPolicy": "IfNotPresent",
        "resources": resources(release.resources.as_ref()),
        "securityContext": container_security(input.level),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    set(&mut container, "command", release.command.as_ref().map(|command| json!(literals(command))));
    set(&mut container, "args", release.args.as_ref().map(|args| json!(literals(args))));
    set(&mut container, "env", (!config.env.is_empty()).then(|| json!(config.env)));
    set(&mut container, "volumeMounts", (!config.mounts.is_empty()).then(|| json!(config.mounts)));
    if purpose == Purpose::Serve {
        serving(input, &mut container);
    }
    let mut spec = json!({
        "containers": [container],
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "serviceAccountName": "default",
        "securityContext": pod_security(input),
        "terminationGracePeriodSeconds": release.termination_grace_seconds,
    });
    set(&mut spec, "initContainers", input.gate.map(|gate| json!([super::gate::container(gate)])));
    set(&mut spec, "volumes", (!config.volumes.is_empty()).then(|| json!(config.volumes)));
    let pull: Vec<Value> = input.pull_secrets.iter().map(|name| json!({"name": name})).collect();
    set(&mut spec, "imagePullSecrets", (!pull.is_empty()).then(|| json!(pull)));
    match purpose {
        Purpose::Serve => spec["topologySpreadConstraints"] = spread(input),
        Purpose::Task => spec["restartPolicy"] = json!("Never"),
    }
    let mut metadata = json!({"labels": super::labels(input)});
    set(
        &mut metadata,
        "annotations",
        release.restart_token.as_ref().map(|token| json!({"pdp-agent.dev/restart-token": token})),
    );
    json!({"metadata": metadata, "spec": spec})
}

/// What the container calls an endpoint's port. Two endpoints may be paths of one server; the API server merges ports by number and
/// transport, so the port is named after the first of them.
pub(super) fn port_name(input: &Input<'_>, endpoint: &Endpoint) -> String {
    let same = |other: &&Endpoint| (other.port, other.kind.transport()) == (endpoint.port, endpoint.kind.transport());
    as_port(&input.release.endpoints.iter().find(same).unwrap_or(endpoint).name)
}

/// The name of an endpoint as one of a port, which has up to 15 lower-case letters, digits and single dashes. Another one gets a hash.
pub(super) fn as_port(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.len() <= MAX_PORT_NAME && name.chars().all(plain) && !name.contains("--") {
        return name.to_owned();
    }
    let hashed = joined(&[name], MAX_PORT_NAME);
    hashed.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// Longest name of a port of a container (RFC 6335, which Kubernetes asks for).
const MAX_PORT_NAME: usize = 15;

fn serving(input: &Input<'_>, container: &mut Value) {
    let release = input.release;
    let ports: Vec<Value> = release
        .endpoints
        .iter()
        .filter(|endpoint| as_port(&endpoint.name) == port_name(input, endpoint))
        .map(|endpoint| {
            let protocol = endpoint.kind.transport();
            json!({"name": as_port(&endpoint.name), "containerPort": endpoint.port, "protocol": protocol})
        })
        .collect();
    set(container, "ports", (!ports.is_empty()).then(|| json!(ports)));
    // Nobody calls what has no endpoint.
    let called = !release.endpoints.is_empty();
    let drain = if called { DRAIN_SECONDS.min(release.termination_grace_seconds / 2) } else { 0 };
    set(container, "lifecycle", (drain > 0).then(|| json!({"preStop": {"sleep": {"seconds": drain}}})));
    let probes = release.probes.as_ref();
    let asked = |pick: fn(&protocol::document::Probes) -> Option<&Probe>| probes.and_then(pick).map(probe);
    set(container, "startupProbe", asked(|probes| probes.startup.as_ref()));
    set(container, "livenessProbe", asked(|probes| probes.liveness.as_ref()));
    // Without any readiness check a pod would count as serving before its port is open.
    let open = || release.endpoints.iter().find(|endpoint| endpoint.kind.can_be_probed());
    let default = || open().map(|endpoint| json!({"tcpSocket": {"port": endpoint.port}, "periodSeconds": 2}));
    set(container, "readinessProbe", asked(|probes| probes.readiness.as_ref()).or_else(default));
}

fn probe(probe: &Probe) -> Value {
    let Probe {
        port,
        path,
        headers,
        grpc,
        exec,
        initial_delay_seconds,
        period_seconds,
        timeout_seconds,
        failure_threshold,
    } = probe;
    let mut rendered = match (exec, path, grpc) {
        // The kubelet expands variables here too.
        (Some(ExecCheck { command }), _, _) => json!({"exec": {"command": literals(command)}}),
        (None, Some(path), _) => {
            let mut asked = json!({"path": path, "port": port});
            set(&mut asked, "httpHeaders", headers.as_ref().map(|headers| json!(headers)));
            json!({"httpGet": asked})
        }
        (None, None, Some(GrpcCheck { service })) => {
            json!({"grpc": {"port": port, "service": service.as_deref().unwrap_or_default()}})
        }
        (None, None, None) => json!({"tcpSocket": {"port": port}}),
    };
    set(&mut rendered, "initialDelaySeconds", initial_delay_seconds.map(|value| json!(value)));
    set(&mut rendered, "periodSeconds", period_seconds.map(|value| json!(value)));
    set(&mut rendered, "timeoutSeconds", timeout_seconds.map(|value| json!(value)));
    set(&mut rendered, "failureThreshold", failure_threshold.map(|value| json!(value)));
    rendered
}

/// Requests and limits; a limit is never below its request, since the API server would refuse the pod.
fn resources(asked: Option<&Resources>) -> Value {
    let none = Resources { cpu_request: None, memory_request: None, cpu_limit: None, memory_limit: None };
    let Resources { cpu_request, memory_request, cpu_limit, memory_limit } = asked.unwrap_or(&none);
    let pair = |request: &Option<String>, limit: &Option<String>, default_request: &str, default_limit: &str| match (
        request, limit,
    ) {
        (Some(request), Some(limit)) => (request.clone(), limit.clone()),
        (Some(request), None) => (request.clone(), larger(default_limit, request)),
        (None, Some(limit)) if larger(default_request, limit) == default_request => (limit.clone(), limit.clone()),
        (None, Some(limit)) => (default_request.to_owned(), limit.clone()),
        (None, None) => (default_request.to_owned(), default_limit.to_owned()),
    };
    let (cpu_request, cpu_limit) = pair(cpu_request, cpu_limit, DEFAULT_REQUESTS.0, DEFAULT_LIMITS.0);
    let (memory_request, memory_limit) = pair(memory_request, memory_limit, DEFAULT_REQUESTS.1, DEFAULT_LIMITS.1);
    json!({
        "requests": {"cpu": cpu_request, "memory": memory_request},
        "limits": {"cpu": cpu_limit, "memory": memory_limit},
    })
}

fn pod_security(input: &Input<'_>) -> Value {
    let mut context = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    if input.level == SecurityLevel::Restricted {
        context["runAsNonRoot"] = json!(true);
    }
    let security = input.release.security.as_ref();
    set(&mut context, "runAsUser", security.and_then(|security| security.run_as_user).map(|id| json!(id)));
    set(&mut context, "runAsGroup", security.and_then(|security| security.run_as_group).map(|id| json!(id)));
    let group = security.and_then(|security| security.fs_group);
    // Files with secrets are nobody else's to read, and so are those whose mode says so: the program is in the group that they belong to.
    let closed = |mode: Option<u32>| mode.is_some_and(|mode| mode & 0o004 == 0);
    let group_only = |file: &Setting| matches!(file.source, Source::Secret(_)) || closed(file.mode);
    let needed = input.release.files.iter().any(group_only);
    set(&mut context, "fsGroup", group.or_else(|| needed.then_some(FILES_GROUP)).map(|id| json!(id)));
    context
}

fn spread(input: &Input<'_>) -> Value {
    let over = |key: &str| {
        json!({
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(input)},
            "matchLabelKeys": ["pod-template-hash"],
        })
    };
    json!([over("kubernetes.io/hostname"), over("topology.kubernetes.io/zone")])
}

/// What selects the pods of a release: never a version or a hash.
pub(super) fn selector(input: &Input<'_>) -> Value {
    json!({super::RELEASE: input.name})
}

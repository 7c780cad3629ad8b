//! Addresses: one Service per endpoint and version, and one per endpoint and major version.

use protocol::document::Endpoint;
use serde_json::{Value, json};

use super::Input;
use super::pod;
use crate::operator::object::ObjectKind;

/// The Service of this version alone.
pub(super) fn service(input: &Input<'_>, endpoint: &Endpoint) -> Value {
    named(input, endpoint, &name(input, endpoint))
}

/// The Service of the major version, as it is while it leads to this release.
pub(super) fn of_major(input: &Input<'_>, endpoint: &Endpoint) -> Value {
    named(input, endpoint, &super::service_name(&input.release.owner.component, endpoint, major(input)))
}

fn named(input: &Input<'_>, endpoint: &Endpoint, name: &str) -> Value {
    let mut service = super::head(input, ObjectKind::Service, name);
    let mut port = json!({
        "name": pod::as_port(&endpoint.name),
        "port": endpoint.port,
        // By name: pods of two generations may listen on different ports.
        "targetPort": pod::port_name(input, endpoint),
        "protocol": endpoint.kind.transport(),
    });
    super::set(&mut port, "appProtocol", endpoint.kind.app_protocol().map(|protocol| json!(protocol)));
    service["spec"] = json!({"type": "ClusterIP", "selector": pod::selector(input), "ports": [port]});
    service
}

/// Where the endpoint of this version answers inside the cluster.
pub(super) fn address(input: &Input<'_>, endpoint: &Endpoint) -> String {
    address_of(input, endpoint, &name(input, endpoint))
}

/// Where its major version answers.
pub(super) fn major_address(input: &Input<'_>, endpoint: &Endpoint) -> String {
    address_of(input, endpoint, &super::service_name(&input.release.owner.component, endpoint, major(input)))
}

fn address_of(input: &Input<'_>, endpoint: &Endpoint, service: &str) -> String {
    let authority = format!("{service}.{}.svc:{}", input.namespace, endpoint.port);
    let path = endpoint.base_path.as_deref().unwrap_or("/");
    match endpoint.kind.scheme() {
        Some(scheme) => format!("{scheme}://{authority}{path}"),
        None => authority,
    }
}

fn name(input: &Input<'_>, endpoint: &Endpoint) -> String {
    super::service_name(&input.release.owner.component, endpoint, &input.release.owner.track)
}

/// `v1` of track `v1.2`.
fn major<'a>(input: &'a Input<'_>) -> &'a str {
    input.release.owner.track.split('.').next().unwrap_or_default()
}

//! Addresses: one Service per endpoint and version.

use protocol::document::Endpoint;
use serde_json::{Value, json};

use super::Input;
use super::pod;
use crate::operator::object::ObjectKind;

pub(super) fn service(input: &Input<'_>, endpoint: &Endpoint) -> Value {
    let mut service = super::head(input, ObjectKind::Service, &name(input, endpoint));
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

/// Where the endpoint answers inside the cluster.
pub(super) fn address(input: &Input<'_>, endpoint: &Endpoint) -> String {
    let authority = format!("{}.{}.svc:{}", name(input, endpoint), input.namespace, endpoint.port);
    let path = endpoint.base_path.as_deref().unwrap_or("/");
    match endpoint.kind.scheme() {
        Some(scheme) => format!("{scheme}://{authority}{path}"),
        None => authority,
    }
}

fn name(input: &Input<'_>, endpoint: &Endpoint) -> String {
    super::service_name(&input.release.owner.component, endpoint, &input.release.owner.track)
}

//! Addresses: one Service per endpoint and version.

use protocol::spec::{Endpoint, EndpointKind};
use serde_json::{Value, json};

use super::super::object::ObjectKind;
use super::Input;
use super::pod;

pub(super) fn service(input: &Input<'_>, endpoint: &Endpoint) -> Value {
    let mut service = super::head(input, ObjectKind::Service, &name(input, endpoint));
    let mut port = json!({
        "name": endpoint.name,
        "port": endpoint.port,
        // By name: pods of two generations may listen on different ports.
        "targetPort": endpoint.name,
        "protocol": if endpoint.kind == EndpointKind::Udp { "UDP" } else { "TCP" },
    });
    pod::set(&mut port, "appProtocol", app_protocol(endpoint.kind).map(|protocol| json!(protocol)));
    service["spec"] = json!({"type": "ClusterIP", "selector": pod::selector(input), "ports": [port]});
    service
}

/// Where the endpoint answers inside the cluster.
pub(super) fn address(input: &Input<'_>, endpoint: &Endpoint) -> String {
    let authority = format!("{}.{}.svc:{}", name(input, endpoint), input.namespace, endpoint.port);
    let path = endpoint.base_path.as_deref().unwrap_or("/");
    match endpoint.kind {
        EndpointKind::Http | EndpointKind::GraphQl => format!("http://{authority}{path}"),
        EndpointKind::WebSocket => format!("ws://{authority}{path}"),
        EndpointKind::Grpc | EndpointKind::Tcp | EndpointKind::Udp => authority,
    }
}

fn name(input: &Input<'_>, endpoint: &Endpoint) -> String {
    super::service_name(&input.release.owner.component, endpoint, &input.release.owner.track)
}

/// Names as in Kubernetes, "Application protocol".
const fn app_protocol(kind: EndpointKind) -> Option<&'static str> {
    match kind {
        EndpointKind::Http | EndpointKind::GraphQl => Some("http"),
        EndpointKind::Grpc => Some("kubernetes.io/h2c"),
        EndpointKind::WebSocket => Some("kubernetes.io/ws"),
        EndpointKind::Tcp | EndpointKind::Udp => None,
    }
}

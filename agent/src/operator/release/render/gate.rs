//! The start gate: the init container that holds a pod back until the network plugin has closed it. Made of the customer's policy and
//! of nothing else, so that no document reaches it.

use serde_json::{Value, json};

use super::security::container_security;
use crate::kinds::labels::GATE;
use crate::kinds::{SecurityLevel, StartGate};

pub(super) fn container(gate: &StartGate) -> Value {
    let StartGate { image, address } = gate;
    let mut args = vec![GATE];
    args.extend(address.iter().flat_map(|address| ["--address", address.as_str()]));
    json!({
        "name": GATE,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "32Mi"}},
        "securityContext": container_security(SecurityLevel::Restricted),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}

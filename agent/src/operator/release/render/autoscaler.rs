//! Who chooses how many pods serve.

use serde_json::{Value, json};

use super::Input;
use crate::operator::object::ObjectKind;
use crate::operator::release::parsed::Autoscaler;

pub(super) fn autoscaler(input: &Input<'_>, asked: Autoscaler) -> Value {
    let Autoscaler { min, max, cpu, memory } = asked;
    let (target_version, target_kind, _) = ObjectKind::Deployment.names();
    // In the order in which the API server gives them back.
    let metrics = [("cpu", cpu), ("memory", memory)].into_iter().filter_map(|(name, percent)| {
        let target = json!({"type": "Utilization", "averageUtilization": percent?});
        Some(json!({"type": "Resource", "resource": {"name": name, "target": target}}))
    });
    let mut autoscaler = super::head(input, ObjectKind::HorizontalPodAutoscaler, input.name);
    autoscaler["spec"] = json!({
        "scaleTargetRef": {"apiVersion": target_version, "kind": target_kind, "name": input.name},
        "minReplicas": min,
        "maxReplicas": max,
        "metrics": metrics.collect::<Vec<_>>(),
    });
    autoscaler
}

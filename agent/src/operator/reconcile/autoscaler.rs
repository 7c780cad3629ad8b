//! Autoscalers of the customer: while one scales a workload, its replicas are not ours.
//!
//! They are not watched. Whether there is one is asked when replicas differ from what is wanted.

use serde_json::Value;

use crate::operator::cluster::{ApiError, Class, Cluster, Path};
use crate::operator::object::ObjectKind;
use crate::operator::world::index::Place;

/// Where a workload says how many pods it has.
pub const REPLICAS: &str = "/spec/replicas";

/// How many pods `live` has, if an autoscaler scales it.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn replicas(cluster: &Cluster, place: &Place, live: &Value) -> Result<Option<i64>, ApiError> {
    if place.kind != ObjectKind::Deployment {
        return Ok(None);
    }
    let path = Path::listed("/apis/autoscaling/v2", &place.namespace, "horizontalpodautoscalers")?;
    match cluster.get_path(&path).await {
        Ok(list) if scaled(&list, &place.name) => Ok(live.pointer(REPLICAS).and_then(Value::as_i64)),
        Ok(_) => Ok(None),
        // A chart that does not grant it yet, or a cluster that has no autoscalers.
        Err(error) if matches!(error.class(), Class::Rights | Class::Missing) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether one of a list of autoscalers scales the Deployment of that name.
fn scaled(list: &Value, name: &str) -> bool {
    let targets = list.get("items").and_then(Value::as_array).into_iter().flatten();
    let mut targets = targets.filter_map(|one| one.pointer("/spec/scaleTargetRef"));
    let is = |target: &Value, key: &str, text: &str| target.get(key).and_then(Value::as_str) == Some(text);
    targets.any(|target| is(target, "kind", "Deployment") && is(target, "name", name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_autoscaler_scales_the_deployment_that_it_names() {
        let list =
            |kind: &str, name: &str| json!({"items": [{"spec": {"scaleTargetRef": {"kind": kind, "name": name}}}]});
        assert!(scaled(&list("Deployment", "web"), "web"));
        assert!(!scaled(&list("Deployment", "other"), "web"));
        assert!(!scaled(&list("StatefulSet", "web"), "web"));
        assert!(!scaled(&json!({"items": []}), "web"));
    }
}

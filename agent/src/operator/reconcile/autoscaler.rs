//! Autoscalers: while one scales a workload, its replicas are not ours.
//!
//! One that the release asks for is among its objects, and says between which numbers the replicas may be. Those of the customer are
//! not watched: whether there is one is asked when replicas differ from what is wanted. So is one of ours that an earlier revision
//! asked for; the replicas are taken back once it is pruned.

use serde_json::Value;

use crate::operator::cluster::{ApiError, Class, Cluster};
use crate::operator::object::{self, ObjectKind};
use crate::operator::world::index::Place;

/// Where a workload says how many pods it has.
pub const REPLICAS: &str = "/spec/replicas";

/// How many pods `live` has.
#[must_use]
pub fn number(live: &Value) -> Option<i64> {
    live.pointer(REPLICAS).and_then(Value::as_i64)
}

/// Between which numbers of pods an autoscaler of ours keeps a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    least: i64,
    most: i64,
}

impl Bounds {
    /// How many pods `live` shall have: as many as it has, within the bounds. With none an autoscaler would never begin.
    #[must_use]
    pub fn kept(self, live: &Value) -> i64 {
        number(live).unwrap_or(1).min(self.most).max(self.least)
    }
}

/// The bounds of the Deployment `wanted`, if there is an autoscaler for it among `all` that is wanted.
#[must_use]
pub fn bounds(wanted: &Value, all: &[Value]) -> Option<Bounds> {
    let (kind, deployment) = object::reference(wanted).filter(|(kind, _)| *kind == ObjectKind::Deployment)?;
    let is = |one: &&Value| {
        object::reference(one).is_some_and(|(kind, _)| kind == ObjectKind::HorizontalPodAutoscaler)
            && targets(one, kind, &deployment.name)
    };
    let ours = all.iter().find(is)?;
    let number = |pointer: &str| ours.pointer(pointer).and_then(Value::as_i64);
    Some(Bounds { least: number("/spec/minReplicas").unwrap_or(1), most: number("/spec/maxReplicas")? })
}

/// How many pods `live` has, if an autoscaler in the cluster scales it.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn replicas(cluster: &Cluster, place: &Place, live: &Value) -> Result<Option<i64>, ApiError> {
    if place.kind != ObjectKind::Deployment {
        return Ok(None);
    }
    match cluster.list(ObjectKind::HorizontalPodAutoscaler, &place.namespace, "").await {
        Ok(all) if scaled(&all, &place.name) => Ok(number(live)),
        Ok(_) => Ok(None),
        // A chart that does not grant it yet, or a cluster that has no autoscalers.
        Err(error) if matches!(error.class(), Class::Rights | Class::Missing) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether one of a list of autoscalers scales the Deployment of that name.
fn scaled(all: &[Value], name: &str) -> bool {
    all.iter().any(|one| targets(one, ObjectKind::Deployment, name))
}

/// Whether an autoscaler scales the object of that kind and name.
fn targets(autoscaler: &Value, kind: ObjectKind, name: &str) -> bool {
    let is = |key: &str, text: &str| {
        autoscaler.pointer("/spec/scaleTargetRef").and_then(|target| target.get(key)).and_then(Value::as_str)
            == Some(text)
    };
    is("kind", kind.names().1) && is("name", name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_autoscaler_scales_the_deployment_that_it_names() {
        let list = |kind: &str, name: &str| [json!({"spec": {"scaleTargetRef": {"kind": kind, "name": name}}})];
        assert!(scaled(&list("Deployment", "web"), "web"));
        assert!(!scaled(&list("Deployment", "other"), "web"));
        assert!(!scaled(&list("StatefulSet", "web"), "web"));
        assert!(!scaled(&[], "web"));
    }

    #[test]
    fn replicas_stay_as_they_are_within_the_bounds_that_are_asked_for() {
        let deployment =
            |replicas: i64| json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": replicas}});
        let autoscaler = |name: &str| {
            json!({"kind": "HorizontalPodAutoscaler", "metadata": {"name": name}, "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": name}, "minReplicas": 2, "maxReplicas": 6}})
        };
        let of = |live: i64| {
            bounds(&deployment(2), &[deployment(2), autoscaler("web")]).map(|it| it.kept(&deployment(live)))
        };
        assert_eq!([0, 1, 2, 5, 6, 9].map(of), [2, 2, 2, 5, 6, 6].map(Some));
        assert_eq!(bounds(&deployment(2), &[deployment(2), autoscaler("other")]), None);
        assert_eq!(bounds(&autoscaler("web"), &[autoscaler("web")]), None);
    }
}

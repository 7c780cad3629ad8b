//! What somebody else put into an environment's namespace and would go with it: the namespace is not removed while any is there.
//!
//! The operator follows only what carries its label, so it asks for the rest.

use serde_json::Value;

use crate::kinds::labels::DATA_PLANE;
use crate::operator::cluster::{ApiError, Class, Cluster, Path};
use crate::operator::object::ObjectKind;

/// Kinds that the agent makes too: ours carry its label.
const SHARED: [ObjectKind; 8] = [
    ObjectKind::Deployment,
    ObjectKind::ReplicaSet,
    ObjectKind::Job,
    ObjectKind::Pod,
    ObjectKind::Service,
    ObjectKind::ConfigMap,
    ObjectKind::NetworkPolicy,
    ObjectKind::PodDisruptionBudget,
];

/// Data that nobody could bring back.
const CLAIMS: Unmade = ("/api/v1", "persistentvolumeclaims", "PersistentVolumeClaim");

/// Other kinds that the agent never makes. Some have no pods at the moment, or in no phase that says whose they are.
const UNMADE: [Unmade; 4] = [
    ("/apis/apps/v1", "statefulsets", "StatefulSet"),
    ("/apis/apps/v1", "daemonsets", "DaemonSet"),
    ("/apis/batch/v1", "cronjobs", "CronJob"),
    ("/apis/networking.k8s.io/v1", "ingresses", "Ingress"),
];

/// Group and version of a path, plural, kind.
type Unmade = (&'static str, &'static str, &'static str);

/// So many are named.
const NAMED: usize = 10;

/// What of somebody else's is in the namespace, as `Kind/name`: the first ten.
///
/// # Errors
/// The API server refused or did not answer. A chart from before the operator asked for a kind of [`UNMADE`] does not grant it: that
/// kind is passed over then.
pub(super) async fn foreign(cluster: &Cluster, namespace: &str) -> Result<Vec<String>, ApiError> {
    let mut foreign = Vec::new();
    for kind in SHARED {
        let at = Path::of(kind, namespace, None)?;
        foreign.extend(named(cluster, &at, &format!("!{DATA_PLANE}"), kind.names().1).await?);
    }
    let unmade =
        async |(api, plural, kind): Unmade| named(cluster, &Path::listed(api, namespace, plural)?, "", kind).await;
    foreign.extend(unmade(CLAIMS).await?);
    for kind in UNMADE {
        match unmade(kind).await {
            Err(error) if matches!(error.class(), Class::Rights | Class::Missing) => {
                tracing::debug!(namespace, kind = kind.2, %error, "not looked for before the namespace goes");
            }
            found => foreign.extend(found?),
        }
    }
    foreign.truncate(NAMED);
    Ok(foreign)
}

async fn named(cluster: &Cluster, at: &Path, selector: &str, kind: &str) -> Result<Vec<String>, ApiError> {
    let heads = cluster.heads(at, selector, NAMED + 1).await?;
    // Kubernetes puts this one into every namespace.
    let names = heads.iter().filter_map(name).filter(|name| *name != "kube-root-ca.crt");
    Ok(names.map(|name| format!("{kind}/{name}")).collect())
}

fn name(object: &Value) -> Option<&str> {
    object.pointer("/metadata/name").and_then(Value::as_str)
}

//! Objects of others in an environment's namespace, which would be deleted with it: the namespace is not removed while there are
//! any.
//!
//! The operator's watches select by its label, so foreign objects are listed.

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

/// Other kinds that the agent never makes. They may have no pods at the moment, or none from which their owner can be seen.
const UNMADE: [Unmade; 4] = [
    ("/apis/apps/v1", "statefulsets", "StatefulSet"),
    ("/apis/apps/v1", "daemonsets", "DaemonSet"),
    ("/apis/batch/v1", "cronjobs", "CronJob"),
    ("/apis/networking.k8s.io/v1", "ingresses", "Ingress"),
];

/// Group and version of a path, plural, kind.
type Unmade = (&'static str, &'static str, &'static str);

/// At most this many are named.
const NAMED: usize = 10;

/// Expected objects (kube-root-ca.crt and the like) share the page with foreign ones, so the page is longer by this many.
const MOST_EVERYWHERE: usize = 64 + EVERYWHERE.len();

/// What clusters put into every namespace: Kubernetes itself, OpenShift, Istio. Sources: their documentation.
const EVERYWHERE: [&str; 4] = [
    "ConfigMap/kube-root-ca.crt",
    "ConfigMap/openshift-service-ca.crt",
    "ConfigMap/istio-ca-root-cert",
    "ConfigMap/istio-ca-crl",
];

/// Foreign objects in the namespace, as `Kind/name`: the first ten. `everywhere`: what the customer says is in every namespace.
///
/// # Errors
/// The API server refused or did not answer. A chart from before the operator listed a kind of [`UNMADE`] does not grant that: the
/// kind is skipped then.
pub(super) async fn foreign(
    cluster: &Cluster,
    namespace: &str,
    everywhere: &[String],
) -> Result<Vec<String>, ApiError> {
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
    foreign.retain(|object| !EVERYWHERE.contains(&object.as_str()) && !everywhere.contains(object));
    foreign.truncate(NAMED);
    Ok(foreign)
}

async fn named(cluster: &Cluster, at: &Path, selector: &str, kind: &str) -> Result<Vec<String>, ApiError> {
    let heads = cluster.heads(at, selector, NAMED + MOST_EVERYWHERE).await?;
    let names = heads.iter().filter_map(name);
    Ok(names.map(|name| format!("{kind}/{name}")).collect())
}

fn name(object: &Value) -> Option<&str> {
    object.pointer("/metadata/name").and_then(Value::as_str)
}

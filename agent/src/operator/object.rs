//! Objects in an environment's namespace: their kinds, names and labels.
//!
//! An object is kept as JSON from rendering to API server; the types of the Kubernetes API hold it only in tests, where they
//! prove that no field is misspelt. Everything that is ours carries the labels made here, and nothing without them is touched.

use std::collections::BTreeMap;

use kube::core::{ApiResource, GroupVersionKind};
use protocol::mutant::{self, Mutant};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use crate::kinds::LOCAL;
use crate::kinds::ObjectRef;
use crate::kinds::labels::{DATA_PLANE, ENVIRONMENT, MANAGER};

pub mod compare;
pub mod fixed;
pub mod owner;
#[cfg(test)]
pub(crate) mod shape;

/// Makes [`ObjectKind`] of a row for each kind: its name, `apiVersion`, plural in paths, and whether a watch shows it.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $api_version:literal, $plural:literal, $seen:ident;)+) => {
        /// Kinds of objects that the operator makes or looks at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ObjectKind {
            $($(#[$doc])* $kind,)+
        }

        impl ObjectKind {
            /// Every kind.
            pub const ALL: [Self; [$(Seen::$seen),+].len()] = [$(Self::$kind),+];

            /// `apiVersion`, `kind` and the plural of the path.
            #[must_use]
            pub const fn names(self) -> (&'static str, &'static str, &'static str) {
                match self {
                    $(Self::$kind => ($api_version, stringify!($kind), $plural),)+
                }
            }

            /// Whether a watch shows it.
            #[must_use]
            pub const fn is_followed(self) -> bool {
                let seen = match self {
                    $(Self::$kind => Seen::$seen,)+
                };
                matches!(seen, Seen::Watched)
            }
        }
    };
}

/// How the operator sees objects of a kind.
#[derive(Clone, Copy)]
enum Seen {
    /// By a watch over the whole cluster, by label.
    Watched,
    /// Read one by one.
    ByName,
}

kinds! {
    /// One per environment.
    Namespace: "v1", "namespaces", Watched;
    /// The operator's and the link's rights in it.
    RoleBinding: "rbac.authorization.k8s.io/v1", "rolebindings", Watched;
    /// `default` and the vault's.
    ServiceAccount: "v1", "serviceaccounts", Watched;
    /// Sum of what may run.
    ResourceQuota: "v1", "resourcequotas", Watched;
    /// Defaults of one container.
    LimitRange: "v1", "limitranges", Watched;
    /// Who talks to whom.
    NetworkPolicy: "networking.k8s.io/v1", "networkpolicies", Watched;
    /// Configuration by content.
    ConfigMap: "v1", "configmaps", Watched;
    /// Secrets by content. Never watched or listed: they are read by name only.
    Secret: "v1", "secrets", ByName;
    /// Addresses.
    Service: "v1", "services", Watched;
    /// Pods that serve.
    Deployment: "apps/v1", "deployments", Watched;
    PodDisruptionBudget: "policy/v1", "poddisruptionbudgets", Watched;
    /// Stored renderings.
    ControllerRevision: "apps/v1", "controllerrevisions", Watched;
    /// Runs of tasks.
    Job: "batch/v1", "jobs", Watched;
    /// Only looked at, and created as a dry run.
    Pod: "v1", "pods", Watched;
    /// Only looked at.
    ReplicaSet: "apps/v1", "replicasets", Watched;
    /// Only looked at.
    EndpointSlice: "discovery.k8s.io/v1", "endpointslices", Watched;
}

impl ObjectKind {
    /// Kinds that the operator watches.
    pub fn followed() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kind| kind.is_followed())
    }

    /// The kind that `kind` names, if it is one of ours.
    #[must_use]
    pub fn of(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|candidate| candidate.names().1 == kind)
    }

    /// What the client needs to know of it.
    #[must_use]
    pub fn api_resource(self) -> ApiResource {
        let (api_version, kind, plural) = self.names();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// A reference to the object `name` of this kind.
    #[must_use]
    pub fn named(self, name: &str) -> ObjectRef {
        let (api_version, kind, _) = self.names();
        ObjectRef { api_version: api_version.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    }
}

/// The reference to `object`, if it is of a kind of ours and has a name.
#[must_use]
pub fn reference(object: &Value) -> Option<(ObjectKind, ObjectRef)> {
    let kind = ObjectKind::of(object.get("kind")?.as_str()?)?;
    Some((kind, kind.named(object.get("metadata")?.get("name")?.as_str()?)))
}

/// One label of `object`.
#[must_use]
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// Whether an owner's label has the value `own`. Its presence alone proves nothing: objects of other owners have it too.
#[must_use]
pub fn names(label: Option<&str>, own: &str) -> bool {
    label.is_some_and(|label| label == own || mutant::is(Mutant::LabelWithoutValue))
}

/// An object's head: kind, name, namespace and labels.
#[must_use]
#[expect(clippy::indexing_slicing, reason = "members of a JSON object that is made here")]
pub fn head(kind: ObjectKind, name: &str, namespace: Option<&str>, labels: &BTreeMap<String, String>) -> Value {
    let (api_version, kind, _) = kind.names();
    let mut metadata = json!({ "name": name, "labels": labels });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata })
}

/// Labels of an environment's own objects.
#[must_use]
pub fn environment_labels(data_plane: &str, environment: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned()),
        (DATA_PLANE.to_owned(), data_plane.to_owned()),
        (ENVIRONMENT.to_owned(), environment.to_owned()),
    ])
}

/// The first `length` hexadecimal digits of the SHA-256 of `bytes`.
#[must_use]
pub fn short_digest(bytes: &[u8], length: usize) -> String {
    hex(&Sha256::digest(bytes)).chars().take(length).collect()
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_their_names() {
        for kind in ObjectKind::ALL {
            assert_eq!(ObjectKind::of(kind.names().1), Some(kind));
        }
        let by_name = ObjectKind::ALL.into_iter().filter(|kind| !kind.is_followed());
        assert!(by_name.eq([ObjectKind::Secret]), "Secrets are never watched");
        assert_eq!(ObjectKind::of("ClusterRole"), None);
        assert_eq!(ObjectKind::NetworkPolicy.api_resource().group, "networking.k8s.io");
        assert_eq!(ObjectKind::Pod.api_resource().api_version, "v1");
    }

    #[test]
    fn an_object_is_known_by_its_head() {
        let object = head(ObjectKind::Service, "web", Some("ns"), &environment_labels("dp1", "dev"));
        let (kind, reference) = reference(&object).unwrap();
        assert_eq!((kind, reference.name.as_str()), (ObjectKind::Service, "web"));
        assert_eq!(label(&object, DATA_PLANE), Some("dp1"));
    }

    #[test]
    fn a_label_with_another_value_is_somebody_elses() {
        let ours =
            || [None, Some(""), Some("agents.other"), Some("agents.own")].map(|label| names(label, "agents.own"));
        mutant::choose(Some(Mutant::LabelWithoutValue));
        let mistaken = ours();
        mutant::choose(None);
        assert_eq!((mistaken, ours()), ([false, true, true, true], [false, false, false, true]));
    }
}

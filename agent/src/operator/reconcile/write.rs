//! What the decisions see of the cluster, and what they ask to be written.
//!
//! Every write carries its precondition: a create is a create, everything else names uid and resource version of what was
//! seen. A leader that was paused holds older content, so "the same write again" would not be harmless.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kinds::ObjectRef;

/// One object as it is in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    pub uid: String,
    pub resource_version: String,
    /// Whether its labels say that it is this resource's.
    pub ours: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Paths in which it differs from what is wanted; empty when equal or when nothing is wanted of it.
    pub drift: Vec<String>,
    /// Whether it was found equal to the same wanted object before: then a difference is a change by somebody else.
    pub was_equal: bool,
    /// How often it was repaired lately.
    pub repairs: usize,
    /// Field manager that wrote last, if it is not us.
    pub rival: Option<String>,
    /// Number of pods that an autoscaler has set: it is left as it is.
    pub autoscaled: Option<i64>,
}

/// One write. Executed in order; a refusal holds up only the writes that depend on it, any other failure ends the list.
#[derive(Clone, PartialEq)]
pub enum Write<S> {
    /// Status of the resource itself, with its uid and resource version.
    Status(Box<S>),
    /// A new object.
    Create(Value),
    /// A new Secret of that name, with the values that were resolved. The values are not part of the decision.
    CreateSecret(String),
    /// Our fields of an existing object, by server-side apply. Precondition: uid and resource version as seen.
    Apply {
        /// What it shall be.
        object: Value,
        uid: String,
        resource_version: String,
        /// Whether this undoes a change by somebody else.
        repairs: bool,
    },
    /// Precondition: uid and resource version as seen.
    Delete { object: ObjectRef, uid: String, resource_version: String },
}

impl<S> Write<S> {
    /// Whether it may still be done after an earlier write was refused. A workload must not start without its configuration, and a
    /// deletion or a status implies that everything before it is done.
    #[must_use]
    pub fn stands_alone(&self) -> bool {
        match self {
            Self::Status(_) | Self::Delete { .. } => false,
            Self::CreateSecret(_) => true,
            Self::Create(object) | Self::Apply { object, .. } => !is_workload(object),
        }
    }

    /// Whether every later write depends on it.
    #[must_use]
    pub fn carries_all(&self) -> bool {
        matches!(self, Self::Create(object) if object.get("kind").and_then(Value::as_str) == Some("Namespace"))
    }

    /// The status that it writes.
    #[must_use]
    pub fn status(&self) -> Option<&S> {
        match self {
            Self::Status(status) => Some(status),
            Self::Create(_) | Self::CreateSecret(_) | Self::Apply { .. } | Self::Delete { .. } => None,
        }
    }

    /// The removal of `object` as it was seen.
    #[must_use]
    pub fn delete(object: &ObjectRef, live: &Live) -> Self {
        Self::Delete { object: object.clone(), uid: live.uid.clone(), resource_version: live.resource_version.clone() }
    }

    /// The application of `object` onto what was seen.
    #[must_use]
    pub fn apply(object: &Value, live: &Live) -> Self {
        let mut object = object.clone();
        if let (Some(replicas), Some(spec)) = (live.autoscaled, object.get_mut("spec").and_then(Value::as_object_mut)) {
            spec.insert("replicas".to_owned(), json!(replicas));
        }
        let (uid, resource_version) = (live.uid.clone(), live.resource_version.clone());
        Self::Apply { object, uid, resource_version, repairs: live.was_equal }
    }

    /// Kind of write and name of its object, for logs and tests. Never content.
    #[must_use]
    pub fn summary(&self) -> String {
        let name = |object: &Value| {
            let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            format!("{kind}/{name}")
        };
        match self {
            Self::Status(_) => "status".to_owned(),
            Self::Create(object) => format!("create {}", name(object)),
            Self::CreateSecret(secret) => format!("create Secret/{secret}"),
            Self::Apply { object, .. } => format!("apply {}", name(object)),
            Self::Delete { object, .. } => format!("delete {}/{}", object.kind, object.name),
        }
    }
}

fn is_workload(object: &Value) -> bool {
    matches!(object.get("kind").and_then(Value::as_str), Some("Deployment" | "Job"))
}

impl<S> std::fmt::Debug for Write<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.summary())
    }
}

/// What to do now.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<S> {
    /// In order.
    pub writes: Vec<Write<S>>,
    /// When to decide again if nothing happens before.
    pub wake: Option<Duration>,
}

impl<S> Decision<S> {
    /// Nothing to write.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { writes: Vec::new(), wake: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_object_holds_up_what_stands_on_it_and_nothing_else() {
        let create = |kind: &str| Write::<()>::Create(json!({"kind": kind}));
        for kind in ["ConfigMap", "Service", "PodDisruptionBudget", "NetworkPolicy", "RoleBinding"] {
            assert!(create(kind).stands_alone() && !create(kind).carries_all(), "{kind}");
        }
        for kind in ["Deployment", "Job"] {
            assert!(!create(kind).stands_alone(), "{kind} needs its configuration");
        }
        assert!(create("Namespace").carries_all());
        assert!(!Write::Status(Box::new(())).stands_alone());
        let object = crate::operator::object::ObjectKind::Service.named("web");
        let gone = Write::<()>::Delete { object, uid: String::new(), resource_version: String::new() };
        assert!(!gone.stands_alone(), "something may still need it");
    }

    #[test]
    fn replicas_of_an_autoscaler_are_applied_as_they_are() {
        let live = |autoscaled| Live {
            uid: "u".to_owned(),
            resource_version: "1".to_owned(),
            ours: true,
            terminating: false,
            drift: vec!["/spec/template".to_owned()],
            was_equal: false,
            repairs: 0,
            rival: None,
            autoscaled,
        };
        let wanted = json!({"kind": "Deployment", "spec": {"replicas": 1}});
        for (autoscaled, applied) in [(None, 1), (Some(3), 3)] {
            let Write::<()>::Apply { object, .. } = Write::apply(&wanted, &live(autoscaled)) else { panic!() };
            assert_eq!(object["spec"]["replicas"], applied);
        }
    }
}

//! Observing objects: from the watches where they show enough, from the API server where they do not.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use protocol::mutant::{self, Mutant};
use serde::Deserialize;
use serde_json::{Value, json};

use super::autoscaler;
use super::rendering::Rendering;
use super::shared::Shared;
use super::write::Live;
use crate::kinds::ObjectRef;
use crate::kinds::labels::{DATA_PLANE, RELEASE};
use crate::operator::cluster::{self, ApiError};
use crate::operator::object::compare;
use crate::operator::object::owner::{Owner, OwnerKind};
use crate::operator::object::{self, ObjectKind};
use crate::operator::world::index::{Mark, Place, Tracked, View};
use crate::operator::world::view;

/// Whether `found` is ours, made for `owner`.
fn owns(shared: &Shared, owner: Owner<'_>, found: &Tracked) -> bool {
    // Only namespaces have the agent's label, and older ones do not have it yet.
    let anothers = found.agent().is_some_and(|agent| agent != shared.settings.agent);
    !anothers && shared.is_ours(found.data_plane.as_deref()) && found.owners.has(owner)
}

/// How `wanted` is in the cluster; none if it is not there.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn wanted(shared: &Shared, owner: Owner<'_>, wanted: &Value) -> Result<Option<Live>, ApiError> {
    let Some((kind, reference)) = object::reference(wanted) else { return Ok(None) };
    let place = place(wanted, kind, &reference);
    let fingerprint = Mark::of(wanted);
    let known = known(shared, &place);
    let (mark, tracked) = match &known {
        Some(tracked) => (tracked.mark, known.as_ref()),
        // The cluster makes one of them, without a label: no watch shows it before it has ours.
        None if !kind.is_followed() || kind == ObjectKind::ServiceAccount => (unwatched(shared, owner), None),
        None => return Ok(None),
    };
    let (equal, was_equal) = shared.index.lock().verified(&place, mark, fingerprint);
    // No watch follows what is not ours: it is asked for every time.
    let ours = tracked.is_none_or(|tracked| owns(shared, owner, tracked));
    if equal && ours {
        return Ok(Some(Live {
            uid: tracked.map(|tracked| tracked.uid.to_string()).unwrap_or_default(),
            resource_version: tracked.map(|tracked| tracked.resource_version.to_string()).unwrap_or_default(),
            ours,
            terminating: tracked.is_some_and(|tracked| tracked.terminating),
            drift: Vec::new(),
            was_equal: true,
            repairs: 0,
            rival: None,
            autoscaled: None,
        }));
    }
    let Some(object) = shared.cluster.get(kind, &place.namespace, &place.name).await? else {
        shared.index.lock().remove(&place);
        return Ok(None);
    };
    let found = absorb(shared, &place, &object);
    let mut drift = compare::drift(wanted, &object);
    let mut autoscaled = None;
    if drift.iter().any(|path| path == autoscaler::REPLICAS) {
        autoscaled = autoscaler::replicas(&shared.cluster, &place, &object).await?;
        drift.retain(|path| path != autoscaler::REPLICAS || autoscaled.is_none());
    }
    // With an autoscaler the object is read again each time: no event tells when the autoscaler is gone.
    if drift.is_empty() && autoscaled.is_none() {
        let mark = if !kind.is_followed() { unwatched(shared, owner) } else { found.mark };
        shared.index.lock().verify(place.clone(), mark, fingerprint);
    }
    let repairs = if was_equal && !drift.is_empty() { shared.repairs(&place) } else { 0 };
    Ok(Some(Live {
        ours: owns(shared, owner, &found),
        repairs,
        rival: if drift.is_empty() { None } else { cluster::rival(&object) },
        autoscaled,
        uid: found.uid.to_string(),
        resource_version: found.resource_version.into(),
        terminating: found.terminating,
        drift,
        was_equal,
    }))
}

/// Whether an object is there, whatever it holds.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn existing(
    shared: &Shared,
    owner: Owner<'_>,
    namespace: &str,
    reference: &ObjectRef,
) -> Result<Option<Live>, ApiError> {
    let Some(kind) = ObjectKind::of(&reference.kind) else { return Ok(None) };
    let place = Place::new(kind, namespace, &reference.name);
    let found = match known(shared, &place) {
        Some(tracked) => tracked,
        None if !kind.is_followed() => match shared.cluster.head(kind, namespace, &reference.name).await? {
            Some(object) => tracked(kind, &object),
            None => return Ok(None),
        },
        None => return Ok(None),
    };
    Ok(Some(plain(shared, owner, &found)))
}

/// Mark that changes when unwatched objects must be read again: every 25 s for environments, on which all releases in them depend, and
/// every full pass for releases.
fn unwatched(shared: &Shared, owner: Owner<'_>) -> Mark {
    match owner.kind {
        OwnerKind::Environment if !mutant::is(Mutant::FoundInAnotherNamespace) => shared.glance(),
        OwnerKind::Environment | OwnerKind::Release | OwnerKind::TaskRun => shared.pass(),
    }
}

/// Whether a Secret of that name exists, asked again as [`unwatched`] says. Its values are not read.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn secret(shared: &Shared, owner: Owner<'_>, namespace: &str, name: &str) -> Result<Option<Live>, ApiError> {
    let place = Place::new(ObjectKind::Secret, namespace, name);
    let present = Live {
        uid: String::new(),
        resource_version: String::new(),
        ours: true,
        terminating: false,
        drift: Vec::new(),
        was_equal: true,
        repairs: 0,
        rival: None,
        autoscaled: None,
    };
    let mark = unwatched(shared, owner);
    if shared.index.lock().verified(&place, mark, Mark::of(name)).0 {
        return Ok(Some(present));
    }
    let Some(object) = shared.cluster.head(ObjectKind::Secret, namespace, name).await? else { return Ok(None) };
    let live = plain(shared, owner, &tracked(ObjectKind::Secret, &object));
    if live.ours && !live.terminating {
        shared.index.lock().verify(place, mark, Mark::of(name));
    }
    Ok(Some(live))
}

/// The rendering `revision` of `release`, from memory or from its ControllerRevision. None where that is gone, cannot be read, or is of
/// another release: one with that name cannot be created then, which says so.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn rendering(
    shared: &Shared,
    release: &str,
    namespace: &str,
    revision: &str,
) -> Result<Option<Arc<Rendering>>, ApiError> {
    if let Some(known) = shared.rendering(namespace, revision) {
        return Ok(Some(known));
    }
    let Some(object) = shared.cluster.get(ObjectKind::ControllerRevision, namespace, revision).await? else {
        return Ok(None);
    };
    let ours = object::label(&object, RELEASE) == Some(release) && shared.is_ours(object::label(&object, DATA_PLANE));
    if ours {
        // While the watch is late it would count as lost.
        absorb(shared, &Place::new(ObjectKind::ControllerRevision, namespace, revision), &object);
    }
    let rendering = Rendering::read(&object).ok().filter(|_| ours);
    Ok(rendering.inspect(|rendering| shared.remember_rendering(namespace, revision, rendering)).map(Arc::new))
}

/// The state of something that is only looked at.
#[must_use]
pub fn plain(shared: &Shared, owner: Owner<'_>, found: &Tracked) -> Live {
    Live {
        uid: found.uid.to_string(),
        resource_version: found.resource_version.to_string(),
        ours: owns(shared, owner, found),
        terminating: found.terminating,
        drift: Vec::new(),
        was_equal: false,
        repairs: 0,
        rival: None,
        autoscaled: None,
    }
}

/// What a watch or an own write has shown of `place`.
fn known(shared: &Shared, place: &Place) -> Option<Tracked> {
    shared.index.lock().object(place).cloned()
}

/// Where an object is.
#[must_use]
pub fn place(object: &Value, kind: ObjectKind, reference: &ObjectRef) -> Place {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    Place::new(kind, namespace, &reference.name)
}

/// Takes an answer of the API server into the index, as a watch would.
pub fn absorb(shared: &Shared, place: &Place, object: &Value) -> Tracked {
    let tracked = tracked(place.kind, object);
    if place.kind.is_followed() {
        shared.index.lock().put_answer(place.clone(), tracked.clone());
    }
    tracked
}

fn tracked(kind: ObjectKind, object: &Value) -> Tracked {
    let metadata =
        object.get("metadata").and_then(|metadata| ObjectMeta::deserialize(metadata).ok()).unwrap_or_default();
    let view = match kind {
        ObjectKind::Deployment => {
            let view = |object: Deployment| View::Deployment(Box::new(view::deployment(&object)));
            Deployment::deserialize(object).map_or(View::Nothing, view)
        }
        ObjectKind::Job => {
            Job::deserialize(object).map_or(View::Nothing, |object| View::Job(Box::new(view::job(&object))))
        }
        ObjectKind::Namespace
        | ObjectKind::RoleBinding
        | ObjectKind::ServiceAccount
        | ObjectKind::ResourceQuota
        | ObjectKind::LimitRange
        | ObjectKind::NetworkPolicy
        | ObjectKind::ConfigMap
        | ObjectKind::Secret
        | ObjectKind::Service
        | ObjectKind::PodDisruptionBudget
        | ObjectKind::ControllerRevision
        | ObjectKind::Pod
        | ObjectKind::ReplicaSet
        | ObjectKind::EndpointSlice => View::Nothing,
    };
    Tracked::new(&metadata, view)
}

/// Names of ConfigMaps and Secrets that objects of these kinds use, by label. A replica set scaled to zero does not count: only a
/// person could scale it up again, and the operator undoes that at once.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn in_use(
    shared: &Shared,
    namespace: &str,
    kinds: &[ObjectKind],
    owner: Owner<'_>,
) -> Result<std::collections::BTreeSet<String>, ApiError> {
    let mut names = std::collections::BTreeSet::new();
    for kind in kinds {
        let mut objects = shared.cluster.list(*kind, namespace, &owner.selector()).await?;
        objects.retain(|object| *kind != ObjectKind::ReplicaSet || object.pointer("/spec/replicas") != Some(&json!(0)));
        objects.iter().for_each(|object| collect_names(object, &mut names));
    }
    Ok(names)
}

/// Every `name` and `secretName` in an object: more than its references, which only keeps more.
fn collect_names(value: &Value, names: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(text) if key == "name" || key == "secretName" => drop(names.insert(text.clone())),
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_)
                    | Value::Array(_)
                    | Value::Object(_) => {
                        collect_names(member, names);
                    }
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

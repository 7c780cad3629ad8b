//! Doing what was decided: writes in order, each with its precondition. What the cluster refuses holds up only what stands on it; any
//! other failure ends the list.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretSlice;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::build;
use super::cluster::{ApiError, Class};
use super::index::{self, Contents, Own};
use super::object::{self, ObjectKind};
use super::observe;
use super::shared::Shared;
use super::write::Write;
use crate::kinds::{Environment, Release, TaskRun};

/// The values of a Secret that a decision asked for by name.
pub struct Material {
    /// Its name, made of its content.
    pub name: String,
    /// Labels of the release.
    pub labels: BTreeMap<String, String>,
    /// Values by key.
    pub values: BTreeMap<String, SecretSlice<u8>>,
}

/// One of our resources as it was seen: what its status is written with.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Changes with every status that is written.
    pub resource_version: String,
}

/// Our kinds whose status a reconciler writes.
pub trait OwnKind: DeserializeOwned + kube::Resource {
    /// `kind`.
    const KIND: &'static str;
    /// Plural in paths.
    const PLURAL: &'static str;
    /// Where the index keeps them.
    fn map(contents: &mut Contents) -> &mut BTreeMap<String, Own<Self>>;
}

impl OwnKind for Release {
    const KIND: &'static str = "Release";
    const PLURAL: &'static str = "releases";
    fn map(contents: &mut Contents) -> &mut BTreeMap<String, Own<Self>> {
        &mut contents.releases
    }
}

impl OwnKind for Environment {
    const KIND: &'static str = "Environment";
    const PLURAL: &'static str = "environments";
    fn map(contents: &mut Contents) -> &mut BTreeMap<String, Own<Self>> {
        &mut contents.environments
    }
}

impl OwnKind for TaskRun {
    const KIND: &'static str = "TaskRun";
    const PLURAL: &'static str = "taskruns";
    fn map(contents: &mut Contents) -> &mut BTreeMap<String, Own<Self>> {
        &mut contents.task_runs
    }
}

/// Waits between tries while a RoleBinding that was just written takes effect.
const RIGHTS_WAITS: [u64; 6] = [50, 100, 200, 400, 800, 1600];

/// Performs `writes` in order.
///
/// # Errors
/// The first write that failed; those before it are done, and after a refusal also those that stand alone.
pub async fn perform<K: OwnKind, S: Serialize>(
    shared: &Shared,
    subject: &mut Subject,
    namespace: &str,
    material: Option<&Material>,
    writes: &[Write<S>],
) -> Result<(), ApiError> {
    let mut refused = None;
    for write in writes {
        if refused.is_some() && !write.stands_alone() {
            continue;
        }
        let mut waits = RIGHTS_WAITS.iter();
        loop {
            match once::<K, S>(shared, subject, namespace, material, write).await {
                Err(error) if error.class() == Class::Rights => match waits.next() {
                    Some(wait) => tokio::time::sleep(Duration::from_millis(*wait)).await,
                    None => return Err(error),
                },
                Err(error) if is_refusal(&error) && !write.carries_all() => {
                    refused = refused.or(Some(error));
                    break;
                }
                Err(error) => return Err(refused.unwrap_or(error)),
                Ok(()) => break,
            }
        }
    }
    refused.map_or(Ok(()), Err)
}

/// Whether the cluster has looked at the object and does not want it.
fn is_refusal(error: &ApiError) -> bool {
    match error.class() {
        Class::Quota | Class::Policy | Class::Invalid => true,
        Class::NotLeading | Class::Conflict | Class::Missing | Class::Rights | Class::Transient => false,
    }
}

async fn once<K: OwnKind, S: Serialize>(
    shared: &Shared,
    subject: &mut Subject,
    namespace: &str,
    material: Option<&Material>,
    write: &Write<S>,
) -> Result<(), ApiError> {
    match write {
        Write::Status(status) => self::status::<K>(shared, subject, &json!(status)).await,
        Write::Create(object) => create(shared, object, object).await,
        Write::CreateSecret(name) => {
            let Some(material) = material.filter(|material| material.name == *name) else {
                // The driver resolves before it decides; without values there is nothing to write, and the next look resolves.
                return Ok(());
            };
            let secret = build::secret(name, namespace, &material.labels, &material.values);
            create(shared, &secret, &Value::Null).await.map_err(ApiError::withheld)
        }
        Write::Apply { object, uid, resource_version } => {
            let Some((kind, reference)) = object::reference(object) else { return Ok(()) };
            let place = observe::place(object, kind, &reference);
            match shared.cluster.apply(object, uid, resource_version).await {
                Ok(answer) => {
                    let found = observe::took(shared, &place, &answer);
                    shared.index.lock().verify(place, found.mark, &object::fingerprint(object));
                    Ok(())
                }
                Err(error) => {
                    shared.index.lock().doubt(&place);
                    Err(error)
                }
            }
        }
        Write::Delete { object, uid, resource_version } => {
            let Some(kind) = ObjectKind::of(&object.kind) else { return Ok(()) };
            // Nobody watches Secrets: what was remembered of one would outlive it.
            let place = super::index::Place::new(kind, namespace, &object.name);
            shared.index.lock().doubt(&place);
            shared.cluster.delete(kind, namespace, &object.name, uid, resource_version).await
        }
    }
}

/// Creates `object` and remembers that it is what was wanted. One that exists is looked at, so that the next decision sees it.
async fn create(shared: &Shared, object: &Value, remember: &Value) -> Result<(), ApiError> {
    let Some((kind, reference)) = object::reference(object) else { return Ok(()) };
    let place = observe::place(object, kind, &reference);
    match shared.cluster.create(object).await {
        Ok(answer) => {
            let found = observe::took(shared, &place, &answer);
            if !remember.is_null() {
                shared.index.lock().verify(place, found.mark, &object::fingerprint(remember));
            }
            Ok(())
        }
        Err(error) if error.class() == Class::Conflict => {
            if !observe::unwatched(kind)
                && let Some(found) = shared.cluster.get(kind, &place.namespace, &place.name).await?
            {
                observe::took(shared, &place, &found);
            }
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// Writes the status of `subject`.
///
/// # Errors
/// Not leading, refused, or no answer; a conflict means that the resource changed meanwhile.
pub async fn status<K: OwnKind>(shared: &Shared, subject: &mut Subject, status: &Value) -> Result<(), ApiError> {
    let object = json!({
        "apiVersion": format!("{}/v1alpha1", crate::kinds::GROUP),
        "kind": K::KIND,
        "metadata": {
            "name": subject.name,
            "namespace": shared.settings.namespace,
            "uid": subject.uid,
            "resourceVersion": subject.resource_version,
        },
        "status": status,
    });
    let answer = shared.cluster.replace_status(K::KIND, K::PLURAL, &object).await?;
    if let Some(version) = answer.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
        version.clone_into(&mut subject.resource_version);
    }
    if let Ok(own) = serde_json::from_value::<K>(answer) {
        index::answered(K::map(&mut shared.index.lock()), &subject.name, super::watch::kept(own));
    }
    Ok(())
}

/// Merges into the status of `subject`: for an object of which nothing but its head is known.
///
/// # Errors
/// Not leading, refused, or no answer.
pub async fn merge_status<K: OwnKind>(shared: &Shared, subject: &Subject, patch: &Value) -> Result<(), ApiError> {
    let path = format!("{}/{}", shared.settings.namespace, subject.name);
    shared.cluster.merge(K::KIND, K::PLURAL, &path, true, patch).await.map(drop)
}

//! The one place for writes to an environment's objects, and to status. Writes go in order, each with its precondition; fights are
//! counted and answers put into the index here and nowhere else. A refusal holds up only the writes that depend on the refused one;
//! any other failure ends the list.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::mutant::{self, Mutant};
use secrecy::{ExposeSecret, SecretSlice};
use serde::Serialize;
use serde_json::{Value, json};

use super::halt::INVALID;
use super::observe;
use super::shared::Shared;
use super::write::Write;
use crate::kinds::ObjectRef;
use crate::kinds::conditions::Reason;
use crate::operator::cluster::{ApiError, Class};
use crate::operator::object::{self, ObjectKind};
use crate::operator::world::index::{self, Mark, Place};
use crate::operator::world::own_kind::OwnKind;

/// The values of a Secret that a decision asked for by name.
pub struct Material {
    /// Its name, made of its content.
    pub name: String,
    /// Labels of the release.
    pub labels: BTreeMap<String, String>,
    /// Values by key.
    pub values: BTreeMap<String, SecretSlice<u8>>,
}

impl Material {
    /// The Secret. It holds secret values: it goes to the API server and nowhere else.
    #[must_use]
    pub fn secret(&self, namespace: &str) -> Value {
        use base64::Engine as _;
        let encode = |value: &SecretSlice<u8>| base64::engine::general_purpose::STANDARD.encode(value.expose_secret());
        let data: BTreeMap<&String, String> = self.values.iter().map(|(key, value)| (key, encode(value))).collect();
        let head = object::head(ObjectKind::Secret, &self.name, Some(namespace), &self.labels);
        let Value::Object(mut members) = head else { return head };
        members.extend([
            ("type".to_owned(), json!("Opaque")),
            ("immutable".to_owned(), json!(true)),
            ("data".to_owned(), json!(data)),
        ]);
        Value::Object(members)
    }
}

/// One of our resources as it was seen: what its status is written with.
#[derive(Debug, Clone)]
pub struct Subject {
    pub name: String,
    pub uid: String,
    /// Changes with every status that is written.
    pub resource_version: String,
}

/// Waits between tries while a RoleBinding that was just written takes effect.
const RIGHTS_WAITS: [u64; 6] = [50, 100, 200, 400, 800, 1600];

/// Performs `writes` in order.
///
/// # Errors
/// The first write that failed; those before it are done, and after a refusal also those that do not depend on it.
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
                Err(error) if refusal(&error).is_some() && !write.carries_all() => {
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

/// Why the cluster, which has looked at an object, refuses it; nothing for any other failure. It is said in status, not only in our log.
#[must_use]
pub fn refusal(error: &ApiError) -> Option<Reason> {
    let (reason, who) = match error.class() {
        Class::Quota => ("Quota", "the namespace's quota leaves no room for it"),
        Class::Policy => ("PolicyDenied", "the cluster's policies refuse it"),
        Class::Invalid => (INVALID, "the API server refuses it"),
        Class::NotLeading | Class::Conflict | Class::Missing | Class::Rights | Class::Transient => return None,
    };
    Some(Reason::new(reason, format!("{who}: {}", error.message())))
}

async fn once<K: OwnKind, S: Serialize>(
    shared: &Shared,
    subject: &mut Subject,
    namespace: &str,
    material: Option<&Material>,
    write: &Write<S>,
) -> Result<(), ApiError> {
    match write {
        Write::Status(status) => super::apply::status::<K>(shared, subject, &json!(status)).await,
        Write::Create(object) => create(shared, object).await,
        Write::CreateSecret(name) => match material.filter(|material| material.name == *name) {
            Some(material) => create(shared, &material.secret(namespace)).await,
            // The driver resolves the values before it decides; without them nothing is written, and the next round resolves them.
            None => Ok(()),
        },
        Write::Apply { object, uid, resource_version, repairs } => {
            update(shared, object, uid, resource_version, *repairs).await
        }
        Write::Delete { object, uid, resource_version } => {
            delete(shared, namespace, object, uid, resource_version).await
        }
    }
}

/// Creates `object` and remembers it as equal to what was wanted. If one exists that watches follow, it is read into the index, so
/// that the next decision sees it.
///
/// # Errors
/// It exists; not leading, refused, or no answer.
pub async fn create(shared: &Shared, object: &Value) -> Result<(), ApiError> {
    let Some((kind, reference)) = object::reference(object) else { return Ok(()) };
    let place = observe::place(object, kind, &reference);
    match shared.cluster.create(object).await {
        Ok(answer) => {
            let found = observe::absorb(shared, &place, &answer);
            // Secrets are looked up by name, and remembered by that (`observe::secret`).
            if kind != ObjectKind::Secret {
                shared.index.lock().verify(place, found.mark, Mark::of(object));
            }
            Ok(())
        }
        Err(error) if error.class() == Class::Conflict => {
            if kind.is_followed()
                && let Some(found) = shared.cluster.get(kind, &place.namespace, &place.name).await?
            {
                observe::absorb(shared, &place, &found);
            }
            Err(error)
        }
        Err(error) => Err(of_kind(kind, error)),
    }
}

/// Makes an object what it should be, if it did not change since it was read. `repairs`: this undoes a change by somebody else.
///
/// # Errors
/// Changed meanwhile; not leading, refused, or no answer.
pub async fn update(
    shared: &Shared,
    object: &Value,
    uid: &str,
    resource_version: &str,
    repairs: bool,
) -> Result<(), ApiError> {
    let Some((kind, reference)) = object::reference(object) else { return Ok(()) };
    let place = observe::place(object, kind, &reference);
    if repairs && mutant::is(Mutant::FightCountedEarly) {
        shared.repaired(place.clone());
    }
    // If this fails, the object stays known as equal: the next try still counts the difference as a change by somebody else.
    let answer = shared.cluster.apply(object, uid, resource_version).await.map_err(|error| of_kind(kind, error))?;
    let found = observe::absorb(shared, &place, &answer);
    if repairs && !mutant::is(Mutant::FightCountedEarly) {
        shared.repaired(place.clone());
    }
    shared.index.lock().verify(place, found.mark, Mark::of(object));
    Ok(())
}

/// Deletes an object, if it still is the one that was seen.
///
/// # Errors
/// Changed meanwhile; not leading, refused, or no answer.
pub async fn delete(
    shared: &Shared,
    namespace: &str,
    object: &ObjectRef,
    uid: &str,
    resource_version: &str,
) -> Result<(), ApiError> {
    let Some(kind) = ObjectKind::of(&object.kind) else { return Ok(()) };
    // No watch follows Secrets: what is remembered of one would not go with it.
    shared.index.lock().forget_verified(&Place::new(kind, namespace, &object.name));
    shared
        .cluster
        .delete(kind, namespace, &object.name, uid, resource_version)
        .await
        .map_err(|error| of_kind(kind, error))
}

/// A refusal may quote values of the object.
fn of_kind(kind: ObjectKind, error: ApiError) -> ApiError {
    if kind == ObjectKind::Secret { error.withheld() } else { error }
}

/// Writes the status of `subject`.
///
/// # Errors
/// Not leading, refused, or no answer; a conflict means that the resource changed meanwhile.
pub async fn status<K: OwnKind>(shared: &Shared, subject: &mut Subject, status: &Value) -> Result<(), ApiError> {
    let object = json!({
        "apiVersion": format!("{}/v1alpha1", crate::kinds::GROUP),
        "kind": K::KIND.as_str(),
        "metadata": {
            "name": subject.name,
            "namespace": shared.settings.namespace,
            "uid": subject.uid,
            "resourceVersion": subject.resource_version,
        },
        "status": status,
    });
    let answer = shared.cluster.replace_status(K::KIND, &object).await?;
    if let Some(version) = answer.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
        version.clone_into(&mut subject.resource_version);
    }
    if let Ok(own) = serde_json::from_value::<K>(answer) {
        index::answered(K::map(&mut shared.index.lock()), &subject.name, crate::operator::world::watch::kept(own));
    }
    Ok(())
}

/// Merges into the status of `subject`: for an object of which only the metadata could be read.
///
/// # Errors
/// Not leading, refused, or no answer.
pub async fn merge_status<K: OwnKind>(shared: &Shared, subject: &Subject, patch: &Value) -> Result<(), ApiError> {
    let path = format!("{}/{}", shared.settings.namespace, subject.name);
    shared.cluster.merge(K::KIND, &path, true, patch).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::{Arc, Mutex};

    use futures::FutureExt as _;
    use futures::future::BoxFuture;

    use super::*;
    use crate::api::{ApiStatus, CallError};
    use crate::elector::{Epoch, Leadership, State};
    use crate::kinds::Release;
    use crate::kinds::ReleaseStatus;
    use crate::operator::cluster::{Api, Cluster, Request};
    use crate::operator::reconcile::write::Live;
    use crate::settings::Settings;
    use crate::telemetry::Metrics;

    /// Answers to applies, in turn.
    struct Script(Mutex<Vec<Result<Value, CallError>>>);

    impl Api for Script {
        fn call<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Value, CallError>> {
            let seen = json!({"metadata": {"name": "web", "namespace": "dp-a", "uid": "u", "resourceVersion": "1"}});
            let applies = matches!(request, Request::Apply { .. });
            std::future::ready(if applies { self.0.lock().unwrap().remove(0) } else { Ok(seen) }).boxed()
        }
    }

    #[tokio::test]
    async fn a_repair_counts_once_its_write_is_done() {
        let object = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "dp-a"}, "spec": {},
        });
        let status = ApiStatus { code: 409, reason: "Conflict".to_owned(), ..ApiStatus::default() };
        let conflict = CallError::Refused(status);
        let script = vec![Err(conflict), Err(CallError::NoAnswer("cut".to_owned())), Ok(object.clone())];
        let epoch = Epoch { lease: "lease".to_owned(), transitions: 1 };
        let (_publisher, leadership) = Leadership::channel(State::Leading(epoch));
        let cluster = Cluster::new(Arc::new(Script(Mutex::new(script))), leadership, &Metrics::default());
        let settings = Settings {
            namespace: "pdp-agent".to_owned(),
            fullname: "pdp-agent".to_owned(),
            agent: "pdp-agent.pdp-agent".to_owned(),
            admission_policies: false,
            admin_address: SocketAddr::from(([127, 0, 0, 1], 0)),
            instance: "one".to_owned(),
        };
        let shared = Shared::new(cluster, Arc::default(), Arc::default(), settings, "dp1".to_owned());
        let live = Live {
            uid: "u".to_owned(),
            resource_version: "1".to_owned(),
            ours: true,
            terminating: false,
            drift: vec!["/spec/selector".to_owned()],
            was_equal: true,
            repairs: 0,
            rival: None,
            autoscaled: None,
        };
        let mut subject = Subject { name: "web".to_owned(), uid: "r".to_owned(), resource_version: "1".to_owned() };
        let place = crate::operator::world::index::Place::new(ObjectKind::Service, "dp-a", "web");
        let writes: [Write<ReleaseStatus>; 1] = [Write::apply(&object, &live)];
        let (before, wanted) = (Mark::of("before"), Mark::of(&object));
        shared.index.lock().verify(place.clone(), before, wanted);
        for (done, repairs) in [(false, 0), (false, 0), (true, 1)] {
            let outcome = perform::<Release, _>(&shared, &mut subject, "dp-a", None, &writes).await;
            assert_eq!((outcome.is_ok(), shared.repairs(&place)), (done, repairs), "{outcome:?}");
            let (_, was_equal) = shared.index.lock().verified(&place, Mark::of("now"), wanted);
            assert!(was_equal, "the next try is a repair too");
        }
    }
}

//! One of our objects that does not fit its type: it is marked, and the others go on.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::apply::{self, Subject};
use super::shared::Shared;
use crate::kinds::conditions::{Conditions, Reason};
use crate::operator::cluster::ApiError;
use crate::operator::world::own_kind::OwnKind;
use crate::operator::world::tracked::Mark;

/// Says in status what does not fit. Nothing else of it is known, so nothing else is kept.
///
/// # Errors
/// The status could not be written.
pub async fn mark<K: OwnKind>(
    shared: &Shared,
    metadata: &ObjectMeta,
    error: &str,
    now: Timestamp,
) -> Result<(), ApiError> {
    let (Some(name), Some(uid)) = (&metadata.name, &metadata.uid) else { return Ok(()) };
    let key = K::key(name.clone());
    let mark = Mark::of(&(uid, metadata.generation));
    if shared.is_marked(&key, mark) {
        return Ok(());
    }
    let mut conditions = Conditions::new(&[], metadata.generation.unwrap_or_default(), now);
    let why = Reason::new("Unreadable", format!("it does not fit the kind and is left alone: {error}; correct it"));
    conditions.set("Ready", false, &why);
    let patch = json!({
        "metadata": {"uid": uid, "resourceVersion": metadata.resource_version},
        "status": {"conditions": conditions.finish()},
    });
    let subject = Subject {
        name: name.clone(),
        uid: uid.clone(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
    };
    apply::merge_status::<K>(shared, &subject, &patch).await?;
    shared.remember_marked(key, mark);
    Ok(())
}

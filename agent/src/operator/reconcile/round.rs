//! One round of one of our resources, as it begins for every kind: the object is there, does not fit its type, or has vanished.

use std::time::Duration;

use jiff::Timestamp;

use super::shared::Shared;
use super::unreadable;
use crate::operator::cluster::ApiError;
use crate::operator::world::index::Own;
use crate::operator::world::own_kind::OwnKind;

/// A kind that rounds are made for.
pub trait Reconcile: OwnKind {
    /// One round: from what is stored and what is there to the writes that are missing. Returns when to look again without an event.
    ///
    /// # Errors
    /// A call failed; what was done before it stands, and the next round goes on from there.
    fn reconcile(
        shared: &Shared,
        name: &str,
        object: &Self,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Duration>, ApiError>> + Send;

    /// The object was deleted, which is no removal request: the workload keeps running; drop memory about it.
    fn vanished(_shared: &Shared, _name: &str) {}
}

/// One round of the resource `name`.
///
/// # Errors
/// As [`Reconcile::reconcile`].
pub async fn round<K: Reconcile>(shared: &Shared, name: &str, now: Timestamp) -> Result<Option<Duration>, ApiError> {
    let found = K::map(&mut shared.index.lock()).get(name).cloned();
    match found {
        Some(Own::Read(object)) => K::reconcile(shared, name, &object, now).await,
        Some(Own::Unreadable { metadata, error }) => {
            unreadable::mark::<K>(shared, &metadata, &error, now).await.map(|()| None)
        }
        None => {
            K::vanished(shared, name);
            Ok(None)
        }
    }
}

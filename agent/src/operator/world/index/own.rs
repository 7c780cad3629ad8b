//! Our own objects as they are known: from watches, and from the answers to writes, which may be newer than what a watch brings.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use protocol::mutant::{self, Mutant};

use super::is_newer;

/// One of our own objects: read, or not readable.
#[derive(Debug, Clone)]
pub enum Own<K> {
    /// As stored.
    Read(Arc<K>),
    /// It does not fit the type. The object is marked; the others go on.
    Unreadable {
        metadata: Box<ObjectMeta>,
        /// What does not fit.
        error: String,
    },
}

impl<K: Resource> Own<K> {
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Read(object) => object.meta(),
            Self::Unreadable { metadata, .. } => metadata,
        }
    }
}

/// Stores the answer to a write of one of our own objects. If the watch has already brought a newer state or a deletion, that
/// stays: no later event would correct the older state.
pub fn answered<K: Resource>(map: &mut BTreeMap<String, Own<K>>, name: &str, answer: K) {
    let Some(known) = map.get_mut(name) else { return };
    let (before, now) = (known.metadata(), answer.meta());
    let version = |metadata: &ObjectMeta| metadata.resource_version.clone().unwrap_or_default();
    if before.uid == now.uid && !is_newer(&version(before), &version(now)) {
        *known = Own::Read(Arc::new(answer));
    }
}

/// Stores what a watch shows of one of our own objects, unless the answer to a write has already shown a newer state: a decision
/// from the older one would repeat what was done since. True if it is stored.
pub fn shown<K: Resource>(map: &mut BTreeMap<String, Own<K>>, name: &str, object: Own<K>) -> bool {
    let version = |own: &Own<K>| own.metadata().resource_version.clone().unwrap_or_default();
    let older = map.get(name).is_some_and(|known| {
        known.metadata().uid == object.metadata().uid && is_newer(&version(known), &version(&object))
    });
    if older && !mutant::is(Mutant::OlderEventTaken) {
        return false;
    }
    map.insert(name.to_owned(), object);
    true
}

/// Removes an object that a watch has shown to be deleted, unless another one of that name is known by now. True if it is removed.
pub fn vanished<K: Resource>(map: &mut BTreeMap<String, Own<K>>, name: &str, uid: Option<&str>) -> bool {
    let same = map.get(name).is_some_and(|known| known.metadata().uid.as_deref() == uid);
    if same {
        map.remove(name);
    }
    same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_watch_brings_late_of_our_own_objects_is_not_taken_for_news() {
        let run = |uid: &str, version: &str| {
            let metadata = serde_json::json!({"name": "run", "uid": uid, "resourceVersion": version});
            let run: crate::kinds::TaskRun =
                serde_json::from_value(serde_json::json!({"metadata": metadata, "spec": {"release": "web"}})).unwrap();
            Own::Read(Arc::new(run))
        };
        let mut map = BTreeMap::new();
        assert!(shown(&mut map, "run", run("u", "10")));
        assert!(!shown(&mut map, "run", run("u", "9")), "a write has shown a newer one");
        assert!(shown(&mut map, "run", run("u", "10")), "a list may say the same again");
        assert!(shown(&mut map, "run", run("other", "9")), "it was made anew");
    }

    #[test]
    fn the_answer_to_a_write_is_not_taken_for_newer_than_what_the_watch_brought() {
        let run = |uid: &str, version: &str| -> crate::kinds::TaskRun {
            let metadata = serde_json::json!({"name": "run", "uid": uid, "resourceVersion": version});
            serde_json::from_value(serde_json::json!({"metadata": metadata, "spec": {"release": "web"}})).unwrap()
        };
        let version = |map: &BTreeMap<String, Own<crate::kinds::TaskRun>>| {
            map.get("run").and_then(|own| own.metadata().resource_version.clone())
        };
        let mut map = BTreeMap::new();
        answered(&mut map, "run", run("u", "9"));
        assert_eq!(version(&map), None, "it was deleted meanwhile");
        map.insert("run".to_owned(), Own::Read(Arc::new(run("u", "10"))));
        answered(&mut map, "run", run("u", "9"));
        assert_eq!(version(&map).as_deref(), Some("10"));
        answered(&mut map, "run", run("u", "11"));
        assert_eq!(version(&map).as_deref(), Some("11"));
        answered(&mut map, "run", run("other", "12"));
        assert_eq!(version(&map).as_deref(), Some("11"), "another object of that name");
    }
}

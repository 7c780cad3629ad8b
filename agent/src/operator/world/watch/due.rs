//! Which resources a change concerns, and how urgently.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::Resource;
use tokio::sync::watch;

use crate::operator::object::owner::OwnerKind;
use crate::operator::world::index::{Contents, Index, Own, Tracked};
use crate::operator::world::queue::{Cause, Key, Queue};

/// What every watch works on.
#[derive(Clone)]
pub(super) struct Sink {
    /// Kept current.
    pub(super) index: Arc<Index>,
    /// Told what is due.
    pub(super) queue: Arc<Queue>,
    /// Watches whose first list is not complete yet.
    pub(super) pending: Arc<watch::Sender<usize>>,
}

/// Resources that an object concerns.
pub(super) fn keys(tracked: &Tracked) -> Vec<Key> {
    // An object of a release does not concern the release's environment.
    let of_release = tracked.owners.of_kind(OwnerKind::Release).is_some();
    let concerned = tracked.owners.iter().filter(|owner| owner.kind != OwnerKind::Environment || !of_release);
    concerned.map(Key::from).collect()
}

impl Sink {
    pub(super) fn observed(&self, keys: Vec<Key>) {
        for key in keys {
            self.queue.add(key, Cause::Observed);
        }
    }

    /// A resource of ours changed: it, and what depends on it.
    pub(super) fn changed(&self, key: Key, cause: Cause) {
        let dependants: Vec<Key> = match &key {
            Key::Environment(name) => {
                let contents = self.index.lock();
                let within = contents.releases.iter().filter(|(_, release)| match release {
                    Own::Read(release) => release.spec.body.environment.as_deref() == Some(name),
                    Own::Unreadable { .. } => false,
                });
                let within: BTreeSet<&String> = within.map(|(release, _)| release).collect();
                // A run that has not begun may wait for the environment, or for what the customer allows in it.
                let waiting = contents.task_runs.iter().filter(|(_, run)| match run {
                    Own::Read(run) => {
                        within.contains(&run.spec.body.release)
                            && run
                                .status
                                .as_ref()
                                .is_none_or(|status| status.result.is_none() && status.started.is_none())
                    }
                    Own::Unreadable { .. } => false,
                });
                let waiting = waiting.map(|(run, _)| Key::TaskRun(run.clone()));
                within.iter().map(|release| Key::Release((*release).clone())).chain(waiting).collect()
            }
            Key::Release(name) => {
                let contents = self.index.lock();
                let of = contents.task_runs.iter().filter(|(_, run)| match run {
                    Own::Read(run) => {
                        run.spec.body.release == *name
                            && run.status.as_ref().is_none_or(|status| status.result.is_none())
                    }
                    Own::Unreadable { .. } => false,
                });
                let mut keys: Vec<Key> = of.map(|(run, _)| Key::TaskRun(run.clone())).collect();
                let absent = contents.environments.iter().filter(|(_, environment)| match environment {
                    Own::Read(environment) => environment.spec.body.state == protocol::document::Desired::Absent,
                    Own::Unreadable { .. } => false,
                });
                keys.extend(absent.map(|(environment, _)| Key::Environment(environment.clone())));
                keys
            }
            Key::TaskRun(_) | Key::DataPlane => Vec::new(),
        };
        self.queue.add(key, cause);
        for key in dependants {
            self.queue.add(key, Cause::Wanted);
        }
    }

    /// Settings or policy changed: everything is looked at again.
    pub(super) fn everything(&self) {
        for key in all(&self.index.lock()) {
            self.queue.add(key, Cause::Wanted);
        }
    }

    pub(super) fn listed(&self, first: &mut bool) {
        if std::mem::take(first) {
            self.pending.send_modify(|pending| *pending = pending.saturating_sub(1));
        }
    }
}

/// An event that only echoes our own write does not make the key urgent.
pub(super) fn cause<K: Resource>(known: Option<&Own<K>>, now: &Own<K>) -> Cause {
    let version = |own: &Own<K>| (own.metadata().uid.clone(), own.metadata().resource_version.clone());
    if known.map(version) == Some(version(now)) { Cause::Observed } else { Cause::Wanted }
}

/// Whether settings or policy ask the same of the other resources as before: then only the status differs, as after each write of
/// the link.
pub(super) fn asks_the_same<K: Resource>(before: Option<&K>, now: Option<&K>) -> bool {
    let (Some(before), Some(now)) = (before.map(K::meta), now.map(K::meta)) else { return false };
    // The API server counts changes of the spec.
    before.generation.is_some()
        && before.uid == now.uid
        && before.generation == now.generation
        && before.annotations == now.annotations
        && before.deletion_timestamp == now.deletion_timestamp
}

/// Every resource there is.
#[must_use]
pub fn all(contents: &Contents) -> Vec<Key> {
    let environments = contents.environments.keys().cloned().map(Key::Environment);
    let releases = contents.releases.keys().cloned().map(Key::Release);
    let runs = contents.task_runs.keys().cloned().map(Key::TaskRun);
    std::iter::once(Key::DataPlane).chain(environments).chain(releases).chain(runs).collect()
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;

    use super::*;
    use crate::kinds::{DataPlane, TaskRun};
    use crate::operator::world::watch::unwrapped;

    #[test]
    fn own_writes_are_no_new_wishes() {
        let run = |uid: &str, version: &str| {
            let metadata = serde_json::json!({"name": "run", "uid": uid, "resourceVersion": version});
            let object = serde_json::json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": "TaskRun", "metadata": metadata, "spec": {"release": "web"}});
            unwrapped(serde_json::from_value::<DeserializeGuard<TaskRun>>(object).unwrap())
        };
        let known = run("u", "7");
        assert_eq!(cause(Some(&known), &run("u", "7")), Cause::Observed, "its answer was taken in");
        assert_eq!(cause(Some(&known), &run("u", "8")), Cause::Wanted);
        assert_eq!(cause(Some(&known), &run("other", "7")), Cause::Wanted);
        assert_eq!(cause(None, &run("u", "7")), Cause::Wanted);
    }

    #[test]
    fn a_new_status_of_the_installation_concerns_nobody_else() {
        let installation = |generation: i64, annotations: serde_json::Value, connected: &str| -> DataPlane {
            let metadata = serde_json::json!({"name": "default", "uid": "u", "generation": generation, "annotations": annotations});
            let condition = serde_json::json!({"type": "Connected", "status": connected, "reason": "r", "message": "m", "lastTransitionTime": "t"});
            let object = serde_json::json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": "DataPlane", "metadata": metadata, "spec": {}, "status": {"conditions": [condition]}});
            serde_json::from_value(object).unwrap()
        };
        let none = || serde_json::json!({});
        let before = installation(1, none(), "True");
        assert!(asks_the_same(Some(&before), Some(&installation(1, none(), "False"))));
        assert!(!asks_the_same(Some(&before), Some(&installation(2, none(), "True"))), "settings changed");
        let paused = serde_json::json!({"pdp-agent.dev/paused-until": "2030-01-31T12:00:00Z"});
        assert!(!asks_the_same(Some(&before), Some(&installation(1, paused, "True"))), "a pause");
        assert!(!asks_the_same(None, Some(&before)) && !asks_the_same(Some(&before), None));
    }
}

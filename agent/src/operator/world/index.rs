//! What the watches have shown: our kinds whole, everything else as little as the decisions need.
//!
//! Own writes enter here too, from their answers, so that the next decision does not wait for the watch.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::mutant::{self, Mutant};

use super::interned::Names;
pub use super::tracked::{JobView, Mark, Place, Tracked, View};
use super::workload::Workload;
use crate::kinds::{DataPlane, DataPlanePolicy, Environment, Release, TaskRun};
use crate::operator::object::ObjectKind;
use crate::operator::object::owner::{Owner, OwnerKind};

mod own;

pub use own::{Own, answered, shown, vanished};

/// Whether resource version `a` is later than `b`, compared as numbers; a version that is not a number is never later.
fn is_newer(a: &str, b: &str) -> bool {
    matches!((a.parse::<u64>(), b.parse::<u64>()), (Ok(a), Ok(b)) if a > b)
}

/// Everything at one moment.
#[derive(Debug, Default)]
pub struct Contents {
    /// By name.
    pub releases: BTreeMap<String, Own<Release>>,
    /// By name.
    pub environments: BTreeMap<String, Own<Environment>>,
    /// By name.
    pub task_runs: BTreeMap<String, Own<TaskRun>>,
    /// The one, `default`.
    pub data_plane: Option<DataPlane>,
    /// The one, `default`.
    pub policy: Option<DataPlanePolicy>,
    objects: HashMap<Place, Tracked>,
    by_owner: HashMap<OwnerKind, HashMap<Arc<str>, BTreeSet<Place>>>,
    /// Mark and fingerprint of objects that were found equal to what was wanted.
    verified: HashMap<Place, (Mark, Mark)>,
    /// What was deleted lately, with its uid.
    gone: VecDeque<(Place, Arc<str>)>,
    names: Names,
    /// Uids of releases and environments that were given room. Once the object is gone, the next claim drops its uid.
    claims: BTreeSet<String>,
}

/// Deletions that are remembered: the answer to a write is late by moments.
const GONE: usize = 256;

/// Shared between watches and reconcilers.
#[derive(Debug, Default)]
pub struct Index {
    contents: Mutex<Contents>,
}

impl Index {
    /// The contents. Never held across an await.
    pub fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    /// Records that the object of this uid was given room, so that the next decision counts it.
    pub fn claim(&mut self, uid: Option<&String>) {
        if self.has_claimed(uid) {
            return;
        }
        let environments = self.environments.values().filter_map(|own| own.metadata().uid.as_ref());
        let known: BTreeSet<&String> =
            self.releases.values().filter_map(|own| own.metadata().uid.as_ref()).chain(environments).collect();
        self.claims.retain(|claimed| known.contains(claimed));
        self.claims.extend(uid.cloned());
    }

    /// Whether the object of this uid has been given room.
    #[must_use]
    pub fn has_claimed(&self, uid: Option<&String>) -> bool {
        uid.is_some_and(|uid| self.claims.contains(uid))
    }

    /// Stores an object unless a newer state of it is known. True if something changed that concerns a resource.
    pub fn put(&mut self, place: Place, mut tracked: Tracked) -> bool {
        if let Some((stored, known)) = self.objects.get_key_value(&place) {
            // Also an earlier object of that name, of which a late watch tells after our own answer has shown the next one.
            if is_newer(&known.resource_version, &tracked.resource_version) {
                return false;
            }
            let another = known.uid != tracked.uid;
            let same = !another
                && known.mark == tracked.mark
                && known.view == tracked.view
                && known.terminating == tracked.terminating
                && known.owners == tracked.owners;
            let place = stored.clone();
            tracked.share(&mut self.names);
            if same {
                self.objects.insert(place, tracked);
                return false;
            }
            if another {
                self.forget_verified_within(&place);
            }
            self.forget_owners(&place);
            self.insert(place, tracked);
            return true;
        }
        tracked.share(&mut self.names);
        let namespace = self.names.shared(&place.namespace);
        self.insert(Place { namespace, ..place }, tracked);
        true
    }

    fn insert(&mut self, place: Place, tracked: Tracked) {
        for (kind, name) in tracked.owners.listed() {
            self.by_owner.entry(kind).or_default().entry(name.clone()).or_default().insert(place.clone());
        }
        self.objects.insert(place, tracked);
    }

    /// Stores the answer to a write, as [`Self::put`], unless the watch has already shown the deletion of that object: nothing
    /// would remove it again.
    pub fn put_answer(&mut self, place: Place, tracked: Tracked) {
        let gone = self.gone.iter().any(|(gone, uid)| *gone == place && *uid == tracked.uid);
        if !gone || mutant::is(Mutant::AnswerOverDeletion) {
            self.put(place, tracked);
        }
    }

    /// Removes an object that a watch has shown to be deleted. If the answer to a later create has already shown another object of
    /// that name, that one stays. Returns what was known of it.
    pub fn deleted(&mut self, place: &Place, uid: &str) -> Option<Tracked> {
        let another = self.objects.get(place).is_none_or(|known| *known.uid != *uid);
        if another && !mutant::is(Mutant::DeletionOfAnother) {
            self.remember_gone(place, uid.into());
            return None;
        }
        self.remove(place)
    }

    fn remember_gone(&mut self, place: &Place, uid: Arc<str>) {
        self.gone.push_back((place.clone(), uid));
        if self.gone.len() > GONE {
            self.gone.pop_front();
        }
    }

    /// Takes out an object. Returns what was known of it.
    pub fn remove(&mut self, place: &Place) -> Option<Tracked> {
        self.forget_owners(place);
        self.forget_verified_within(place);
        let known = self.objects.remove(place);
        if let Some(known) = &known {
            self.remember_gone(place, known.uid.clone());
        }
        known
    }

    fn forget_owners(&mut self, place: &Place) {
        let Some(tracked) = self.objects.get(place) else { return };
        for (kind, name) in tracked.owners.listed() {
            let Some(owners) = self.by_owner.get_mut(&kind) else { continue };
            if let Some(places) = owners.get_mut(name) {
                places.remove(place);
                if places.is_empty() {
                    owners.remove(name);
                }
            }
        }
    }

    /// One object.
    #[must_use]
    pub fn object(&self, place: &Place) -> Option<&Tracked> {
        self.objects.get(place)
    }

    /// Places and uids of all objects of one kind, for a list that starts anew.
    #[must_use]
    pub fn places_of(&self, kind: ObjectKind) -> BTreeMap<Place, Arc<str>> {
        let of_kind = self.objects.iter().filter(|(place, _)| place.kind == kind);
        of_kind.map(|(place, tracked)| (place.clone(), tracked.uid.clone())).collect()
    }

    /// Objects that carry the label of an owner whose kind is listed.
    pub fn of_owner(&self, owner: Owner<'_>) -> impl Iterator<Item = (&Place, &Tracked)> {
        debug_assert!(owner.kind.is_listed(), "objects of {owner:?} are known by name alone");
        let places = self.by_owner.get(&owner.kind).and_then(|owners| owners.get(owner.name));
        places.into_iter().flatten().filter_map(|place| self.objects.get(place).map(|tracked| (place, tracked)))
    }

    /// The workload of a release in its namespace.
    #[must_use]
    pub fn workload(&self, release: &str, namespace: &str) -> Workload {
        let mut workload = Workload::default();
        let owner = OwnerKind::Release.named(release);
        for (place, tracked) in self.of_owner(owner).filter(|(place, _)| *place.namespace == *namespace) {
            match &tracked.view {
                View::Deployment(view) if *place.name == *release => workload.deployment = Some((**view).clone()),
                View::ReplicaSet(view) => workload.replica_sets.push((**view).clone()),
                View::Pod(view) => workload.pods.push((**view).clone()),
                View::Slice(view) => workload.slices.push((**view).clone()),
                View::Deployment(_) | View::Job(_) | View::Nothing | View::Namespace(_) => {}
            }
        }
        workload
    }

    /// Whether the object at `place`, in the state `mark`, was found equal to `fingerprint`; and whether it ever was.
    #[must_use]
    pub fn verified(&self, place: &Place, mark: Mark, fingerprint: Mark) -> (bool, bool) {
        match self.verified.get(place) {
            Some((seen, wanted)) => (*seen == mark && *wanted == fingerprint, *wanted == fingerprint),
            None => (false, false),
        }
    }

    /// Remembers that the object at `place`, in the state `mark`, is what was wanted.
    pub fn verify(&mut self, place: Place, mark: Mark, fingerprint: Mark) {
        let stored = self.objects.get_key_value(&place).map(|(stored, _)| stored.clone());
        self.verified.insert(stored.unwrap_or(place), (mark, fingerprint));
    }

    /// When a namespace is deleted, forgets what was found in it: for kinds that no watch follows it would count for the next
    /// namespace of that name.
    fn forget_verified_within(&mut self, place: &Place) {
        if place.kind == ObjectKind::Namespace && !mutant::is(Mutant::FoundInAnotherNamespace) {
            self.verified.retain(|other, _| other.namespace != place.name);
        }
    }

    /// Forgets what was remembered of `place`.
    pub fn forget_verified(&mut self, place: &Place) {
        self.verified.remove(place);
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::labels::RELEASE;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn tracked(version: &str, release: Option<&str>) -> Tracked {
        let metadata = ObjectMeta {
            uid: Some("u".to_owned()),
            resource_version: Some(version.to_owned()),
            labels: release.map(|release| BTreeMap::from([(RELEASE.to_owned(), release.to_owned())])),
            ..ObjectMeta::default()
        };
        Tracked::new(&metadata, View::Nothing)
    }

    fn place() -> Place {
        Place::new(ObjectKind::Service, "n", "a")
    }

    #[test]
    fn an_older_state_never_replaces_a_newer_one() {
        let mut contents = Contents::default();
        assert!(contents.put(place(), tracked("10", Some("web"))));
        assert!(!contents.put(place(), tracked("9", Some("web"))));
        assert_eq!(contents.object(&place()).unwrap().resource_version.as_ref(), "10");
        assert!(!contents.put(place(), tracked("10", Some("web"))), "nothing new");
        let another = |version| Tracked { uid: "another".into(), ..tracked(version, Some("web")) };
        assert!(!contents.put(place(), another("9")), "it was deleted before this one was made");
        assert!(contents.put(place(), another("11")));
    }

    #[test]
    fn a_late_deletion_leaves_what_was_made_since() {
        let made = |uid: &str| Tracked { uid: uid.into(), ..tracked("1", Some("web")) };
        let mut contents = Contents::default();
        contents.put(place(), made("old"));
        contents.put_answer(place(), made("new"));
        assert!(contents.deleted(&place(), "old").is_none());
        assert_eq!(&*contents.object(&place()).unwrap().uid, "new");
        contents.put_answer(place(), made("new"));
        assert!(contents.deleted(&place(), "new").is_some());
        for uid in ["old", "new"] {
            contents.put_answer(place(), made(uid));
            assert!(contents.object(&place()).is_none(), "{uid} is known to be gone");
        }
        mutant::choose(Some(Mutant::AnswerOverDeletion));
        contents.put_answer(place(), made("new"));
        mutant::choose(None);
        assert!(contents.object(&place()).is_some(), "the mistake is seen");
        mutant::choose(Some(Mutant::DeletionOfAnother));
        let taken = contents.deleted(&place(), "old");
        mutant::choose(None);
        assert!(taken.is_some(), "the mistake is seen");
    }

    #[test]
    fn a_late_answer_brings_no_deleted_object_back() {
        let mut contents = Contents::default();
        contents.put_answer(place(), tracked("10", None));
        contents.remove(&place());
        contents.put_answer(place(), tracked("11", None));
        assert!(contents.object(&place()).is_none());
        assert!(contents.put(place(), tracked("12", None)), "what the watch shows is there");
    }

    #[test]
    fn objects_are_found_by_release_until_they_go() {
        let mut contents = Contents::default();
        contents.put(place(), tracked("1", Some("web")));
        let count = |contents: &Contents, name| contents.of_owner(OwnerKind::Release.named(name)).count();
        assert_eq!(count(&contents, "web"), 1);
        contents.put(place(), tracked("2", Some("other")));
        assert_eq!((count(&contents, "web"), count(&contents, "other")), (0, 1));
        contents.remove(&place());
        assert_eq!(count(&contents, "other"), 0);
    }

    #[test]
    fn what_is_kept_of_an_object_stays_small() {
        // Thousands of them are kept: what most have none of belongs behind a pointer, and what is only compared is a mark.
        assert!(size_of::<(Place, Tracked)>() <= 176, "{} bytes", size_of::<(Place, Tracked)>());
        let mut contents = Contents::default();
        contents.put(place(), tracked("1", Some("web")));
        contents.put(Place::new(ObjectKind::ConfigMap, "n", "b"), tracked("2", Some("web")));
        let shared: Vec<_> = contents
            .of_owner(OwnerKind::Release.named("web"))
            .flat_map(|(place, tracked)| tracked.owners.listed().map(|(_, name)| (&place.namespace, name)))
            .collect();
        let [(one, web), (other, also)] = shared.as_slice() else { panic!("both are there") };
        assert!(Arc::ptr_eq(one, other) && Arc::ptr_eq(web, also));
    }

    #[test]
    fn what_was_found_in_a_namespace_is_not_believed_of_the_next_one_of_that_name() {
        let namespace = Place::new(ObjectKind::Namespace, "", "n");
        let key = Place::new(ObjectKind::Secret, "n", "key");
        let found = |contents: &Contents| contents.verified(&key, Mark::of("pass"), Mark::of("key")).0;
        let mut contents = Contents::default();
        contents.put(namespace.clone(), tracked("1", None));
        contents.verify(key.clone(), Mark::of("pass"), Mark::of("key"));
        assert!(found(&contents));
        contents.remove(&namespace);
        assert!(!found(&contents), "it went with its namespace");
        contents.put(namespace.clone(), tracked("2", None));
        contents.verify(key.clone(), Mark::of("pass"), Mark::of("key"));
        contents.put(namespace, Tracked { uid: "other".into(), ..tracked("3", None) });
        assert!(!found(&contents), "another one was made before the watch said that the first is gone");
    }

    #[test]
    fn equality_is_remembered_for_one_state_and_one_wish() {
        let mut contents = Contents::default();
        let (one, two) = (Mark::of("m1"), Mark::of("m2"));
        contents.verify(place(), one, Mark::of("f1"));
        assert_eq!(contents.verified(&place(), one, Mark::of("f1")), (true, true));
        assert_eq!(contents.verified(&place(), two, Mark::of("f1")), (false, true), "somebody changed it");
        assert_eq!(contents.verified(&place(), two, Mark::of("f2")), (false, false), "we want something else");
    }
}

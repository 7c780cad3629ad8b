//! Steps of the operator that are pure, remembered: what a release is rendered as, a stored rendering as it is read and bound, and
//! how it compares with what lives.
//!
//! They would be a good part of each run, and give the same for the same whenever they are asked. Renderings are kept from seed to
//! seed, by the content that they are made of and by the bytes that they are read from; not while a mistake is built in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use pdp_agent::kinds::ObjectRef;
use pdp_agent::operator::build::{self, Input};
use pdp_agent::operator::modified::Modified;
use pdp_agent::operator::object;
use pdp_agent::operator::rendering::{Rendering, Slots};
use pdp_agent::operator::{compare, write::Live};
use protocol::spec::ReleaseSpec;
use serde_json::Value;

use super::api::{Id, is_terminating, text};

thread_local! {
    /// By name of the release and hash of its content: nothing else is different here from one input to another.
    static BUILT: RefCell<BTreeMap<(String, String), Rc<Rendering>>> = const { RefCell::new(BTreeMap::new()) };
    /// By name of the rendering, with what it was read from.
    static READ: RefCell<BTreeMap<String, (Value, Rc<Known>)>> = const { RefCell::new(BTreeMap::new()) };
}

/// Forgets what other seeds have rendered.
pub(super) fn forget() {
    BUILT.take();
    READ.take();
}

/// What a release is rendered as.
pub(super) fn built(input: &Input<'_>) -> Rc<Rendering> {
    let key = (input.name.to_owned(), input.content_hash.to_owned());
    BUILT.with_borrow_mut(|built| Rc::clone(built.entry(key).or_insert_with(|| Rc::new(build::build(input)))))
}

/// The spec of a release as it was read from `json`.
pub(super) struct Spec {
    pub(super) json: Value,
    pub(super) spec: ReleaseSpec,
    pub(super) hash: String,
    pub(super) modified: Option<Modified>,
}

/// A rendering, and the objects that it is bound to. No release here has slots, so there is one way only.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) rendering: Rendering,
    pub(super) objects: Vec<Value>,
    references: Vec<Option<ObjectRef>>,
}

impl Known {
    pub(super) fn of(rendering: Rendering, revision: &str) -> Self {
        let objects = rendering.bound(revision, &Slots::new()).unwrap_or_default();
        let references = objects.iter().map(|object| Some(object::reference(object)?.1)).collect();
        Self { rendering, objects, references }
    }

    /// Reads a stored one; none if it cannot be read.
    pub(super) fn read(revision: &str, stored: &Value) -> Option<Rc<Self>> {
        let data = stored.get("data")?;
        READ.with_borrow_mut(|read| {
            if let Some((_, known)) = read.get(revision).filter(|(from, _)| from == data) {
                return Some(Rc::clone(known));
            }
            let known = Rc::new(Self::of(Rendering::read(stored).ok()?, revision));
            read.insert(revision.to_owned(), (data.clone(), Rc::clone(&known)));
            Some(known)
        })
    }

    fn drift(&self, reference: &ObjectRef, live: &Value) -> Vec<String> {
        let at = self.references.iter().position(|other| other.as_ref() == Some(reference));
        at.and_then(|at| self.objects.get(at)).map_or_else(Vec::new, |desired| compare::drift(desired, live))
    }
}

/// Objects as the decision saw them last.
#[derive(Debug, Default)]
pub(super) struct Views(BTreeMap<Id, View>);

#[derive(Debug)]
struct View {
    of: Rc<Value>,
    wanted: Option<Rc<Known>>,
    reference: ObjectRef,
    drift: Vec<String>,
}

impl View {
    fn is(&self, of: &Rc<Value>, wanted: Option<&Rc<Known>>) -> bool {
        let same = match (&self.wanted, wanted) {
            (Some(one), Some(other)) => Rc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same && Rc::ptr_eq(&self.of, of)
    }
}

impl Views {
    /// An object as the decision sees it, beside what is wanted.
    pub(super) fn view(
        &mut self,
        id: &Id,
        object: &Rc<Value>,
        wanted: Option<&Rc<Known>>,
    ) -> Option<(ObjectRef, Live)> {
        if !self.0.get(id).is_some_and(|view| view.is(object, wanted)) {
            let (_, reference) = object::reference(object)?;
            let drift = wanted.map_or_else(Vec::new, |wanted| wanted.drift(&reference, object));
            let view = View { of: Rc::clone(object), wanted: wanted.cloned(), reference, drift };
            self.0.insert(id.clone(), view);
        }
        let View { reference, drift, .. } = self.0.get(id)?;
        let live = Live {
            uid: text(object, "uid").to_owned(),
            resource_version: text(object, "resourceVersion").to_owned(),
            ours: true,
            terminating: is_terminating(object),
            drift: drift.clone(),
            was_equal: false,
            rival: None,
            autoscaled: None,
        };
        Some((reference.clone(), live))
    }
}

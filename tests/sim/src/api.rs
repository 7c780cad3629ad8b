//! A model of the API server: one table of objects, versions, preconditions, and a log that watches read late.
//!
//! Compared with the real one by the same random calls (`tests/tests/model.rs`): a create of an existing name is 409 AlreadyExists, an update carries uid and
//! resourceVersion or is 409 Conflict, of a missing object 404; a write that changes nothing draws no version;
//! `metadata.generation` counts changes of the spec; status is its own subresource. The transition rule of our kinds holds:
//! generation never falls, and one generation has one hash. Nothing is made in a namespace that is not there.

use std::collections::BTreeMap;
use std::sync::Arc;

use pdp_agent::api::{ApiStatus, CallError};
use serde_json::{Value, json};

mod object;
mod request;

use object::{has_finalizers, metadata, set_metadata};
pub use object::{is_terminating, text};
pub use request::Request;

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// `kind`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    pub name: String,
}

/// Namespace of the agent.
pub const AGENT: &str = "pdp-agent";

impl Id {
    /// Of one of our own resources.
    #[must_use]
    pub fn own(kind: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), namespace: AGENT.to_owned(), name: name.to_owned() }
    }

    /// Of any object.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        let namespace = text(object, "namespace");
        let namespace = if namespace.is_empty() { AGENT } else { namespace };
        Self { kind: kind.to_owned(), namespace: namespace.to_owned(), name: text(object, "name").to_owned() }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.kind, self.name)
    }
}

/// One change, as watches see it.
#[derive(Debug, Clone)]
pub struct Change {
    pub id: Id,
    /// Before; none for a new object.
    pub before: Option<Arc<Value>>,
    /// After; none for a deleted object.
    pub after: Option<Arc<Value>>,
}

/// The table.
#[derive(Debug, Default, Clone)]
pub struct Api {
    objects: BTreeMap<Id, Arc<Value>>,
    /// What was applied last: fields that a later apply leaves out are removed.
    applied: BTreeMap<Id, Value>,
    version: u64,
    uids: u64,
    careless: bool,
}

/// What a request gave: the object as it is now, or an error.
pub type Answer = Result<Option<Value>, CallError>;

impl Api {
    /// An empty one. `careless` leaves out preconditions and the transition rule: a bug to be found.
    #[must_use]
    pub fn new(careless: bool) -> Self {
        Self { careless, ..Self::default() }
    }

    /// The object at `id`.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&Value> {
        self.objects.get(id).map(Arc::as_ref)
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = (&Id, &Arc<Value>)> {
        self.objects.iter()
    }

    /// Grows with every change.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// All objects of a kind in a namespace.
    pub fn of_kind<'a>(&'a self, kind: &'a str, namespace: &'a str) -> impl Iterator<Item = (&'a Id, &'a Arc<Value>)> {
        let first = Id { kind: kind.to_owned(), namespace: namespace.to_owned(), name: String::new() };
        self.objects.range(first..).take_while(move |(id, _)| id.kind == kind && id.namespace == namespace)
    }

    /// Carries out one request; a change comes with it.
    pub fn execute(&mut self, request: &Request) -> (Answer, Option<Change>) {
        match request {
            Request::Get(id) => (Ok(self.get(id).cloned()), None),
            Request::List { kind, namespace, selector } => {
                let found = self.of_kind(kind, namespace).filter(|(_, object)| object::is_selected(object, selector));
                let items: Vec<Value> = found.map(|(_, object)| Value::clone(object)).collect();
                (Ok(Some(json!({ "items": items }))), None)
            }
            Request::Try(request) => (self.next(request).map(|_| None), None),
            Request::Create(_)
            | Request::Update(_)
            | Request::UpdateStatus(_)
            | Request::Apply(_)
            | Request::Merge { .. }
            | Request::Convert { .. }
            | Request::Delete { .. }
            | Request::Finalizers { .. } => match self.next(request) {
                Err(error) => (Err(error), None),
                Ok(Next::Same(object)) => (Ok(Some(object)), None),
                Ok(Next::Gone) => (Ok(None), self.take(&request.id())),
                Ok(Next::Is(object)) => {
                    match request {
                        Request::Create(body) if object::is_unconverted(&object) => {
                            self.applied.insert(request.id(), body.clone());
                        }
                        Request::Apply(body) => drop(self.applied.insert(request.id(), body.clone())),
                        Request::Get(_)
                        | Request::List { .. }
                        | Request::Try(_)
                        | Request::Create(_)
                        | Request::Update(_)
                        | Request::UpdateStatus(_)
                        | Request::Merge { .. }
                        | Request::Convert { .. }
                        | Request::Delete { .. }
                        | Request::Finalizers { .. } => {}
                    }
                    let change = self.put(object);
                    (Ok(change.after.as_deref().cloned()), Some(change))
                }
            },
        }
    }

    /// What a write would come to.
    fn next(&self, request: &Request) -> Result<Next, CallError> {
        let id = request.id();
        let found = self.objects.get(&id);
        let same = |uid: &str, version: &str| match found {
            Some(found)
                if self.careless || (text(found, "uid") == uid && text(found, "resourceVersion") == version) =>
            {
                Ok(found)
            }
            Some(_) => Err(error(409, "Conflict", &id)),
            None => Err(error(404, "NotFound", &id)),
        };
        let of_seen = |body: &Value| same(text(body, "uid"), text(body, "resourceVersion"));
        match request {
            Request::Create(_) if found.is_some() => Err(error(409, "AlreadyExists", &id)),
            Request::Create(body) => self.in_namespace(&id).map(|()| Next::Is(object::created(body, true))),
            // An apply carries a uid, so it conflicts when the object is gone.
            Request::Apply(_) if found.is_none() => Err(error(409, "Conflict", &id)),
            Request::Apply(body) => {
                let found = of_seen(body)?;
                let mut next = Value::clone(found);
                // Fields set by a create are owned by an update until the conversion, so only after it an apply removes them.
                if let Some(before) = self.applied.get(&id).filter(|_| !object::is_unconverted(found)) {
                    object::take_back(&mut next, before, body);
                }
                object::merge(&mut next, body);
                self.changed(&id, next, found)
            }
            Request::Update(body) => {
                let found = of_seen(body)?;
                let mut next = body.clone();
                object::set(&mut next, "status", found.get("status"));
                self.changed(&id, next, found)
            }
            Request::UpdateStatus(body) => {
                let found = of_seen(body)?;
                let mut next = Value::clone(found);
                object::set(&mut next, "status", body.get("status"));
                self.changed(&id, next, found)
            }
            Request::Merge { patch, .. } => {
                let found = of_seen(patch)?;
                let mut next = Value::clone(found);
                object::patch(&mut next, patch);
                self.changed(&id, next, found)
            }
            Request::Convert { uid, resource_version, managed, .. } => {
                let found = same(uid, resource_version)?;
                let mut next = Value::clone(found);
                set_metadata(&mut next, "managedFields", managed.clone());
                self.changed(&id, next, found)
            }
            Request::Delete { uid, resource_version, .. } => {
                // The real one takes an empty precondition for none.
                let found = match found.filter(|_| uid.is_empty()) {
                    Some(found) => found,
                    None => same(uid, resource_version)?,
                };
                Ok(if !has_finalizers(found) {
                    Next::Gone
                } else if is_terminating(found) {
                    Next::Same(Value::clone(found))
                } else {
                    let mut next = Value::clone(found);
                    set_metadata(&mut next, "deletionTimestamp", json!("2026-02-02T02:40:00Z"));
                    object::count_up(&mut next);
                    Next::Is(next)
                })
            }
            Request::Finalizers { names, .. } => {
                let Some(found) = found else { return Err(error(404, "NotFound", &id)) };
                if names.is_empty() && is_terminating(found) {
                    return Ok(Next::Gone);
                }
                let mut next = Value::clone(found);
                set_metadata(&mut next, "finalizers", json!(names));
                let same = has_finalizers(&next) == has_finalizers(found);
                Ok(if same { Next::Same(Value::clone(found)) } else { Next::Is(next) })
            }
            Request::Get(_) | Request::List { .. } | Request::Try(_) => {
                Ok(found.map_or(Next::Gone, |found| Next::Same(Value::clone(found))))
            }
        }
    }

    fn changed(&self, id: &Id, mut next: Value, found: &Value) -> Result<Next, CallError> {
        object::restore_system_fields(&mut next, found);
        if next == *found {
            return Ok(Next::Same(next));
        }
        if let Some(why) = broken_rule(found, &next)
            && !self.careless
        {
            return Err(answered(422, "Invalid", format!("{id}: {why}")));
        }
        if next.get("spec") != found.get("spec") {
            object::count_up(&mut next);
        }
        Ok(Next::Is(next))
    }

    /// Nothing is made in a namespace that is not there or is going. That of the agent always is.
    fn in_namespace(&self, id: &Id) -> Result<(), CallError> {
        if id.namespace == AGENT {
            return Ok(());
        }
        let namespace = Id { kind: "Namespace".to_owned(), namespace: AGENT.to_owned(), name: id.namespace.clone() };
        match self.get(&namespace) {
            Some(found) if is_terminating(found) => {
                let message = format!(
                    "unable to create new content in namespace {} because it is being terminated",
                    id.namespace
                );
                Err(answered(403, "Forbidden", message))
            }
            Some(_) => Ok(()),
            None => Err(answered(404, "NotFound", format!("namespaces \"{}\" not found", id.namespace))),
        }
    }

    /// Stores an object as a controller does, without preconditions: one of that name is replaced. None if nothing changes.
    pub fn set(&mut self, mut object: Value) -> Option<Change> {
        let id = Id::of(&object);
        match self.objects.get(&id).map(Arc::clone) {
            Some(found) => {
                object::restore_system_fields(&mut object, &found);
                (object != *found).then(|| self.put(object))
            }
            None => self.in_namespace(&id).is_ok().then(|| self.put(object::created(&object, false))),
        }
    }

    fn put(&mut self, mut object: Value) -> Change {
        let id = Id::of(&object);
        self.version += 1;
        set_metadata(&mut object, "resourceVersion", json!(self.version.to_string()));
        if text(&object, "uid").is_empty() {
            self.uids += 1;
            set_metadata(&mut object, "uid", json!(format!("uid-{}", self.uids)));
        }
        let after = Arc::new(object);
        let before = self.objects.insert(id.clone(), Arc::clone(&after));
        Change { id, before, after: Some(after) }
    }

    /// Takes an object out, whatever holds it.
    pub fn take(&mut self, id: &Id) -> Option<Change> {
        let before = self.objects.remove(id)?;
        self.version += 1;
        self.applied.remove(id);
        Some(Change { id: id.clone(), before: Some(before), after: None })
    }

    /// As it was when `older` was copied. Uids are not given out a second time.
    pub fn restore(&mut self, older: &Self) {
        self.objects.clone_from(&older.objects);
        self.applied.clone_from(&older.applied);
        self.version = older.version;
    }
}

/// What a write comes to.
enum Next {
    /// Nothing changes.
    Same(Value),
    /// The object is this.
    Is(Value),
    /// The object goes.
    Gone,
}

/// Generation of the stored document, 0 without one.
#[must_use]
pub fn generation(object: &Value) -> i64 {
    document(object, "generation").and_then(Value::as_i64).unwrap_or(0)
}

/// How often the API server has seen its spec change.
#[must_use]
pub fn generation_of(object: &Value) -> i64 {
    metadata(object, "generation").and_then(Value::as_i64).unwrap_or(0)
}

fn hash(object: &Value) -> Option<&str> {
    document(object, "hash").and_then(Value::as_str)
}

fn document<'a>(object: &'a Value, member: &str) -> Option<&'a Value> {
    object.get("spec")?.get("document")?.get(member)
}

fn broken_rule(before: &Value, after: &Value) -> Option<&'static str> {
    let (old, new) = (generation(before), generation(after));
    if new < old {
        return Some("generation must not fall");
    }
    (new == old && hash(before) != hash(after)).then_some("one generation has one hash")
}

fn error(code: u16, reason: &str, id: &Id) -> CallError {
    answered(code, reason, format!("{id}: {reason}"))
}

fn answered(code: u16, reason: &str, message: String) -> CallError {
    CallError::Refused(ApiStatus { code, reason: reason.to_owned(), message, ..ApiStatus::default() })
}

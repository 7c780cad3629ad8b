//! A model of the API server: one table of objects, versions, preconditions, and a log that watches read late.
//!
//! Compared with the real one by the same random calls (`tests/tests/model.rs`): a create of an existing name is 409 AlreadyExists, an update carries uid and
//! resourceVersion or is 409 Conflict, of a missing object 404; a write that changes nothing draws no version;
//! `metadata.generation` counts changes of the spec; status is its own subresource. The transition rule of our kinds holds:
//! generation never falls, and one generation has one hash.

use std::collections::BTreeMap;
use std::rc::Rc;

use pdp_agent::link::store::{ApiError, ApiStatus};
use serde_json::{Map, Value, json};

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// `kind`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
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

/// One request.
#[derive(Debug, Clone)]
pub enum Request {
    /// Reads.
    Get(Id),
    /// Creates.
    Create(Value),
    /// Replaces the spec.
    Update(Value),
    /// Replaces the status.
    UpdateStatus(Value),
    /// Merges our fields; uid and resourceVersion in the body.
    Apply(Value),
    /// Deletes with preconditions.
    Delete {
        /// Which.
        id: Id,
        /// Precondition.
        uid: String,
        /// Precondition.
        resource_version: String,
    },
    /// Somebody replaces the finalizers, whatever the version.
    Finalizers {
        /// Whose.
        id: Id,
        /// Those that it has from now on.
        names: Vec<&'static str>,
    },
}

impl Request {
    /// Which object it is about.
    #[must_use]
    pub fn id(&self) -> Id {
        match self {
            Self::Get(id) | Self::Delete { id, .. } | Self::Finalizers { id, .. } => id.clone(),
            Self::Create(body) | Self::Update(body) | Self::UpdateStatus(body) | Self::Apply(body) => Id::of(body),
        }
    }

    /// One word for the trace.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Get(_) => "get",
            Self::Create(_) => "create",
            Self::Update(_) => "update",
            Self::UpdateStatus(_) => "status",
            Self::Apply(_) => "apply",
            Self::Delete { .. } => "delete",
            Self::Finalizers { .. } => "finalizers",
        }
    }
}

/// One change, as watches see it.
#[derive(Debug, Clone)]
pub struct Change {
    /// Where.
    pub id: Id,
    /// Before; none for a new object.
    pub before: Option<Rc<Value>>,
    /// After; none for a deleted object.
    pub after: Option<Rc<Value>>,
}

/// The table.
#[derive(Debug, Default, Clone)]
pub struct Api {
    objects: BTreeMap<Id, Rc<Value>>,
    /// What was applied last: fields that a later apply leaves out are taken back.
    applied: BTreeMap<Id, Value>,
    version: u64,
    uids: u64,
    careless: bool,
}

/// What a request gave: the object as it is now, or an error.
pub type Answer = Result<Option<Value>, ApiError>;

impl Api {
    /// An empty one. `careless` leaves out preconditions and the transition rule: a bug to be found.
    #[must_use]
    pub fn new(careless: bool) -> Self {
        Self { careless, ..Self::default() }
    }

    /// The object at `id`.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&Value> {
        self.objects.get(id).map(Rc::as_ref)
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = (&Id, &Rc<Value>)> {
        self.objects.iter()
    }

    /// Grows with every change.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Carries out one request; a change comes with it.
    pub fn execute(&mut self, request: &Request) -> (Answer, Option<Change>) {
        let id = request.id();
        let before = self.objects.get(&id).cloned();
        let after = match (request, &before) {
            (Request::Get(_), found) => return (Ok(found.as_deref().cloned()), None),
            (Request::Create(_), Some(_)) => return (Err(error(409, "AlreadyExists", &id)), None),
            (Request::Create(body), None) => self.created(body),
            // It carries a uid, and there is no such object.
            (Request::Apply(_), None) => return (Err(error(409, "Conflict", &id)), None),
            (_, None) => return (Err(error(404, "NotFound", &id)), None),
            (Request::Delete { uid, resource_version, .. }, Some(found)) => {
                // The real one takes an empty precondition for none.
                let same =
                    uid.is_empty() || (text(found, "uid") == uid && text(found, "resourceVersion") == resource_version);
                if !same && !self.careless {
                    return (Err(error(409, "Conflict", &id)), None);
                }
                if !has_finalizers(found) {
                    return (Ok(None), Some(self.remove(id)));
                }
                if is_terminating(found) {
                    return (Ok(Some(Value::clone(found))), None);
                }
                let mut next = Value::clone(found);
                set_metadata(&mut next, "deletionTimestamp", json!("2026-02-02T02:40:00Z"));
                count_up(&mut next);
                next
            }
            (Request::Finalizers { names, .. }, Some(found)) => {
                if names.is_empty() && is_terminating(found) {
                    return (Ok(None), Some(self.remove(id)));
                }
                let mut next = Value::clone(found);
                set_metadata(&mut next, "finalizers", json!(names));
                if has_finalizers(&next) == has_finalizers(found) {
                    return (Ok(Some(Value::clone(found))), None);
                }
                next
            }
            (Request::Update(body) | Request::UpdateStatus(body) | Request::Apply(body), Some(found)) => {
                let same = text(found, "uid") == text(body, "uid")
                    && text(found, "resourceVersion") == text(body, "resourceVersion");
                if !same && !self.careless {
                    return (Err(error(409, "Conflict", &id)), None);
                }
                let mut next = Value::clone(found);
                match request {
                    Request::UpdateStatus(_) => set(&mut next, "status", body.get("status")),
                    Request::Apply(_) => {
                        if let Some(before) = self.applied.insert(id.clone(), body.clone()) {
                            take_back(&mut next, &before, body);
                        }
                        merge(&mut next, body);
                    }
                    Request::Update(_)
                    | Request::Get(_)
                    | Request::Create(_)
                    | Request::Delete { .. }
                    | Request::Finalizers { .. } => {
                        next.clone_from(body);
                        set(&mut next, "status", found.get("status"));
                    }
                }
                restore_system_fields(&mut next, found);
                if next == **found {
                    return (Ok(Some(next)), None);
                }
                if let Some(why) = broken_rule(found, &next)
                    && !self.careless
                {
                    return (Err(answered(422, "Invalid", format!("{id}: {why}"))), None);
                }
                if next.get("spec") != found.get("spec") {
                    count_up(&mut next);
                }
                next
            }
        };
        let after = self.versioned(after);
        let kept = Rc::new(after.clone());
        self.objects.insert(id.clone(), Rc::clone(&kept));
        (Ok(Some(after)), Some(Change { id, before, after: Some(kept) }))
    }

    fn remove(&mut self, id: Id) -> Change {
        self.version += 1;
        let before = self.objects.remove(&id);
        self.applied.remove(&id);
        Change { id, before, after: None }
    }

    /// As it was when `older` was copied. Uids are not given out a second time.
    pub fn restore(&mut self, older: &Self) {
        self.objects.clone_from(&older.objects);
        self.applied.clone_from(&older.applied);
        self.version = older.version;
    }

    fn created(&mut self, body: &Value) -> Value {
        self.uids += 1;
        let mut object = body.clone();
        if let Some(members) = object.as_object_mut() {
            members.remove("status");
        }
        set_metadata(&mut object, "uid", json!(format!("uid-{}", self.uids)));
        set_metadata(&mut object, "generation", json!(1));
        object
    }

    fn versioned(&mut self, mut object: Value) -> Value {
        self.version += 1;
        set_metadata(&mut object, "resourceVersion", json!(self.version.to_string()));
        object
    }
}

/// A text member of the metadata.
#[must_use]
pub fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    metadata(object, member).and_then(Value::as_str).unwrap_or_default()
}

fn metadata<'a>(object: &'a Value, member: &str) -> Option<&'a Value> {
    object.get("metadata")?.get(member)
}

/// Whether it was deleted and something holds it.
#[must_use]
pub fn is_terminating(object: &Value) -> bool {
    metadata(object, "deletionTimestamp").is_some()
}

fn has_finalizers(object: &Value) -> bool {
    metadata(object, "finalizers").and_then(Value::as_array).is_some_and(|names| !names.is_empty())
}

/// Generation of the stored document, 0 without one.
#[must_use]
pub fn generation(object: &Value) -> i64 {
    document(object, "generation").and_then(Value::as_i64).unwrap_or(0)
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

fn restore_system_fields(next: &mut Value, found: &Value) {
    for member in ["uid", "resourceVersion", "generation", "deletionTimestamp"] {
        if let Some(value) = metadata(found, member) {
            set_metadata(next, member, value.clone());
        }
    }
}

fn count_up(object: &mut Value) {
    let generation = metadata(object, "generation").and_then(Value::as_i64).unwrap_or(0);
    set_metadata(object, "generation", json!(generation + 1));
}

fn set(object: &mut Value, member: &str, value: Option<&Value>) {
    let Some(members) = object.as_object_mut() else { return };
    match value {
        Some(value) => members.insert(member.to_owned(), value.clone()),
        None => members.remove(member),
    };
}

fn set_metadata(object: &mut Value, member: &str, value: Value) {
    let Some(members) = object.as_object_mut() else { return };
    let metadata = members.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert(member.to_owned(), value);
    }
}

/// Takes out of `from` what stands in `before` and not in `now`.
fn take_back(from: &mut Value, before: &Value, now: &Value) {
    let (Some(from), Some(before)) = (from.as_object_mut(), before.as_object()) else { return };
    for (name, value) in before.iter().filter(|(name, _)| *name != "metadata") {
        match (from.get_mut(name), now.get(name)) {
            (Some(from), Some(now)) => take_back(from, value, now),
            (Some(_), None) => drop(from.remove(name)),
            (None, _) => {}
        }
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn error(code: u16, reason: &str, id: &Id) -> ApiError {
    answered(code, reason, format!("{id}: {reason}"))
}

fn answered(code: u16, reason: &str, message: String) -> ApiError {
    ApiError::Answered(ApiStatus { code, reason: reason.to_owned(), message, ..ApiStatus::default() })
}

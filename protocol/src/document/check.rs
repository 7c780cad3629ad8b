//! Whether a document can be stored at all: read strictly, against the schema, then against the rules that span fields.
//!
//! The customer's policy and the API server have their own say afterwards. Nothing is repaired and nothing is dropped: what
//! is not understood is refused with every reason at once, because the sender sees one answer per try.

use serde::Serialize;

use super::breach::{Breach, Weight};
use super::schema::rule_of;
use super::{DataPlaneSpec, Desired, EnvironmentSpec, ReleaseSpec, TaskRunSpec, rules};
use crate::message::{Document, FieldError, RefusalClass, Verdict};
use crate::name::{Kind, ResourceKey, is_label};
use crate::tree::MAX_INTEGER;
use crate::{ContentHash, Tree};

/// Largest body, in bytes as received.
pub const MAX_BODY: usize = 256 * 1024;

/// Most reasons in one refusal.
pub const MAX_REASONS: usize = 50;

/// The one name of a `DataPlane` resource.
pub const DATA_PLANE_NAME: &str = "default";

/// A body of a known kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Settings of the installation.
    DataPlane(DataPlaneSpec),
    /// One project in one environment.
    Environment(EnvironmentSpec),
    /// One component-track.
    Release(Box<ReleaseSpec>),
    /// One execution.
    TaskRun(TaskRunSpec),
}

impl Body {
    /// Whether the resource shall exist. Kinds without `state` always shall: they leave by `forget`.
    #[must_use]
    pub const fn desired(&self) -> Desired {
        match self {
            Self::Environment(spec) => spec.state,
            Self::Release(spec) => spec.state,
            Self::DataPlane(_) | Self::TaskRun(_) => Desired::Present,
        }
    }
}

/// A body that may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// As a type.
    pub body: Body,
    /// As read, for hashing and comparing.
    pub tree: Tree,
}

/// A document that may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedDocument {
    pub key: ResourceKey,
    /// Recomputed, and the same as the document says.
    pub hash: ContentHash,
    pub checked: Checked,
}

/// Why a document is refused; the answer to the sender is made of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class:?}: {}", reasons.iter().map(|reason| format!("{} {}", reason.field, reason.message)).collect::<Vec<_>>().join("; "))]
pub struct Refusal {
    /// `UnknownField` if nothing but unknown fields is wrong.
    pub class: RefusalClass,
    /// Every reason, at most [`MAX_REASONS`].
    pub reasons: Vec<FieldError>,
}

impl Refusal {
    fn one(class: RefusalClass, field: &str, message: impl Into<String>) -> Self {
        Self { class, reasons: vec![FieldError { field: field.to_owned(), message: message.into() }] }
    }
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { class: refusal.class, reasons: refusal.reasons }
    }
}

/// Everything that can be said of a document without the cluster: kind, name, generation, hash and body.
///
/// # Errors
/// The refusal to answer with.
pub fn check_document(document: &Document) -> Result<CheckedDocument, Refusal> {
    let invalid = |field: &str, message: String| Refusal::one(RefusalClass::Invalid, field, message);
    let Some(kind) = Kind::parse(&document.kind) else {
        return Err(invalid("", format!("kind is not known here; known: {}", Kind::ALL.map(Kind::as_str).join(", "))));
    };
    if !is_label(&document.name) {
        return Err(invalid("", "name is not a DNS label of at most 63 characters".to_owned()));
    }
    if kind == Kind::DataPlane && document.name != DATA_PLANE_NAME {
        return Err(invalid("", format!("a DataPlane is named {DATA_PLANE_NAME}")));
    }
    if !(1..=MAX_INTEGER).contains(&document.generation) {
        return Err(invalid("", "generation must be from 1 to 2^53 − 1".to_owned()));
    }
    let tree = read(document.body.get())?;
    let hash = ContentHash::of_document(kind.as_str(), &document.name, &tree);
    if hash.to_string() != document.hash {
        let message = format!(
            "hash is not that of resource and body as received ({hash}): the document was changed on its way or hashed differently"
        );
        return Err(Refusal::one(RefusalClass::HashMismatch, "", message));
    }
    let checked = check_tree(kind, tree)?;
    Ok(CheckedDocument { key: ResourceKey { kind, name: document.name.clone() }, hash, checked })
}

/// Reads and checks a body.
///
/// # Errors
/// Every breach of syntax, schema and of the rules that span fields.
pub fn check(kind: Kind, body: &str) -> Result<Checked, Refusal> {
    check_tree(kind, read(body)?)
}

fn read(body: &str) -> Result<Tree, Refusal> {
    if body.len() > MAX_BODY {
        let message = format!("body has {} bytes, {MAX_BODY} are allowed", body.len());
        return Err(Refusal::one(RefusalClass::Invalid, "", message));
    }
    Tree::parse(body.as_bytes()).map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
        Refusal::one(RefusalClass::Invalid, "", format!("body cannot be read: {cause}"))
    })
}

/// Everything that is wrong with a body that is about to become a document.
#[must_use]
pub fn breaches(kind: Kind, spec: &impl Serialize) -> Vec<Breach> {
    let text = serde_json::to_string(spec).unwrap_or_default();
    match read(&text) {
        Ok(tree) => judge(kind, &tree).0,
        Err(Refusal { reasons, .. }) => {
            reasons.into_iter().map(|FieldError { field, message }| Breach::new(field, message, "")).collect()
        }
    }
}

fn check_tree(kind: Kind, tree: Tree) -> Result<Checked, Refusal> {
    let (breaches, body) = judge(kind, &tree);
    if !breaches.is_empty() {
        let unknown = breaches.iter().all(|breach| breach.weight == Weight::UnknownField);
        let class = if unknown { RefusalClass::UnknownField } else { RefusalClass::Invalid };
        let mut reasons: Vec<FieldError> = breaches.into_iter().map(FieldError::from).collect();
        let more = reasons.len().saturating_sub(MAX_REASONS);
        if more > 0 {
            reasons.truncate(MAX_REASONS - 1);
            reasons.push(FieldError { field: String::new(), message: format!("and {} more", more + 1) });
        }
        return Err(Refusal { class, reasons });
    }
    match body {
        Ok(body) => Ok(Checked { body, tree }),
        Err(error) => {
            // The schema is made from the types, so only a rule outside of the schema can fail here. serde's message may hold a
            // value.
            let message = format!("body does not fit its kind ({:?} error)", error.classify());
            Err(Refusal::one(RefusalClass::Invalid, "", message))
        }
    }
}

/// Every broken rule, and the body as a type where it fits one.
fn judge(kind: Kind, tree: &Tree) -> (Vec<Breach>, Result<Body, serde_json::Error>) {
    let mut found = Vec::new();
    rule_of(kind).check(tree, "", &mut found);
    // If the types fit, the rules that span fields are checked even if a bound is broken.
    let body = typed(kind, tree);
    let beyond = match (absence(tree), &body) {
        (Some(breaches), _) => breaches,
        (None, Ok(Body::Environment(spec))) => environment(spec),
        (None, Ok(Body::Release(spec))) => release(spec),
        (None, Ok(Body::DataPlane(spec))) => rules::of_data_plane(spec),
        (None, Ok(Body::TaskRun(spec))) => rules::of_task_run(spec),
        (None, Err(_)) => Vec::new(),
    };
    // A field that breaks the schema gets no further breaches.
    let beyond: Vec<_> =
        beyond.into_iter().filter(|breach| found.iter().all(|one| one.field != breach.field)).collect();
    found.extend(beyond);
    (found, body)
}

fn typed(kind: Kind, tree: &Tree) -> Result<Body, serde_json::Error> {
    let body = serde_json::Value::from(tree);
    Ok(match kind {
        Kind::DataPlane => Body::DataPlane(serde_json::from_value(body)?),
        Kind::Environment => Body::Environment(serde_json::from_value(body)?),
        Kind::Release => Body::Release(serde_json::from_value(body)?),
        Kind::TaskRun => Body::TaskRun(serde_json::from_value(body)?),
    })
}

/// None unless the document is Absent; else a breach for each field beside `state`.
fn absence(tree: &Tree) -> Option<Vec<Breach>> {
    let Tree::Map(members) = tree else { return None };
    let absent = members.get("state") == Some(&Tree::Text("Absent".to_owned()));
    let too_much = members.keys().filter(|name| *name != "state");
    absent.then(|| {
        too_much.map(|name| Breach::new(format!("/{name}"), "an Absent document carries state only", "")).collect()
    })
}

fn environment(spec: &EnvironmentSpec) -> Vec<Breach> {
    let mut found = missing(&[
        ("/organization", spec.organization.is_some()),
        ("/project", spec.project.is_some()),
        ("/environment", spec.environment.is_some()),
    ]);
    found.extend(rules::of_environment(spec));
    found
}

fn release(spec: &ReleaseSpec) -> Vec<Breach> {
    let mut found = missing(&[
        ("/environment", spec.environment.is_some()),
        ("/owner", spec.owner.is_some()),
        ("/type", spec.component_type.is_some()),
        ("/image", spec.image.is_some()),
    ]);
    found.extend(rules::of_release(spec));
    found
}

fn missing(needed: &[(&str, bool)]) -> Vec<Breach> {
    let missing = needed.iter().filter(|(_, given)| !given);
    missing.map(|(field, _)| Breach::new(*field, "is missing", "a Present document needs it")).collect()
}

#[cfg(test)]
mod tests;

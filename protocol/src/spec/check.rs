//! Whether a document can be stored at all: read strictly, against the schema, then against the rules that span fields.
//!
//! The customer's policy and the API server have their own say afterwards. Nothing is repaired and nothing is dropped: what
//! is not understood is refused with every reason at once, because the sender sees one answer per try.

use std::collections::BTreeSet;

use super::rule::{Breach, rule_of};
use super::{ComponentType, DataPlaneSpec, Desired, EnvironmentSpec, ReleaseSpec, TaskRunSpec};
use crate::message::{Document, Reason, RefusalClass, Verdict};
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
    /// Which resource.
    pub key: ResourceKey,
    /// Recomputed, and the same as the document says.
    pub hash: ContentHash,
    /// Its body.
    pub checked: Checked,
}

/// Why not. Turns into the answer as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class:?}: {}", reasons.iter().map(|reason| format!("{} {}", reason.field, reason.message)).collect::<Vec<_>>().join("; "))]
pub struct Refusal {
    /// `UnknownField` if nothing but unknown fields is wrong.
    pub class: RefusalClass,
    /// Every reason, at most [`MAX_REASONS`].
    pub reasons: Vec<Reason>,
}

impl Refusal {
    fn one(class: RefusalClass, field: &str, message: impl Into<String>) -> Self {
        Self { class, reasons: vec![Reason { field: field.to_owned(), message: message.into() }] }
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

fn check_tree(kind: Kind, tree: Tree) -> Result<Checked, Refusal> {
    let mut breaches = Vec::new();
    rule_of(kind).check(&tree, "", &mut breaches);
    let only_unknown = !breaches.is_empty() && breaches.iter().all(|breach| breach.unknown_field);
    let mut reasons: Vec<Reason> = breaches.into_iter().map(|Breach { reason, .. }| reason).collect();
    let schema_breaches = reasons.len();

    let absent = absence(&tree, &mut reasons);
    // Types that fit are worth a second look even if bounds do not.
    let body = typed(kind, &tree);
    if let (Ok(body), false) = (&body, absent) {
        match body {
            Body::DataPlane(_) | Body::TaskRun(_) => {}
            Body::Environment(spec) => environment(spec, &mut reasons),
            Body::Release(spec) => release(spec, &mut reasons),
        }
    }
    match body {
        Ok(body) if reasons.is_empty() => Ok(Checked { body, tree }),
        Err(error) if reasons.is_empty() => {
            // The schema is made from the types, so this is a rule that only the type knows. serde's words may hold a value.
            let message = format!("body does not fit its kind ({:?} error)", error.classify());
            Err(Refusal::one(RefusalClass::Invalid, "", message))
        }
        Ok(_) | Err(_) => {
            let unknown = only_unknown && reasons.len() == schema_breaches;
            let class = if unknown { RefusalClass::UnknownField } else { RefusalClass::Invalid };
            let more = reasons.len().saturating_sub(MAX_REASONS);
            if more > 0 {
                reasons.truncate(MAX_REASONS - 1);
                reasons.push(Reason { field: String::new(), message: format!("and {} more", more + 1) });
            }
            Err(Refusal { class, reasons })
        }
    }
}

fn typed(kind: Kind, tree: &Tree) -> Result<Body, serde_json::Error> {
    let text = crate::hash::canonical(tree);
    Ok(match kind {
        Kind::DataPlane => Body::DataPlane(serde_json::from_str(&text)?),
        Kind::Environment => Body::Environment(serde_json::from_str(&text)?),
        Kind::Release => Body::Release(serde_json::from_str(&text)?),
        Kind::TaskRun => Body::TaskRun(serde_json::from_str(&text)?),
    })
}

/// An Absent document carries `state` only. Tells whether it is one.
fn absence(tree: &Tree, reasons: &mut Vec<Reason>) -> bool {
    let Tree::Map(members) = tree else { return false };
    let absent = members.get("state") == Some(&Tree::Text("Absent".to_owned()));
    if absent {
        let fields: Vec<_> = members.keys().filter(|name| *name != "state").map(|name| format!("/{name}")).collect();
        for field in fields {
            if !reasons.iter().any(|reason| reason.field == field) {
                reasons.push(Reason { field, message: "an Absent document carries state only".to_owned() });
            }
        }
    }
    absent
}

fn environment(spec: &EnvironmentSpec, reasons: &mut Vec<Reason>) {
    present("/organization", spec.organization.is_some(), reasons);
    present("/project", spec.project.is_some(), reasons);
    present("/environment", spec.environment.is_some(), reasons);
}

fn release(spec: &ReleaseSpec, reasons: &mut Vec<Reason>) {
    present("/environment", spec.environment.is_some(), reasons);
    present("/owner", spec.owner.is_some(), reasons);
    present("/type", spec.component_type.is_some(), reasons);
    present("/image", spec.image.is_some(), reasons);

    let env = spec.env.as_deref().unwrap_or_default();
    unique("/env", "name", env.iter().map(|one| one.name.as_str()), reasons);
    for (index, one) in env.iter().enumerate() {
        either(&format!("/env/{index}"), "value", one.value.is_some(), one.secret_ref.is_some(), reasons);
    }
    let files = spec.files.as_deref().unwrap_or_default();
    unique("/files", "path", files.iter().map(|one| one.path.as_str()), reasons);
    for (index, one) in files.iter().enumerate() {
        either(&format!("/files/{index}"), "content", one.content.is_some(), one.secret_ref.is_some(), reasons);
        if one.path.split('/').any(|part| part == ".." || part == ".") || one.path.ends_with('/') {
            push(reasons, format!("/files/{index}/path"), "must be a plain path of a file, without . and .. parts");
        }
    }
    let endpoints = spec.endpoints.as_deref().unwrap_or_default();
    unique("/endpoints", "name", endpoints.iter().map(|one| one.name.as_str()), reasons);
    for (index, one) in endpoints.iter().enumerate() {
        let mut circles = one.visibility.as_deref().unwrap_or_default();
        let mut twice = false;
        while let [first, rest @ ..] = circles {
            twice |= rest.contains(first);
            circles = rest;
        }
        if twice {
            push(reasons, format!("/endpoints/{index}/visibility"), "names a circle twice");
        }
    }
    match spec.component_type {
        Some(ComponentType::Service) => {
            only(spec.task.is_none(), "/task", "only a ManualTask has task settings", reasons);
        }
        Some(ComponentType::ManualTask) => {
            only(spec.endpoints.is_none(), "/endpoints", "a ManualTask has no endpoints", reasons);
            only(spec.scaling.is_none(), "/scaling", "a ManualTask is not scaled", reasons);
            only(spec.probes.is_none(), "/probes", "a ManualTask has no probes", reasons);
        }
        None => {}
    }
}

fn push(reasons: &mut Vec<Reason>, field: String, message: &str) {
    reasons.push(Reason { field, message: message.to_owned() });
}

fn only(holds: bool, field: &str, message: &str, reasons: &mut Vec<Reason>) {
    if !holds {
        push(reasons, field.to_owned(), message);
    }
}

fn present(field: &str, given: bool, reasons: &mut Vec<Reason>) {
    only(given, field, "is missing; a Present document needs it", reasons);
}

fn either(field: &str, plain: &str, has_plain: bool, has_secret: bool, reasons: &mut Vec<Reason>) {
    match (has_plain, has_secret) {
        (true, true) => push(reasons, field.to_owned(), &format!("has both {plain} and secretRef; give one")),
        (false, false) => push(reasons, field.to_owned(), &format!("has neither {plain} nor secretRef; give one")),
        (true, false) | (false, true) => {}
    }
}

fn unique<'a>(list: &str, field: &str, names: impl Iterator<Item = &'a str>, reasons: &mut Vec<Reason>) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        if !seen.insert(name) {
            push(reasons, format!("{list}/{index}/{field}"), "stands twice in the list");
        }
    }
}

#[cfg(test)]
mod tests;

//! What is made of one generation: rendered once, stored, and bound late.
//!
//! A rendering lies in a ControllerRevision in the environment's namespace before the first workload write. It has no secret
//! values; where an object's name depends on one, a slot stands in its place. Apply, repair and rollback read it back, so a
//! newer agent changes no pod until the next release.

use std::collections::BTreeMap;

use protocol::document::{ReleaseSpec, SecretRef};
use protocol::{ContentHash, Tree};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::kinds::labels;
use crate::operator::object::{self, ObjectKind};

mod memory;

pub use memory::Memory;

/// Version of `render`. Raised when the same release would render differently.
pub const RENDERER: u32 = 3;

/// Start of a string that stands for a name bound late.
const SLOT: &str = "pdp-slot:";

/// The slot of the one Secret that holds all secret values of a release.
pub const SECRETS: &str = "secrets";

/// Objects of one generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rendering {
    /// Version of `render` that made it.
    pub renderer: u32,
    /// Image by digest.
    pub image: String,
    /// Seconds until a rollout of it counts as failed.
    pub deadline_seconds: i32,
    /// Objects in the order in which they are added.
    pub objects: Vec<Value>,
    /// The Job of one run, for tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Value>,
    /// Keys of the Secret and where their values come from. Empty: there is no Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretRef>,
    /// Addresses by endpoint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<String, String>,
    /// Services of its major version, as they are while they lead to this release. None in renderings of an earlier agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub majors: Vec<Value>,
    /// Addresses of the major version by endpoint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub major_addresses: BTreeMap<String, String>,
}

/// Slot name to object name.
pub type Slots = BTreeMap<String, String>;

/// A slot had no binding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("slot {0} of the stored rendering has no recorded binding; a newer generation of the release makes a new one")]
pub struct Unbound(pub String);

/// The text that stands for the slot `name` in a rendering.
#[must_use]
pub fn slot(name: &str) -> String {
    format!("{SLOT}{name}")
}

/// Identity of a release's content: the hash of the stored spec without `document`.
#[must_use]
pub fn content_hash(spec: &ReleaseSpec) -> String {
    // A spec that came from the API server is JSON without fractions, so neither step fails; if one did, equal specs would
    // still have equal hashes.
    let text = serde_json::to_vec(spec).unwrap_or_default();
    Tree::parse(&text).map_or_else(|_| object::short_digest(&text, 64), |tree| ContentHash::of(&tree).to_string())
}

/// Name of the rendering of `release` with that content.
#[must_use]
pub fn revision_name(release: &str, content_hash: &str) -> String {
    let digest: String = content_hash.chars().take(10).collect();
    format!("{release}-{digest}")
}

impl Rendering {
    /// The objects with every slot replaced by its binding, and rendering and binding noted on workloads.
    ///
    /// # Errors
    /// A slot has no binding.
    pub fn bound(&self, revision: &str, slots: &Slots) -> Result<Vec<Value>, Unbound> {
        self.objects.iter().map(|object| bind(object, revision, slots)).collect()
    }

    /// The Job of one run, bound.
    ///
    /// # Errors
    /// A slot has no binding.
    pub fn bound_job(&self, revision: &str, slots: &Slots) -> Result<Option<Value>, Unbound> {
        self.job.as_ref().map(|job| bind(job, revision, slots)).transpose()
    }

    /// The ControllerRevision that keeps this rendering.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "members of a JSON object that is made here")]
    pub fn stored(&self, name: &str, namespace: &str, generation: i64, labels: &BTreeMap<String, String>) -> Value {
        let mut object = object::head(ObjectKind::ControllerRevision, name, Some(namespace), labels);
        object["revision"] = json!(generation);
        object["data"] = json!(self);
        object
    }

    /// Reads a rendering back.
    ///
    /// # Errors
    /// The object is no rendering of ours.
    pub fn read(revision: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(revision.get("data").unwrap_or(&Value::Null))
    }
}

fn bind(object: &Value, revision: &str, slots: &Slots) -> Result<Value, Unbound> {
    let mut bound = object.clone();
    fill(&mut bound, slots)?;
    let workload = matches!(object::reference(object), Some((ObjectKind::Deployment | ObjectKind::Job, _)));
    if workload && let Some(metadata) = bound.get_mut("metadata").and_then(Value::as_object_mut) {
        let notes = json!({ labels::RENDERING: revision, labels::BINDING: json!(slots).to_string() });
        metadata.insert("annotations".to_owned(), notes);
    }
    Ok(bound)
}

/// Replaces slots where names of objects stand, and nowhere else: a value that a person wrote is never taken for one.
fn fill(value: &mut Value, slots: &Slots) -> Result<(), Unbound> {
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill(item, slots)),
        Value::Object(members) => members.iter_mut().try_for_each(|(key, member)| match member {
            Value::String(text) if key == "name" || key == "secretName" => {
                if let Some(name) = text.strip_prefix(SLOT) {
                    *text = slots.get(name).ok_or_else(|| Unbound(name.to_owned()))?.clone();
                }
                Ok(())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                fill(member, slots)
            }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::fixture;

    #[test]
    fn a_slot_without_binding_is_an_error() {
        let rendering = Rendering {
            renderer: RENDERER,
            image: String::new(),
            deadline_seconds: 1,
            objects: vec![
                json!({"kind": "Deployment", "metadata": {"name": "a"}, "secretName": slot("secrets"), "value": slot("secrets")}),
            ],
            job: None,
            secrets: BTreeMap::new(),
            addresses: BTreeMap::new(),
            majors: Vec::new(),
            major_addresses: BTreeMap::new(),
        };
        assert_eq!(rendering.bound("r", &Slots::new()), Err(Unbound("secrets".to_owned())));
        let slots = Slots::from([("secrets".to_owned(), "web-secret-1".to_owned())]);
        let bound = rendering.bound("r", &slots).unwrap();
        assert_eq!(bound[0]["secretName"], "web-secret-1");
        assert_eq!(bound[0]["value"], slot("secrets"), "only names are bound");
        assert_eq!(bound[0]["metadata"]["annotations"][labels::RENDERING], "r");
    }

    #[test]
    fn equal_specs_share_a_rendering_and_different_ones_do_not() {
        let one = content_hash(&fixture::service());
        assert_eq!(one, content_hash(&fixture::service()));
        let mut other = fixture::service();
        other.restart_token = Some("again".to_owned());
        assert_ne!(one, content_hash(&other));
        assert_eq!(revision_name("web", &one).len(), "web-".len() + 10);
    }
}

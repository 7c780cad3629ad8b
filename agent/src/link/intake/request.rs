//! A document at the start of the intake: checked as far as that needs no cluster, and in the form in which it is stored.

use protocol::document::{Body, CheckedDocument, DocumentStamp, check_document};
use protocol::message::{Document, Verdict};
use protocol::name::ResourceKey;
use serde_json::{Map, Value, json};

use super::stored;
use crate::kinds::fields;
use crate::link::store::Table;

/// A document that has passed every check that needs no cluster.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) checked: CheckedDocument,
    pub(super) stamp: DocumentStamp,
    /// Hashes of its fields, from which the operator later sees which of them were changed.
    note: String,
    pub(super) body: Value,
}

impl Request {
    /// Checks a document as received.
    ///
    /// # Errors
    /// The answer, if it can never be stored.
    pub fn read(document: &Document) -> Result<Self, Verdict> {
        let checked = check_document(document).map_err(Verdict::from)?;
        let tree = &checked.checked.tree;
        let stamp = DocumentStamp {
            generation: document.generation,
            hash: document.hash.clone(),
            provenance: document.provenance.clone(),
        };
        let (note, body) = (fields::note(&stamp.hash, tree), Value::from(tree));
        Ok(Self { checked, stamp, note, body })
    }

    #[must_use]
    pub const fn key(&self) -> &ResourceKey {
        &self.checked.key
    }

    /// The document as it is stored.
    pub(super) fn object(&self, table: Table, mut metadata: Map<String, Value>) -> Value {
        let mut spec = self.body.clone();
        if let Some(members) = spec.as_object_mut() {
            members.insert("document".to_owned(), json!(self.stamp));
        }
        if let Some(annotations) = metadata.entry("annotations").or_insert_with(|| json!({})).as_object_mut() {
            annotations.insert(fields::FIELDS.to_owned(), json!(self.note));
        }
        stored::object(table, metadata, spec)
    }

    /// The body as a type.
    #[must_use]
    pub const fn body(&self) -> &Body {
        &self.checked.checked.body
    }
}

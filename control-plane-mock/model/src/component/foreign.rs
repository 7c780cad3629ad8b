//! Files of other formats, read by the reader of component files: the same bounds, the same sentences, lines of all keys, and text as it
//! is written where text is expected.

use serde_json::Value;

use super::shape::Shape;
use super::tree::{self, Lines, Located};
use crate::problem::Problem;

/// A file of another format as a tree.
pub struct Foreign {
    tree: Value,
    lines: Lines,
}

impl Foreign {
    /// Reads one document of YAML. `schema` is a JSON Schema of mappings, lists, text, choices and whole numbers; where it says nothing,
    /// anything may stand.
    ///
    /// # Errors
    /// It is too long, or it cannot be read as one document of YAML.
    pub fn read(text: &str, schema: &Value) -> Result<Self, Located> {
        let (tree, lines) = tree::read(text, Shape::new(schema))?;
        Ok(Self { tree, lines })
    }

    /// All that the file says.
    #[must_use]
    pub const fn tree(&self) -> &Value {
        &self.tree
    }

    /// Line of a JSON pointer: its own, else that of the first thing below it, else its parent's.
    #[must_use]
    pub fn line(&self, pointer: &str) -> Option<u64> {
        self.lines.of(pointer)
    }

    /// Everything that a schema does not allow at its place, unknown keys included.
    #[must_use]
    pub fn complaints(&self, schema: &Value) -> Vec<Problem> {
        let mut found = Vec::new();
        Shape::new(schema).complaints(&self.tree, "", &mut found);
        found
    }
}

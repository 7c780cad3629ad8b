//! JSON Schemas of other formats, written short.

use serde_json::{Map, Value, json};

/// Anything, which is not looked into.
pub(super) fn any() -> Value {
    json!({})
}

pub(super) fn text() -> Value {
    json!({"type": "string"})
}

/// A port.
pub(super) fn port() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": 65535})
}

/// One of these words.
pub(super) fn choice<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    json!({"enum": words.into_iter().collect::<Vec<_>>()})
}

pub(super) fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

/// These keys and no others.
pub(super) fn object<const N: usize>(members: [(&str, Value); N], required: &[&str]) -> Value {
    let properties: Map<String, Value> = members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    json!({"type": "object", "properties": properties, "required": required})
}

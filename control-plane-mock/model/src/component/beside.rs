//! `contentFrom` of a component file: the content of a file that lies beside it, put in its place before anything else is judged.
//!
//! Only `pdpctl` has files beside; the server, which reads component files as well, refuses the key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::problem::Problem;

/// Key of a file entry.
pub(super) const KEY: &str = "contentFrom";

/// Reads the file that a path names; an error says in words why not.
pub type Beside<'a> = dyn Fn(&str) -> Result<Vec<u8>, String> + 'a;

/// Nothing lies beside.
///
/// # Errors
/// Always.
pub(super) fn nothing(_path: &str) -> Result<Vec<u8>, String> {
    Err("contentFrom names a file beside the component file, and only pdpctl reads it: give it the file".to_owned())
}

/// Puts contents in place. Problems are those of entries whose file cannot be had.
pub(super) fn put(tree: &mut Value, read: &Beside<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let environments = tree.get("environments").and_then(Value::as_object).map(|all| all.keys().cloned().collect());
    let environments: Vec<String> = environments.unwrap_or_default();
    let of_environments = environments.iter().map(|name| format!("/environments/{}", escaped(name)));
    for at in std::iter::once(String::new()).chain(of_environments) {
        let Some(files) = tree.pointer_mut(&format!("{at}/files")).and_then(Value::as_array_mut) else { continue };
        for (index, file) in files.iter_mut().enumerate() {
            if let Some(file) = file.as_object_mut()
                && let Some(path) = file.get(KEY).and_then(Value::as_str).map(str::to_owned)
                && let Err(problem) = put_one(file, &path, read)
            {
                problems.push(Problem::invalid(format!("{at}/files/{index}/{KEY}"), problem));
            }
        }
    }
    problems
}

fn put_one(file: &mut Map<String, Value>, path: &str, read: &Beside<'_>) -> Result<(), String> {
    if let Some(other) = ["content", "secretRef", "encoding"].into_iter().find(|key| file.contains_key(*key)) {
        return Err(format!("contentFrom and {other} stand together; keep one of them"));
    }
    // A component file that somebody else wrote must not send out what lies elsewhere on the machine.
    if path.starts_with('/') || path.split(['/', '\\']).any(|part| part == "..") {
        return Err(format!("{path} does not lie beside the component file; name a file in its folder or below it"));
    }
    let bytes = read(path)?;
    file.remove(KEY);
    match String::from_utf8(bytes) {
        // A NUL is no text, though UTF-8 has it.
        Ok(text) if !text.contains('\0') => drop(file.insert("content".to_owned(), json!(text))),
        Ok(text) => base64(file, text.as_bytes()),
        Err(error) => base64(file, error.as_bytes()),
    }
    Ok(())
}

fn base64(file: &mut Map<String, Value>, bytes: &[u8]) {
    file.insert("content".to_owned(), json!(STANDARD.encode(bytes)));
    file.insert("encoding".to_owned(), json!("Base64"));
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The key in the JSON Schema of component files, beside `content`.
pub(super) fn schema(schema: &mut Value) {
    let properties = "/$defs/ConfigFile/properties";
    if let Some(properties) = schema.pointer_mut(properties).and_then(Value::as_object_mut) {
        let text = "Path of a file beside this one, whose content is taken when pdpctl reads it; what is no text goes as base64.";
        properties.insert(KEY.to_owned(), json!({"type": ["string", "null"], "description": text, "maxLength": 4096}));
    }
}

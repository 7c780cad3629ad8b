//! Reading component files so that every complaint has a line and every unknown key a suggestion.
//!
//! The text becomes a plain tree that remembers lines; what a command line replaces is replaced there; the tree is held against
//! the JSON Schema, then against the rules. All that is wrong in one step is named at once, since a typo rarely comes alone.

use serde_json::Value;

use super::beside::Beside;
use super::shape::Shape;
use super::{API_VERSION, Component, KIND, Located, Override, beside, check, tree};
use crate::problem::Problem;

/// Reads a component file.
///
/// # Errors
/// Everything that is wrong with it, in the order of lines.
pub fn from_yaml(text: &str) -> Result<Component, Vec<Located>> {
    from_yaml_with(text, &[])
}

/// Reads a component file in which some values are replaced before anything is judged.
///
/// # Errors
/// Everything that is wrong with it, in the order of lines.
pub fn from_yaml_with(text: &str, overrides: &[Override]) -> Result<Component, Vec<Located>> {
    from_yaml_beside(text, overrides, &beside::nothing)
}

/// The same, with the files that lie beside it.
///
/// # Errors
/// Everything that is wrong with it, in the order of lines; files that `read` cannot give.
pub fn from_yaml_beside(text: &str, overrides: &[Override], read: &Beside<'_>) -> Result<Component, Vec<Located>> {
    let (mut tree, lines) = tree::read(text, Shape::of_components()).map_err(|located| vec![located])?;
    overrides.iter().for_each(|change| change.apply(&mut tree));
    let missing = beside::put(&mut tree, read);
    let problems = if missing.is_empty() {
        match judged(&tree) {
            Ok(component) => return Ok(component),
            Err(problems) => problems,
        }
    } else {
        missing
    };
    let place = |problem: Problem| {
        let field = problem.field.as_deref();
        // What the command line put there stands on no line of the file.
        match field.and_then(|field| overrides.iter().find_map(|change| change.at(field))) {
            Some(key) => {
                let problem = Problem { message: format!("{} (--set {key})", problem.message), ..problem };
                Located { line: None, problem }
            }
            None => Located { line: field.and_then(|field| lines.of(field)), problem },
        }
    };
    let mut located: Vec<_> = problems.into_iter().map(place).collect();
    located.sort_by_key(|problem| problem.line);
    Err(located)
}

/// Reads a component file that came as JSON.
///
/// # Errors
/// Everything that is wrong with it.
pub fn from_json(value: &Value) -> Result<Component, Vec<Problem>> {
    from_json_beside(value, &beside::nothing)
}

/// The same, with the files that lie beside it.
///
/// # Errors
/// Everything that is wrong with it; files that `read` cannot give.
pub fn from_json_beside(value: &Value, read: &Beside<'_>) -> Result<Component, Vec<Problem>> {
    let mut value = value.clone();
    let problems = beside::put(&mut value, read);
    if problems.is_empty() { judged(&value) } else { Err(problems) }
}

fn judged(value: &Value) -> Result<Component, Vec<Problem>> {
    let problems = complaints(value);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut value = value.clone();
    prune(&mut value);
    let component: Component = serde_json::from_value(value)
        .map_err(|error| vec![Problem::invalid("", super::without_values(&error.to_string()))])?;
    let problems = check(&component);
    if problems.is_empty() { Ok(component) } else { Err(problems) }
}

/// Problems found before the rules are applied: version, kind, unknown keys, values of a wrong type.
fn complaints(tree: &Value) -> Vec<Problem> {
    let Some(object) = tree.as_object() else {
        return vec![
            Problem::invalid("", "a component file is a mapping of keys to values")
                .hint(format!("begin with `apiVersion: {API_VERSION}` and `kind: {KIND}`")),
        ];
    };
    for (key, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        let found = object.get(key);
        if found.and_then(Value::as_str) != Some(expected) {
            let what = if found.is_some() { "is not known here" } else { "is missing" };
            let problem = Problem::invalid(format!("/{key}"), format!("{key} {what}"));
            return vec![problem.hint(format!("write `{key}: {expected}`"))];
        }
    }
    let mut found = Vec::new();
    Shape::of_components().complaints(tree, "", &mut found);
    found
}

/// Takes keys away that have no value: that is the same as leaving them out.
fn prune(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;

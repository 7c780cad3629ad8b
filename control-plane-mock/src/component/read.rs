//! Reading component files so that every complaint has a line and every unknown key a suggestion.
//!
//! The text is read twice: once as a plain tree that remembers lines, against the keys of the JSON Schema; once as types. All
//! unknown keys are named at once, since a typo rarely comes alone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{API_VERSION, Component, KIND, Override, check, json_schema};
use crate::problem::Problem;

/// Longest file that is read, in bytes. A Release document may have 256 KiB.
const MAX_FILE: usize = 512 * 1024;

/// A problem and where it stands in the text.
#[derive(Debug, Clone)]
pub struct Located {
    /// Line, from 1; none when the whole file is meant.
    pub line: Option<u64>,
    /// What is wrong.
    pub problem: Problem,
}

impl From<Problem> for Located {
    fn from(problem: Problem) -> Self {
        Self { line: None, problem }
    }
}

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
    if text.len() > MAX_FILE {
        let sentence = format!("the file has {} bytes, {MAX_FILE} are allowed", text.len());
        return Err(vec![Problem::invalid("", sentence).into()]);
    }
    let mut lines = Lines::default();
    let mut tree = serde_saphyr::with_deserializer_from_str(text, |input| {
        Node { pointer: String::new(), lines: &mut lines }.deserialize(input)
    })
    .map_err(|error| vec![located(&error)])?;
    overrides.iter().for_each(|change| change.apply(&mut tree));
    let mut problems = complaints(&tree);
    if problems.is_empty() {
        let component: Component = if overrides.is_empty() {
            serde_saphyr::from_str(text).map_err(|error| vec![located(&error)])?
        } else {
            // The text knows lines, so it is asked first what is wrong.
            serde_json::from_value(tree).map_err(|error| match serde_saphyr::from_str::<Component>(text) {
                Err(error) => vec![located(&error)],
                Ok(_) => vec![Problem::invalid("", error.to_string()).into()],
            })?
        };
        problems = check(&component);
        if problems.is_empty() {
            return Ok(component);
        }
    }
    let mut located: Vec<_> = problems
        .into_iter()
        .map(|problem| Located { line: problem.field.as_deref().and_then(|field| lines.of(field)), problem })
        .collect();
    located.sort_by_key(|problem| problem.line);
    Err(located)
}

/// Reads a component file that came as JSON.
///
/// # Errors
/// Everything that is wrong with it.
pub fn from_json(value: &Value) -> Result<Component, Vec<Problem>> {
    let problems = complaints(value);
    if !problems.is_empty() {
        return Err(problems);
    }
    let component: Component = serde_json::from_value(value.clone())
        .map_err(|error| vec![Problem::invalid("", super::without_values(&error.to_string()))])?;
    let problems = check(&component);
    if problems.is_empty() { Ok(component) } else { Err(problems) }
}

fn located(error: &serde_saphyr::Error) -> Located {
    let bare = error.without_snippet();
    let text = super::without_values(&bare.to_string());
    // The position is told apart from the sentence.
    let sentence = text.split(" at line ").next().unwrap_or(&text).lines().next().unwrap_or("not YAML").to_owned();
    Located { line: error.location().map(|location| location.line()), problem: Problem::invalid("", sentence) }
}

/// What is wrong before types are tried: version, kind, unknown keys.
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
    unknown(tree, "", &mut found);
    found
}

fn unknown(value: &Value, pointer: &str, found: &mut Vec<Problem>) {
    match value {
        Value::Object(members) => {
            let known = known_keys(pointer);
            for (key, member) in members {
                let below = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                match &known {
                    Some(known) if !known.contains(key) => found.push(unknown_key(key, &below, known)),
                    Some(_) | None => unknown(member, &below, found),
                }
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| unknown(item, &format!("{pointer}/{index}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn unknown_key(key: &str, pointer: &str, known: &[String]) -> Problem {
    let shown: String = key.chars().take(64).collect();
    let nearest = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&key.to_lowercase(), &candidate.to_lowercase()), candidate))
        .min();
    let hint = match nearest {
        Some((distance, candidate)) if distance <= 3 && distance < candidate.len() => {
            format!("did you mean `{candidate}`?")
        }
        Some(_) | None => format!("known here: {}", known.join(", ")),
    };
    Problem::invalid(pointer, format!("unknown key `{shown}`")).hint(hint)
}

/// The keys that the schema knows at a JSON pointer; none where any key may stand.
#[must_use]
pub fn known_keys(pointer: &str) -> Option<Vec<String>> {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    let root = SCHEMA.get_or_init(json_schema);
    let mut schema = plain(root, root);
    for token in pointer.split('/').skip(1) {
        let next = schema
            .get("properties")
            .and_then(|properties| properties.get(token))
            .or_else(|| schema.get("additionalProperties").filter(|value| value.is_object()))
            .or_else(|| schema.get("items"))?;
        schema = plain(root, next);
    }
    schema.get("properties")?.as_object().map(|properties| properties.keys().cloned().collect())
}

/// Follows references and leaves out `null`.
fn plain<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return root.pointer(reference.trim_start_matches('#')).map_or(schema, |target| plain(root, target));
    }
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        let not_null = choices.iter().find(|choice| choice.get("type").and_then(Value::as_str) != Some("null"));
        return not_null.map_or(schema, |choice| plain(root, choice));
    }
    schema
}

#[derive(Default)]
struct Lines(BTreeMap<String, u64>);

impl Lines {
    /// Line of a pointer: its own, else that of the first thing below it, else its parent's.
    fn of(&self, pointer: &str) -> Option<u64> {
        let below = format!("{pointer}/");
        self.0
            .get(pointer)
            .or_else(|| {
                self.0.range(below.clone()..).next().filter(|(key, _)| key.starts_with(&below)).map(|(_, line)| line)
            })
            .copied()
            .or_else(|| pointer.rsplit_once('/').and_then(|(parent, _)| self.of(parent)))
    }
}

struct Node<'a> {
    pointer: String,
    lines: &'a mut Lines,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        self.deserialize(input)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items
            .next_element_seed(Node { pointer: format!("{}/{}", self.pointer, all.len()), lines: &mut *self.lines })?
        {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = serde_json::Map::new();
        while let Some(key) = members.next_key::<serde_saphyr::Spanned<String>>()? {
            let pointer = format!("{}/{}", self.pointer, key.value.replace('~', "~0").replace('/', "~1"));
            self.lines.0.insert(pointer.clone(), key.referenced.line());
            let value = members.next_value_seed(Node { pointer, lines: &mut *self.lines })?;
            all.insert(key.value, value);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests;

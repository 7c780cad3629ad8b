//! What a JSON Schema, that of component files above all, says about a place in a file: which keys it knows, and what kind of value
//! stands there.
//!
//! A deserializer stops at the first mismatch and names Rust types; here every mismatch is reported, in plain sentences.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::json_schema;
use crate::problem::Problem;

/// A JSON Schema, as far as files for people need one: mappings with known or any keys, lists, text, choices, whole numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape<'a>(&'a Value);

/// The keys that the schema of component files knows at a JSON pointer; none where any key may stand.
#[must_use]
pub fn known_keys(pointer: &str) -> Option<Vec<String>> {
    Shape::of_components().known_keys(pointer)
}

impl Shape<'static> {
    /// That of component files.
    pub(super) fn of_components() -> Self {
        static SCHEMA: OnceLock<Value> = OnceLock::new();
        Self(SCHEMA.get_or_init(json_schema))
    }
}

impl<'a> Shape<'a> {
    /// That of another format.
    pub(super) const fn new(schema: &'a Value) -> Self {
        Self(schema)
    }

    fn known_keys(self, pointer: &str) -> Option<Vec<String>> {
        let properties = self.at(pointer)?.get("properties")?;
        properties.as_object().map(|properties| properties.keys().cloned().collect())
    }

    /// Whether text stands there, so that `8080` and `yes` are text too.
    pub(super) fn is_text(self, pointer: &str) -> bool {
        self.at(pointer).is_some_and(|schema| kind(schema) == Some("string"))
    }

    /// Whether a whole number stands there, so that `"8080"` is one too.
    pub(super) fn is_number(self, pointer: &str) -> bool {
        self.at(pointer).is_some_and(|schema| kind(schema) == Some("integer"))
    }

    /// Adds a problem for everything that the schema does not allow at its place, unknown keys included.
    pub(super) fn complaints(self, value: &Value, pointer: &str, found: &mut Vec<Problem>) {
        let Some(schema) = self.at(pointer) else { return };
        let mut refuse = |what: String, hint: &str| found.push(Problem::invalid(pointer, what).hint(hint));
        match (kind(schema), value) {
            (Some("object"), Value::Object(members)) => {
                let known = self.known_keys(pointer);
                let is_known = |key: &String| known.as_ref().is_none_or(|known| known.contains(key));
                // An unknown key is likely a misspelt required one, so missing keys are reported only when all keys are known.
                if members.keys().all(is_known) {
                    missing(schema, members, pointer, found);
                }
                for (key, member) in members {
                    let below = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                    match &known {
                        Some(known) if !known.contains(key) => found.push(unknown_key(key, &below, known)),
                        // Empty is the same as left out.
                        Some(_) | None if member.is_null() => {}
                        Some(_) | None => self.complaints(member, &below, found),
                    }
                }
            }
            (Some("array"), Value::Array(items)) => {
                items.iter().enumerate().for_each(|(index, item)| {
                    self.complaints(item, &format!("{pointer}/{index}"), found);
                });
            }
            (Some("string"), Value::String(text)) => {
                let choices = choices(schema);
                if !choices.is_empty() && !choices.contains(&text.as_str()) {
                    refuse(format!("must be one of {}", choices.join(", ")), "upper and lower case count");
                }
            }
            (Some("integer"), Value::Number(number)) => {
                let bound = |name: &str| schema.get(name).and_then(Value::as_i64).unwrap_or_default();
                let (least, most) = (bound("minimum"), bound("maximum"));
                // Other numbers are judged with the rest of the document's rules.
                let fits = number
                    .as_i64()
                    .is_some_and(|value| i32::try_from(value).is_ok() || (least..=most).contains(&value));
                if number.is_f64() {
                    refuse(
                        "a whole number is expected here".into(),
                        "write digits only, without a fraction or a 0 in front",
                    );
                } else if !fits {
                    refuse(format!("must be from {least} to {most}"), "use a number in between");
                }
            }
            (Some(_), Value::Null) => refuse("there is nothing here".into(), "give it a value, or remove it"),
            (Some("object"), _) => {
                let needed: Vec<&str> = required(schema).collect();
                let hint = if needed.is_empty() {
                    "write `key: value`, one below the other".to_owned()
                } else {
                    format!("write `key: value`, one below the other; needed here: {}", needed.join(", "))
                };
                refuse("keys and values are expected here".into(), &hint)
            }
            (Some("array"), _) => {
                refuse("a list is expected here".into(), "begin each item with `- `, or write [a, b]")
            }
            (Some("string"), _) => refuse("text is expected here".into(), "put quotes around it"),
            (Some("integer"), _) => refuse("a whole number is expected here".into(), "write digits only"),
            (_, _) => {}
        }
    }

    /// The schema of the place that a JSON pointer leads to.
    fn at(self, pointer: &str) -> Option<&'a Value> {
        let Self(root) = self;
        let mut schema = plain(root, root);
        for token in pointer.split('/').skip(1) {
            let next = schema
                .get("properties")
                .and_then(|properties| properties.get(token))
                .or_else(|| schema.get("additionalProperties").filter(|value| value.is_object()))
                .or_else(|| schema.get("items"))?;
            schema = plain(root, next);
        }
        Some(schema)
    }
}

fn missing(schema: &Value, members: &Map<String, Value>, pointer: &str, found: &mut Vec<Problem>) {
    for name in required(schema).filter(|name| members.get(*name).is_none_or(Value::is_null)) {
        let what = if members.contains_key(name) { "is empty" } else { "is missing" };
        found.push(Problem::invalid(format!("{pointer}/{name}"), format!("`{name}` {what}")).hint("give it a value"));
    }
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
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

/// Its type, besides `null`. A choice of words is text.
fn kind(schema: &Value) -> Option<&str> {
    let of_type = match schema.get("type") {
        Some(Value::String(name)) => Some(name.as_str()),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        Some(_) | None => None,
    };
    of_type.or_else(|| (!choices(schema).is_empty()).then_some("string"))
}

fn choices(schema: &Value) -> Vec<&str> {
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    let single = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten().filter_map(|one| one.get("const"));
    listed.chain(single).filter_map(Value::as_str).collect()
}

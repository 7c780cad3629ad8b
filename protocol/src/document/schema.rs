//! The schema of a body as rules to check, so that every breach is named at once.
//!
//! serde stops at the first error and does not look at bounds. The schema that the custom resource definitions are made from
//! says all of it already; here it is compiled once per kind and walked beside the document. What passes here passes the
//! schema of the API server. Values are never shown: they may be secret.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex_lite::Regex;
use schemars::JsonSchema;
use serde_json::Value;

use super::breach::{Breach, Weight};
use super::{DataPlaneSpec, EnvironmentSpec, ReleaseSpec, TaskRunSpec, pattern};
use crate::Tree;
use crate::name::Kind;

/// What one value must be like.
#[derive(Debug)]
pub(super) enum Rule {
    Bool,
    Integer {
        min: i64,
        max: i64,
    },
    Text {
        max: usize,
        pattern: Option<Form>,
    },
    Choice(Vec<String>),
    List {
        max: usize,
        item: Box<Self>,
    },
    Map {
        fields: BTreeMap<String, Self>,
        required: Vec<String>,
    },
    /// A form of schema that is not understood here: left to the API server. A test keeps it out of use.
    Any,
}

/// A pattern, and what it asks for in words.
#[derive(Debug)]
pub(super) struct Form {
    pattern: Regex,
    what: &'static str,
    fix: &'static str,
}

impl Form {
    fn new(pattern: &str) -> Option<Self> {
        let (what, fix) = pattern::hint(pattern);
        Some(Self { pattern: Regex::new(pattern).ok()?, what, fix })
    }
}

pub(super) fn rule_of(kind: Kind) -> &'static Rule {
    static DATA_PLANE: LazyLock<Rule> = LazyLock::new(compiled::<DataPlaneSpec>);
    static ENVIRONMENT: LazyLock<Rule> = LazyLock::new(compiled::<EnvironmentSpec>);
    static RELEASE: LazyLock<Rule> = LazyLock::new(compiled::<ReleaseSpec>);
    static TASK_RUN: LazyLock<Rule> = LazyLock::new(compiled::<TaskRunSpec>);
    match kind {
        Kind::DataPlane => &DATA_PLANE,
        Kind::Environment => &ENVIRONMENT,
        Kind::Release => &RELEASE,
        Kind::TaskRun => &TASK_RUN,
    }
}

fn compiled<T: JsonSchema>() -> Rule {
    let settings =
        schemars::generate::SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    compile(settings.into_generator().into_root_schema_for::<T>().as_value())
}

fn compile(schema: &Value) -> Rule {
    if let Some(choices) = choices(schema) {
        return Rule::Choice(choices);
    }
    // An optional struct is `anyOf` of the struct and null; null itself is refused below.
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        return any.iter().find(|one| one.get("type") != Some(&Value::from("null"))).map_or(Rule::Any, compile);
    }
    let length = |name: &str| {
        schema.get(name).and_then(Value::as_u64).and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX)
    };
    match type_name(schema) {
        Some("boolean") => Rule::Bool,
        Some("integer") => Rule::Integer {
            min: schema.get("minimum").and_then(Value::as_i64).unwrap_or(-crate::tree::MAX_INTEGER),
            max: schema.get("maximum").and_then(Value::as_i64).unwrap_or(crate::tree::MAX_INTEGER),
        },
        Some("string") => {
            let max = length("maxLength");
            match schema.get("pattern").and_then(Value::as_str).map(Form::new) {
                None => Rule::Text { max, pattern: None },
                Some(Some(form)) => Rule::Text { max, pattern: Some(form) },
                Some(None) => Rule::Any,
            }
        }
        Some("array") => {
            Rule::List { max: length("maxItems"), item: Box::new(schema.get("items").map_or(Rule::Any, compile)) }
        }
        Some("object") => {
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Rule::Any };
            let required = schema
                .get("required")
                .and_then(Value::as_array)
                .map_or_else(Vec::new, |names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect());
            Rule::Map { fields: properties.iter().map(|(name, one)| (name.clone(), compile(one))).collect(), required }
        }
        _ => Rule::Any,
    }
}

fn type_name(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

fn choices(schema: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(list) = schema.get("enum").and_then(Value::as_array) {
        return Some(list.iter().filter_map(text).collect());
    }
    schema.get("oneOf").and_then(Value::as_array)?.iter().map(|one| one.get("const").and_then(text)).collect()
}

impl Rule {
    /// Appends every breach of `tree` at JSON pointer `at`.
    pub(super) fn check(&self, tree: &Tree, at: &str, breaches: &mut Vec<Breach>) {
        let mut breach = |what: String, fix: &str| breaches.push(Breach::new(at, what, fix));
        match (self, tree) {
            (Self::Any, _) | (Self::Bool, Tree::Bool(_)) => {}
            (_, Tree::Null) => breach("is null".to_owned(), "leave the field out instead"),
            (Self::Integer { min, max }, Tree::Integer(value)) => {
                if value < min || value > max {
                    breach(format!("must be from {min} to {max}"), hint(at));
                }
            }
            (Self::Text { .. }, Tree::Text(text)) if text.contains(is_noncharacter) => {
                breach(
                    "holds a noncharacter of Unicode, U+FFFF for instance".to_owned(),
                    "I-JSON has none: leave it out",
                );
            }
            (Self::Text { max, pattern }, Tree::Text(text)) => {
                let length = text.chars().count();
                if length > *max {
                    breach(format!("has {length} characters, {max} are allowed"), hint(at));
                }
                if let Some(Form { pattern, what, fix }) = pattern
                    && !pattern.is_match(text)
                {
                    let is_bytes = || text.strip_suffix('B').is_some_and(|amount| pattern.is_match(amount));
                    let is_amount = pattern.as_str() == pattern::QUANTITY;
                    let no_unit = "leave the B out: write 64M or 64Mi, which are bytes already";
                    let fix = if is_amount && is_bytes() { no_unit } else { fix };
                    breach((*what).to_owned(), fix);
                }
            }
            (Self::Choice(choices), Tree::Text(text)) => {
                if !choices.iter().any(|choice| choice == text) {
                    breach(format!("must be one of {}", choices.join(", ")), "");
                }
            }
            (Self::List { max, item }, Tree::List(items)) => {
                if items.len() > *max {
                    breach(format!("has {} items, {max} are allowed", items.len()), "use fewer");
                }
                for (index, one) in items.iter().take(*max).enumerate() {
                    item.check(one, &format!("{at}/{index}"), breaches);
                }
            }
            (Self::Map { fields, required }, Tree::Map(members)) => {
                for name in required.iter().filter(|name| !members.contains_key(*name)) {
                    breaches.push(Breach::new(pointer(at, name), "is missing", ""));
                }
                for (name, value) in members {
                    match fields.get(name) {
                        Some(rule) => rule.check(value, &pointer(at, name), breaches),
                        None => breaches.push(Breach {
                            weight: Weight::UnknownField,
                            ..Breach::new(pointer(at, name), "is not known", nearest(name, fields.keys()))
                        }),
                    }
                }
            }
            (Self::Bool, _) => breach("must be true or false".to_owned(), ""),
            (Self::Integer { .. }, _) => breach("must be an integer".to_owned(), ""),
            (Self::Text { .. }, _) => breach("must be a string".to_owned(), ""),
            (Self::Choice(choices), _) => breach(format!("must be one of {}", choices.join(", ")), ""),
            (Self::List { .. }, _) => breach("must be an array".to_owned(), ""),
            (Self::Map { .. }, _) => breach("must be an object".to_owned(), ""),
        }
    }
}

/// A code point that never stands for a character (Unicode, section 23.7), and that I-JSON forbids (RFC 7493, section 2.1).
const fn is_noncharacter(c: char) -> bool {
    matches!(c, '\u{FDD0}'..='\u{FDEF}') || c as u32 & 0xFFFE == 0xFFFE
}

/// What to do, where a bound alone does not tell.
fn hint(at: &str) -> &'static str {
    match at.rsplit('/').next() {
        Some("runAsUser" | "runAsGroup") => "0 is root, which is refused",
        Some("value") => "use a file",
        Some("content") => "put it into the image, or fetch it when the program starts",
        Some("port") => "a port number",
        Some("version") => "leave it out for the newest",
        Some("minReadySeconds") => "seconds, up to five minutes",
        Some("terminationGraceSeconds" | "progressDeadlineSeconds" | "periodSeconds") => "seconds, up to an hour",
        _ => "",
    }
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let nearest = known
        .map(|known| (strsim::damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase()), known))
        .min()
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1));
    nearest.map_or_else(String::new, |(_, known)| format!("did you mean {known}?"))
}

/// `at/name` with the escapes of RFC 6901, section 3; a name is cut after 64 characters.
fn pointer(at: &str, name: &str) -> String {
    let name: String = name.chars().take(64).collect();
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_has_words_of_its_own() {
        fn look(rule: &Rule, at: &str) {
            match rule {
                Rule::Text { pattern: Some(form), .. } => {
                    assert_ne!(form.what, pattern::hint("no such pattern").0, "{at}: {}", form.pattern);
                    assert!(!form.what.contains(['^', '$']), "{at}");
                }
                Rule::List { item, .. } => look(item, &format!("{at}/*")),
                Rule::Map { fields, .. } => fields.iter().for_each(|(name, rule)| look(rule, &format!("{at}/{name}"))),
                Rule::Text { pattern: None, .. } | Rule::Any | Rule::Bool | Rule::Integer { .. } | Rule::Choice(_) => {}
            }
        }
        Kind::ALL.into_iter().for_each(|kind| look(rule_of(kind), kind.as_str()));
    }

    #[test]
    fn every_form_of_schema_in_use_is_understood() {
        fn no_any(rule: &Rule, at: &str) {
            match rule {
                Rule::Any => panic!("{at} is not understood"),
                Rule::List { item, .. } => no_any(item, &format!("{at}/*")),
                Rule::Map { fields, .. } => {
                    fields.iter().for_each(|(name, rule)| no_any(rule, &format!("{at}/{name}")))
                }
                Rule::Bool | Rule::Integer { .. } | Rule::Text { .. } | Rule::Choice(_) => {}
            }
        }
        for kind in Kind::ALL {
            no_any(rule_of(kind), kind.as_str());
        }
    }
}

//! JSON values as YAML for people. Writing only, and only what JSON has: block mappings and lists, strings quoted as in JSON
//! (YAML 1.2 section 1.3 makes every JSON string a YAML one) unless they cannot be taken for anything else.

use std::fmt::Write as _;

use serde_json::Value;

/// `value` as one YAML document, with a line end and without a marker.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0);
    out.trim_start_matches('\n').to_owned()
}

/// Writes what follows `key:` or `-`, with its line end.
fn block(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            for (key, value) in map {
                indent(out, depth);
                out.push_str(&scalar(key));
                out.push(':');
                block(out, value, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            for item in items {
                indent(out, depth);
                out.push('-');
                match item {
                    Value::Object(map) if !map.is_empty() => {
                        let mut inner = String::new();
                        block(&mut inner, item, depth + 1);
                        // The first key stands on the line of the dash.
                        out.push(' ');
                        out.push_str(inner.trim_start());
                    }
                    Value::Array(_)
                    | Value::Object(_)
                    | Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_) => {
                        block(out, item, depth + 1);
                    }
                }
            }
        }
        Value::String(text) => line(out, &scalar(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            line(out, &value.to_string())
        }
    }
}

fn line(out: &mut String, text: &str) {
    // Writing into a String cannot fail.
    _ = writeln!(out, " {text}");
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Plain when it is a word that no YAML version reads as something else, quoted otherwise.
fn scalar(text: &str) -> String {
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/'));
    let taken = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    if word && !taken.contains(&text.to_ascii_lowercase().as_str()) {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn it_looks_as_people_write_it() {
        let value = json!({
            "apiVersion": "v1", "empty": {}, "none": [], "list": ["a b", 1, true, null, "no", "1.0"],
            "items": [{"name": "x", "deep": {"k": [["v"]]}}, {"name": "multi\nline"}]
        });
        let expected = "apiVersion: v1\nempty: {}\nitems:\n  - deep:\n      k:\n        -\n          - v\n    name: x\n  - name: \"multi\\nline\"\nlist:\n  - \"a b\"\n  - 1\n  - true\n  - null\n  - \"no\"\n  - \"1.0\"\nnone: []\n";
        assert_eq!(to_yaml(&value), expected);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            "[a-zA-Z0-9:#&*!|>'\"%@`{}\\[\\], \n\t-]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-zA-Z0-9:# .-]{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_yaml_reader_reads_back_what_was_written(value in values()) {
            let text = to_yaml(&value);
            let back: Value = serde_saphyr::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(back, value, "{}", text);
        }
    }
}

//! Values of a component file that a command line replaces, an image that was just pushed above all.

use serde_json::{Map, Value};

use crate::problem::Problem;

/// Keys that may be replaced, besides `env.NAME`; whether their values are numbers.
const KEYS: [(&str, bool); 13] = [
    ("image", false),
    ("track", false),
    ("scaling.replicas", true),
    ("resources.cpuRequest", false),
    ("resources.cpuLimit", false),
    ("resources.memoryRequest", false),
    ("resources.memoryLimit", false),
    ("security.runAsUser", true),
    ("security.runAsGroup", true),
    ("security.fsGroup", true),
    ("progressDeadlineSeconds", true),
    ("minReadySeconds", true),
    ("terminationGraceSeconds", true),
];

/// One value in place of the file's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    keys: Vec<String>,
    value: Value,
}

impl Override {
    /// Reads `KEY=VALUE`.
    ///
    /// # Errors
    /// `Invalid` for a key that is not known, with the nearest one, and for a number that is none.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let known = || format!("known: {}, env.NAME", KEYS.map(|(key, _)| key).join(", "));
        let Some((key, value)) = text.split_once('=') else {
            return Err(Problem::invalid("--set", "a replacement is KEY=VALUE").hint(known()));
        };
        let found = KEYS.iter().find(|(name, _)| *name == key);
        let value = match (key.strip_prefix("env."), found) {
            (Some(name), _) if !name.is_empty() => value.into(),
            (_, Some((_, false))) => value.into(),
            (_, Some((_, true))) => {
                let number = value.parse::<i64>();
                number.map_err(|_| Problem::invalid(format!("--set {key}"), "a whole number is expected"))?.into()
            }
            (_, None) => {
                let shown: String = key.chars().take(64).collect();
                let near = KEYS.iter().map(|(name, _)| (strsim::damerau_levenshtein(name, key), name)).min();
                let hint = match near {
                    Some((distance, name)) if distance <= 3 => format!("did you mean `{name}`?"),
                    Some(_) | None => known(),
                };
                return Err(Problem::invalid("--set", format!("unknown key `{shown}`")).hint(hint));
            }
        };
        // A variable's name may contain dots, so it is not split.
        let keys = match key.strip_prefix("env.") {
            Some(name) => vec!["env".to_owned(), name.to_owned()],
            None => key.split('.').map(str::to_owned).collect(),
        };
        Ok(Self { keys, value })
    }

    /// The key, if the value has `pointer` in the file's tree. Variables are told by the file alone.
    pub(super) fn at(&self, pointer: &str) -> Option<String> {
        let is_here = self.keys.iter().map(String::as_str).eq(pointer.split('/').skip(1));
        is_here.then(|| self.keys.join("."))
    }

    /// Puts the value into a file's tree. Where the tree has something else than a mapping nothing is set; the checks report it.
    pub(super) fn apply(&self, tree: &mut Value) {
        match self.keys.as_slice() {
            [key] => {
                if let Some(object) = tree.as_object_mut() {
                    object.insert(key.clone(), self.value.clone());
                }
            }
            [list, name] if list == "env" => self.variable(tree, name),
            [outer, inner] => {
                let object = entry(tree, outer, Map::new().into());
                if let Some(object) = object.and_then(Value::as_object_mut) {
                    object.insert(inner.clone(), self.value.clone());
                }
            }
            _ => {}
        }
    }

    /// Replaces a variable at its place in the list, which drops its secret reference, or appends a new one.
    fn variable(&self, tree: &mut Value, name: &str) {
        let list = entry(tree, "env", Value::Array(Vec::new()));
        let Some(list) = list.and_then(Value::as_array_mut) else { return };
        let new = serde_json::json!({ "name": name, "value": self.value });
        match list.iter_mut().find(|variable| variable.get("name").and_then(Value::as_str) == Some(name)) {
            Some(variable) => *variable = new,
            None => list.push(new),
        }
    }
}

/// What stands at `key`; `empty` where nothing does. A key whose entries are all commented out is null.
fn entry<'a>(tree: &'a mut Value, key: &str, empty: Value) -> Option<&'a mut Value> {
    let entry = tree.as_object_mut()?.entry(key).or_insert(Value::Null);
    if entry.is_null() {
        *entry = empty;
    }
    Some(entry)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(mut tree: Value, set: &str) -> Value {
        Override::parse(set).unwrap().apply(&mut tree);
        tree
    }

    #[test]
    fn a_value_takes_the_place_of_the_files() {
        assert_eq!(changed(json!({ "image": "x" }), "image=r/i@sha256:1=2"), json!({ "image": "r/i@sha256:1=2" }));
        assert_eq!(changed(json!({}), "scaling.replicas=3"), json!({ "scaling": { "replicas": 3 } }));
        assert_eq!(changed(json!({ "scaling": null }), "scaling.replicas=3"), json!({ "scaling": { "replicas": 3 } }));
        assert_eq!(changed(json!({}), "security.runAsUser=33"), json!({ "security": { "runAsUser": 33 } }));
    }

    #[test]
    fn a_variable_is_replaced_by_name_or_added() {
        let one = json!({ "env": [{ "name": "A", "value": "1" }] });
        assert_eq!(changed(json!({ "env": null }), "env.A=1"), one);
        let tree = json!({ "env": [{ "name": "A", "secretRef": {} }] });
        assert_eq!(changed(tree.clone(), "env.A=5"), json!({ "env": [{ "name": "A", "value": "5" }] }));
        assert_eq!(
            changed(tree, "env.B="),
            json!({ "env": [{ "name": "A", "secretRef": {} }, { "name": "B", "value": "" }] })
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        assert_eq!(Override::parse("imgae=x").unwrap_err().hint.unwrap(), "did you mean `image`?");
        assert!(Override::parse("image").unwrap_err().hint.unwrap().contains("env.NAME"));
        assert!(Override::parse("scaling.replicas=two").is_err());
    }
}

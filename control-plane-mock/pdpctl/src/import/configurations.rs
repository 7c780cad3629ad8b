//! `configurations` of Choreo's `component.yaml`: variables and files, given or declared.

use serde_json::{Value, json};

use super::draft::Draft;
use super::item::{Item, List};
use super::ledger::Ledger;
use super::schema::{any, choice, list, object, text};

/// Of what is declared without a value.
const DECLARED: &str = "declared without a value: each environment must give it one, or a secretRef";

const TYPES: [&str; 6] = ["string", "number", "boolean", "secret", "object", "array"];

pub(super) fn schema() -> Value {
    let reference = || object([("name", text()), ("key", text())], &[]);
    let form = object(
        [("displayName", text()), ("required", choice(["true", "false"])), ("type", choice(TYPES)), ("values", any())],
        &[],
    );
    let from = object([("connectionRef", reference()), ("configGroupRef", reference()), ("configForm", form)], &[]);
    let variable =
        object([("name", text()), ("value", text()), ("valueFrom", from), ("configGroupRef", reference())], &["name"]);
    let file = object(
        [("name", text()), ("mountPath", text()), ("type", choice(["yaml", "json", "toml"])), ("values", any())],
        &["name", "mountPath"],
    );
    object([("env", list(variable)), ("file", list(file))], &[])
}

/// Says of each variable and file what becomes of it.
pub(super) fn propose(tree: &Value, ledger: &mut Ledger, draft: &mut Draft) {
    for (at, variable) in items(tree, "/configurations/env") {
        propose_variable(&at, variable, ledger, draft);
    }
    for (at, file) in items(tree, "/configurations/file") {
        let mut item = Item::new(List::Files);
        let path = joined(file);
        match path {
            Some(path) => {
                let why = "declared without content: each environment must give it some, or a secretRef".to_owned();
                item.join([&format!("{at}/mountPath"), &format!("{at}/name")], "path", json!(path), why);
            }
            None => lacking(&at, file, &mut item),
        }
        draft.add(item);
        for key in ["type", "values"].into_iter().filter(|key| file.get(key).is_some_and(|value| !value.is_null())) {
            let hint = "write the whole file under environments.NAME.files, as content, contentFrom or secretRef";
            ledger.refuse(&format!("{at}/{key}"), "files are not made of single values here", hint);
        }
    }
}

fn propose_variable(at: &str, variable: &Value, ledger: &mut Ledger, draft: &mut Draft) {
    let name = variable.get("name").and_then(Value::as_str);
    let value = variable.get("value").filter(|value| !value.is_null());
    let mut item = Item::new(List::Env);
    let why = if value.is_some() { String::new() } else { DECLARED.to_owned() };
    item.need(&format!("{at}/name"), "name", name.map(|name| json!(name)), why);
    if let Some(value) = value {
        item.ask(&format!("{at}/value"), "value", value.clone(), "", "the variable is declared without a value");
    }
    let shown: String = name.unwrap_or("the variable").chars().take(64).collect();
    let from = format!("{at}/valueFrom");
    for at in [format!("{at}/configGroupRef"), format!("{from}/configGroupRef")] {
        refuse_if_there(&at, variable_at(variable, &at), ledger, || {
            let hint = format!("give {shown} a value or a secretRef under environments.NAME.env");
            ("there are no configuration groups here".to_owned(), hint)
        });
    }
    let connection = format!("{from}/connectionRef");
    refuse_if_there(&connection, variable_at(variable, &connection), ledger, || {
        let hint = format!("give {shown} a value or a secretRef under env, or under environments.NAME.env");
        ("connections are not there yet".to_owned(), hint)
    });
    if let Some(form) = variable.pointer("/valueFrom/configForm").filter(|form| !form.is_null()) {
        propose_form(&format!("{from}/configForm"), form, &shown, &mut item, ledger);
    }
    draft.add(item);
}

/// What `at`, which ends in the same keys, leads to within the variable.
fn variable_at<'a>(variable: &'a Value, at: &str) -> Option<&'a Value> {
    let (above, key) = at.rsplit_once('/')?;
    if above.ends_with("/valueFrom") { variable.get("valueFrom")?.get(key) } else { variable.get(key) }
}

fn refuse_if_there(at: &str, value: Option<&Value>, ledger: &mut Ledger, words: impl Fn() -> (String, String)) {
    if value.is_some_and(|value| !value.is_null()) {
        let (why, hint) = words();
        ledger.refuse(at, why, hint);
    }
}

/// A key that a person is asked for in the console.
fn propose_form(at: &str, form: &Value, name: &str, item: &mut Item, ledger: &mut Ledger) {
    let word = |key: &str| form.get(key).and_then(Value::as_str);
    if form.as_object().is_some_and(serde_json::Map::is_empty) {
        item.also(at, "name");
    }
    if word("displayName").is_some() {
        let hint = "keep it as a comment beside the variable";
        ledger.refuse(&format!("{at}/displayName"), "a variable has no name for people here", hint);
    }
    let required = format!("{at}/required");
    match word("required") {
        Some("true") => item.also(&required, "name"),
        Some(_) => {
            let hint = "remove the variable where the program does without, or give it a value for all environments";
            ledger.refuse(&required, "what is declared here must get a value in each environment", hint);
        }
        None => {
            let why = "true is assumed, as Choreo does: each environment must give it a value".to_owned();
            item.assume(required, "name", why);
        }
    }
    let kind = format!("{at}/type");
    match word("type") {
        None => {}
        Some("string") => item.also(&kind, "name"),
        Some("secret") => {
            let hint = format!("under environments.NAME.env: {{name: {name}, secretRef: {{path: …, key: …}}}}");
            ledger.refuse(&kind, "a secret is named where it lies in the vault, for each environment", hint);
        }
        Some(other) => {
            let why = format!("a variable is text, and nobody checks that it is of type {other}");
            ledger.refuse(&kind, why, "check it when the program starts");
        }
    }
    if form.get("values").is_some_and(|values| !values.is_null()) {
        let why = "values are not held against a list";
        ledger.refuse(&format!("{at}/values"), why, "check it when the program starts");
    }
}

/// Items of a list that are mappings, each with its JSON pointer.
pub(super) fn items<'a>(tree: &'a Value, at: &str) -> impl Iterator<Item = (String, &'a Value)> {
    let all = tree.pointer(at).and_then(Value::as_array).into_iter().flatten().enumerate();
    let at = at.to_owned();
    all.filter(|(_, item)| item.is_object()).map(move |(index, item)| (format!("{at}/{index}"), item))
}

/// Path of a file that is named by its folder and its name.
pub(super) fn joined(file: &Value) -> Option<String> {
    let word = |key: &str| file.get(key).and_then(Value::as_str);
    Some(format!("{}/{}", word("mountPath")?.trim_end_matches('/'), word("name")?))
}

/// A file that lacks its folder or its name, and what it has of them.
pub(super) fn lacking(at: &str, file: &Value, item: &mut Item) {
    for key in ["mountPath", "name"] {
        let value = file.get(key).filter(|value| value.is_string());
        item.need(&format!("{at}/{key}"), "path", value.cloned(), String::new());
    }
}

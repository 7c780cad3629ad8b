//! OpenChoreo's `workload.yaml`: the descriptor beside the source.

use serde_json::{Value, json};

use super::configurations::{items, joined, lacking};
use super::draft::Draft;
use super::endpoints::{self, OPEN_CHOREO};
use super::item::{Item, List};
use super::ledger::Ledger;
use super::schema::{any, choice, list, object, text};

const NO_CONNECTIONS: &str = "connections are not there yet";

const DECLARED: &str = "declared without a value: each environment must give it one, or a secretRef";

pub(super) fn schema() -> Value {
    let secret = || object([("name", text()), ("key", text())], &["name", "key"]);
    let variable = object(
        [("name", text()), ("value", text()), ("valueFrom", object([("secretKeyRef", secret())], &[]))],
        &["name"],
    );
    let file = object(
        [
            ("name", text()),
            ("mountPath", text()),
            ("value", text()),
            ("valueFrom", object([("path", text()), ("secretKeyRef", secret())], &[])),
        ],
        &["name", "mountPath"],
    );
    let bindings = object([("address", text()), ("host", text()), ("port", text()), ("basePath", text())], &[]);
    let endpoint = object(
        [
            ("component", text()),
            ("name", text()),
            ("visibility", text()),
            ("project", text()),
            ("envBindings", bindings),
        ],
        &[],
    );
    object(
        [
            ("apiVersion", text()),
            ("kind", choice(["Workload"])),
            ("metadata", object([("name", text())], &[])),
            ("endpoints", endpoints::schema(&OPEN_CHOREO)),
            ("configurations", object([("env", list(variable)), ("files", list(file))], &[])),
            ("dependencies", object([("endpoints", list(endpoint)), ("resources", any())], &[])),
            ("spec", any()),
        ],
        &[],
    )
}

/// Says of each part what becomes of it.
pub(super) fn propose(tree: &Value, ledger: &mut Ledger, draft: &mut Draft) {
    if tree.get("kind").is_some_and(|kind| !kind.is_null()) {
        ledger.map("/kind", "kind", String::new());
    }
    endpoints::propose(&OPEN_CHOREO, "/endpoints", tree, ledger, draft);
    for (at, variable) in items(tree, "/configurations/env") {
        let mut item = Item::new(List::Env);
        let name = variable.get("name").filter(|name| name.is_string());
        let is_given = ["value", "valueFrom"].iter().any(|key| variable.get(key).is_some_and(|value| !value.is_null()));
        let why = if is_given { "" } else { DECLARED };
        item.need(&format!("{at}/name"), "name", name.cloned(), why.to_owned());
        contents(&at, variable, "value", &mut item);
        draft.add(item);
    }
    for (at, file) in items(tree, "/configurations/files") {
        let mut item = Item::new(List::Files);
        match joined(file) {
            Some(path) => {
                let from = [format!("{at}/mountPath"), format!("{at}/name")];
                item.join([&from[0], &from[1]], "path", json!(path), String::new());
            }
            None => lacking(&at, file, &mut item),
        }
        contents(&at, file, "content", &mut item);
        draft.add(item);
    }
    connections(tree, ledger, draft);
    if tree.get("spec").is_some_and(|spec| !spec.is_null()) {
        let hint = "import the workload.yaml of the repository that it was made from";
        ledger.refuse("/spec", "a descriptor has no spec; the object Workload of a cluster has one", hint);
    }
}

/// Value, secret or file, under `key` or beside it.
fn contents(at: &str, source: &Value, key: &'static str, item: &mut Item) {
    if let Some(value) = source.get("value").filter(|value| !value.is_null()) {
        item.ask(
            &format!("{at}/value"),
            key,
            value.clone(),
            "",
            "it is declared without, and each environment must give it",
        );
    }
    let Some(from) = source.get("valueFrom") else { return };
    if let Some(path) = from.get("path").filter(|path| !path.is_null()) {
        let (why, without) =
            ("that of the file is taken over", "it is declared without, and each environment must give it");
        item.ask(&format!("{at}/valueFrom/path"), "contentFrom", path.clone(), why, without);
    }
    if let Some(secret) = from.get("secretKeyRef").filter(|secret| secret.is_object()) {
        let at = format!("{at}/valueFrom/secretKeyRef");
        let word = |key: &str| secret.get(key).filter(|value| value.is_string()).cloned();
        let why = "the vault's path below the environment's own place: put the secret there, or name where it lies";
        item.need(&format!("{at}/name"), "secretRef/path", word("name"), why.to_owned());
        item.need(&format!("{at}/key"), "secretRef/key", word("key"), String::new());
    }
}

fn connections(tree: &Value, ledger: &mut Ledger, draft: &mut Draft) {
    for (at, connection) in items(tree, "/dependencies/endpoints") {
        for key in ["address", "host", "port", "basePath"] {
            let variable = connection.get("envBindings").and_then(|bindings| bindings.get(key)).and_then(Value::as_str);
            if let Some(variable) = variable {
                draft.declare(&format!("{at}/envBindings/{key}"), variable, DECLARED);
            }
        }
        for key in ["component", "name", "visibility", "project"] {
            if connection.get(key).is_some_and(|value| !value.is_null()) {
                let hint = "give the variables of envBindings their values by hand; `pdpctl status` shows addresses of the same project";
                ledger.refuse(&format!("{at}/{key}"), NO_CONNECTIONS, hint);
            }
        }
    }
    if tree.pointer("/dependencies/resources").is_some_and(|resources| !resources.is_null()) {
        let hint = "write what the program reads under env or files, with value, content or secretRef";
        ledger.refuse("/dependencies/resources", NO_CONNECTIONS, hint);
    }
}

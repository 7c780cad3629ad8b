//! What a Choreo component calls. Connections are not there yet; the variables that they would fill are, so these are declared.

use serde_json::Value;

use super::configurations::items;
use super::draft::Draft;
use super::ledger::Ledger;
use super::schema::{list, object, text};

const WHY: &str = "connections are not there yet";

pub(super) fn schema() -> Value {
    let connection = object([("name", text()), ("resourceRef", text())], &[]);
    object([("connectionReferences", list(connection)), ("serviceReferences", services())], &[])
}

/// Those of the older formats.
pub(super) fn services() -> Value {
    let variable = object([("from", text()), ("to", text())], &[]);
    list(object(
        [("name", text()), ("connectionConfig", text()), ("connectionType", text()), ("env", list(variable))],
        &[],
    ))
}

/// Refuses what is connected and declares the variables that are named.
pub(super) fn propose(at: &str, tree: &Value, ledger: &mut Ledger, draft: &mut Draft) {
    for (at, connection) in items(tree, &format!("{at}/connectionReferences")) {
        ledger.refuse(&at, WHY, variables(connection));
    }
    for (at, service) in items(tree, &format!("{at}/serviceReferences")) {
        for (at, variable) in items(service, "/env").map(|(below, variable)| (format!("{at}{below}"), variable)) {
            let to = variable.get("to").and_then(Value::as_str);
            if let Some(to) = to {
                let why = "declared without a value: each environment must give it one, or a secretRef";
                draft.declare(&format!("{at}/to"), to, why);
            }
            if let Some(from) = variable.get("from").and_then(Value::as_str) {
                let (to, from) = (to.unwrap_or("its variable"), cut(from));
                let hint =
                    format!("give {} what was {from}, as value or secretRef under environments.NAME.env", cut(to));
                ledger.refuse(&format!("{at}/from"), WHY, hint);
            }
        }
        for key in ["name", "connectionConfig", "connectionType"] {
            if service.get(key).is_some_and(|value| !value.is_null()) {
                let hint = "open the way by hand: an address of the same project as `pdpctl status` shows it, or what egress allows";
                ledger.refuse(&format!("{at}/{key}"), WHY, hint);
            }
        }
    }
}

/// What to do for a connection: the variables that it would have filled, as Choreo calls them.
fn variables(connection: &Value) -> String {
    let word = |key: &str| connection.get(key).and_then(Value::as_str).unwrap_or_default();
    let parameters: &[&str] = match word("resourceRef").split(':').next() {
        Some("service") => &["SERVICEURL", "CONSUMERKEY", "CONSUMERSECRET", "TOKENURL", "CHOREOAPIKEY"],
        Some("database") => &["HOSTNAME", "PORT", "USERNAME", "PASSWORD", "DATABASENAME"],
        _ => &["…"],
    };
    let name: String = cut(word("name"))
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    let all: Vec<_> = parameters.iter().map(|parameter| format!("CHOREO_{name}_{parameter}")).collect();
    format!("write those that the program reads under env, with value or secretRef: {}", all.join(", "))
}

/// The beginning of a name that somebody else wrote.
fn cut(name: &str) -> String {
    name.chars().take(64).collect()
}

//! Endpoints: three formats say the same in other words.

use serde_json::{Value, json};

use super::draft::Draft;
use super::item::{Item, List};
use super::ledger::Ledger;
use super::schema::{choice, list, object, port, text};

/// The words of a format. Where several keys say one thing, the first that is there counts.
pub(super) struct Dialect {
    /// Whose format it is.
    platform: &'static str,
    /// Whether an endpoint without a visibility is open to everybody there.
    is_public: bool,
    /// Where port and path stand: below this key, or beside the name.
    service: Option<&'static str>,
    ports: &'static [&'static str],
    paths: &'static [&'static str],
    visibilities: &'static [&'static str],
    contract: &'static str,
    has_display_name: bool,
    /// Theirs and ours.
    kinds: &'static [(&'static str, &'static str)],
    /// Theirs and ours.
    circles: &'static [(&'static str, &'static str)],
}

const CHOREO_KINDS: &[(&str, &str)] =
    &[("REST", "HTTP"), ("GraphQL", "GraphQL"), ("WS", "WebSocket"), ("GRPC", "gRPC"), ("TCP", "TCP"), ("UDP", "UDP")];

/// Kinds that Choreo opens to others than the project.
const CHOREO_OPENS: [&str; 3] = ["REST", "GraphQL", "WS"];

const CHOREO_CIRCLES: &[(&str, &str)] =
    &[("Project", "Project"), ("Organization", "Organization"), ("Public", "Public")];

/// `component.yaml`.
pub(super) const CHOREO: Dialect = Dialect {
    platform: "Choreo",
    is_public: true,
    service: Some("service"),
    ports: &["port"],
    paths: &["basePath"],
    visibilities: &["networkVisibilities", "networkVisibility"],
    contract: "schemaFilePath",
    has_display_name: true,
    kinds: CHOREO_KINDS,
    circles: CHOREO_CIRCLES,
};

/// `component-config.yaml` and `endpoints.yaml`.
pub(super) const CHOREO_BEFORE: Dialect = Dialect {
    service: None,
    paths: &["context"],
    visibilities: &["networkVisibility"],
    has_display_name: false,
    ..CHOREO
};

/// `workload.yaml`.
pub(super) const OPEN_CHOREO: Dialect = Dialect {
    platform: "OpenChoreo",
    is_public: false,
    service: None,
    ports: &["targetPort", "port"],
    paths: &["basePath", "context"],
    visibilities: &["visibility"],
    contract: "schemaFile",
    has_display_name: true,
    kinds: &[
        ("HTTP", "HTTP"),
        ("GraphQL", "GraphQL"),
        ("Websocket", "WebSocket"),
        ("gRPC", "gRPC"),
        ("TCP", "TCP"),
        ("UDP", "UDP"),
    ],
    circles: &[
        ("project", "Project"),
        ("namespace", "Organization"),
        ("internal", "Organization"),
        ("external", "Public"),
    ],
};

/// A list of endpoints.
pub(super) fn schema(dialect: &Dialect) -> Value {
    let ours = |words: &'static [(&str, &str)]| choice(words.iter().map(|(theirs, _)| *theirs));
    let mut all = object([("name", text()), ("type", ours(dialect.kinds))], &["name", "type"]);
    let mut add = |at: &str, key: &str, value: Value| {
        if let Some(properties) = all.pointer_mut(at).and_then(Value::as_object_mut) {
            properties.insert(key.to_owned(), value);
        }
    };
    let mut below = "/properties".to_owned();
    if let Some(service) = dialect.service {
        add(&below, service, object([], &["port"]));
        below = format!("/properties/{service}/properties");
    }
    dialect.ports.iter().for_each(|key| add(&below, key, port()));
    dialect.paths.iter().for_each(|key| add(&below, key, text()));
    for key in dialect.visibilities {
        let circle = ours(dialect.circles);
        add("/properties", key, if *key == "networkVisibility" { circle } else { list(circle) });
    }
    add("/properties", dialect.contract, text());
    if dialect.has_display_name {
        add("/properties", "displayName", text());
    }
    list(all)
}

/// Says of each endpoint below `at` what becomes of it.
pub(super) fn propose(dialect: &Dialect, at: &str, tree: &Value, ledger: &mut Ledger, draft: &mut Draft) {
    let endpoints = tree.pointer(at).and_then(Value::as_array).into_iter().flatten().enumerate();
    for (index, endpoint) in endpoints.filter(|(_, endpoint)| endpoint.is_object()) {
        let at = format!("{at}/{index}");
        let mut item = Item::new(List::Endpoints);
        named(&at, endpoint, &mut item);
        let (below, service) = match dialect.service {
            Some(service) => (format!("{at}/{service}"), endpoint.get(service)),
            None => (at.clone(), Some(endpoint)),
        };
        let first = dialect.ports.iter().find(|key| is_there(service, key)).copied();
        let ports = first.or(dialect.ports.last().copied()).unwrap_or_default();
        let number = service.and_then(|service| service.get(ports)).filter(|port| port.is_number());
        item.need(&format!("{below}/{ports}"), "port", number.cloned(), String::new());
        others(dialect.ports, ports, &below, service, "port", &mut item, ledger);
        let theirs = endpoint.get("type").and_then(Value::as_str);
        let kind = theirs.and_then(|theirs| translated(dialect.kinds, theirs));
        item.need(&format!("{at}/type"), "kind", kind.map(|kind| json!(kind)), String::new());
        if let Some(key) = dialect.paths.iter().find(|key| is_there(service, key))
            && let Some(path) = service.and_then(|service| service.get(key))
        {
            item.have(&format!("{below}/{key}"), "basePath", path.clone(), String::new());
            others(dialect.paths, key, &below, service, "basePath", &mut item, ledger);
        }
        open_to(dialect, &at, endpoint, theirs.unwrap_or_default(), &mut item, ledger);
        if is_there(Some(endpoint), dialect.contract) {
            let contract = format!("{at}/{}", dialect.contract);
            let why = "contracts of endpoints are not kept, and the file that is named here was not read";
            ledger.refuse(&contract, why, "keep the contract in the repository, and give it to callers from there");
        }
        if dialect.has_display_name && is_there(Some(endpoint), "displayName") {
            let why = "an endpoint has no name for people here, only the component has";
            ledger.refuse(&format!("{at}/displayName"), why, "keep it as a comment beside the endpoint");
        }
        draft.add(item);
    }
}

fn is_there(value: Option<&Value>, key: &str) -> bool {
    value.and_then(|value| value.get(key)).is_some_and(|value| !value.is_null())
}

fn translated(words: &[(&'static str, &'static str)], theirs: &str) -> Option<&'static str> {
    words.iter().find(|(word, _)| *word == theirs).map(|(_, ours)| *ours)
}

/// Older formats have names of several words.
fn named(at: &str, endpoint: &Value, item: &mut Item) {
    let at = format!("{at}/name");
    let name = endpoint.get("name").and_then(Value::as_str);
    let plain = name.map(|name| {
        let plain: String =
            name.trim().chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
        // A long name is refused whole.
        if plain.len() > 256 { name.to_owned() } else { plain }
    });
    let why = match (name, &plain) {
        (Some(name), Some(plain)) if name != plain => {
            format!("written as `{plain}`, since a name has letters, digits, - and _ here")
        }
        (_, Some(_) | None) => String::new(),
    };
    item.need(&at, "name", plain.map(|plain| json!(plain)), why);
}

/// Further keys that say what `counts` says.
fn others(
    keys: &[&str],
    counts: &str,
    at: &str,
    service: Option<&Value>,
    to: &'static str,
    item: &mut Item,
    ledger: &mut Ledger,
) {
    for key in keys.iter().filter(|key| **key != counts && is_there(service, key)) {
        let value = |key: &str| service.and_then(|service| service.get(key));
        if value(key) == value(counts) {
            item.also(&format!("{at}/{key}"), to);
        } else if to == "port" {
            let why = format!("an endpoint has one port here, that of the container, which is `{counts}`");
            ledger.refuse(&format!("{at}/{key}"), why, "let callers use that one");
        } else {
            let why = format!("`{counts}` stands beside it and counts");
            ledger.refuse(&format!("{at}/{key}"), why, "remove one of them");
        }
    }
}

/// Who may reach the endpoint.
fn open_to(dialect: &Dialect, at: &str, endpoint: &Value, kind: &str, item: &mut Item, ledger: &mut Ledger) {
    let mut keys = dialect.visibilities.iter().filter(|key| is_there(Some(endpoint), key));
    let Some(key) = keys.next() else {
        let key = dialect.visibilities.first().unwrap_or(&"visibility");
        return assumed(dialect, format!("{at}/{key}"), kind, item);
    };
    for other in keys {
        let why = format!("`{key}` stands beside it and counts");
        ledger.refuse(&format!("{at}/{other}"), why, "remove it");
    }
    let at = format!("{at}/{key}");
    let mut is_said = false;
    let mut circle = |at: &str, theirs: &Value| {
        let Some(ours) = theirs.as_str().and_then(|theirs| translated(dialect.circles, theirs)) else { return };
        is_said = true;
        if ours == "Project" {
            item.have(at, "visibility", json!([ours]), String::new());
        } else {
            item.ask(at, "visibility", json!([ours]), "", "until then the endpoint is open to its project only");
        }
    };
    match endpoint.get(key) {
        Some(Value::Array(circles)) => {
            circles.iter().enumerate().for_each(|(index, theirs)| circle(&format!("{at}/{index}"), theirs));
        }
        Some(one) => circle(&at, one),
        None => {}
    }
    if !is_said {
        assumed(dialect, at, kind, item);
    }
}

/// A file that does not say who may reach an endpoint means something else on each side.
fn assumed(dialect: &Dialect, at: String, kind: &str, item: &mut Item) {
    let Dialect { platform, is_public, .. } = dialect;
    let why = match is_public {
        true if CHOREO_OPENS.contains(&kind) => format!(
            "Project is assumed, as always where nothing is said here; {platform} would have made the endpoint Public"
        ),
        true => format!("Project is assumed, which is all that {platform} has for this type"),
        false => format!("Project is assumed, as {platform} does"),
    };
    item.assume(at, "visibility", why);
}

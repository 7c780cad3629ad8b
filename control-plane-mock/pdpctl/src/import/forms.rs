//! The formats that are read, known by their content; each is its schema and the parts that propose what it says.

use control_plane_model::component::API_VERSION;
use control_plane_model::problem::Problem;
use serde_json::Value;

use super::configurations;
use super::dependencies;
use super::draft::Draft;
use super::endpoints::{self, CHOREO, CHOREO_BEFORE};
use super::ledger::Ledger;
use super::schema::{choice, list, object, text};
use super::workload;

/// `apiVersion` of the older format of Choreo.
const CONFIG_VERSION: &str = "core.choreo.dev/v1beta1";

/// A format, the newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// OpenChoreo's `workload.yaml`.
    Workload,
    /// Choreo's `component.yaml`.
    Component,
    /// Choreo's `component-config.yaml`.
    ComponentConfig,
    /// Choreo's `endpoints.yaml`.
    Endpoints,
}

impl Form {
    /// Every format, the newest first.
    pub(super) const ALL: [Self; 4] = [Self::Workload, Self::Component, Self::ComponentConfig, Self::Endpoints];

    /// What its file is called.
    pub(super) const fn file_name(self) -> &'static str {
        match self {
            Self::Workload => "workload.yaml",
            Self::Component => "component.yaml",
            Self::ComponentConfig => "component-config.yaml",
            Self::Endpoints => "endpoints.yaml",
        }
    }

    /// The format of a tree.
    pub(super) fn of(tree: &Value) -> Result<Self, Problem> {
        let api = tree.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        let group = api.split('/').next().unwrap_or_default();
        if is_own(tree) {
            let problem = Problem::invalid("/apiVersion", "this is a component file already");
            return Err(problem.hint("deploy it: pdpctl deploy -f FILE --environment NAME"));
        }
        match group {
            "openchoreo.dev" => Ok(Self::Workload),
            "core.choreo.dev" => Ok(Self::ComponentConfig),
            _ if tree.get("schemaVersion").is_some() => Ok(Self::Component),
            _ if tree.get("version").is_some() && tree.get("endpoints").is_some() => Ok(Self::Endpoints),
            _ => Err(Problem::invalid("", "this is none of the formats that can be imported").hint(
                "they say what they are: `schemaVersion: 1.2` in component.yaml, `apiVersion: core.choreo.dev/v1beta1` in \
                 component-config.yaml, `version: 0.1` in endpoints.yaml, `apiVersion: openchoreo.dev/v1alpha1` in workload.yaml",
            )),
        }
    }

    /// Where its version stands, and those that are read.
    const fn versions(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Workload => ("apiVersion", &["openchoreo.dev/v1alpha1"]),
            Self::Component => ("schemaVersion", &["1.0", "1.1", "1.2", "1"]),
            Self::ComponentConfig => ("apiVersion", &[CONFIG_VERSION]),
            Self::Endpoints => ("version", &["0.1"]),
        }
    }

    /// Name and version for people.
    ///
    /// # Errors
    /// A version that is not known: what its fields mean is not known then, either.
    pub(super) fn version(self, tree: &Value) -> Result<String, Problem> {
        let (key, known) = self.versions();
        match tree.get(key).and_then(Value::as_str) {
            Some(found) if known.contains(&found) => Ok(format!("{} ({key} {found})", self.file_name())),
            Some(found) => {
                let found: String = found.chars().take(64).collect();
                let readable: Vec<_> = known.iter().filter(|version| **version != "1").copied().collect();
                let problem = Problem::invalid(format!("/{key}"), format!("{key} `{found}` is not known here"));
                Err(problem.hint(format!("versions that are read: {}", readable.join(", "))))
            }
            None => Err(Problem::invalid(format!("/{key}"), format!("{key} is empty")).hint("give it a value")),
        }
    }

    pub(super) fn schema(self) -> Value {
        match self {
            Self::Workload => workload::schema(),
            Self::Component => object(
                [
                    ("schemaVersion", text()),
                    ("endpoints", endpoints::schema(&CHOREO)),
                    ("dependencies", dependencies::schema()),
                    ("configurations", configurations::schema()),
                    ("proxy", proxy()),
                ],
                &[],
            ),
            Self::ComponentConfig => object(
                [
                    ("apiVersion", text()),
                    ("kind", choice(["ComponentConfig"])),
                    ("metadata", object([("name", text())], &[])),
                    (
                        "spec",
                        object(
                            [
                                ("inbound", endpoints::schema(&CHOREO_BEFORE)),
                                ("outbound", object([("serviceReferences", dependencies::services())], &[])),
                            ],
                            &[],
                        ),
                    ),
                ],
                &["spec"],
            ),
            Self::Endpoints => object([("version", text()), ("endpoints", endpoints::schema(&CHOREO_BEFORE))], &[]),
        }
    }

    /// Where the component's own name stands.
    pub(super) const fn own_name(self) -> Option<&'static str> {
        match self {
            Self::Workload | Self::ComponentConfig => Some("/metadata/name"),
            Self::Component | Self::Endpoints => None,
        }
    }

    /// Where its endpoints stand.
    pub(super) const fn endpoints(self) -> &'static str {
        match self {
            Self::Workload | Self::Component | Self::Endpoints => "/endpoints",
            Self::ComponentConfig => "/spec/inbound",
        }
    }

    /// Says of each part what becomes of it.
    pub(super) fn propose(self, tree: &Value, ledger: &mut Ledger, draft: &mut Draft) {
        let (version, _) = self.versions();
        ledger.map(&format!("/{version}"), "apiVersion", String::new());
        match self {
            Self::Workload => workload::propose(tree, ledger, draft),
            Self::Component => {
                endpoints::propose(&CHOREO, self.endpoints(), tree, ledger, draft);
                configurations::propose(tree, ledger, draft);
                dependencies::propose("/dependencies", tree, ledger, draft);
                let hint = "deploy the program that it stands before, or keep the proxy where it is";
                if tree.get("proxy").is_some_and(|proxy| !proxy.is_null()) {
                    ledger.refuse(
                        "/proxy",
                        "an API proxy runs no program of its own, and a component here is one",
                        hint,
                    );
                }
            }
            Self::ComponentConfig => {
                if tree.get("kind").is_some_and(|kind| !kind.is_null()) {
                    ledger.map("/kind", "kind", String::new());
                }
                endpoints::propose(&CHOREO_BEFORE, self.endpoints(), tree, ledger, draft);
                dependencies::propose("/spec/outbound", tree, ledger, draft);
            }
            Self::Endpoints => endpoints::propose(&CHOREO_BEFORE, self.endpoints(), tree, ledger, draft),
        }
    }

    /// Why nothing of the file can be a component.
    pub(super) fn nothing(self, tree: &Value) -> Option<Problem> {
        let is_there = |at: &str| tree.pointer(at).is_some_and(|value| !value.is_null());
        let (at, what, hint) = match self {
            Self::Component if is_there("/proxy") && !is_there("/endpoints") => (
                "/proxy",
                "the file is about an API proxy, which runs no program of its own: no component file is written",
                "deploy the program that it stands before",
            ),
            Self::Workload if is_there("/spec") => (
                "/spec",
                "this is the object Workload of a cluster, not the descriptor beside the source: no component file is written",
                "import the workload.yaml of the repository that it was made from",
            ),
            Self::Workload | Self::Component | Self::ComponentConfig | Self::Endpoints => return None,
        };
        Some(Problem::invalid(at, what).hint(hint))
    }
}

/// Whether it is a component file already.
pub(super) fn is_own(tree: &Value) -> bool {
    let group = |version: &str| version.split('/').next().map(str::to_owned);
    let found = tree.get("apiVersion").and_then(Value::as_str).and_then(group);
    found.is_some() && found == group(API_VERSION)
}

fn proxy() -> Value {
    object(
        [
            ("type", text()),
            ("schemaFilePath", text()),
            ("docPath", text()),
            ("thumbnailPath", text()),
            ("networkVisibilities", list(text())),
        ],
        &[],
    )
}

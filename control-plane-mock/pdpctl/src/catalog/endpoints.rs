//! Endpoints: where components answer, as their data planes say.

use std::collections::BTreeSet;

use clap::Args;
use control_plane_model::{ComponentRow, Environment, ResourceStatus};
use jiff::Timestamp;
use serde::Serialize;

use super::kind::names_of;
use crate::error::Error;
use crate::io::Io;
use crate::output::Format;
use crate::session::Session;
use crate::views::{View, rows_of};

/// One address. In the order of a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
struct Address {
    environment: String,
    component: String,
    endpoint: String,
    /// `v1.0` for that version alone; `v1` for the newest minor version that serves.
    version: String,
    data_plane: String,
    /// URL or host:port inside the cluster.
    address: String,
}

impl View for Address {
    const HEAD: &'static [&'static str] = &["ENVIRONMENT", "COMPONENT", "ENDPOINT", "VERSION", "DATA PLANE", "ADDRESS"];
    const FLOWS: bool = true;

    fn cells(&self, _: Timestamp) -> Vec<String> {
        let Self { environment, component, endpoint, version, data_plane, address } = self.clone();
        vec![environment, component, endpoint, version, data_plane, address]
    }

    fn named(&self) -> String {
        format!("endpoint/{}/{}/{}", self.component, self.endpoint, self.version)
    }
}

/// Addresses of components, for callers in the same environment
///
/// VERSION v1.0 is that version alone, v1 the newest minor version that serves.
#[derive(Debug, Args)]
#[command(visible_aliases = ["endpoint", "ep"])]
pub(crate) struct Get {
    /// Component; all when left out
    #[arg(add = names_of::<ComponentRow>())]
    component: Option<String>,
    /// Environment; all when left out
    #[arg(long, short, value_name = "NAME", add = names_of::<Environment>())]
    environment: Option<String>,
}

impl Get {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        let asked = [("environment", self.environment), ("component", self.component)];
        let query: Vec<_> = asked.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let rows: Vec<ResourceStatus> = session.client.get(&session.in_project(&["status"])?, &query).await?;
        rows_of(io, form, &addresses(&rows))
    }
}

fn addresses(rows: &[ResourceStatus]) -> Vec<Address> {
    let mut found = BTreeSet::new();
    for row in rows {
        let (Some(environment), Some(component), Some(track)) = (&row.environment, &row.component, &row.track) else {
            continue;
        };
        let major = track.split('.').next().unwrap_or_default();
        for endpoint in row.state.iter().flat_map(|state| &state.endpoints) {
            let own = (track.as_str(), Some(&endpoint.address));
            for (version, address) in [own, (major, endpoint.major_address.as_ref())] {
                let Some(address) = address else { continue };
                found.insert(Address {
                    environment: environment.clone(),
                    component: component.clone(),
                    endpoint: endpoint.name.clone(),
                    version: version.to_owned(),
                    data_plane: row.data_plane.clone(),
                    address: address.clone(),
                });
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_of_one_major_version_share_its_address() {
        let row = |track: &str, endpoints: serde_json::Value| -> ResourceStatus {
            serde_json::from_value(json!({
                "dataPlane": "berlin", "connected": true, "kind": "Release", "name": "r", "component": "web", "track": track,
                "environment": "dev", "desired": "Present", "generation": 1, "phase": "Ready", "message": "",
                "state": {"endpoints": endpoints},
            }))
            .unwrap()
        };
        let major = "http://web-http-v1.ns.svc:80/";
        let endpoint = |address: &str| json!([{"name": "http", "address": address, "majorAddress": major}]);
        let rows = [
            row("v1.1", endpoint("http://web-http-v1-1.ns.svc:80/")),
            row("v1.0", endpoint("http://web-http-v1-0.ns.svc:80/")),
            row("v2.0", json!([{"name": "http", "address": "http://web-http-v2-0.ns.svc:80/"}])),
        ];
        let found = addresses(&rows);
        let versions: Vec<_> = found.iter().map(|one| (one.version.as_str(), one.address.as_str())).collect();
        assert_eq!(
            versions,
            [
                ("v1", major),
                ("v1.0", "http://web-http-v1-0.ns.svc:80/"),
                ("v1.1", "http://web-http-v1-1.ns.svc:80/"),
                ("v2.0", "http://web-http-v2-0.ns.svc:80/"),
            ]
        );
    }
}

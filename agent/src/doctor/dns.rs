//! Whether names resolve: in this pod, and in pods of environments, which may ask only where the policy says that the cluster's DNS is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::timeout;

use super::cluster::{Got, got};
use super::{Notes, STEP_LIMIT};
use crate::kinds::DataPlanePolicy;

/// Where a pod is told whom to ask for names.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// A name that every cluster has, in the form that works with any domain of the cluster.
const KNOWN: &str = "kubernetes.default.svc";

/// Address of a DNS cache on the node, which pods of environments always reach. Source: Kubernetes documentation, "Using NodeLocal
/// DNSCache".
const CACHE: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10));

/// Services of the DNS that the chart looks for, as namespace and name.
const SERVICES: [(&str, &str); 2] = [("kube-system", "kube-dns"), ("openshift-dns", "dns-default")];

/// Where the cluster's DNS is, as far as this account can tell.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Behind this Service, by namespace and name; its pods listen on this port.
    Pods {
        namespace: String,
        service: String,
        port: u16,
    },
    /// On the node.
    Cache,
    /// No Service that this looks for has pods.
    Unknown,
    /// This account may not look.
    NotAllowed,
    Failed(String),
}

/// The first nameserver of a `resolv.conf`, where it takes TCP.
#[must_use]
pub fn nameserver(resolv_conf: &str) -> Option<SocketAddr> {
    let mut words = resolv_conf.lines().map(str::split_ascii_whitespace);
    let address = words.find_map(|mut words| {
        let address: IpAddr =
            words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?.parse().ok()?;
        Some(address)
    })?;
    Some(SocketAddr::new(address, 53))
}

/// Checks both. Without a policy the agent does nothing for environments, which is told elsewhere.
pub(super) async fn check(notes: &mut Notes<'_>, client: &Client, policy: Option<&DataPlanePolicy>) {
    let text = tokio::fs::read_to_string(RESOLV_CONF).await.unwrap_or_default();
    let nameserver = nameserver(&text);
    // Outside of pods this name is unknown to a resolver that works.
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        here(notes, nameserver).await;
    }
    if let Some(policy) = policy {
        let place = find(client, nameserver.map(|nameserver| nameserver.ip())).await;
        environments(notes, &place, policy.spec.dns());
    }
}

async fn here(notes: &mut Notes<'_>, nameserver: Option<SocketAddr>) {
    let by = nameserver.map_or_else(|| "no nameserver".to_owned(), |nameserver| nameserver.ip().to_string());
    let wrong = match timeout(STEP_LIMIT, tokio::net::lookup_host((KNOWN, 443))).await {
        Ok(Ok(mut found)) => match found.next() {
            Some(address) => return notes.ok("dns", format!("{KNOWN} is {}, by {by}", address.ip())),
            None => "no address".to_owned(),
        },
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    notes.fail(
        "dns",
        format!("{KNOWN} cannot be resolved by {by}: {wrong}"),
        "look whether the cluster's DNS runs; the chart's NetworkPolicies open port 53 to this pod, and the port that spec.dns of \
         DataPlanePolicy/default names: if its pods listen on another one, name it there, then `helm upgrade`",
    );
}

/// By the Service that has the address of the nameserver; outside of pods that is none of the cluster, so by the usual names.
async fn find(client: &Client, nameserver: Option<IpAddr>) -> Place {
    if nameserver == Some(CACHE) {
        return Place::Cache;
    }
    let mut services = SERVICES.map(|(namespace, name)| (namespace.to_owned(), name.to_owned())).to_vec();
    if let Some(address) = nameserver {
        let selected = ListParams::default().fields(&format!("spec.clusterIP={address}"));
        match got(Api::<Service>::all(client.clone()).list(&selected)).await {
            Got::Found(list) => {
                let found = list.into_iter().find_map(|service| Some((service.namespace()?, service.name_any())));
                if let Some(found) = found {
                    services = vec![found];
                }
            }
            Got::NotAllowed => return Place::NotAllowed,
            Got::Failed(reason) => return Place::Failed(reason),
            Got::Missing => {}
        }
    }
    for (namespace, service) in services {
        let selected = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        match got(Api::<EndpointSlice>::namespaced(client.clone(), &namespace).list(&selected)).await {
            Got::Found(slices) => {
                if let Some(port) = slices.iter().find_map(port) {
                    return Place::Pods { namespace, service, port };
                }
            }
            Got::NotAllowed => return Place::NotAllowed,
            Got::Failed(reason) => return Place::Failed(reason),
            Got::Missing => {}
        }
    }
    Place::Unknown
}

/// On which port the DNS listens. Of the ports of its Service no other one speaks UDP.
fn port(slice: &EndpointSlice) -> Option<u16> {
    let mut ports = slice.ports.iter().flatten();
    ports.find(|port| port.protocol.as_deref() == Some("UDP")).and_then(|port| u16::try_from(port.port?).ok())
}

fn environments(notes: &mut Notes<'_>, place: &Place, (namespace, port): (&str, u16)) {
    let check = "dns-of-environments";
    let unchecked = format!(
        "so it was not checked that pods of environments can ask the cluster's DNS: they may in {namespace} on port {port}"
    );
    match place {
        Place::Pods { namespace: found, service, port: on } if (found.as_str(), *on) == (namespace, port) => {
            notes.ok(check, format!("pods of Service {found}/{service} listen on port {on}, and pods of environments may ask them"));
        }
        Place::Pods { namespace: found, service, port: on } => notes.fail(
            check,
            format!(
                "pods of Service {found}/{service} listen on port {on}, and pods of environments may ask only in {namespace} on port \
                 {port}: they resolve no name"
            ),
            format!("set spec.dns of DataPlanePolicy/default to {{namespace: {found}, port: {on}}}, then `helm upgrade`"),
        ),
        Place::Cache => notes.ok(check, format!("a cache on the node answers ({CACHE}), which pods of environments always reach")),
        Place::Unknown => {
            notes.skip(check, format!("no Service of this cluster is known as that of its DNS, {unchecked}"));
        }
        Place::NotAllowed => notes.skip(
            check,
            format!("this account may not look where the DNS listens, {unchecked}; the operator's may: run this in its pod"),
        ),
        Place::Failed(reason) => notes.skip(check, format!("{reason}; {unchecked}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Group, Report, Status};
    use super::*;
    use crate::kinds::DNS;

    #[test]
    fn the_first_nameserver_counts() {
        for (text, found) in [
            (
                "search a.svc\n# nameserver 10.0.0.1\nnameserver 10.96.0.10\nnameserver 10.96.0.11\n",
                Some("10.96.0.10:53"),
            ),
            ("nameserver\tfd00::a", Some("[fd00::a]:53")),
            ("nameserver dns\n nameserver  10.0.0.1 ", Some("10.0.0.1:53")),
            ("options ndots:5\nnameserver", None),
        ] {
            assert_eq!(nameserver(text).map(|found| found.to_string()).as_deref(), found, "{text}");
        }
    }

    #[test]
    fn the_port_of_the_pods_is_that_by_which_they_speak_udp() {
        let slice = |ports| {
            let slice = json!({"addressType": "IPv4", "metadata": {"name": "a"}, "endpoints": [], "ports": ports});
            port(&serde_json::from_value(slice).unwrap())
        };
        let openshift = json!([
            {"name": "metrics", "protocol": "TCP", "port": 9154}, {"name": "dns-tcp", "protocol": "TCP", "port": 5353},
            {"name": "dns", "protocol": "UDP", "port": 5353},
        ]);
        assert_eq!(slice(openshift), Some(5353));
        assert_eq!(slice(json!(null)), None, "no pod is ready");
    }

    #[test]
    fn a_dns_that_listens_where_no_pod_may_ask_fails_with_what_to_set() {
        let noted = |place: Place, said| {
            let mut report = Report::default();
            environments(&mut Notes { report: &mut report, group: Group::Kubernetes }, &place, said);
            let found = report.checks.remove(0);
            (found.status, format!("{} {}", found.detail, found.hint.unwrap_or_default()))
        };
        let openshift = || Place::Pods { namespace: "openshift-dns".into(), service: "dns-default".into(), port: 5353 };
        assert_eq!(noted(openshift(), ("openshift-dns", 5353)).0, Status::Ok);
        for said in [DNS, ("openshift-dns", 53), ("kube-system", 5353)] {
            let (status, words) = noted(openshift(), said);
            assert_eq!(status, Status::Fail);
            for part in ["openshift-dns/dns-default", "{namespace: openshift-dns, port: 5353}", "helm upgrade"] {
                assert!(words.contains(part), "{words}");
            }
        }
        assert_eq!(noted(Place::Cache, DNS).0, Status::Ok);
        for place in [Place::Unknown, Place::NotAllowed, Place::Failed("no answer in time".into())] {
            let (status, words) = noted(place, DNS);
            assert_eq!(status, Status::Skip);
            assert!(words.contains("not checked") && words.contains("kube-system on port 53"), "{words}");
        }
    }
}

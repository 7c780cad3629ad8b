//! Whom the pods of an environment may reach outside of their namespace. Pure.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::kinds::DNS;

/// Link-local address of a node-local DNS cache. Source: Kubernetes documentation, "Using NodeLocal DNSCache".
const NODE_LOCAL_DNS: &str = "169.254.20.10/32";

/// Ranges that are not on the public internet: private, shared by carriers, link-local. Sources: RFC 1918, RFC 6598, RFC 3927, RFC
/// 4193, RFC 4291.
const PRIVATE: [&str; 7] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7", "fe80::/10"];

/// The names of the cluster and of the world. The pods of the cluster's DNS listen where the customer says, a cache on the node always
/// on 53.
pub(super) fn dns((namespace, port): (&str, u16)) -> Value {
    let on = |port: u16| json!([{"protocol": "UDP", "port": port}, {"protocol": "TCP", "port": port}]);
    let cluster = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}});
    let cache = json!({"ipBlock": {"cidr": NODE_LOCAL_DNS}});
    if (namespace, port) == DNS {
        // As one rule, as it stands in environments that were made before the customer could say so: none of them is written again.
        return json!([{"to": [cluster, cache], "ports": on(port)}]);
    }
    json!([{"to": [cluster], "ports": on(port)}, {"to": [cache], "ports": on(53)}])
}

/// Egress peers: 0.0.0.0/0 and ::/0 except private and internal ranges, then each reachable range except internal ones.
pub(super) fn world(internal: &[String], reachable: &[String]) -> Value {
    let everywhere = |all: &str| {
        let private = PRIVATE.iter().copied().filter(|range| contains(all, range));
        let internal = internal.iter().map(String::as_str).filter(|range| contains(all, range));
        let mut except: Vec<&str> = Vec::new();
        for range in private.chain(internal) {
            if !except.contains(&range) {
                except.push(range);
            }
        }
        json!({"ipBlock": {"cidr": all, "except": except}})
    };
    let named = |range: &String| {
        if internal.iter().any(|internal| contains(internal, range)) {
            return None;
        }
        let except: Vec<_> = internal.iter().filter(|internal| contains(range, internal)).collect();
        Some(if except.is_empty() {
            json!({"ipBlock": {"cidr": range}})
        } else {
            json!({"ipBlock": {"cidr": range, "except": except}})
        })
    };
    ["0.0.0.0/0", "::/0"].map(everywhere).into_iter().chain(reachable.iter().filter_map(named)).collect()
}

/// Whether the range `outer` has every address of `inner`. What is no range contains nothing and is in none.
fn contains(outer: &str, inner: &str) -> bool {
    let parse = |range: &str| {
        let (address, length) = range.split_once('/')?;
        Some((address.parse::<IpAddr>().ok()?, length.parse::<u32>().ok()?))
    };
    let (Some((outer, outer_length)), Some((inner, inner_length))) = (parse(outer), parse(inner)) else {
        return false;
    };
    let (outer, inner, bits) = match (outer, inner) {
        (IpAddr::V4(outer), IpAddr::V4(inner)) => (u128::from(u32::from(outer)), u128::from(u32::from(inner)), 32),
        (IpAddr::V6(outer), IpAddr::V6(inner)) => (u128::from(outer), u128::from(inner), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let start = |address: u128| address.checked_shr(bits - outer_length.min(bits)).unwrap_or(0);
    outer_length <= inner_length && inner_length <= bits && start(outer) == start(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admission_policies_leave_out_the_same_private_ranges() {
        assert_eq!(crate::operator::object::shape::private(), PRIVATE);
    }

    #[test]
    fn names_are_asked_of_pods_where_the_customer_says_on_their_port_and_of_the_nodes_cache_on_its_own() {
        let opened = |place| {
            let mut opened = Vec::new();
            for rule in dns(place).as_array().unwrap() {
                for (peer, port) in rule["to"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .flat_map(|peer| rule["ports"].as_array().unwrap().iter().map(move |port| (peer, port)))
                {
                    let namespace = &peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"];
                    let whom = namespace.as_str().or(peer["ipBlock"]["cidr"].as_str()).unwrap();
                    opened.push(format!("{whom} {} {}", port["protocol"].as_str().unwrap(), port["port"]));
                }
            }
            opened
        };
        let cache = [format!("{NODE_LOCAL_DNS} UDP 53"), format!("{NODE_LOCAL_DNS} TCP 53")];
        for (namespace, port) in [DNS, ("openshift-dns", 5353), ("kube-system", 8053), ("dns", 53)] {
            let pods = ["UDP", "TCP"].map(|protocol| format!("{namespace} {protocol} {port}"));
            assert_eq!(opened((namespace, port)), [pods, cache.clone()].concat());
        }
    }

    #[test]
    fn the_admission_policies_let_names_be_asked_of_the_same_pods() {
        for place in [DNS, ("openshift-dns", 5353), ("kube-system", 8053), ("dns", 53)] {
            assert_eq!(dns(place), crate::operator::object::shape::dns(place));
        }
    }

    #[test]
    fn a_range_is_in_another_if_all_its_addresses_are() {
        for (outer, inner, expected) in [
            ("0.0.0.0/0", "10.0.0.0/8", true),
            ("::/0", "10.0.0.0/8", false),
            ("::/0", "fc00::/7", true),
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/8", "10.0.0.0/8", true),
            ("10.1.0.0/16", "10.0.0.0/8", false),
            ("10.0.0.0/8", "11.0.0.0/16", false),
            ("fc00::/7", "fd00::/8", true),
            ("fe80::/10", "fd00::/8", false),
            ("10.0.0.0", "10.0.0.0/8", false),
            ("10.0.0.0/8", "10.0.0.0/33", false),
        ] {
            assert_eq!(contains(outer, inner), expected, "{outer} {inner}");
        }
    }

    #[test]
    fn private_ranges_of_both_families_are_closed_unless_named_and_internal_ones_always() {
        let internal = ["10.96.0.0/12".to_owned(), "fd00:1::/32".to_owned()];
        let reachable =
            ["10.0.0.0/8".to_owned(), "10.96.1.0/24".to_owned(), "192.168.7.0/24".to_owned(), "fd00:2::/32".to_owned()];
        let to = world(&internal, &reachable);
        let blocks: Vec<(&str, Vec<&str>)> = to
            .as_array()
            .unwrap()
            .iter()
            .map(|peer| {
                let block = &peer["ipBlock"];
                let except = block["except"].as_array().into_iter().flatten().map(|range| range.as_str().unwrap());
                (block["cidr"].as_str().unwrap(), except.collect())
            })
            .collect();
        let [four, six, rest @ ..] = blocks.as_slice() else { panic!("{blocks:?}") };
        assert_eq!(four.0, "0.0.0.0/0");
        assert_eq!(four.1, [&PRIVATE[..5], &["10.96.0.0/12"]].concat());
        assert_eq!(six.0, "::/0");
        assert_eq!(six.1, [&PRIVATE[5..], &["fd00:1::/32"]].concat());
        let expected = [("10.0.0.0/8", vec!["10.96.0.0/12"]), ("192.168.7.0/24", vec![]), ("fd00:2::/32", vec![])];
        assert_eq!(rest, expected, "a named range inside an internal one stays closed");
    }
}

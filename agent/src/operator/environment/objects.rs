//! What an environment's namespace holds before anything runs in it. Pure.
//!
//! RoleBindings come right after the namespace: every other write needs them.

#![expect(clippy::indexing_slicing, reason = "members of JSON objects that are made here")]

use protocol::document::Quota;
use protocol::quantity::Quantity;
use serde_json::{Value, json};

use super::network::{dns, world};
use crate::kinds::labels::{AGENT, INSTALLATION};
use crate::operator::object::fixed::{DEFAULT_LIMITS, DEFAULT_REQUESTS, VAULT_ACCOUNT};
use crate::operator::object::{self, ObjectKind};

use crate::kinds::{ObjectRef, SecurityLevel};

/// What an environment is made of.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Id of the data plane.
    pub data_plane: &'a str,
    /// Value of the label that marks a namespace as this installation's.
    pub agent: &'a str,
    /// Name of the Environment.
    pub name: &'a str,
    pub namespace: &'a str,
    /// Handles of organization, project and environment.
    pub owner: [&'a str; 3],
    /// Namespace of the agent.
    pub agent_namespace: &'a str,
    /// Start of the names of roles and accounts.
    pub fullname: &'a str,
    /// Pod Security level.
    pub level: SecurityLevel,
    /// Limits in sum, as asked; room for a rolling update is added here.
    pub quota: Option<&'a Quota>,
    /// Whether pods may reach the world outside.
    pub egress: bool,
    /// Ranges that they never reach. None: not known, so the world outside stays closed.
    pub internal_ranges: Option<&'a [String]>,
    /// Private ranges that they may reach beside the world, but for internal ones.
    pub reachable_ranges: &'a [String],
    /// Namespace and port of the pods of the cluster's DNS.
    pub dns: (&'a str, u16),
    /// Whether the link may read logs.
    pub logs: bool,
}

/// What shall be there, in order, and what shall not.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The namespace first, then RoleBindings, then the rest.
    pub present: Vec<Value>,
    /// Objects that other settings would have made.
    pub absent: Vec<ObjectRef>,
}

/// A namespace of an environment, and whose rights are bound in it.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    /// Id of the data plane.
    pub data_plane: &'a str,
    /// Name of the Environment.
    pub name: &'a str,
    pub namespace: &'a str,
    /// Where the agent's accounts are.
    pub agent_namespace: &'a str,
    /// What the agent's names begin with.
    pub fullname: &'a str,
}

/// The operator's own rights in an environment. An Absent document suffices to make it.
#[must_use]
pub fn rights(grant: &Grant<'_>) -> Value {
    bind(grant, "workloads", "operator")
}

fn bind(grant: &Grant<'_>, role: &str, account: &str) -> Value {
    let role = format!("{}-{role}", grant.fullname);
    let account = json!({"kind": "ServiceAccount", "name": format!("{}-{account}", grant.fullname), "namespace": grant.agent_namespace});
    let labels = object::environment_labels(grant.data_plane, grant.name);
    let mut made = object::head(ObjectKind::RoleBinding, &role, Some(grant.namespace), &labels);
    made["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
    made["subjects"] = json!([account]);
    made
}

/// Everything of an environment.
#[must_use]
pub fn wanted(input: &Input<'_>) -> Wanted {
    let make = |kind: ObjectKind, name: &str, body: Value| {
        let labels = object::environment_labels(input.data_plane, input.name);
        let mut made = object::head(kind, name, Some(input.namespace), &labels);
        if let (Some(made), Value::Object(body)) = (made.as_object_mut(), body) {
            made.extend(body);
        }
        made
    };
    let mut present = vec![namespace(input)];
    let mut absent = Vec::new();
    let grant = Grant {
        data_plane: input.data_plane,
        name: input.name,
        namespace: input.namespace,
        agent_namespace: input.agent_namespace,
        fullname: input.fullname,
    };
    present.push(rights(&grant));
    if input.logs {
        present.push(bind(&grant, "logs", "link"));
    } else {
        absent.push(ObjectKind::RoleBinding.named(&format!("{}-logs", input.fullname)));
    }
    for account in ["default", VAULT_ACCOUNT] {
        present.push(make(ObjectKind::ServiceAccount, account, json!({"automountServiceAccountToken": false})));
    }
    match input.quota.and_then(hard) {
        Some(hard) => present.push(make(ObjectKind::ResourceQuota, "pdp-quota", json!({"spec": {"hard": hard}}))),
        None => absent.push(ObjectKind::ResourceQuota.named("pdp-quota")),
    }
    let limits = json!([{
        "type": "Container",
        "default": {"cpu": DEFAULT_LIMITS.0, "memory": DEFAULT_LIMITS.1},
        "defaultRequest": {"cpu": DEFAULT_REQUESTS.0, "memory": DEFAULT_REQUESTS.1},
    }]);
    present.push(make(ObjectKind::LimitRange, "pdp-defaults", json!({"spec": {"limits": limits}})));
    let policy = |name: &str, spec: Value| make(ObjectKind::NetworkPolicy, name, json!({"spec": spec}));
    // Set as empty lists: a field that we leave out could be set by others and would not count as drift.
    let nothing = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": []});
    present.push(policy("pdp-default-deny", nothing));
    present.push(policy("pdp-dns", json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": dns(input.dns)})));
    let own = json!([{"podSelector": {}}]);
    present.push(policy(
        "pdp-own-namespace",
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{"from": own}], "egress": [{"to": own}]}),
    ));
    match input.internal_ranges.filter(|_| input.egress) {
        Some(ranges) => {
            let to = world(ranges, input.reachable_ranges);
            let spec = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": to}]});
            present.push(policy("pdp-world", spec));
        }
        None => absent.push(ObjectKind::NetworkPolicy.named("pdp-world")),
    }
    Wanted { present, absent }
}

fn namespace(input: &Input<'_>) -> Value {
    let [organization, project, environment] = input.owner;
    let mut namespace = object::head(
        ObjectKind::Namespace,
        input.namespace,
        None,
        &object::environment_labels(input.data_plane, input.name),
    );
    let level = match input.level {
        SecurityLevel::Restricted => "restricted",
        SecurityLevel::Baseline => "baseline",
    };
    let labels = &mut namespace["metadata"]["labels"];
    for (key, value) in [
        (INSTALLATION, input.data_plane),
        (AGENT, input.agent),
        ("pdp-agent.dev/organization", organization),
        ("pdp-agent.dev/project", project),
        ("pdp-agent.dev/environment-name", environment),
        ("pod-security.kubernetes.io/enforce", level),
        ("pod-security.kubernetes.io/enforce-version", "latest"),
        ("pod-security.kubernetes.io/warn", "restricted"),
    ] {
        labels[key] = json!(value);
    }
    namespace
}

/// The quota's hard limits, with room for the surge of a rolling update.
fn hard(quota: &Quota) -> Option<Value> {
    let Quota { cpu, memory, pods } = quota;
    let room =
        |text: &String| Quantity::parse(text).map_or_else(|| text.clone(), |amount| amount.with_surge().to_string());
    let mut hard = serde_json::Map::new();
    if let Some(cpu) = cpu {
        hard.insert("limits.cpu".to_owned(), json!(room(cpu)));
    }
    if let Some(memory) = memory {
        hard.insert("limits.memory".to_owned(), json!(room(memory)));
    }
    if let Some(pods) = pods {
        hard.insert("pods".to_owned(), json!(room(&pods.to_string())));
    }
    (!hard.is_empty()).then_some(Value::Object(hard))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota, ServiceAccount};
    use k8s_openapi::api::networking::v1::NetworkPolicy;
    use k8s_openapi::api::rbac::v1::RoleBinding;
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::kinds::DNS;
    use crate::operator::object::compare::drift;

    fn input() -> Input<'static> {
        Input {
            data_plane: "dp1",
            agent: "pdp-agent.pdp-agent",
            name: "shop-dev",
            namespace: "dp-acme-shop-dev-fd039d72",
            owner: ["acme", "shop", "dev"],
            agent_namespace: "pdp-agent",
            fullname: "pdp-agent",
            level: SecurityLevel::Restricted,
            quota: None,
            egress: false,
            internal_ranges: None,
            reachable_ranges: &[],
            dns: DNS,
            logs: false,
        }
    }

    #[test]
    fn an_environment_with_everything_is_made_as_recorded() {
        let quota = Quota { cpu: Some("4".to_owned()), memory: Some("8Gi".to_owned()), pods: Some(20) };
        let ranges = ["10.0.0.0/8".to_owned(), "fd00::/8".to_owned(), "169.254.0.0/16".to_owned()];
        let input = Input { quota: Some(&quota), egress: true, internal_ranges: Some(&ranges), logs: true, ..input() };
        insta::assert_yaml_snapshot!(wanted(&input).present);
    }

    fn pdp_dns(place: (&'static str, u16)) -> Value {
        let wanted = wanted(&Input { dns: place, ..input() }).present;
        wanted.into_iter().find(|object| object["metadata"]["name"] == "pdp-dns").unwrap()
    }

    #[test]
    fn names_of_a_cluster_whose_dns_is_elsewhere_are_asked_as_recorded() {
        insta::assert_yaml_snapshot!(pdp_dns(("openshift-dns", 5353)));
    }

    #[test]
    fn when_the_customer_says_another_place_of_the_dns_what_stood_before_is_a_difference() {
        let places = [DNS, ("openshift-dns", 5353), ("openshift-dns", 53), ("kube-system", 5353)];
        for (one, other) in places.iter().flat_map(|one| places.map(|other| (*one, other))) {
            assert_eq!(drift(&pdp_dns(one), &pdp_dns(other)).is_empty(), one == other, "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_is_not_asked_for_is_absent() {
        let absent: Vec<String> = wanted(&input()).absent.into_iter().map(|object| object.name).collect();
        assert_eq!(absent, ["pdp-agent-logs", "pdp-quota", "pdp-world"]);
    }

    #[test]
    fn the_world_stays_closed_while_internal_ranges_are_not_known() {
        let open = Input { egress: true, ..input() };
        assert!(wanted(&open).absent.contains(&ObjectKind::NetworkPolicy.named("pdp-world")));
    }

    #[test]
    fn role_bindings_come_before_everything_but_the_namespace() {
        let kinds: Vec<String> =
            wanted(&input()).present.iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kinds[..3], ["Namespace", "RoleBinding", "ServiceAccount"]);
    }

    #[test]
    fn rights_for_a_removal_are_those_of_the_preparation() {
        let grant = Grant {
            data_plane: "dp1",
            name: "shop-dev",
            namespace: "dp-acme-shop-dev-fd039d72",
            agent_namespace: "pdp-agent",
            fullname: "pdp-agent",
        };
        assert_eq!(wanted(&input()).present[1], rights(&grant));
    }

    #[test]
    fn every_field_is_on_the_list_that_the_admission_policies_are_made_from() {
        let quota = Quota { cpu: Some("4".to_owned()), memory: Some("8Gi".to_owned()), pods: Some(20) };
        let ranges = ["10.0.0.0/8".to_owned(), "fd00::/8".to_owned()];
        let full = Input { quota: Some(&quota), egress: true, internal_ranges: Some(&ranges), logs: true, ..input() };
        let elsewhere = Input { dns: ("openshift-dns", 5353), ..input() };
        let all = [full, input(), elsewhere].map(|input| wanted(&input).present);
        for object in all.iter().flat_map(|present| &present[1..]) {
            let outside = crate::operator::object::shape::outside(object);
            assert_eq!(outside, [""; 0], "{} is refused", object["metadata"]["name"]);
        }
    }

    #[test]
    fn no_field_is_misspelt() {
        fn reads_whole<T: DeserializeOwned + Serialize>(object: &Value) {
            let typed: T = serde_json::from_value(object.clone()).unwrap();
            assert_eq!(serde_json::to_value(typed).unwrap(), *object);
        }
        let quota = Quota { cpu: Some("1".to_owned()), memory: None, pods: Some(1) };
        for object in wanted(&Input { quota: Some(&quota), logs: true, ..input() }).present {
            match object["kind"].as_str().unwrap() {
                "Namespace" => reads_whole::<Namespace>(&object),
                "RoleBinding" => reads_whole::<RoleBinding>(&object),
                "ServiceAccount" => reads_whole::<ServiceAccount>(&object),
                "ResourceQuota" => reads_whole::<ResourceQuota>(&object),
                "LimitRange" => reads_whole::<LimitRange>(&object),
                "NetworkPolicy" => reads_whole::<NetworkPolicy>(&object),
                other => panic!("{other} is not checked"),
            }
        }
    }
}

//! What the chart renders, without a cluster: its rights against a committed copy, its definitions against the agent's types,
//! its values against their schema. Needs Helm: the test bed's, or `helm` on the path.
//!
//! `UPDATE_GOLDEN=1 cargo test -p tests --test chart` writes the committed copies anew; the difference belongs in a review.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod chart {
    mod asked;
    mod refusals;
    pub(crate) mod rendering;
    pub(crate) mod rights_page;
}

use chart::rendering::{VARIANTS, chart, golden, helm, objects, of_kind, parse, rendered, root, strings, template};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value};

#[test]
fn the_chart_carries_the_definitions_that_the_agent_was_built_with() {
    let folder = chart().join("files/crds");
    let definitions = pdp_agent::kinds::crds().unwrap();
    let mut expected = Vec::new();
    for definition in &definitions {
        let file = format!("{}.yaml", definition.metadata.name.as_deref().unwrap());
        golden(&folder.join(&file), &serde_saphyr::to_string(&serde_json::to_value(definition).unwrap()).unwrap());
        expected.push(file);
    }
    let installed = rendered("minimal");
    for definition in definitions {
        let name = definition.metadata.name.unwrap();
        let installed = installed.iter().find(|object| object["metadata"]["name"] == name.as_str()).unwrap();
        let typed: CustomResourceDefinition = serde_json::from_value(installed.clone()).unwrap();
        assert!(typed.spec == definition.spec, "{name} is rendered differently");
        let annotations = &installed["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/resource-policy"], "keep", "{name} would be deleted with the release");
        for (key, value) in definition.metadata.annotations.unwrap() {
            assert_eq!(annotations[&key], value.as_str(), "{name}: {key}");
        }
    }
    let mut found: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn the_rights_are_the_committed_ones() {
    for (variant, file) in [("minimal", "chart-rights.yaml"), ("full", "chart-rights-full.yaml")] {
        let kinds = ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ValidatingAdmissionPolicy"];
        let mut wanted: Vec<Value> = rendered(variant);
        wanted.retain(|object| kinds.iter().any(|kind| object["kind"] == *kind));
        let mut parts: Vec<String> = Vec::new();
        for mut object in wanted {
            object["metadata"].as_object_mut().unwrap().remove("labels");
            parts.push(serde_saphyr::to_string(&object).unwrap());
        }
        parts.sort();
        golden(&root().join("tests/golden").join(file), &parts.join("---\n"));
    }
}

#[test]
fn the_page_of_rights_lists_what_the_chart_renders_and_nothing_else() {
    let page = std::fs::read_to_string(root().join("docs/rights.md")).unwrap();
    let (told, told_policies) = chart::rights_page::read(&page);
    let (made, made_policies) = chart::rights_page::rendered(&rendered("full"), "north");
    let differ = |one: &std::collections::BTreeSet<_>, other| one.difference(other).cloned().collect::<Vec<_>>();
    assert!(made.len() > 100, "only {} rights are rendered", made.len());
    assert_eq!(differ(&made, &told), [], "rendered and not on the page");
    assert_eq!(differ(&told, &made), [], "on the page and not rendered");
    assert_eq!(told_policies, made_policies, "admission policies");
}

#[test]
fn no_right_is_a_wildcard_and_none_leads_to_more_rights() {
    for variant in VARIANTS {
        let objects = rendered(variant);
        let roles: Vec<_> = of_kind(&objects, "Role").into_iter().chain(of_kind(&objects, "ClusterRole")).collect();
        assert!(roles.len() >= 5, "{variant}: {} roles", roles.len());
        for role in roles {
            let name = role["metadata"]["name"].as_str().unwrap();
            for rule in role["rules"].as_array().unwrap() {
                let (groups, resources) = (strings(&rule["apiGroups"]), strings(&rule["resources"]));
                let (verbs, named) = (strings(&rule["verbs"]), !strings(&rule["resourceNames"]).is_empty());
                let at = format!("{variant} {name} {rule}");
                let all: Vec<_> = [&groups[..], &resources, &verbs].concat();
                assert!(!all.iter().any(|word| word.contains('*')), "wildcard in {at}");
                assert!(!verbs.is_empty() && !resources.is_empty() && !groups.is_empty(), "empty list in {at}");
                // An empty list of names means every name.
                assert!(rule.get("resourceNames").is_none_or(|names| !strings(names).is_empty()), "no names in {at}");
                for verb in ["escalate", "impersonate", "approve", "sign", "deletecollection"] {
                    assert!(!verbs.contains(&verb), "{verb} in {at}");
                }
                assert!(!verbs.contains(&"bind") || named, "bind without names in {at}");
                for resource in
                    ["pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers", "nodes/proxy"]
                {
                    assert!(!resources.contains(&resource), "{resource} in {at}");
                }
                if resources.contains(&"secrets") {
                    assert!(!verbs.contains(&"list") && !verbs.contains(&"watch"), "Secrets are never listed: {at}");
                    // The one role that may name any Secret is bound in environments only.
                    assert!(named || name.ends_with("-workloads"), "Secrets without names in {at}");
                }
                if resources.contains(&"serviceaccounts/token") {
                    assert_eq!(strings(&rule["resourceNames"]), ["pdp-vault"], "{at}");
                }
            }
        }
        for binding in of_kind(&objects, "ClusterRoleBinding") {
            assert!(binding["roleRef"]["name"].as_str().unwrap().ends_with("-operator"), "{binding}");
        }
    }
}

#[test]
fn the_link_has_no_right_outside_its_namespace() {
    for variant in ["minimal", "full", "openshift"] {
        let objects = rendered(variant);
        let is_link = |subject: &Value| subject["name"].as_str().unwrap().ends_with("-link");
        let bound = |kind: &str| {
            let all = of_kind(&objects, kind);
            all.into_iter()
                .filter(|b| b["subjects"].as_array().unwrap().iter().any(is_link))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert!(bound("ClusterRoleBinding").is_empty(), "{variant}");
        let bindings = bound("RoleBinding");
        assert_eq!(bindings.len(), 1, "{variant}");
        assert_eq!(bindings[0]["metadata"]["namespace"], "pdp-agent", "{variant}");
    }
}

#[test]
fn no_admission_policy_takes_parameters_or_fails_open() {
    // With a parameter kind that is gone, the API server refuses the matched requests of everybody.
    for variant in ["minimal", "full", "openshift"] {
        let objects = rendered(variant);
        let policies = of_kind(&objects, "ValidatingAdmissionPolicy");
        assert_eq!(policies.len(), 11, "{variant}");
        for policy in policies {
            let name = policy["metadata"]["name"].as_str().unwrap();
            assert!(policy["spec"].get("paramKind").is_none(), "{name}");
            assert_eq!(policy["spec"]["failurePolicy"], "Fail", "{name}");
            let condition = policy["spec"]["matchConditions"][0]["expression"].as_str().unwrap_or_default();
            let fullname = if variant == "full" { "north" } else { "pdp-agent" };
            let role = if name.ends_with("-link") { "link" } else { "operator" };
            let account = format!("request.userInfo.username == 'system:serviceaccount:pdp-agent:{fullname}-{role}'");
            assert!(
                name.ends_with("-definitions") || condition == account,
                "{name} matches others than the {role}: {condition}"
            );
            let bound = of_kind(&objects, "ValidatingAdmissionPolicyBinding")
                .into_iter()
                .any(|b| b["spec"]["policyName"] == name && b["spec"]["validationActions"][0] == "Deny");
            assert!(bound, "{name} is not in force");
        }
    }
}

#[test]
fn policies_and_operator_are_given_the_same_word_and_it_fits_a_label() {
    let long = "a-namespace-whose-name-has-the-length-that-a-name-may-have-63-x";
    assert_eq!(long.len(), 63);
    let mut seen = std::collections::BTreeSet::new();
    for (namespace, name) in [("pdp-agent", "pdp-agent"), (long, "north"), (long, "south"), ("pdp-agent", "north")] {
        let more = ["--namespace", namespace, "--set", &format!("fullnameOverride={name}")];
        let text = template("minimal", &more).unwrap();
        let objects = objects(&text);
        let pods =
            of_kind(&objects, "Deployment").into_iter().map(|one| &one["spec"]["template"]["spec"]["containers"][0]);
        let words: Vec<&str> = pods
            .flat_map(|container| container["env"].as_array().unwrap())
            .filter(|variable| variable["name"] == "PDP_NAMESPACE_LABEL")
            .map(|variable| variable["value"].as_str().unwrap())
            .collect();
        assert!(words.len() == 2 && words[0] == words[1], "{words:?}");
        let word = words[0];
        assert!(word.len() <= 63 && word.starts_with(namespace.get(..9).unwrap()), "{word}");
        assert!(word.len() == 63 || word == format!("{namespace}.{name}"), "{word}");
        assert!(seen.insert(word.to_owned()), "{word} stands for two installations");
        for policy in ["namespaces", "rbac", "tokens", "objects"] {
            let policies = of_kind(&objects, "ValidatingAdmissionPolicy");
            let policy =
                policies.into_iter().find(|one| one["metadata"]["name"] == format!("{name}-{policy}")).unwrap();
            assert!(policy["spec"]["validations"].to_string().contains(&format!("== '{word}'")), "{policy}");
        }
    }
}

#[test]
fn a_field_that_the_customer_allows_is_let_through_and_no_other() {
    let expression = |more: &[&str], path: &str| {
        let objects = objects(&template("minimal", more).unwrap());
        let policies = of_kind(&objects, "ValidatingAdmissionPolicy");
        let policy = policies.into_iter().find(|one| one["metadata"]["name"] == "pdp-agent-pod-templates").unwrap();
        let start = format!("pod templates of pdp-agent: {path} has only");
        let all = policy["spec"]["validations"].as_array().unwrap();
        let one = all.iter().find(|one| one["message"].as_str().unwrap().starts_with(&start));
        one.map(|one| one["expression"].as_str().unwrap().to_owned()).unwrap_or_default()
    };
    let allow = |path: &str| format!("admissionPolicies.podTemplates.allow[0]={path}");
    assert!(!expression(&[], "spec").contains("tolerations"));
    assert!(expression(&["--set", &allow("spec.tolerations")], "spec").contains("'tolerations'"));
    let nested = expression(&["--set", &allow("spec.containers[].stdin")], "spec.containers[]");
    assert!(nested.contains("'stdin'"), "{nested}");
    // A field that is allowed with one value only may have any once the customer lists it.
    let dns = |more: &[&str]| expression(more, "spec").contains("ClusterFirst");
    assert!(dns(&[]) && !dns(&["--set", &allow("spec.dnsPolicy")]));
    assert!(!expression(&[], "spec.volumes[]").is_empty());
    assert!(expression(&["--set", &allow("spec.volumes")], "spec.volumes[]").is_empty());
    for wrong in ["tolerations", "spec", "spec.containers[]", "spec.x'y"] {
        assert!(template("minimal", &["--set", &allow(wrong)]).is_err(), "{wrong} was accepted");
    }
}

#[test]
fn every_variant_lints_and_its_pods_pass_pod_security_restricted() {
    for variant in VARIANTS {
        let values = chart().join(format!("ci/{variant}-values.yaml"));
        let lint = ["lint", "--strict", "--kube-version", "1.35.0", "--values", values.to_str().unwrap()];
        helm(&[&lint[..], &[chart().to_str().unwrap()]].concat()).unwrap();
        let objects = rendered(variant);
        let deployments = of_kind(&objects, "Deployment");
        assert_eq!(deployments.len(), if variant == "single" { 1 } else { 2 }, "{variant}");
        for deployment in deployments {
            let pod = &deployment["spec"]["template"]["spec"];
            let at = format!("{variant} {}", deployment["metadata"]["name"]);
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{at}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{at}");
            assert_eq!(pod["securityContext"].get("runAsUser").is_none(), variant == "openshift", "{at}");
            for container in pod["containers"].as_array().unwrap() {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{at}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{at}");
                assert_eq!(strings(&context["capabilities"]["drop"]), ["ALL"], "{at}");
            }
        }
        let labels: Vec<_> = of_kind(&objects, "Namespace");
        assert!(labels.is_empty(), "the agent's namespace is the customer's");
    }
}

#[test]
fn what_the_customer_owns_is_made_once_and_never_deleted() {
    let objects = rendered("minimal");
    for kind in ["DataPlane", "DataPlanePolicy"] {
        let annotations = &of_kind(&objects, kind)[0]["metadata"]["annotations"];
        // Hooks are no part of the release, so neither upgrade nor uninstall touches them.
        assert_eq!(annotations["helm.sh/hook"], "post-install,post-upgrade", "{kind}");
        assert!(
            !annotations["helm.sh/hook-delete-policy"].as_str().unwrap().contains("before-hook-creation"),
            "{kind}"
        );
    }
    let identity =
        objects.iter().find(|o| o["kind"] == "Secret" && o["metadata"]["name"] == "pdp-agent-identity").unwrap();
    assert_eq!(identity["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    for field in ["data", "stringData"] {
        assert!(identity.get(field).is_none(), "an upgrade would overwrite the key");
    }
    for lease in of_kind(&objects, "Lease") {
        assert!(lease.get("spec").is_none(), "an upgrade would overwrite the holder");
    }
}

#[test]
fn what_is_the_customers_from_the_start_is_not_made_and_rights_follow_the_values_all_the_same() {
    let rendered = |set: &str| objects(&template("full", &["--set", set]).unwrap());
    let with = rendered("policy.create=true");
    for (create, kind) in [("policy.create", "DataPlanePolicy"), ("dataPlane.create", "DataPlane")] {
        let without = rendered(&format!("{create}=false"));
        assert_eq!(with.len(), without.len() + 1);
        let missing: Vec<_> = with.iter().filter(|object| !without.contains(object)).collect();
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert_eq!(missing[0]["kind"], kind);
    }
    let without_hooks = objects(&template("full", &["--no-hooks"]).unwrap());
    assert!(of_kind(&without_hooks, "DataPlanePolicy").is_empty() && of_kind(&without_hooks, "DataPlane").is_empty());
}

#[test]
fn the_policy_in_the_cluster_is_what_the_values_say() {
    let objects = rendered("full");
    let made = of_kind(&objects, "DataPlanePolicy")[0];
    let values = parse(&std::fs::read_to_string(chart().join("ci/full-values.yaml")).unwrap());
    assert_eq!(made["spec"], values["policy"]);
    let typed: pdp_agent::kinds::DataPlanePolicySpec = serde_json::from_value(made["spec"].clone()).unwrap();
    assert_eq!(typed.registries.len(), 2);
}

#[test]
fn the_proxys_password_is_read_from_a_secret_by_what_talks_to_the_outside_and_stands_nowhere() {
    let objects = rendered("full");
    let environment = |deployment: &str| {
        let deployment = of_kind(&objects, "Deployment").into_iter().find(|one| one["metadata"]["name"] == deployment);
        deployment.unwrap()["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap().clone()
    };
    let link = environment("north-link");
    let at = |name: &str| link.iter().position(|variable| variable["name"] == name).unwrap();
    assert_eq!(link[at("HTTPS_PROXY")]["value"], "http://$(PROXY_USER):$(PROXY_PASSWORD)@proxy.customer.test:3128");
    for (variable, key) in [("PROXY_USER", "user"), ("PROXY_PASSWORD", "password")] {
        let reference = &link[at(variable)]["valueFrom"]["secretKeyRef"];
        assert_eq!((&reference["name"], &reference["key"]), (&"proxy".into(), &key.into()));
        // The kubelet expands only variables that are defined before.
        assert!(at(variable) < at("HTTPS_PROXY"));
    }
    assert!(!environment("north-operator").iter().any(|variable| variable.to_string().contains("PROXY")));
    // Without a Secret the address is as it was given.
    let plain = template("minimal", &["--set", "proxy.url=http://proxy.test:3128"]).unwrap();
    assert!(plain.contains("value: \"http://proxy.test:3128\"") && !plain.contains("PROXY_PASSWORD"), "{plain}");
}

#[test]
fn every_value_is_in_the_schema_and_in_the_readme() {
    let text = |name: &str| std::fs::read_to_string(chart().join(name)).unwrap();
    let schema: Value = serde_json::from_str(&text("values.schema.json")).unwrap();
    let Value::Object(values) = parse(&text("values.yaml")) else { panic!("values.yaml is no map") };
    let readme = text("README.md");
    check(&schema, &schema, &values, "", &readme);

    fn check(root: &Value, schema: &Value, values: &Map<String, Value>, at: &str, readme: &str) {
        for (key, value) in values {
            let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
            let mut entry = schema["properties"].get(key).unwrap_or_else(|| panic!("{path} is not in the schema"));
            if let Some(reference) = entry["$ref"].as_str() {
                entry = root.pointer(reference.trim_start_matches('#')).unwrap();
            }
            let inner = value.as_object().filter(|_| entry["additionalProperties"] == false && key != "resources");
            match inner {
                Some(inner) => check(root, entry, inner, &path, readme),
                None => assert!(readme.contains(&format!("| `{path}` |")), "{path} is not in the README"),
            }
        }
    }
}

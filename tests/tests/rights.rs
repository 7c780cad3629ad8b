//! What the accounts of a real installation can and cannot do: the chart, installed by Helm on the test cluster, against an
//! attacker who holds their tokens. No agent runs here (zero replicas), so each request is the test's own.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

mod rights {
    pub(crate) mod account;
    pub(crate) mod asking;
    pub(crate) mod attacks;
    pub(crate) mod bodies;
    pub(crate) mod cycle;
    pub(crate) mod gates;
    pub(crate) mod granting;
    pub(crate) mod installation;
    pub(crate) mod isolation;
    pub(crate) mod links;
    pub(crate) mod neighbours;
    pub(crate) mod page;
    pub(crate) mod rendered;
    pub(crate) mod running;
    pub(crate) mod shapes;
    pub(crate) mod statuses;
    pub(crate) mod workloads;
}

use rights::asking::{CANARY, LIMIT, all_refused, all_served, allowed_path, customers_marks, lease};
use rights::attacks::{self, Places};
use rights::bodies;
use rights::installation::Installation;
use rights::{cycle, links, neighbours, page, running};
use serde_json::{Value, json};
use tests::testbed::wait_until;

#[tokio::test]
async fn the_operators_token_finds_no_way_to_a_secret_in_kube_system() {
    let installation = Installation::new("rights-operator").await;
    let canary = installation.canary(CANARY).await;
    let operator = installation.account("operator").await;
    let places = Places { agent: installation.namespace.clone(), ours: installation.ours("a"), secret: canary.clone() };
    allowed_path(&operator, &places).await;
    customers_marks(installation.admin(), &places.ours, true).await;
    installation
        .apply(&json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "customers", "namespace": places.ours}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
        }))
        .await;

    let mut attacks = attacks::all(&places);
    let held = lease(installation.admin(), &places.agent, "operator").await;
    attacks.extend(links::on_lease(&places, "operator", &held, attacks::MARKS));
    assert!(attacks.len() >= 165, "{} attacks", attacks.len());
    all_served(installation.admin(), &attacks).await;
    all_refused(&operator, &attacks).await;

    // After the attacks the operator's regular requests still work, and so does the deletion of the namespace.
    customers_marks(installation.admin(), &places.ours, false).await;
    let answer = operator.get(&format!("/api/v1/namespaces/{}/secrets/config", places.ours)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = operator.delete(&format!("/api/v1/namespaces/{}", places.ours)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    installation.close().await;
}

#[tokio::test]
async fn two_installations_on_one_cluster_stay_out_of_each_others_environments() {
    let both = [Installation::new("rights-east").await, Installation::new("rights-west").await];
    let mut places = Vec::new();
    for installation in &both {
        let operator = installation.account("operator").await;
        let place =
            Places { agent: installation.namespace.clone(), ours: installation.ours("a"), secret: String::new() };
        allowed_path(&operator, &place).await;
        let key = json!({"metadata": {"name": "pdp-key"}, "stringData": {"key": CANARY}});
        let answer = operator.post(&format!("/api/v1/namespaces/{}/secrets", place.ours), &key).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        places.push(place);
    }
    for (me, other) in [(0, 1), (1, 0)] {
        let (operator, theirs) = (both[me].account("operator").await, &places[other].ours);
        all_refused(&operator, &neighbours::all(&places[me], theirs, false)).await;
        // A role that somebody bound there by mistake: RBAC would let the requests through, the policies do not.
        both[me].bind(theirs, "workloads", "operator").await;
        let token = format!("/api/v1/namespaces/{theirs}/serviceaccounts/pdp-vault/token");
        wait_until(LIMIT, "the binding to be in force", async || {
            let answer = operator.post(&token, &bodies::token("vault", 600)).await;
            if answer.text.contains(attacks::NO_RIGHT) { Err(answer.text) } else { Ok(()) }
        })
        .await
        .unwrap();
        all_refused(&operator, &neighbours::all(&places[me], theirs, true)).await;
    }
    for installation in both {
        installation.close().await;
    }
}

#[tokio::test]
async fn a_namespace_of_an_earlier_version_is_taken_over_once_and_by_its_own_data_plane_only() {
    let installation = Installation::new("rights-old").await;
    let operator = installation.account("operator").await;
    let places = Places { agent: installation.namespace.clone(), ours: installation.ours("a"), secret: String::new() };
    allowed_path(&operator, &places).await;
    let old = async |name: &str, data_plane: &str| {
        let mut labels = bodies::labels(&installation.name);
        labels.as_object_mut().unwrap().remove("pdp-agent.dev/agent");
        labels["pdp-agent.dev/installation"] = data_plane.into();
        installation.apply(&bodies::namespace(name, &labels)).await;
    };
    let [mine, anothers, nobodys] = ["mine", "anothers", "nobodys"].map(|suffix| installation.ours(suffix));
    old(&mine, "data-plane-1").await;
    old(&anothers, "data-plane-2").await;
    old(&nobodys, "local").await;
    // Nothing says yet which data plane this is, so all three are refused.
    for name in [&mine, &anothers, &nobodys] {
        all_refused(&operator, &neighbours::old(&places, name)).await;
    }
    installation.enrolled_as("data-plane-1").await;
    installation.upgrade(&["--set", "log.level=debug"]).await;
    let word = json!({"metadata": {"labels": {"pdp-agent.dev/agent": format!("{0}.{0}", installation.name)}}});
    wait_until(LIMIT, "the new policy to be in force", async || {
        let answer = operator.patch(&format!("/api/v1/namespaces/{mine}"), &word).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text) }
    })
    .await
    .unwrap();
    for name in [&anothers, &nobodys] {
        all_refused(&operator, &neighbours::old(&places, name)).await;
    }
    let answer = operator.delete(&format!("/api/v1/namespaces/{mine}?dryRun=All")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    for name in [&mine, &anothers, &nobodys] {
        installation.remove_namespace(name).await;
    }
    installation.close().await;
}

#[tokio::test]
async fn what_a_person_has_set_on_a_workload_is_in_nobodys_way_and_stays_as_it_is() {
    let installation = Installation::new("rights-person").await;
    let operator = installation.account("operator").await;
    let places = Places { agent: installation.namespace.clone(), ours: installation.ours("a"), secret: String::new() };
    allowed_path(&operator, &places).await;
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/allowed", places.ours);
    // Its controller writes to it at the same time.
    wait_until(LIMIT, "a person's change to be taken", async || {
        let mut found = installation.admin().get(&path).await.json();
        found["metadata"]["annotations"]["bank.test/owner"] = "payments".into();
        let template = &mut found["spec"]["template"];
        template["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "2030-01-01T00:00:00Z".into();
        template["spec"]["nodeSelector"] = json!({"disk": "fast"});
        template["spec"]["containers"][0]["stdin"] = true.into();
        template["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = true.into();
        template["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "side", "image": "busybox:1"}));
        let answer = installation.admin().put(&path, &found).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text) }
    })
    .await
    .unwrap();

    // Its controller notes which revision it is; that is not the operator's to remove.
    let noted = wait_until(LIMIT, "the controller to have noted the revision", async || {
        let found = installation.admin().get(&path).await.json();
        let done = found["status"]["observedGeneration"] == found["metadata"]["generation"]
            && found["metadata"]["annotations"]["deployment.kubernetes.io/revision"].is_string();
        if done { Ok(found) } else { Err(found["metadata"].to_string()) }
    })
    .await
    .unwrap();
    let with = |pointer: &str, value: Value| {
        let mut changed = noted.clone();
        changed["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        *changed.pointer_mut(pointer).unwrap() = value;
        changed
    };
    let dry = format!("{path}?dryRun=All");
    let image = format!("registry.customer.test:5000/none@sha256:{}", "1".repeat(64));
    let rolled = operator.put(&dry, &with("/spec/template/spec/containers/0/image", json!(image))).await;
    assert_eq!(rolled.status, 200, "{}", rolled.text);
    for (pointer, value) in [
        ("/spec/template/spec/nodeSelector/disk", json!("slow")),
        ("/spec/template/spec/containers/1/image", json!("busybox:2")),
        ("/spec/template/spec/containers/1/name", json!("other")),
        ("/spec/template/spec/containers/0/securityContext/readOnlyRootFilesystem", json!(false)),
        ("/metadata/annotations/bank.test~1owner", json!("")),
    ] {
        let answer = operator.put(&dry, &with(pointer, value)).await;
        assert_eq!(answer.status, 403, "{pointer} was taken: {}", answer.text);
    }
    installation.close().await;
}

#[tokio::test]
async fn an_operator_whose_policies_are_gone_does_nothing_until_they_are_back() {
    let installation = Installation::new("rights-cage").await;
    let (name, admin) = (&installation.name, installation.admin());
    let kinds = format!("/apis/pdp-agent.dev/v1alpha1/namespaces/{}", installation.namespace);
    installation.enrolled_as(name).await;
    let made = pdp_agent::operator::object::fixed::namespace_name("acme", name, "dev");
    let environment = json!({
        "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Environment", "metadata": {"name": "dev"},
        "spec": {"state": "Present", "organization": "acme", "project": name, "environment": "dev", "egress": true},
    });
    assert_eq!(admin.post(&format!("{kinds}/environments"), &environment).await.status, 201);
    let condition = async |path: &str, kind: &str, status: &str| {
        wait_until(2 * LIMIT, &format!("{kind}={status} of {path}"), async || {
            let object = admin.get(&format!("{kinds}/{path}")).await.json();
            let mut all = object["status"]["conditions"].as_array().into_iter().flatten();
            let found = all.find(|one| one["type"] == kind).cloned().unwrap_or_default();
            if found["status"] == status { Ok(found) } else { Err(object["status"].to_string()) }
        })
        .await
        .unwrap()
    };
    let operator = installation.account("operator").await;
    let [binding, _] = pdp_agent::operator::installation::confined::trials(&installation.namespace, name);
    let bindings = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings", installation.namespace);
    let tried = async |what: &str, refused: bool| {
        wait_until(LIMIT, what, async || {
            let answer = operator.post(&format!("{bindings}?dryRun=All"), &binding).await;
            let by_policy = answer.status != 201 && answer.text.contains("ValidatingAdmissionPolicy");
            if by_policy == refused && (refused || answer.status == 201) { Ok(()) } else { Err(answer.text) }
        })
        .await
        .unwrap();
    };
    // The API server learns of policies by its own watch; until then they look as if they were gone.
    tried("the policies to be in force", true).await;
    for policy in ["rbac", "objects"] {
        let path = format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/{name}-{policy}");
        assert_eq!(admin.delete(&path).await.status, 200);
    }
    tried("the policies to be gone", false).await;
    let running = running::start(&installation, &operator);
    let confined = condition("dataplanes/default", "Confined", "False").await;
    assert_eq!(confined["reason"], "NotConfined", "{confined}");
    assert!(confined["message"].as_str().unwrap().contains("helm upgrade"), "{confined}");
    condition("dataplanes/default", "OperatorReady", "False").await;
    assert_eq!(admin.get(&format!("/api/v1/namespaces/{made}")).await.status, 404, "it worked all the same");

    installation.upgrade(&[]).await;
    condition("dataplanes/default", "Confined", "True").await;
    // The policies accept everything that the operator's code writes with its own account.
    condition("environments/dev", "Ready", "True").await;
    let policy = format!("/apis/networking.k8s.io/v1/namespaces/{made}/networkpolicies/pdp-world");
    assert_eq!(admin.get(&policy).await.status, 200);
    let absent = json!({"spec": {"state": "Absent", "organization": null, "project": null, "environment": null, "egress": null}});
    let answer = admin.patch(&format!("{kinds}/environments/dev"), &absent).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    wait_until(2 * LIMIT, "the namespace to be gone", async || {
        let answer = admin.get(&format!("/api/v1/namespaces/{made}")).await;
        if answer.status == 404 { Ok(()) } else { Err(answer.text) }
    })
    .await
    .unwrap();
    running.stop().await;
    installation.close().await;
}

#[test]
fn the_page_of_rights_lists_every_attack() {
    let table = page::attacks();
    let file = tests::installation::artifacts::file("docs/rights.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let (begin, end) = ("<!-- attacks: written by a test -->\n", "<!-- end of attacks -->");
    let (before, rest) = page.split_once(begin).expect("the page has a place for the attacks");
    let (found, after) = rest.split_once(end).expect("the place ends");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, format!("{before}{begin}{table}{end}{after}")).unwrap();
        return;
    }
    let hint = "UPDATE_GOLDEN=1 cargo test -p tests --test rights the_page_of_rights";
    assert!(found == table, "docs/rights.md lists other attacks than are tried; {hint}");
}

#[tokio::test]
async fn each_account_has_the_committed_rights_and_no_other() {
    let installation = Installation::new("rights-list").await;
    let environment = installation.ours("b");
    installation.environment(&environment, &["workloads", "logs"]).await;
    let mut text = String::new();
    for role in ["link", "operator"] {
        let account = installation.account(role).await;
        // The API server learns of the binding by its own watch.
        wait_until(LIMIT, "the binding to be in force", async || {
            let (bound, elsewhere) = (account.rules(&environment).await, account.rules("kube-system").await);
            if bound.len() > elsewhere.len() { Ok(()) } else { Err(bound.join("\n")) }
        })
        .await
        .unwrap();
        for (title, namespace) in [
            ("its own namespace", installation.namespace.as_str()),
            ("an environment", &environment),
            ("kube-system", "kube-system"),
        ] {
            let rules = account.rules(namespace).await;
            text.push_str(&format!("# {role} in {title}\n{}\n", rules.join("\n")));
        }
    }
    let text = text.replace(&installation.name, "NAME");
    let file = tests::installation::artifacts::file("tests/golden/rights-reviewed.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    let hint = "if the change is meant: UPDATE_GOLDEN=1 cargo test -p tests --test rights";
    assert!(text == committed, "{} differs from what the API server says:\n{text}\n{hint}", file.display());
    installation.remove_namespace(&environment).await;
    installation.close().await;
}

#[tokio::test]
async fn the_links_token_finds_no_way_out_of_its_own_namespace() {
    let installation = Installation::new("rights-link").await;
    let secret = installation.canary(CANARY).await;
    let places = Places { agent: installation.namespace.clone(), ours: installation.ours("a"), secret };
    let quiet = installation.ours("quiet");
    links::bait(&installation, &places, &quiet).await;
    let link = installation.account("link").await;
    links::allowed_path(&link, &places).await;

    let held = lease(installation.admin(), &places.agent, "link").await;
    let attacks = links::all(&places, &quiet, &held);
    assert!(attacks.len() >= 400, "{} attacks", attacks.len());
    all_served(installation.admin(), &attacks).await;
    // The API server compiles new policies when it hears of them.
    let made = attacks.iter().find(|attack| attack.title == "creates a Release with a pause").unwrap();
    wait_until(LIMIT, "the policies to be in force", async || {
        let answer = link.send(made).await;
        if answer.status == 403 { Ok(()) } else { Err(answer.text) }
    })
    .await
    .unwrap();
    all_refused(&link, &attacks).await;

    links::allowed_path(&link, &places).await;
    // A Lease that somebody deleted is made again.
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{0}/leases/{0}-link", places.agent);
    assert_eq!(installation.admin().delete(&path).await.status, 200);
    let made = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": format!("{}-link", places.agent)}});
    let answer = link.put(&path, &made).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    installation.close().await;
}

#[tokio::test]
async fn the_links_token_changes_nothing_that_the_operator_or_a_person_wrote() {
    let installation = Installation::new("rights-status").await;
    let link = installation.account("link").await;
    let kinds = format!("/apis/pdp-agent.dev/v1alpha1/namespaces/{}", installation.namespace);
    let mut survivors = Vec::new();
    for written in rights::statuses::all() {
        written.make(installation.admin(), &kinds).await;
        // The API server compiles new policies when it hears of them.
        wait_until(LIMIT, "the policies to be in force", async || {
            let survivors = written.survivors(&link, &kinds).await;
            if survivors.len() < 5 { Ok(()) } else { Err(survivors.join("\n")) }
        })
        .await
        .unwrap();
        survivors.extend(written.survivors(&link, &kinds).await);
        written.acknowledged(&link, &kinds).await;
        written.remove(installation.admin(), &kinds).await;
    }
    assert!(survivors.is_empty(), "{} were let through:\n{}", survivors.len(), survivors.join("\n"));
    installation.close().await;
}

#[tokio::test]
async fn uninstalling_keeps_definitions_objects_policy_and_key_and_installing_again_finds_them() {
    cycle::uninstalled_and_installed_again(Installation::new("rights-cycle").await).await;
}

#[tokio::test]
async fn what_was_made_before_the_data_plane_was_enrolled_stays_its_own_and_gets_its_id() {
    cycle::enrolled_later(Installation::new("rights-local").await).await;
}

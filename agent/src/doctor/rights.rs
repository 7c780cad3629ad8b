//! What the accounts may do, asked of the API server without doing it.
//!
//! The table repeats what the chart grants, for the parts that the roles cannot work without; an end-to-end test runs it
//! against a real installation, so the two cannot drift apart unseen.

use futures::StreamExt as _;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::{DynamicObject, PostParams};
use kube::{Api, Client};
use tokio::time::timeout;

use super::{Notes, STEP_LIMIT};
use crate::cli::DoctorArgs;
use crate::kinds::GROUP;
use crate::operator::installation::confined;
use crate::operator::object;
use crate::telemetry::chain;

/// Questions that are asked at the same time.
const AT_ONCE: usize = 8;

/// One line of the table: `group`, resource (with sub-resource), verbs, and where.
#[derive(Debug, Clone, Copy)]
struct Line {
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    scope: Scope,
}

#[derive(Debug, Clone, Copy)]
enum Scope {
    /// Everywhere.
    Cluster,
    /// In the agent's namespace.
    Own,
    /// One object there, `<fullname>-<suffix>`.
    Named(&'static str),
    /// One object outside of namespaces, `<fullname>-<suffix>`.
    ClusterNamed(&'static str),
}

const fn line(group: &'static str, resource: &'static str, verbs: &'static [&'static str], scope: Scope) -> Line {
    Line { group, resource, verbs, scope }
}

const READ: &[&str] = &["get", "list", "watch"];
const DOCUMENTS: &[&str] = &["get", "list", "watch", "create", "update", "delete"];
const FOLLOW: &[&str] = &["list", "watch"];
const MANAGE: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

const LINK: &[Line] = &[
    line(GROUP, "environments", DOCUMENTS, Scope::Own),
    line(GROUP, "releases", DOCUMENTS, Scope::Own),
    line(GROUP, "taskruns", DOCUMENTS, Scope::Own),
    line(GROUP, "dataplanes", READ, Scope::Own),
    line(GROUP, "dataplanepolicies", READ, Scope::Own),
    line(GROUP, "dataplanes/status", &["update"], Scope::Own),
    line(GROUP, "environments/status", &["update"], Scope::Own),
    line(GROUP, "releases/status", &["update"], Scope::Own),
    line(GROUP, "taskruns/status", &["update"], Scope::Own),
    line("coordination.k8s.io", "leases", &["get", "create", "update"], Scope::Named("link")),
    line("", "secrets", &["get", "update"], Scope::Named("identity")),
];

const OPERATOR: &[Line] = &[
    line(GROUP, "environments", READ, Scope::Own),
    line(GROUP, "releases", READ, Scope::Own),
    line(GROUP, "taskruns", READ, Scope::Own),
    line(GROUP, "dataplanes", READ, Scope::Own),
    line(GROUP, "dataplanepolicies", READ, Scope::Own),
    line(GROUP, "dataplanes/status", &["update"], Scope::Own),
    line(GROUP, "environments/status", &["update"], Scope::Own),
    line(GROUP, "releases/status", &["update"], Scope::Own),
    line(GROUP, "taskruns/status", &["update"], Scope::Own),
    line("coordination.k8s.io", "leases", &["get", "create", "update"], Scope::Named("operator")),
    line("", "namespaces", MANAGE, Scope::Cluster),
    line("rbac.authorization.k8s.io", "rolebindings", MANAGE, Scope::Cluster),
    line("rbac.authorization.k8s.io", "clusterroles", &["bind"], Scope::ClusterNamed("workloads")),
    line("rbac.authorization.k8s.io", "clusterroles", &["bind"], Scope::ClusterNamed("logs")),
];

/// What the operator's watches need: a list that is not allowed holds up its start for ever.
fn watches() -> impl Iterator<Item = Line> {
    object::ObjectKind::followed().map(|kind| {
        let (version, _, plural) = kind.names();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        line(group, plural, FOLLOW, Scope::Cluster)
    })
}

/// What a person needs to install the chart.
const INSTALL: &[Line] = &[
    line("", "namespaces", &["get", "create"], Scope::Cluster),
    line("apiextensions.k8s.io", "customresourcedefinitions", &["get", "create", "patch"], Scope::Cluster),
    line("rbac.authorization.k8s.io", "clusterroles", &["create", "escalate", "bind"], Scope::Cluster),
    line("rbac.authorization.k8s.io", "clusterrolebindings", &["create"], Scope::Cluster),
    line("admissionregistration.k8s.io", "validatingadmissionpolicies", &["create"], Scope::Cluster),
    line("admissionregistration.k8s.io", "validatingadmissionpolicybindings", &["create"], Scope::Cluster),
    line("rbac.authorization.k8s.io", "roles", &["create"], Scope::Own),
    line("apps", "deployments", &["create"], Scope::Own),
    line("", "secrets", &["create"], Scope::Own),
    line("", "serviceaccounts", &["create"], Scope::Own),
];

/// The account that the API server authenticates this process as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// The link's account, which never talks to the vault.
    Link,
    /// The operator's account, or a person.
    Other,
}

/// Checks the role of the account that this runs as, or both roles when it runs as a person.
pub(super) async fn check(notes: &mut Notes<'_>, client: &Client, args: &DoctorArgs) -> Account {
    let whoami = Api::<SelfSubjectReview>::all(client.clone());
    let me = match timeout(STEP_LIMIT, whoami.create(&PostParams::default(), &SelfSubjectReview::default())).await {
        Ok(Ok(review)) => review.status.and_then(|status| status.user_info?.username).unwrap_or_default(),
        Ok(Err(error)) => {
            notes.fail("account", chain(&error), "check the account's token");
            return Account::Other;
        }
        Err(_) => {
            notes.fail("account", "no answer in time", "see above");
            return Account::Other;
        }
    };
    notes.ok("account", format!("this is {me}"));
    if args.pre {
        role(notes, client, args, "install", INSTALL, None).await;
        return Account::Other;
    }
    let account = |role: &str| format!("system:serviceaccount:{}:{}-{role}", args.namespace, args.fullname);
    let (link, operator) = (account("link"), account("operator"));
    let person = me != link && me != operator;
    if me == link || person {
        role(notes, client, args, "link", LINK, person.then_some(&link)).await;
    }
    if me == operator {
        confinement(notes, client, args).await;
    }
    if me == operator || person {
        let lines: Vec<Line> = OPERATOR.iter().copied().chain(watches()).collect();
        role(notes, client, args, "operator", &lines, person.then_some(&operator)).await;
    }
    if me == link { Account::Link } else { Account::Other }
}

/// Whether the admission policies confine the operator's account: tries, as a dry run, what they must refuse.
async fn confinement(notes: &mut Notes<'_>, client: &Client, args: &DoctorArgs) {
    if !args.admission_policies {
        notes.warn(
            "confinement",
            "the chart was installed without admission policies: the agent's own code alone keeps it out of other namespaces",
            "set admissionPolicies.enabled, unless something equal is in force",
        );
        return;
    }
    for trial in confined::trials(&args.namespace, &args.fullname) {
        let Some((kind, _)) = object::reference(&trial) else { continue };
        let Ok(made) = serde_json::from_value::<DynamicObject>(trial.clone()) else { continue };
        let api: Api<DynamicObject> = match made.metadata.namespace.as_deref() {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind.api_resource()),
            None => Api::all_with(client.clone(), &kind.api_resource()),
        };
        let parameters = PostParams { dry_run: true, field_manager: None };
        let refusal = match timeout(STEP_LIMIT, api.create(&parameters, &made)).await {
            Ok(Ok(_)) => None,
            Ok(Err(kube::Error::Api(status))) => Some(status.message.clone()),
            Ok(Err(error)) => return notes.skip("confinement", chain(&error)),
            Err(_) => return notes.skip("confinement", "no answer in time"),
        };
        if let Err(why) = confined::judge(&trial, &args.fullname, refusal.as_deref()) {
            let said = refusal.map_or_else(String::new, |words| format!(": {words}"));
            let found = format!("{}{said}", why.message);
            return notes.fail("confinement", found, "let `helm upgrade` make the admission policies again");
        }
    }
    notes.ok("confinement", "the admission policies refuse what the operator's account must not do");
}

/// One finding if all is allowed, else one for each missing right. `user`: asks for that account instead of our own.
async fn role(
    notes: &mut Notes<'_>,
    client: &Client,
    args: &DoctorArgs,
    check: &'static str,
    lines: &[Line],
    user: Option<&String>,
) {
    let questions = lines.iter().flat_map(|line| questions(line, args));
    let answers: Vec<(ResourceAttributes, Result<bool, String>)> = futures::stream::iter(questions)
        .map(|question| async {
            let answer = ask(client, &question, user).await;
            (question, answer)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let count = answers.len();
    let mut missing: Vec<ResourceAttributes> = Vec::new();
    for (question, answer) in answers {
        match answer {
            Ok(true) => {}
            Ok(false) => missing.push(question),
            Err(reason) => {
                notes.skip(check, format!("rights cannot be asked for: {reason}"));
                return;
            }
        }
    }
    let hint = if args.pre {
        "ask somebody who administers the cluster"
    } else {
        "let `helm upgrade` restore the chart's roles"
    };
    match missing.len() {
        0 => notes.ok(check, format!("all {count} rights are there")),
        all if all == count => notes.fail(check, format!("has none of its {count} rights"), hint),
        _ => {
            for same_object in missing.chunk_by(|a, b| ResourceAttributes { verb: b.verb.clone(), ..a.clone() } == *b) {
                notes.fail(check, format!("may not {}", describe(same_object)), hint);
            }
        }
    }
}

fn questions(line: &Line, args: &DoctorArgs) -> Vec<ResourceAttributes> {
    let (resource, subresource) = match line.resource.split_once('/') {
        Some((resource, sub)) => (resource, Some(sub.to_owned())),
        None => (line.resource, None),
    };
    let (namespace, name) = match line.scope {
        Scope::Cluster => (None, None),
        Scope::Own => (Some(args.namespace.clone()), None),
        Scope::Named(suffix) => (Some(args.namespace.clone()), Some(format!("{}-{suffix}", args.fullname))),
        Scope::ClusterNamed(suffix) => (None, Some(format!("{}-{suffix}", args.fullname))),
    };
    let question = |verb: &&str| ResourceAttributes {
        group: Some(line.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: subresource.clone(),
        verb: Some((*verb).to_owned()),
        namespace: namespace.clone(),
        name: name.clone(),
        ..ResourceAttributes::default()
    };
    line.verbs.iter().map(question).collect()
}

async fn ask(client: &Client, question: &ResourceAttributes, user: Option<&String>) -> Result<bool, String> {
    let resource_attributes = Some(question.clone());
    let allowed = |status: Option<SubjectAccessReviewStatus>| status.is_some_and(|status| status.allowed);
    let parameters = PostParams::default();
    let answer = async {
        if let Some(user) = user {
            let groups = Some(vec!["system:serviceaccounts".to_owned(), "system:authenticated".to_owned()]);
            let spec =
                SubjectAccessReviewSpec { user: Some(user.clone()), groups, resource_attributes, ..Default::default() };
            let review = SubjectAccessReview { spec, ..Default::default() };
            Api::all(client.clone()).create(&parameters, &review).await.map(|review| allowed(review.status))
        } else {
            let spec = SelfSubjectAccessReviewSpec { resource_attributes, ..Default::default() };
            let review = SelfSubjectAccessReview { spec, ..Default::default() };
            Api::all(client.clone()).create(&parameters, &review).await.map(|review| allowed(review.status))
        }
    };
    match timeout(STEP_LIMIT, answer).await {
        Ok(answer) => answer.map_err(|error| chain(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Rights that differ in the verb only, worded so that they follow "may not".
fn describe(questions: &[ResourceAttributes]) -> String {
    let Some(question) = questions.first() else { return String::new() };
    let verbs: Vec<&str> = questions.iter().filter_map(|question| question.verb.as_deref()).collect();
    let mut text = format!("{} {}", verbs.join(", "), question.resource.as_deref().unwrap_or_default());
    if let Some(sub) = &question.subresource {
        text.push_str(&format!("/{sub}"));
    }
    if let Some(group) = question.group.as_ref().filter(|group| !group.is_empty()) {
        text.push_str(&format!(" ({group})"));
    }
    if let Some(name) = &question.name {
        text.push_str(&format!(" {name}"));
    }
    match &question.namespace {
        Some(namespace) => text.push_str(&format!(" in {namespace}")),
        None => text.push_str(" in the cluster"),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_said_in_words() {
        let args = DoctorArgs {
            pre: false,
            output: crate::cli::Output::Text,
            namespace: "pdp".into(),
            fullname: "agent".into(),
            admission_policies: true,
            control_plane_url: None,
            ca_bundle_file: None,
            pins: Vec::new(),
        };
        let said = |line: &Line| describe(&questions(line, &args));
        assert_eq!(said(&LINK[9]), "get, create, update leases (coordination.k8s.io) agent-link in pdp");
        assert_eq!(said(&LINK[5]), "update dataplanes/status (pdp-agent.dev) in pdp");
        let deployments = watches().find(|line| line.resource == "deployments").unwrap();
        assert_eq!(said(&deployments), "list, watch deployments (apps) in the cluster");
    }

    #[test]
    fn the_chart_lets_the_operator_watch_what_it_watches_and_no_other_kind() {
        let role = include_str!("../../../helm/pdp-agent/templates/operator-role.yaml");
        let mut granted = Vec::new();
        let (mut group, mut resources) = ("", "");
        for line in role.lines().map(str::trim) {
            if let Some(words) = line.strip_prefix("- apiGroups: [") {
                group = words.trim_end_matches(']').trim_matches('"');
            } else if let Some(words) = line.strip_prefix("resources: [") {
                resources = words.trim_end_matches(']');
            } else if line.starts_with("verbs: [") && line.contains("list, watch") {
                granted.extend(resources.split(", ").map(|resource| (group.to_owned(), resource.to_owned())));
            }
        }
        let mut watched: Vec<_> = watches().map(|line| (line.group.to_owned(), line.resource.to_owned())).collect();
        // Our own kinds are granted in the agent's namespace.
        granted.retain(|(group, _)| group != GROUP);
        granted.sort();
        watched.sort();
        assert_eq!(granted, watched);
    }

    #[test]
    fn the_link_is_asked_for_nothing_outside_its_namespace_and_nobody_for_all_secrets() {
        assert!(LINK.iter().all(|line| matches!(line.scope, Scope::Own | Scope::Named(_))));
        assert!(
            LINK.iter().chain(OPERATOR).all(|line| line.resource != "secrets" || matches!(line.scope, Scope::Named(_)))
        );
    }
}

//! Checks whether the admission policies confine this account, by a dry run of what they must refuse.
//!
//! Helm creates accounts before policies, and policies can be removed by mistake. RBAC lets the account create namespaces and bind
//! its own role anywhere, so it is a policy that refuses these two trials; it has to be one of ours, since somebody else's may be
//! gone tomorrow.

use serde_json::{Value, json};

use crate::kinds::conditions::Reason;
use crate::operator::cluster::{ApiError, Class, Cluster};
use crate::operator::object::{self, ObjectKind};
use crate::settings::Settings;

/// What the policies were found to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confinement {
    /// The chart was installed without them.
    NotAsked,
    /// They refuse what they must.
    Holds,
    /// They do not.
    Fails(Reason),
}

/// What has to be refused: one more right outside of environments, and a namespace that looks like an environment's and has no
/// agent's label.
#[must_use]
pub fn trials(namespace: &str, fullname: &str) -> [Value; 2] {
    let name = format!("{fullname}-confined");
    let labels = std::collections::BTreeMap::new();
    let mut binding = object::head(ObjectKind::RoleBinding, &name, Some(namespace), &labels);
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("{fullname}-workloads")});
    let account = json!({"kind": "ServiceAccount", "name": format!("{fullname}-operator"), "namespace": namespace});
    if let Some(binding) = binding.as_object_mut() {
        binding.insert("roleRef".to_owned(), role);
        binding.insert("subjects".to_owned(), json!([account]));
    }
    let stranger = object::head(ObjectKind::Namespace, &format!("dp-{name}"), None, &labels);
    [binding, stranger]
}

/// Judges a trial by the message of its refusal; `refusal` is none if it was not refused.
///
/// # Errors
/// None of our policies refused it.
pub fn judge(trial: &Value, fullname: &str, refusal: Option<&str>) -> Result<(), Reason> {
    let kind = trial.get("kind").and_then(Value::as_str).unwrap_or_default();
    let help = "what runs goes on and nothing is written; `helm upgrade` makes the policies again";
    match refusal {
        Some(words) if words.contains(&format!("ValidatingAdmissionPolicy '{fullname}-")) => Ok(()),
        // The message shows which policy refused it: it goes to the log only, since the condition goes to the control plane.
        Some(_) => Err(Reason::new(
            "NotProven",
            format!(
                "it is not this installation's admission policy that refuses a {kind} outside of environments (the operator's \
                 log and doctor say what does); {help}"
            ),
        )),
        None => Err(Reason::new(
            "NotConfined",
            format!(
                "no admission policy keeps the operator's account from making a {kind} outside of environments; {help}"
            ),
        )),
    }
}

/// Runs the trials.
///
/// # Errors
/// The API server could not be asked.
pub async fn confinement(cluster: &Cluster, settings: &Settings) -> Result<Confinement, ApiError> {
    if !settings.admission_policies {
        return Ok(Confinement::NotAsked);
    }
    for trial in trials(&settings.namespace, &settings.fullname) {
        let refusal = match cluster.try_create(&trial).await {
            Ok(()) => None,
            Err(error) => match error.class() {
                Class::Policy | Class::Rights | Class::Invalid | Class::Quota | Class::Conflict => {
                    Some(error.message())
                }
                Class::Missing | Class::NotLeading | Class::Transient => return Err(error),
            },
        };
        if let Err(why) = judge(&trial, &settings.fullname, refusal.as_deref()) {
            tracing::warn!(reason = why.reason, refusal, "the admission policies do not hold this account");
            return Ok(Confinement::Fails(why));
        }
    }
    Ok(Confinement::Holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_policy_proves_anything() {
        let [binding, namespace] = trials("pdp", "agent");
        assert_eq!(binding["metadata"]["namespace"], "pdp");
        assert_eq!(namespace["metadata"]["labels"], json!({}));
        let ours = "forbidden: ValidatingAdmissionPolicy 'agent-rbac' with binding 'agent-rbac' denied request: no";
        for (words, reason) in [
            (Some(ours), None),
            (Some("User \"x\" cannot create resource \"rolebindings\""), Some("NotProven")),
            (Some("admission webhook \"kyverno\" denied the request"), Some("NotProven")),
            (Some("ValidatingAdmissionPolicy 'other-rbac' with binding 'other' denied request"), Some("NotProven")),
            (None, Some("NotConfined")),
        ] {
            let judged = judge(&binding, "agent", words).err();
            let said = judged.as_ref().map(|why| why.message.clone()).unwrap_or_default();
            assert!(words.is_none_or(|words| !said.contains(words)), "{said}");
            let judged = judged.map(|why| why.reason);
            assert_eq!(judged.as_deref(), reason, "{words:?}");
        }
    }
}

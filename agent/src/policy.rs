//! The customer's `DataPlanePolicy`, judged in one place for both roles.
//!
//! The link asks early, so that the sender hears at once; the operator asks again before anything starts, because what is stored
//! may be older than the policy. Both take the same rules from here, so neither lets pass what the other would not.

use std::net::SocketAddr;

use protocol::document::Quota;
use protocol::quantity::Quantity;

use crate::kinds::{DataPlanePolicySpec, EnvironmentRule, ExitCodes, Registry, SecurityLevel, StartGate};

pub mod limits;
pub mod secrets;

/// Handles of organization, project and environment.
pub type Handles<'a> = [&'a str; 3];

/// The rule for every environment where the policy names none.
static ANY: EnvironmentRule = EnvironmentRule {
    organization: None,
    project: None,
    environment: None,
    security: None,
    secrets: None,
    egress: None,
    max_quota: None,
    max_disk: None,
    max_releases: None,
};

/// The first rule of the policy that names the environment.
///
/// # Errors
/// The policy does not allow this environment: a sentence with what to do.
pub fn environment<'a>(policy: &'a DataPlanePolicySpec, handles: Handles<'_>) -> Result<&'a EnvironmentRule, String> {
    let Some(rules) = &policy.environments else { return Ok(&ANY) };
    rules.iter().find(|rule| matches(rule, handles)).ok_or_else(|| {
        let [organization, project, environment] = handles;
        format!(
            "DataPlanePolicy/default does not allow environment {environment} of project {project} of organization \
             {organization} on this data plane; ask the platform team to add it to spec.environments"
        )
    })
}

fn matches(rule: &EnvironmentRule, [organization, project, environment]: Handles<'_>) -> bool {
    let EnvironmentRule { organization: o, project: p, environment: e, .. } = rule;
    let fits = |asked: &Option<String>, found: &str| asked.as_deref().is_none_or(|asked| asked == found);
    fits(o, organization) && fits(p, project) && fits(e, environment)
}

impl EnvironmentRule {
    /// Pod Security level of its namespace.
    #[must_use]
    pub fn level(&self) -> SecurityLevel {
        self.security.unwrap_or(SecurityLevel::Restricted)
    }

    /// Whether exit codes are reported to the control plane.
    #[must_use]
    pub fn tells_exit_codes(&self) -> bool {
        self.secrets.as_ref().and_then(|secrets| secrets.exit_codes) != Some(ExitCodes::Class)
    }

    /// The quota that holds: what a document asks for, or the customer's default, and never more than the customer's maximum.
    #[must_use]
    pub fn quota(&self, asked: Option<&Quota>, default: Option<&Quota>) -> Option<Quota> {
        let none = Quota { cpu: None, memory: None, pods: None };
        let wanted = asked.or(default);
        let Some(max) = &self.max_quota else { return wanted.cloned() };
        let wanted = wanted.unwrap_or(&none);
        let amount = |wanted: &Option<String>, max: &Option<String>| match (wanted, max) {
            (Some(wanted), Some(max)) => Some(if is_more(wanted, max) { max.clone() } else { wanted.clone() }),
            (wanted, max) => wanted.clone().or_else(|| max.clone()),
        };
        Some(Quota {
            cpu: amount(&wanted.cpu, &max.cpu),
            memory: amount(&wanted.memory, &max.memory),
            pods: [wanted.pods, max.pods].into_iter().flatten().min(),
        })
    }

    /// Whether the volumes on disk of a pod, by their sizes, are what the customer allows.
    ///
    /// # Errors
    /// They are more: a sentence with what to do.
    pub fn disk<'a>(&self, sizes: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
        let mut sizes = sizes.into_iter().peekable();
        let Some(max) = self.max_disk.as_deref().filter(|_| sizes.peek().is_some()) else { return Ok(()) };
        // Amounts that cannot be read count as more, so that the customer's own limit holds.
        match (Quantity::sum(sizes), Quantity::parse(max)) {
            (Some(sum), Some(most)) if sum <= most => Ok(()),
            (_, _) => Err(format!(
                "DataPlanePolicy/default allows the volumes on disk of one pod here {max} together; ask for less, use medium: Memory, or \
                 ask the platform team to raise maxDisk of this environment"
            )),
        }
    }

    /// Parts of a document's quota that are above the customer's maximum, each with it.
    #[must_use]
    pub fn above_quota(&self, asked: &Quota) -> Vec<(&'static str, String)> {
        let Some(max) = &self.max_quota else { return Vec::new() };
        let amount = |asked: &Option<String>, max: &Option<String>| {
            asked.as_ref().zip(max.as_ref()).filter(|(asked, max)| is_more(asked, max)).map(|(_, max)| max.clone())
        };
        let pods = asked.pods.zip(max.pods).filter(|(asked, max)| asked > max).map(|(_, max)| max.to_string());
        let parts =
            [("cpu", amount(&asked.cpu, &max.cpu)), ("memory", amount(&asked.memory, &max.memory)), ("pods", pods)];
        parts.into_iter().filter_map(|(part, max)| Some((part, max?))).collect()
    }
}

/// Whether one amount is larger than another. An amount that cannot be read counts as larger, so that the customer's own limit
/// holds.
fn is_more(asked: &str, max: &str) -> bool {
    match (Quantity::parse(asked), Quantity::parse(max)) {
        (Some(asked), Some(max)) => asked > max,
        (_, _) => true,
    }
}

/// The registry that lets `image` in: the one with the longest prefix, as the most particular one.
///
/// # Errors
/// No registry of the policy does: a sentence with what to do.
pub fn registry<'a>(policy: &'a DataPlanePolicySpec, image: &str) -> Result<&'a Registry, String> {
    let allowed = policy.registries.iter().filter(|registry| image_is_below(image, &registry.prefix));
    allowed.max_by_key(|registry| registry.prefix.len()).ok_or_else(|| {
        // The sender reads it: which registries there are is not for it to know.
        format!(
            "{} is in no registry that DataPlanePolicy/default allows; push the image to one, or ask the platform team to extend \
             spec.registries",
            image.split_once('@').map_or(image, |(name, _)| name),
        )
    })
}

/// The start gate, where the customer has switched it on, and the registry that lets its image in.
///
/// # Errors
/// Its settings cannot be used: a sentence with what to do.
pub fn start_gate(policy: &DataPlanePolicySpec) -> Result<Option<(&StartGate, &Registry)>, String> {
    let Some(gate) = &policy.start_gate else { return Ok(None) };
    // The sender reads it: which images and addresses there are is not for it to know.
    let wrong = |what: &str, todo: &str| {
        Err(format!(
            "the start gate of DataPlanePolicy/default {what}, and no pod starts without it; ask the platform team to {todo}"
        ))
    };
    if !by_digest(&gate.image) {
        return wrong("names its image without digest", "set spec.startGate.image to NAME@sha256:…");
    }
    if gate.address.as_ref().is_some_and(|address| address.parse::<SocketAddr>().is_err()) {
        return wrong("tries an address that is not IP:PORT", "correct spec.startGate.address");
    }
    match registry(policy, &gate.image) {
        Ok(registry) => Ok(Some((gate, registry))),
        Err(_) => wrong(
            "names an image that is in no allowed registry",
            "add its registry to spec.registries or correct spec.startGate.image",
        ),
    }
}

/// Whether `image` is `name@sha256:` and 64 lower-case hexadecimal digits.
pub(crate) fn by_digest(image: &str) -> bool {
    image.split_once("@sha256:").is_some_and(|(name, digest)| {
        !name.is_empty() && digest.len() == 64 && digest.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
    })
}

/// Whether `image` lies in `prefix`: whole path segments, so that `registry/team` does not allow `registry/team-evil`.
fn image_is_below(image: &str, prefix: &str) -> bool {
    image.strip_prefix(prefix).is_some_and(|rest| {
        // After a bare host a colon is a port, that is another registry; after a repository it is a tag.
        prefix.ends_with('/') || rest.starts_with(['/', '@']) || (prefix.contains('/') && rest.starts_with(':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_on_disk_of_a_pod_hold_together_what_the_customer_allows() {
        let rule =
            |max: Option<&str>| EnvironmentRule { max_disk: max.map(str::to_owned), ..EnvironmentRule::default() };
        for (max, sizes, allowed) in [
            (Some("1Gi"), &["512Mi", "0.5Gi"][..], true),
            (Some("1Gi"), &["512Mi", "0.5Gi", "1"], false),
            (Some("1Gi"), &["much"], false),
            (Some("much"), &["1"], false),
            (Some("0"), &["1"], false),
            (Some("much"), &[], true),
            (None, &["1Ei"], true),
        ] {
            let judged = rule(max).disk(sizes.iter().copied());
            assert_eq!(judged.is_ok(), allowed, "{max:?} {sizes:?}: {judged:?}");
        }
    }

    fn quota(cpu: Option<&str>, memory: Option<&str>, pods: Option<i32>) -> Quota {
        Quota { cpu: cpu.map(str::to_owned), memory: memory.map(str::to_owned), pods }
    }

    #[test]
    fn a_document_gets_no_more_than_the_customers_maximum() {
        let max = quota(Some("2"), Some("4Gi"), Some(5));
        let rule = EnvironmentRule { max_quota: Some(max.clone()), ..EnvironmentRule::default() };
        let default = quota(Some("500m"), None, None);
        for (asked, holds, above) in [
            (None, quota(Some("500m"), Some("4Gi"), Some(5)), vec![]),
            (Some(quota(Some("125k"), Some("1Pi"), Some(100_000))), max, vec!["cpu", "memory", "pods"]),
            (Some(quota(Some("1500m"), None, Some(2))), quota(Some("1500m"), Some("4Gi"), Some(2)), vec![]),
            (
                Some(quota(Some("2000m"), Some("4096Mi"), Some(5))),
                quota(Some("2000m"), Some("4096Mi"), Some(5)),
                vec![],
            ),
        ] {
            assert_eq!(rule.quota(asked.as_ref(), Some(&default)), Some(holds), "{asked:?}");
            let found: Vec<_> = asked.iter().flat_map(|asked| rule.above_quota(asked)).map(|(part, _)| part).collect();
            assert_eq!(found, above, "{asked:?}");
        }
        let free = EnvironmentRule::default();
        assert_eq!(free.quota(None, Some(&default)), Some(default));
        assert_eq!(free.quota(None, None), None);
        assert_eq!(free.above_quota(&quota(Some("125k"), None, None)), []);
    }

    #[test]
    fn a_prefix_allows_whole_path_segments() {
        for (image, prefix, allowed) in [
            ("r.example/team/web@sha256:0", "r.example/team/", true),
            ("r.example/team/web@sha256:0", "r.example/team", true),
            ("r.example/team@sha256:0", "r.example/team", true),
            ("r.example/team-evil/web@sha256:0", "r.example/team", false),
            ("r.example.evil/web@sha256:0", "r.example", false),
            ("r.example:5000/web@sha256:0", "r.example:5000/", true),
            ("r.example:5000/web@sha256:0", "r.example", false),
            ("r.example/web:v1@sha256:0", "r.example/web", true),
            ("other/web@sha256:0", "r.example/", false),
        ] {
            assert_eq!(image_is_below(image, prefix), allowed, "{image} {prefix}");
        }
    }
}

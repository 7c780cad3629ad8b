//! The customer's `DataPlanePolicy`, judged in one place for both roles.
//!
//! The link asks early, so that the sender hears at once; the operator asks again before anything starts, because what is stored
//! may be older than the policy. Both take the same rules from here, so neither lets pass what the other would not.

use crate::kinds::{DataPlanePolicySpec, EnvironmentRule, Registry, SecurityLevel};

/// Handles of organization, project and environment.
pub type Handles<'a> = [&'a str; 3];

/// The Pod Security level that the policy gives an environment.
///
/// # Errors
/// The policy does not allow this environment: a sentence with what to do.
pub fn environment(policy: &DataPlanePolicySpec, handles: Handles<'_>) -> Result<SecurityLevel, String> {
    let Some(rules) = &policy.environments else { return Ok(SecurityLevel::Restricted) };
    match rules.iter().find(|rule| matches(rule, handles)) {
        Some(rule) => Ok(rule.security.unwrap_or(SecurityLevel::Restricted)),
        None => {
            let [organization, project, environment] = handles;
            Err(format!(
                "DataPlanePolicy/default does not allow environment {environment} of project {project} of organization \
                 {organization} on this data plane; ask the platform team to add it to spec.environments"
            ))
        }
    }
}

fn matches(rule: &EnvironmentRule, [organization, project, environment]: Handles<'_>) -> bool {
    let EnvironmentRule { organization: o, project: p, environment: e, security: _ } = rule;
    let fits = |asked: &Option<String>, found: &str| asked.as_deref().is_none_or(|asked| asked == found);
    fits(o, organization) && fits(p, project) && fits(e, environment)
}

/// The registry that lets `image` in: the one with the longest prefix, as the most particular one.
///
/// # Errors
/// No registry of the policy does: a sentence with what to do.
pub fn registry<'a>(policy: &'a DataPlanePolicySpec, image: &str) -> Result<&'a Registry, String> {
    let allowed = policy.registries.iter().filter(|registry| image_is_below(image, &registry.prefix));
    allowed.max_by_key(|registry| registry.prefix.len()).ok_or_else(|| {
        let allowed: Vec<_> = policy.registries.iter().map(|registry| registry.prefix.as_str()).collect();
        format!(
            "{} is in no registry that DataPlanePolicy/default allows ({}); push the image there, or ask the platform team to \
             extend spec.registries",
            image.split_once('@').map_or(image, |(name, _)| name),
            allowed.join(", "),
        )
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

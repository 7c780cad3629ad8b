//! Names and amounts that are the same everywhere: what environments and pods get, whoever makes or looks for it.

use protocol::document::MEMORY_LIMIT;
use protocol::name::joined;

/// ServiceAccount by which the environment's secrets are read from the vault.
pub const VAULT_ACCOUNT: &str = "pdp-vault";

/// What one pod gets when its release says nothing; the environment's LimitRange says the same for foreign pods.
pub const DEFAULT_REQUESTS: (&str, &str) = ("50m", "64Mi");
/// Limits when a release says nothing.
pub const DEFAULT_LIMITS: (&str, &str) = ("1", MEMORY_LIMIT);

/// Name of the namespace of an environment, 63 characters at most.
#[must_use]
pub fn namespace_name(organization: &str, project: &str, environment: &str) -> String {
    format!("dp-{}", joined(&[organization, project, environment], protocol::name::MAX_NAME - "dp-".len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_fit_and_do_not_collide() {
        assert_eq!(namespace_name("acme", "shop", "dev"), "dp-acme-shop-dev-fd039d72");
        assert_ne!(namespace_name("a-b", "c", "d"), namespace_name("a", "b-c", "d"));
        assert!(protocol::name::is_label(&namespace_name(&"x".repeat(63), &"y".repeat(63), &"z".repeat(63))));
    }
}

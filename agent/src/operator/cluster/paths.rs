//! Addresses of objects at the API server.

use super::super::object::{MANAGER, ObjectKind};

pub(super) fn query(dry_run: bool) -> String {
    let dry = if dry_run { "&dryRun=All" } else { "" };
    format!("fieldManager={MANAGER}&fieldValidation=Strict{dry}")
}

pub(super) fn path(kind: ObjectKind, namespace: &str, name: Option<&str>) -> String {
    let (api_version, _, plural) = kind.names();
    let root = if api_version.contains('/') { "apis" } else { "api" };
    let scope = if kind == ObjectKind::Namespace { String::new() } else { format!("/namespaces/{namespace}") };
    let name = name.map(|name| format!("/{name}")).unwrap_or_default();
    format!("/{root}/{api_version}{scope}/{plural}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_as_the_api_server_has_them() {
        assert_eq!(path(ObjectKind::Namespace, "", Some("a")), "/api/v1/namespaces/a");
        assert_eq!(path(ObjectKind::Deployment, "n", Some("a")), "/apis/apps/v1/namespaces/n/deployments/a");
        assert_eq!(path(ObjectKind::ConfigMap, "n", None), "/api/v1/namespaces/n/configmaps");
    }
}

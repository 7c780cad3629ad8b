//! Paths of objects at the API server. Text enters a path only if it can be nothing but a name: text from a status or a document
//! may be anybody's, and `/`, `?` or `%` in it would address something else with the operator's rights.

use serde_json::Value;

use super::ApiError;
use crate::kinds::labels::MANAGER;
use crate::operator::object::ObjectKind;

/// Where the API server has something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// One object, or all of a kind in a namespace.
    ///
    /// # Errors
    /// A word is no name.
    pub(in super::super) fn of(kind: ObjectKind, namespace: &str, name: Option<&str>) -> Result<Self, ApiError> {
        let (api_version, _, plural) = kind.names();
        let root = if api_version.contains('/') { "apis" } else { "api" };
        let scope = if kind == ObjectKind::Namespace {
            String::new()
        } else {
            format!("/namespaces/{}", word(namespace, kind.names().1)?)
        };
        let name = name.map(|name| word(name, kind.names().1).map(|name| format!("/{name}"))).transpose()?;
        Ok(Self(format!("/{root}/{api_version}{scope}/{plural}{}", name.unwrap_or_default())))
    }

    /// All of a kind that the operator does not write itself, in a namespace.
    ///
    /// # Errors
    /// The namespace is no name.
    pub(in super::super) fn listed(
        group: &'static str,
        namespace: &str,
        plural: &'static str,
    ) -> Result<Self, ApiError> {
        Ok(Self(format!("{group}/namespaces/{}/{plural}", word(namespace, plural)?)))
    }

    /// One of our own resources.
    ///
    /// # Errors
    /// A word is no name.
    pub(in super::super) fn own(plural: &'static str, namespace: &str, name: &str) -> Result<Self, ApiError> {
        let (namespace, name) = (word(namespace, plural)?, word(name, plural)?);
        Ok(Self(format!("/apis/pdp-agent.dev/v1alpha1/namespaces/{namespace}/{plural}/{name}")))
    }

    /// An address that is the same everywhere.
    pub(in super::super) const fn fixed(text: String) -> Self {
        Self(text)
    }

    /// A part of the object, such as its status.
    pub(in super::super) fn part(mut self, part: &'static str) -> Self {
        self.0.push('/');
        self.0.push_str(part);
        self
    }

    /// With parameters, each `name=value`. What is not a letter, digit or one of `-_.~=` is escaped.
    pub(in super::super) fn with(mut self, parameters: &[&str]) -> Self {
        for parameter in parameters {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            self.0.push_str(name);
            self.0.push('=');
            for byte in value.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => self.0.push(byte.into()),
                    _ => self.0.push_str(&format!("%{byte:02X}")),
                }
            }
        }
        self
    }

    /// With the parameters of every write.
    pub(super) fn written(self, dry_run: bool) -> Self {
        let manager = format!("fieldManager={MANAGER}");
        let all: &[&str] = &[&manager, "fieldValidation=Strict", "dryRun=All"];
        self.with(all.get(..if dry_run { 3 } else { 2 }).unwrap_or_default())
    }

    /// As it stands in a request.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Kind, namespace and name of an object that is written.
pub(super) fn address(object: &Value) -> Result<(ObjectKind, &str, &str), ApiError> {
    let at = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let kind = at("/kind").and_then(ObjectKind::of);
    match (kind, at("/metadata/name")) {
        (Some(kind), Some(name)) => Ok((kind, at("/metadata/namespace").unwrap_or_default(), name)),
        (Some(_) | None, Some(_) | None) => Err(ApiError::NoAnswer {
            doing: "write an object".to_owned(),
            cause: "the rendering has an object without kind or name".to_owned(),
        }),
    }
}

/// Checks a name of any kind that is requested: DNS names, and for roles also `:`.
fn word<'a>(word: &'a str, what: &str) -> Result<&'a str, ApiError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
    if word.chars().all(fits) && word.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(word);
    }
    Err(ApiError::Refused {
        doing: format!("address {what}"),
        code: 422,
        reason: "Invalid".to_owned(),
        message: format!("{word:?} is no name of an object or namespace; nothing was asked of the API server"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::cluster::Class;

    fn path(kind: ObjectKind, namespace: &str, name: Option<&str>) -> String {
        Path::of(kind, namespace, name).unwrap().as_str().to_owned()
    }

    #[test]
    fn paths_are_as_the_api_server_has_them() {
        assert_eq!(path(ObjectKind::Namespace, "", Some("a")), "/api/v1/namespaces/a");
        assert_eq!(path(ObjectKind::Deployment, "n", Some("a")), "/apis/apps/v1/namespaces/n/deployments/a");
        assert_eq!(path(ObjectKind::ConfigMap, "n", None), "/api/v1/namespaces/n/configmaps");
        let status = Path::own("releases", "n", "a").unwrap().part("status").written(true);
        let wanted = "/apis/pdp-agent.dev/v1alpha1/namespaces/n/releases/a/status?fieldManager=pdp-agent&fieldValidation=Strict&dryRun=All";
        assert_eq!(status.as_str(), wanted);
    }

    #[test]
    fn parameters_are_escaped() {
        let path = Path::of(ObjectKind::Pod, "n", None).unwrap().with(&["labelSelector=!a/b=c,d"]);
        assert_eq!(path.as_str(), "/api/v1/namespaces/n/pods?labelSelector=%21a%2Fb%3Dc%2Cd");
    }

    #[test]
    fn a_word_that_is_no_name_asks_for_nothing() {
        let injected = "kube-system/configmaps/extension-apiserver-authentication?x=";
        for word in [injected, "", ".", "..", "a/b", "a?b", "a%2e", "a b", "a#", "-a", "ä", "a\n"] {
            for refused in [
                Path::of(ObjectKind::Secret, word, Some("a")),
                Path::of(ObjectKind::Secret, "a", Some(word)),
                Path::of(ObjectKind::Namespace, "", Some(word)),
                Path::own("releases", word, "a"),
                Path::listed("/api/v1", word, "persistentvolumeclaims"),
            ] {
                assert_eq!(refused.unwrap_err().class(), Class::Invalid, "{word:?}");
            }
        }
    }
}

//! What the policy's rules need to know beside a document's body, looked up among the stored objects. Pure.

use protocol::document::{Body, EnvironmentSpec};
use protocol::name::{Kind, ResourceKey};
use serde_json::{Value, json};

use super::super::intake::{About, Handles, Policy, body, weight};
use super::Cache;
use crate::policy::limits::Beside;

/// What the policy's rules ask of a stored object.
#[derive(Debug, Default)]
pub(super) enum Judged {
    /// Nothing, or the object does not have it.
    #[default]
    Nothing,
    /// Who an environment belongs to.
    Environment(Handles),
    /// Where a release runs, and its image: the one that serves or, before any serves, the desired one.
    Release { environment: Option<Box<str>>, image: Option<Box<str>>, secrets: bool },
}

impl Cache {
    /// What the policy's rules need to know beside a document's body, as far as it is stored.
    #[must_use]
    pub fn about(&self, key: &ResourceKey, body: &Body) -> About {
        let about = match body {
            Body::DataPlane(_) | Body::Environment(_) => About::default(),
            Body::Release(spec) => {
                About { owner: spec.environment.as_deref().and_then(|name| self.owner(name)), ..About::default() }
            }
            Body::TaskRun(spec) => match self.judged(Kind::Release, &spec.release) {
                Some(Judged::Release { environment, image, secrets }) => About {
                    owner: environment.as_deref().and_then(|name| self.owner(name)),
                    image: image.as_deref().map(str::to_owned),
                    secrets: *secrets,
                    ..About::default()
                },
                Some(Judged::Nothing | Judged::Environment(_)) | None => About::default(),
            },
        };
        About { beside: self.beside(key, body), ..about }
    }

    /// Counts what is stored beside `key`, but only if the customer sets a limit: without one nobody asks, and counting is slow.
    fn beside(&self, key: &ResourceKey, body: &Body) -> Beside {
        let Policy::Given(policy) = &*self.policy else { return Beside::default() };
        let limited = policy.limits.is_some()
            || policy.environments.iter().flatten().any(|environment| environment.max_releases.is_some());
        if !limited {
            return Beside::default();
        }
        let environment = match body {
            Body::Release(spec) => spec.environment.as_deref(),
            Body::DataPlane(_) | Body::Environment(_) | Body::TaskRun(_) => None,
        };
        let mut beside = Beside::default();
        for (other, entry) in &self.objects {
            if other == key {
                beside.replaced = entry.bytes;
                continue;
            }
            beside.bytes = beside.bytes.saturating_add(entry.bytes);
            if other.kind == key.kind && entry.present {
                beside.of_kind += 1;
                let Judged::Release { environment: place, .. } = &entry.judged else { continue };
                beside.in_environment += usize::from(environment.is_some() && place.as_deref() == environment);
            }
        }
        beside
    }

    fn owner(&self, environment: &str) -> Option<Handles> {
        match self.judged(Kind::Environment, environment)? {
            Judged::Environment(owner) => Some(owner.clone()),
            Judged::Nothing | Judged::Release { .. } => None,
        }
    }

    fn judged(&self, kind: Kind, name: &str) -> Option<&Judged> {
        self.objects.get(&ResourceKey { kind, name: name.to_owned() }).map(|entry| &entry.judged)
    }
}

pub(super) fn judged(kind: Kind, object: &Value) -> Judged {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).map(Box::from);
    match kind {
        Kind::Environment => {
            let spec = object.get("spec").and_then(|spec| serde_json::from_value::<EnvironmentSpec>(body(spec)).ok());
            spec.and_then(|spec| Handles::of(&spec)).map_or(Judged::Nothing, Judged::Environment)
        }
        Kind::Release => Judged::Release {
            environment: text("/spec/environment"),
            image: text("/status/effective/image").or_else(|| text("/spec/image")),
            secrets: ["/spec/env", "/spec/files"].iter().any(|list| {
                let items = object.pointer(list).and_then(Value::as_array);
                items.into_iter().flatten().any(|item| item.get("secretRef").is_some())
            }),
        },
        Kind::DataPlane | Kind::TaskRun => Judged::Nothing,
    }
}

/// Bytes of the document that `spec` was made of: without the stamp that the agent adds.
pub(super) fn bytes(spec: &Value) -> u64 {
    const STAMP: &str = "document";
    let of_stamp = spec.get(STAMP).map_or(0, |stamp| weight(&json!({ STAMP: stamp })) - weight(&json!({})));
    weight(spec).saturating_sub(of_stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_stamp_is_no_part_of_what_a_document_takes() {
        let sent = json!({"state": "Present", "image": "r.example/web@sha256:0"});
        let mut stored = sent.clone();
        stored["document"] = json!({"generation": 7, "hash": "sha256:0"});
        assert_eq!(bytes(&stored), weight(&sent));
        assert_eq!(bytes(&sent), weight(&sent));
    }
}

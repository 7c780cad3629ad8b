//! The owner of a namespace, and adopting namespaces of an earlier version, which did not label them with their agent.

use serde_json::json;

use super::Round;
use crate::kinds::conditions::Reason;
use crate::kinds::labels::{AGENT, INSTALLATION};
use crate::operator::cluster::{ApiError, Class};
use crate::operator::object::{self, ObjectKind};
use crate::operator::reconcile::observe;
use crate::operator::world::index::Place;

/// Result of adopting a namespace without an agent's label.
pub(super) enum Adoption {
    /// It has the label, or it is not ours to label.
    NotNeeded,
    /// It has the label now.
    Done,
    /// It may not be ours.
    Refused(Reason),
}

impl Round<'_> {
    /// The agent that the namespace's label names, if it is not this one.
    pub(super) fn holder(&self, namespace: &str) -> Option<String> {
        let place = Place::new(ObjectKind::Namespace, "", namespace);
        let agent = self.shared.index.lock().object(&place)?.agent()?.to_owned();
        (!object::names(Some(&agent), &self.shared.settings.agent)).then_some(agent)
    }

    /// Labels a namespace as ours that a version from before that label created: once, and only one that names this data plane.
    pub(super) async fn adopt(&self, namespace: &str, ours: bool) -> Result<Adoption, ApiError> {
        let place = Place::new(ObjectKind::Namespace, "", namespace);
        let labelled = self.shared.index.lock().object(&place).is_none_or(|known| known.agent().is_some());
        if !ours || labelled || self.pause.is_some() {
            return Ok(Adoption::NotNeeded);
        }
        let Some(found) = self.shared.cluster.get(ObjectKind::Namespace, "", namespace).await? else {
            return Ok(Adoption::NotNeeded);
        };
        let agent = &self.shared.settings.agent;
        let refused = |why: &str| {
            let message = format!(
                "namespace {namespace} was made before namespaces said whose they are, and {why}; if it is this agent's: kubectl label \
                 namespace {namespace} {AGENT}={agent}"
            );
            Ok(Adoption::Refused(Reason::new("NotAdopted", message)))
        };
        if object::label(&found, INSTALLATION) != Some(&self.shared.id) {
            return refused("it was not made by this data plane");
        }
        let seen = |pointer: &str| found.pointer(pointer).cloned().unwrap_or_default();
        let patch = json!({"metadata": {
            "uid": seen("/metadata/uid"),
            "resourceVersion": seen("/metadata/resourceVersion"),
            "labels": {AGENT: agent},
        }});
        match self.shared.cluster.merge_namespace(namespace, &patch).await {
            Ok(adopted) => {
                observe::absorb(self.shared, &place, &adopted);
                tracing::info!(namespace, "a namespace of an earlier version carries this agent's label now");
                Ok(Adoption::Done)
            }
            Err(error) if error.class() == Class::Policy => refused(
                "the admission policies, rendered when the chart was last installed or upgraded, do not let it be taken over",
            ),
            Err(error) => Err(error),
        }
    }
}

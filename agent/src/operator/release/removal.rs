//! Removing what an absent release made: everything that carries its label, and what its status has recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::mutant::{self, Mutant};

use super::Work;
use super::decide::{self, Remains};
use crate::kinds::ObjectRef;
use crate::operator::cluster::ApiError;
use crate::operator::object::{self, ObjectKind};
use crate::operator::reconcile::observe;
use crate::operator::reconcile::shared::{Pause, Spending};
use crate::operator::reconcile::write::Live;
use crate::operator::world::index::Place;

impl Work<'_> {
    /// The namespace of any object of it, for when none was recorded: the process died after creating a rendering and before
    /// recording its namespace, or the release was deleted and created anew while a write was under way.
    fn namespace_of_objects(&self) -> Option<String> {
        let contents = self.shared.index.lock();
        let mut objects = contents.of_owner(self.owner()).filter(|(place, _)| {
            place.kind == ObjectKind::ControllerRevision || !mutant::is(Mutant::LateObjectForgotten)
        });
        // What was never enrolled says `local`, in the namespaces of another installation too.
        let at_home = |place: &Place| {
            let namespace = contents.object(&Place::new(ObjectKind::Namespace, "", &place.namespace));
            let agent = namespace.and_then(|namespace| namespace.agent());
            agent.is_none_or(|agent| object::names(Some(agent), &self.shared.settings.agent))
        };
        let found =
            objects.find(|(place, tracked)| observe::plain(self.shared, self.owner(), tracked).ours && at_home(place));
        found.map(|(place, _)| place.namespace.to_string())
    }

    pub(super) async fn absent(&mut self, pause: Option<Pause>) -> Result<Option<Duration>, ApiError> {
        self.shared.forget_refusal(&self.owner().into());
        let namespace = self.status.namespace.clone().or_else(|| self.namespace_of_objects()).unwrap_or_default();
        if pause.is_none() {
            // Before its pods go: whoever calls it goes on elsewhere.
            self.give_all(&namespace).await?;
        }
        let mut live: BTreeMap<ObjectRef, Live> = BTreeMap::new();
        let mut pods = 0;
        if !namespace.is_empty() {
            let contents = self.shared.index.lock();
            for (place, tracked) in contents.of_owner(self.owner()).filter(|(place, _)| *place.namespace == *namespace)
            {
                match place.kind {
                    ObjectKind::Pod => pods += 1,
                    // These go with what made them.
                    ObjectKind::ReplicaSet | ObjectKind::EndpointSlice => {}
                    ObjectKind::Namespace
                    | ObjectKind::RoleBinding
                    | ObjectKind::ServiceAccount
                    | ObjectKind::ResourceQuota
                    | ObjectKind::LimitRange
                    | ObjectKind::NetworkPolicy
                    | ObjectKind::ConfigMap
                    | ObjectKind::Secret
                    | ObjectKind::Service
                    | ObjectKind::Deployment
                    | ObjectKind::PodDisruptionBudget
                    | ObjectKind::ControllerRevision
                    | ObjectKind::Job => {
                        live.insert(place.reference(), observe::plain(self.shared, self.owner(), tracked));
                    }
                }
            }
        }
        // Secrets are not watched: those that were recorded are asked for by name.
        for reference in self.status.objects.iter().filter(|reference| reference.kind == "Secret") {
            if let Some(found) = observe::existing(self.shared, self.owner(), &namespace, reference).await? {
                live.insert(reference.clone(), found);
            }
        }
        // If the release has no objects, its removal harms nobody and costs no budget.
        let spent = if pause.is_none() && live.values().any(|live| live.ours) {
            self.shared.spend(Spending::Deletion, &self.identity.uid, self.now)
        } else {
            Ok(())
        };
        let (waits, later) = spent.err().unzip();
        let remains = Remains {
            identity: &self.identity,
            status: &self.status,
            paused: pause.as_ref().map(|pause| pause.message.as_str()),
            waits: waits.as_ref(),
            live: &live,
            pods,
            settles: self.shared.cluster.settles(self.owner()),
        };
        let decision = decide::remove(&remains, self.now);
        let secrets_left = live.keys().any(|reference| reference.kind == "Secret");
        self.perform(&namespace, None, &decision.writes).await?;
        // No watch tells when a Secret is gone.
        let again = secrets_left.then_some(Duration::from_secs(1));
        Ok([pause.and_then(|pause| pause.left), again, later, decision.wake].into_iter().flatten().min())
    }
}

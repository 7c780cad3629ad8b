//! Removing an absent environment: its namespace, once no release is in it and nothing that somebody else has put there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::ResourceExt as _;
use protocol::document::Desired;

use super::adopt::Adoption;
use super::decide::{self, Obstacle};
use super::{AGAIN, RIGHTS, Round, foreign};
use crate::kinds::Environment;
use crate::operator::cluster::{ApiError, Class};
use crate::operator::object::ObjectKind;
use crate::operator::object::owner::OwnerKind;
use crate::operator::reconcile::apply;
use crate::operator::reconcile::observe;
use crate::operator::reconcile::shared::Spending;
use crate::operator::world::index::Own;

impl Round<'_> {
    pub(super) async fn absent(&self) -> Result<Option<Duration>, ApiError> {
        let status = self.environment.status.clone().unwrap_or_default();
        let namespace = status.namespace.clone().or_else(|| self.namespace_of_before()).unwrap_or_default();
        let mut live = BTreeMap::new();
        let mut obstacle = Obstacle::None;
        let mut later = None;
        if !namespace.is_empty() {
            self.look_at_namespace(&namespace, None, &mut live).await?;
            let ours = decide::exists_and_ours(&namespace, &live);
            let adoption = self.adopt(&namespace, ours).await?;
            if matches!(adoption, Adoption::Done) {
                return Ok(Some(Duration::ZERO));
            }
            obstacle = match self.obstacle(&namespace, ours).await {
                // The rights are missing because the preparation stopped before it bound them. Without them the namespace cannot be
                // checked for foreign objects.
                Err(error) if ours && error.class() == Class::Rights && self.pause.is_none() => {
                    return if self.take_rights(&namespace).await? { Ok(Some(RIGHTS)) } else { Err(error) };
                }
                other => other?,
            };
            if status.namespace.is_none() && obstacle == Obstacle::None {
                obstacle = self.workloads_of_unknown(&namespace);
            }
            if let Adoption::Refused(why) = adoption {
                obstacle = Obstacle::Kept(why);
            }
            if ours
                && obstacle == Obstacle::None
                && self.pause.is_none()
                && let Err((why, left)) =
                    self.shared.spend(Spending::Deletion, &self.environment.uid().unwrap_or_default(), self.now)
            {
                later = Some(left);
                obstacle = Obstacle::Kept(why);
            }
        }
        let going = !live.is_empty();
        let modified = self.modified();
        let observed = self.observed(&status, modified.as_ref(), &namespace, &live);
        let decision = decide::remove(&observed, &obstacle, self.now);
        apply::perform::<Environment, _>(self.shared, &mut self.subject(), &namespace, None, &decision.writes).await?;
        Ok(decision.wake.or(later).or(going.then_some(AGAIN)))
    }

    /// The namespace that carries its label, for when none is recorded: its status was lost, with the object that was made anew.
    fn namespace_of_before(&self) -> Option<String> {
        let contents = self.shared.index.lock();
        let places = contents.places_of(ObjectKind::Namespace).into_keys();
        let mut ours = places.filter(|place| {
            contents.object(place).is_some_and(|known| observe::plain(self.shared, self.owner(), known).ours)
        });
        ours.next().map(|place| place.name.to_string())
    }

    /// Workloads of releases that are not known: where the status was lost, the releases may have been lost with it, and come back.
    fn workloads_of_unknown(&self, namespace: &str) -> Obstacle {
        let contents = self.shared.index.lock();
        let kinds = [ObjectKind::Deployment, ObjectKind::Job];
        let here = kinds.into_iter().flat_map(|kind| contents.places_of(kind)).map(|(place, _)| place);
        let releases = here.filter(|place| *place.namespace == *namespace).filter_map(|place| {
            let release = contents.object(&place)?.owners.of_kind(OwnerKind::Release)?;
            (!contents.releases.contains_key(release)).then(|| release.to_owned())
        });
        let unknown: BTreeSet<String> = releases.collect();
        if unknown.is_empty() { Obstacle::None } else { Obstacle::Releases(unknown.into_iter().collect()) }
    }

    /// Releases in it first; then, while it is ours, objects that we may list and did not make.
    async fn obstacle(&self, namespace: &str, ours: bool) -> Result<Obstacle, ApiError> {
        let present: Vec<String> = {
            let contents = self.shared.index.lock();
            let within = contents.releases.iter().filter(|(name, release)| match release {
                Own::Read(release) => {
                    let spec = &release.spec.body;
                    let here =
                        release.status.as_ref().and_then(|status| status.namespace.as_deref()) == Some(namespace);
                    here || (spec.state == Desired::Present && spec.environment.as_deref() == Some(self.name))
                }
                // What it asks for is not known: what is there of it stays.
                Own::Unreadable { .. } => {
                    contents.of_owner(OwnerKind::Release.named(name)).any(|(place, _)| *place.namespace == *namespace)
                }
            });
            within.map(|(name, _)| name.clone()).collect()
        };
        if !present.is_empty() {
            return Ok(Obstacle::Releases(present));
        }
        if !ours {
            return Ok(Obstacle::None);
        }
        let everywhere = self.policy.and_then(|policy| policy.spec.cluster_objects.as_deref()).unwrap_or_default();
        let foreign = foreign::foreign(&self.shared.cluster, namespace, everywhere).await?;
        Ok(if foreign.is_empty() { Obstacle::None } else { Obstacle::Foreign(foreign) })
    }
}

//! Services of major versions: `component-endpoint-v1` leads to the newest minor version that serves, with one name for all of them.
//!
//! Whichever release it leads to owns it, by label. Label, selector and port change in one write, so it never leads to one version on the
//! port of another.

use std::time::Duration;

use kube::ResourceExt as _;
use protocol::document::{Desired, ReleaseOwner};
use serde_json::Value;

use super::Work;
use super::observation::Seen;
use super::render::service_name;
use crate::kinds::conditions::{Reason, parse_time};
use crate::kinds::{Release, ReleaseStatus};
use crate::operator::cluster::{ApiError, Class};
use crate::operator::object::owner::OwnerKind;
use crate::operator::object::{self, ObjectKind};
use crate::operator::reconcile::observe;
use crate::operator::reconcile::{apply, fights};
use crate::operator::world::index::{Contents, Own, Place};
use crate::operator::world::queue::{Cause, Key};
use decide::{Holder, Minor, Move};

mod decide;

/// How long a release may be without a ready pod before an older minor version gets its callers. Longer than it takes to start a process
/// again, so that callers are not sent back and forth.
const DOWN: Duration = Duration::from_secs(3);

/// How soon a Service of somebody else that has the name is looked at again: no watch shows it.
const IN_THE_WAY: Duration = Duration::from_secs(60);

/// A version and where it stands, for all its endpoints.
struct Version {
    release: String,
    number: u32,
    serves: bool,
    answers: bool,
    /// Services of the major version that would lead to an endpoint of it.
    services: Vec<String>,
}

impl Version {
    fn of(release: &Release) -> Option<Self> {
        let owner = release.spec.body.owner.as_ref()?;
        let (major, minor) = owner.track.split_once('.')?;
        let number = minor.parse().ok()?;
        let endpoints = release.spec.body.endpoints.iter().flatten();
        let services = endpoints.map(|endpoint| service_name(&owner.component, endpoint, major)).collect();
        let status = release.status.as_ref();
        // None is ready where none shall run.
        let answers = status.is_some_and(|status| {
            status.effective.is_some() && status.replicas.as_ref().is_some_and(|replicas| replicas.ready > 0)
        });
        let serves = answers && status.is_some_and(is_ready);
        Some(Self { release: release.name_any(), number, serves, answers, services })
    }

    fn as_minor(&self, service: &str) -> Minor<'_> {
        let Self { release, number, serves, answers, services } = self;
        let offers = services.iter().any(|offered| offered == service);
        Minor { release, number: *number, serves: *serves, answers: *answers, offers }
    }
}

fn is_ready(status: &ReleaseStatus) -> bool {
    status.conditions.iter().any(|condition| condition.condition_type == "Ready" && condition.status == "True")
}

/// `v1` of track `v1.2`.
fn major(track: &str) -> &str {
    track.split('.').next().unwrap_or_default()
}

impl Work<'_> {
    /// Other releases that shall run in `namespace`, as versions.
    fn others(&self, contents: &Contents, namespace: &str, is_meant: impl Fn(&ReleaseOwner) -> bool) -> Vec<Version> {
        let all = contents.releases.iter().filter_map(|(name, own)| match own {
            Own::Read(release) if *name != self.identity.name => Some(release),
            Own::Read(_) | Own::Unreadable { .. } => None,
        });
        let meant = all.filter(|release| {
            let here = release.status.as_ref().is_some_and(|status| status.namespace.as_deref() == Some(namespace));
            let body = &release.spec.body;
            here && body.state == Desired::Present && body.owner.as_ref().is_some_and(&is_meant)
        });
        meant.filter_map(|release| Version::of(release)).collect()
    }

    /// Makes, takes, keeps or gives away the Services of its major version. Returns when to look again.
    pub(super) async fn lead(&self, seen: &Seen) -> Result<Option<Duration>, ApiError> {
        let namespace = seen.namespace.as_str();
        let running = seen.bound.running.as_ref();
        let rendered = running.map_or(&[][..], |running| &running.rendering.majors);
        let (me, others, down, rolling) = {
            let contents = self.shared.index.lock();
            // As this round has written it.
            let Some(Own::Read(release)) = contents.releases.get(&self.identity.name) else { return Ok(None) };
            let Some(me) = Version::of(release) else { return Ok(None) };
            let rolling = release.status.as_ref().is_some_and(|status| status.rollout.is_some());
            let owner = release.spec.body.owner.as_ref();
            let same = |other: &ReleaseOwner| {
                owner.is_some_and(|own| other.component == own.component && major(&other.track) == major(&own.track))
            };
            (me, self.others(&contents, namespace, same), self.down(&contents, release, namespace), rolling)
        };
        let minors = |service: &str| others.iter().map(|other| other.as_minor(service)).collect::<Vec<_>>();
        let mut wake = None;
        let mut look_again = |after: Duration| wake = Some(wake.map_or(after, |wake: Duration| wake.min(after)));
        for object in rendered {
            let Some((_, reference)) = object::reference(object) else { continue };
            let me = Minor { offers: true, ..me.as_minor(&reference.name) };
            let place = Place::new(ObjectKind::Service, namespace, &reference.name);
            let holder = self.holder(&place);
            match decide::decide(&me, &minors(&reference.name), holder.as_holder(), down == Some(Duration::ZERO)) {
                Move::Make => match apply::create(self.shared, object).await {
                    Err(error) if error.class() == Class::Conflict && matches!(self.holder(&place), Led::Nobody) => {
                        tracing::warn!(
                            service = reference.name,
                            namespace,
                            "somebody else's Service has the name of a major version"
                        );
                        look_again(IN_THE_WAY);
                    }
                    made => made?,
                },
                // What is being rolled out may listen on another port.
                Move::Keep if rolling => {}
                Move::Take | Move::Keep => self.hold(object, &place, &holder).await?,
                Move::Give(to) => self.give(&place, to).await?,
                Move::Call(other) => self.shared.queue.add(Key::Release(other.to_owned()), Cause::Observed),
                // It is rendered, so it is offered.
                Move::Leave | Move::Remove => {
                    if let (Led::Me, Some(down)) = (&holder, down.filter(|down| !down.is_zero())) {
                        look_again(down);
                    }
                }
            }
        }
        if !rolling {
            for place in self.left_over(namespace, rendered) {
                // What has failed without an earlier version keeps its objects, and gives away what leads to it.
                let me = Minor { offers: running.is_none(), ..me.as_minor(&place.name) };
                match decide::decide(&me, &minors(&place.name), Holder::Me, running.is_none()) {
                    Move::Give(to) => self.give(&place, to).await?,
                    Move::Remove => self.remove_led(&place).await?,
                    Move::Leave | Move::Make | Move::Take | Move::Keep | Move::Call(_) => {}
                }
            }
        }
        Ok(wake)
    }

    /// Why a Service that leads here is left as somebody else keeps making it, if so.
    pub(super) async fn contested_major(
        &self,
        namespace: &str,
        rendered: &[Value],
    ) -> Result<Option<Reason>, ApiError> {
        for object in rendered {
            let Some((kind, reference)) = object::reference(object) else { continue };
            if self.holder(&Place::new(kind, namespace, &reference.name)) != Led::Me {
                continue;
            }
            let live = observe::wanted(self.shared, self.owner(), object).await?.filter(|live| live.ours);
            if let Some(why) = live.and_then(|live| fights::contested(kind, &reference.name, &live)) {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// Gives the Services away that lead here, as far as another version can take them: this release is being removed.
    pub(super) async fn give_all(&self, namespace: &str) -> Result<(), ApiError> {
        let led = self.left_over(namespace, &[]);
        if led.is_empty() {
            return Ok(());
        }
        // What is to be removed does not say any more which component it was: the names of the Services do.
        let others = self.others(&self.shared.index.lock(), namespace, |_| true);
        for place in led {
            let minors: Vec<_> = others.iter().map(|other| other.as_minor(&place.name)).collect();
            let me = Minor { release: &self.identity.name, number: 0, serves: false, answers: false, offers: false };
            if let Move::Give(to) = decide::decide(&me, &minors, Holder::Me, true) {
                self.give(&place, to).await?;
            }
        }
        Ok(())
    }

    /// Without a ready pod: how long until that counts. Nothing while one is ready.
    fn down(&self, contents: &Contents, release: &Release, namespace: &str) -> Option<Duration> {
        let pods = contents.workload(&self.identity.name, namespace).pods;
        if pods.iter().any(|pod| pod.ready && !pod.terminating && pod.job.is_none()) {
            return None;
        }
        // Ready without pods is what shall have none.
        let mut conditions = release.status.iter().flat_map(|status| &status.conditions);
        let failing = conditions.find(|condition| condition.condition_type == "Ready" && condition.status != "True");
        let since = failing.and_then(|ready| parse_time(&ready.last_transition_time));
        let since = since.map_or(DOWN, |since| Duration::try_from(self.now.duration_since(since)).unwrap_or_default());
        Some(DOWN.saturating_sub(since))
    }

    fn holder(&self, place: &Place) -> Led {
        let contents = self.shared.index.lock();
        let Some(tracked) = contents.object(place) else { return Led::Nobody };
        match tracked.owners.of_kind(OwnerKind::Release) {
            Some(release) if release == self.identity.name => Led::Me,
            Some(release) => {
                let stays = match contents.releases.get(release) {
                    Some(Own::Read(other)) => other.spec.body.state == Desired::Present,
                    Some(Own::Unreadable { .. }) => true,
                    // Its object is lost, and it runs on.
                    None => contents.workload(release, &place.namespace).deployment.is_some(),
                };
                if stays { Led::Other(release.to_owned()) } else { Led::Gone }
            }
            None => Led::Other(String::new()),
        }
    }

    /// Services that lead here and are none of `rendered` nor of those that are recorded, which are of this version alone.
    fn left_over(&self, namespace: &str, rendered: &[Value]) -> Vec<Place> {
        let contents = self.shared.index.lock();
        let recorded = |place: &Place| self.status.objects.contains(&place.reference());
        let named = |place: &Place| {
            rendered.iter().filter_map(object::reference).any(|(_, reference)| *reference.name == *place.name)
        };
        let led = contents.of_owner(self.owner()).filter(|(place, tracked)| {
            place.kind == ObjectKind::Service
                && *place.namespace == *namespace
                && !recorded(place)
                && !named(place)
                && observe::plain(self.shared, self.owner(), tracked).ours
                && !tracked.terminating
        });
        led.map(|(place, _)| place.clone()).collect()
    }

    /// Makes the Service lead here, and be as it was rendered, if it still leads where it led when that was decided.
    async fn hold(&self, object: &Value, place: &Place, holder: &Led) -> Result<(), ApiError> {
        let Some(live) = observe::wanted(self.shared, self.owner(), object).await? else { return Ok(()) };
        // What was read may be what another release has just written.
        if self.holder(place) != *holder {
            return Ok(());
        }
        let contested = live.ours && fights::contested(ObjectKind::Service, &self.identity.name, &live).is_some();
        if live.terminating || live.drift.is_empty() || contested {
            return Ok(());
        }
        apply::update(self.shared, object, &live.uid, &live.resource_version, live.was_equal).await
    }

    /// Makes the Service lead to the release `to`, as that has it rendered.
    async fn give(&self, place: &Place, to: &str) -> Result<(), ApiError> {
        let revision = match self.shared.index.lock().releases.get(to) {
            Some(Own::Read(other)) => {
                other.status.as_ref().and_then(|status| Some(status.effective.as_ref()?.revision.clone()))
            }
            Some(Own::Unreadable { .. }) | None => None,
        };
        let Some(revision) = revision else { return Ok(()) };
        let Some(rendering) = observe::rendering(self.shared, to, &place.namespace, &revision).await? else {
            return Ok(());
        };
        let named = |object: &&Value| object::reference(object).is_some_and(|(_, found)| *found.name == *place.name);
        let live = self.shared.index.lock().object(place).cloned();
        if let (Some(object), Some(live)) = (rendering.majors.iter().find(named), live) {
            apply::update(self.shared, object, &live.uid, &live.resource_version, false).await?;
        }
        Ok(())
    }

    async fn remove_led(&self, place: &Place) -> Result<(), ApiError> {
        let Some(live) = self.shared.index.lock().object(place).cloned() else { return Ok(()) };
        apply::delete(self.shared, &place.namespace, &place.reference(), &live.uid, &live.resource_version).await
    }
}

/// Whom a Service leads to, as its label says.
#[derive(PartialEq, Eq)]
enum Led {
    Nobody,
    Me,
    Other(String),
    Gone,
}

impl Led {
    fn as_holder(&self) -> Holder<'_> {
        match self {
            Self::Nobody => Holder::Nobody,
            Self::Me => Holder::Me,
            Self::Other(release) => Holder::Other(release),
            Self::Gone => Holder::Gone,
        }
    }
}

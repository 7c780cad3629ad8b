//! The operator's look at releases: the real build and decision, with the API server asked where the operator asks it.

use std::collections::BTreeMap;
use std::rc::Rc;

use jiff::Timestamp;
use pdp_agent::kinds::{ObjectRef, ReleaseStatus, SecurityLevel};
use pdp_agent::link::intake::body;
use pdp_agent::operator::build::Input;
use pdp_agent::operator::decide::{self, Admission, Identity, Observed, Remains, Standing, Target};
use pdp_agent::operator::modified::Modified;
use pdp_agent::operator::object::{DATA_PLANE, RELEASE};
use pdp_agent::operator::progress::Workload;
use pdp_agent::operator::rendering::{Rendering, Slots, content_hash, revision_name};
use pdp_agent::operator::report::Trouble;
use pdp_agent::operator::validated::ValidRelease;
use pdp_agent::operator::write::{Live, Write};
use protocol::name::{Kind, ResourceKey};
use protocol::spec::{Desired, DocumentStamp, ReleaseSpec};
use serde::Deserialize as _;
use serde_json::Value;

use super::api::{Api, Id, generation, text};
use super::operator::{Decided, NAMESPACE, Operator, release_of};
use super::renderings::{Known, Spec, built};

const DATA_PLANE_ID: &str = "dp-1";

impl Operator {
    pub(super) fn decide(
        &mut self,
        release: &str,
        workload: &Workload,
        pods: usize,
        api: &Api,
        now: Timestamp,
    ) -> Option<Decided> {
        let object = Rc::clone(self.cache.get(&Id::own("Release", release))?);
        let object = object.as_ref();
        let read = self.spec(release, object.get("spec")?)?;
        let (spec, hash) = (&read.spec, read.hash.clone());
        let status: ReleaseStatus = object
            .get("status")
            .map_or_else(|| Some(ReleaseStatus::default()), |status| ReleaseStatus::deserialize(status).ok())?;
        let identity = Identity {
            name: release.to_owned(),
            uid: text(object, "uid").to_owned(),
            generation: generation(object),
            local: false,
            revision: revision_name(release, &hash),
            content_hash: hash,
            modified: read.modified.clone(),
        };
        let revisions = self.live(release, true, None);
        if spec.state == Desired::Absent {
            let mut live = self.live(release, false, None);
            live.extend(revisions);
            let settles = self.settles(RELEASE, release);
            let remains =
                Remains { identity: &identity, status: &status, paused: None, waits: None, live: &live, pods, settles };
            let decision = decide::remove(&remains, now);
            return Some(Decided::of(decision));
        }
        let mut blocked = None;
        // As the operator does: remembered renderings serve until a restart, a missing one is asked for at the API server.
        let lost =
            !self.renderings.contains_key(&identity.revision) && api.get(&revision_id(&identity.revision)).is_none();
        let standing = decide::standing(&status, &identity);
        if standing == Standing::New || (standing == Standing::Rolling && lost) {
            match ValidRelease::parse(spec) {
                Ok(valid) => {
                    // Remembered ones may be of before a removal.
                    self.renderings.remove(&identity.revision);
                    return Some(self.admit(&identity, &status, &valid, workload, api, now));
                }
                Err(reasons) => blocked = Some(Trouble::new("Invalid", reasons.join("; "))),
            }
        }
        let known = decide::target(&status).and_then(|revision| Self::known(&mut self.renderings, api, revision));
        let objects = known.as_ref().map_or(&[][..], |known| &known.objects);
        let live = self.live(release, false, known.as_ref());
        let target = known.as_ref().map(|known| Target { rendering: &known.rendering, objects, secret: None });
        let observed = Observed {
            identity: &identity,
            status: &status,
            blocked: blocked.as_ref(),
            paused: None,
            target,
            live: &live,
            revisions: &revisions,
            in_use: None,
            workload,
            fights: &BTreeMap::new(),
        };
        let decision = decide::decide(&observed, now);
        Some(Decided::of(decision))
    }

    fn spec(&mut self, release: &str, json: &Value) -> Option<Rc<Spec>> {
        match self.specs.get(release).filter(|known| known.json == *json) {
            Some(known) => Some(Rc::clone(known)),
            None => {
                let spec: ReleaseSpec = serde_json::from_value(body(json)).ok()?;
                let hash = content_hash(&spec);
                let modified = json.get("document").and_then(|stamp| DocumentStamp::deserialize(stamp).ok());
                let key = ResourceKey { kind: Kind::Release, name: release.to_owned() };
                let modified = Modified::of(&key, modified.as_ref(), None, &spec);
                let read = Rc::new(Spec { json: json.clone(), spec, hash, modified });
                self.specs.insert(release.to_owned(), Rc::clone(&read));
                Some(read)
            }
        }
    }

    fn known(known: &mut BTreeMap<String, Rc<Known>>, api: &Api, revision: &str) -> Option<Rc<Known>> {
        if !known.contains_key(revision) {
            let read = Known::read(revision, api.get(&revision_id(revision))?)?;
            known.insert(revision.to_owned(), read);
        }
        known.get(revision).map(Rc::clone)
    }

    /// The rendering first, then the status that says it is being rolled out; the workload comes after both.
    fn admit(
        &self,
        identity: &Identity,
        status: &ReleaseStatus,
        valid: &ValidRelease,
        workload: &Workload,
        api: &Api,
        now: Timestamp,
    ) -> Decided {
        let input = Input {
            data_plane: DATA_PLANE_ID,
            name: &identity.name,
            environment: "shop-dev",
            project: "shop",
            namespace: NAMESPACE,
            content_hash: &identity.content_hash,
            level: SecurityLevel::Restricted,
            pull_secrets: &[],
            release: valid,
        };
        let Some(stored) = api.get(&revision_id(&identity.revision)) else {
            let labels = BTreeMap::from([
                (DATA_PLANE.to_owned(), DATA_PLANE_ID.to_owned()),
                (RELEASE.to_owned(), identity.name.clone()),
            ]);
            return Decided::one(Write::Create(built(&input).stored(
                &identity.revision,
                NAMESPACE,
                identity.generation,
                &labels,
            )));
        };
        let unread = || Rc::new(Known::of(Rendering::clone(&built(&input)), &identity.revision));
        let known = Known::read(&identity.revision, stored).unwrap_or_else(unread);
        let admission = Admission {
            identity,
            status,
            namespace: NAMESPACE,
            slots: &Slots::new(),
            target: Target { rendering: &known.rendering, objects: &known.objects, secret: None },
            workload,
        };
        Decided::one(Write::Status(Box::new(decide::admit(&admission, now))))
    }

    /// Objects of a release, stored renderings or the others, as the decision sees them.
    fn live(&mut self, release: &str, renderings: bool, wanted: Option<&Rc<Known>>) -> BTreeMap<ObjectRef, Live> {
        let Self { cache, views, .. } = self;
        let of = |(id, object): &(&Id, &Rc<Value>)| {
            id.namespace == NAMESPACE
                && (id.kind == "ControllerRevision") == renderings
                && release_of(object) == Some(release)
        };
        cache.iter().filter(of).filter_map(|(id, object)| views.view(id, object, wanted)).collect()
    }
}

fn revision_id(name: &str) -> Id {
    Id { kind: "ControllerRevision".to_owned(), namespace: NAMESPACE.to_owned(), name: name.to_owned() }
}

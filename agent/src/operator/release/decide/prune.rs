//! What may go once the newest revision serves and the old pods are gone.
//!
//! Only recorded objects that carry the release's label are removed. ConfigMaps and Secrets stay while a recorded binding, a
//! replica set, a pod or a job names them; stored renderings stay while their binding does. For Secrets only the bindings count
//! from which something may still be created: values that were rotated out do not stay as long as the renderings do.

use std::collections::BTreeSet;

use super::observed::Observed;
use crate::kinds::{Binding, ObjectRef, ReleaseStatus};
use crate::operator::object::{self, ObjectKind};
use crate::operator::reconcile::rendering::Rendering;
use crate::operator::reconcile::write::Write;

/// Removals, with `status` brought in line: an object leaves the recorded set when it is seen to be gone.
pub fn prune(observed: &Observed<'_>, status: &mut ReleaseStatus) -> Vec<Write<ReleaseStatus>> {
    let Some(target) = &observed.target else { return Vec::new() };
    if observed.workload.draining() {
        return Vec::new();
    }
    let wanted: BTreeSet<ObjectRef> =
        target.objects.iter().filter_map(object::reference).map(|(_, reference)| reference).collect();
    let mut writes = Vec::new();
    let mut recorded = Vec::new();
    for reference in std::mem::take(&mut status.objects) {
        let live = observed.live.get(&reference);
        if wanted.contains(&reference) || still_named(observed, target.rendering, status, &reference) {
            recorded.push(reference);
            continue;
        }
        match live {
            Some(live) if live.ours => {
                if !live.terminating {
                    writes.push(Write::delete(&reference, live));
                }
                recorded.push(reference);
            }
            // Gone, or somebody else's by now.
            Some(_) | None => {}
        }
    }
    status.objects = recorded;
    let kept = |reference: &ObjectRef| status.bindings.iter().any(|binding| binding.revision == reference.name);
    let old = observed.revisions.iter().filter(|(reference, live)| !kept(reference) && live.ours && !live.terminating);
    writes.extend(old.map(|(reference, live)| Write::delete(reference, live)));
    writes
}

/// Whether `reference` is configuration that something may still read.
fn still_named(observed: &Observed<'_>, rendering: &Rendering, status: &ReleaseStatus, reference: &ObjectRef) -> bool {
    let used = || observed.in_use.is_none_or(|names| names.contains(&reference.name));
    is_configuration(reference) && (bound(status, rendering, reference) || used())
}

/// Whether a binding that can still create objects names it. A revision that comes back gets fresh values, so only a recorded TaskRun
/// may need its old Secret.
fn bound(status: &ReleaseStatus, rendering: &Rendering, reference: &ObjectRef) -> bool {
    let serving = status.effective.as_ref().map(|effective| &effective.revision);
    let coming = status.rollout.as_ref().map(|rollout| &rollout.revision);
    let every = rendering.job.is_some() || ObjectKind::of(&reference.kind) != Some(ObjectKind::Secret);
    let counts = |binding: &&Binding| every || [serving, coming].contains(&Some(&binding.revision));
    status.bindings.iter().filter(counts).any(|binding| binding.slots.values().any(|name| *name == reference.name))
}

/// Whether pruning needs to know what is in use.
#[must_use]
pub fn needs_use(status: &ReleaseStatus, rendering: &Rendering) -> bool {
    status.objects.iter().any(|reference| is_configuration(reference) && !bound(status, rendering, reference))
}

fn is_configuration(reference: &ObjectRef) -> bool {
    matches!(ObjectKind::of(&reference.kind), Some(ObjectKind::ConfigMap | ObjectKind::Secret))
}

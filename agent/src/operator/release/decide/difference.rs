//! What differs from the target, object by object: created, repaired, left to somebody who keeps changing it, or waited for.

use super::switch;
use super::{Observed, Target};
use crate::kinds::ReleaseStatus;
use crate::kinds::conditions::Reason;
use crate::operator::object::{self, ObjectKind};
use crate::operator::reconcile::fights;
use crate::operator::reconcile::write::Write;

/// The writes toward the target, and what was found on the way.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) writes: Vec<Write<ReleaseStatus>>,
    pub(super) switches: Vec<Write<ReleaseStatus>>,
    pub(super) contested: Option<Reason>,
    /// An object of somebody else's, or one of ours that is going: nothing can be written there.
    pub(super) in_the_way: Option<Reason>,
}

/// Creates what is missing and repairs what differs, in order.
pub(super) fn apply(observed: &Observed<'_>, target: &Target<'_>) -> Applied {
    let mut applied = Applied::default();
    if let Some(secret) = target.secret {
        match observed.live.get(&ObjectKind::Secret.named(secret)) {
            Some(live) if !live.ours => applied.in_the_way = Some(taken("Secret", secret)),
            Some(live) if live.terminating => applied.in_the_way = Some(going("Secret", secret)),
            Some(_) => {}
            None => applied.writes.push(Write::CreateSecret(secret.to_owned())),
        }
    }
    for object in target.objects {
        let Some((kind, reference)) = object::reference(object) else { continue };
        let Some(live) = observed.live.get(&reference) else {
            applied.writes.push(Write::Create(object.clone()));
            continue;
        };
        if !live.ours {
            applied.in_the_way = Some(taken(kind.names().1, &reference.name));
            continue;
        }
        if live.terminating {
            applied.in_the_way = Some(going(kind.names().1, &reference.name));
            continue;
        }
        if live.drift.is_empty() {
            continue;
        }
        if let Some(contested) = fights::contested(kind, &reference.name, live) {
            applied.contested = Some(contested);
            continue;
        }
        let write = Write::apply(object, live);
        if switch::waits(kind, &live.drift) { applied.switches.push(write) } else { applied.writes.push(write) }
    }
    applied
}

fn taken(kind: &str, name: &str) -> Reason {
    Reason::new(
        "NameTaken",
        format!(
            "{kind} {name} exists in the namespace and was not made by this release; it is never adopted, remove or rename it"
        ),
    )
}

fn going(kind: &str, name: &str) -> Reason {
    Reason::new(
        "Terminating",
        format!("{kind} {name} is being deleted; it is made again once it is gone, which a finalizer may hold up"),
    )
}

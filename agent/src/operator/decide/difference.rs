//! What differs from the target, object by object: to be created, taken back, left to somebody who insists, or waited for.

use jiff::Timestamp;

use super::super::object::{self, ObjectKind};
use super::super::report::Trouble;
use super::super::switch;
use super::super::write::{Live, Write};
use super::{FIGHT_WINDOW, MAX_FIGHTS, Observed, Target};
use crate::kinds::{ObjectRef, ReleaseStatus};

/// What is applied of the target, and what was found on the way.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) writes: Vec<Write<ReleaseStatus>>,
    pub(super) switches: Vec<Write<ReleaseStatus>>,
    pub(super) repaired: Vec<ObjectRef>,
    pub(super) contested: Option<Trouble>,
    /// An object of somebody else's, or one of ours that is going: nothing can be written there.
    pub(super) in_the_way: Option<Trouble>,
}

/// Creates what is missing and takes back what differs, in order.
pub(super) fn apply(observed: &Observed<'_>, target: &Target<'_>, now: Timestamp) -> Applied {
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
        if live.was_equal {
            if fights(observed, &reference, now) >= MAX_FIGHTS {
                applied.contested = Some(contested(kind, &reference, live));
                continue;
            }
            applied.repaired.push(reference);
        }
        let write = Write::apply(object, live);
        if switch::waits(kind) { applied.switches.push(write) } else { applied.writes.push(write) }
    }
    applied
}

fn fights(observed: &Observed<'_>, object: &ObjectRef, now: Timestamp) -> usize {
    let recent = |at: &&Timestamp| now.duration_since(**at) < FIGHT_WINDOW;
    observed.fights.get(object).map_or(0, |times| times.iter().filter(recent).count())
}

fn contested(kind: ObjectKind, reference: &ObjectRef, live: &Live) -> Trouble {
    let rival = live.rival.as_deref().unwrap_or("an unnamed field manager");
    Trouble::new(
        "Contested",
        format!(
            "{} {} was changed back by {rival} three times within ten minutes, so repair has stopped; stop {rival} from writing {}",
            kind.names().1,
            reference.name,
            live.drift.join(", "),
        ),
    )
}

fn taken(kind: &str, name: &str) -> Trouble {
    Trouble::new(
        "NameTaken",
        format!(
            "{kind} {name} exists in the namespace and was not made by this release; it is never adopted, remove or rename it"
        ),
    )
}

fn going(kind: &str, name: &str) -> Trouble {
    Trouble::new(
        "Terminating",
        format!("{kind} {name} is being deleted; it is made again once it is gone, which a finalizer may hold up"),
    )
}

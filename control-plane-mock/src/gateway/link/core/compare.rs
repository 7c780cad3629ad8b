//! The comparison that opens each session: what the data plane has stored against what is wanted here.
//!
//! Because of it lost messages need no replay: a document that the data plane has stored was accepted, whether its answer arrived or not;
//! one that it has not stored is sent; one that was never issued here holds the session until a person decides. Absence alone deletes
//! nothing.

use std::collections::{HashMap, HashSet};

use protocol::document::Desired;
use protocol::inventory::{Difference, Inventory};
use protocol::message::{InventoryEntry, Verdict};
use protocol::mutant::{self, Mutant};
use protocol::name::{Kind, ResourceKey};
use rusqlite::Connection;

use crate::desired::documents::{self, Stored};
use crate::desired::{forgotten, reports, sessions};
use crate::store::Result;

/// All wanted resources except task runs, which are settled here, and the highest wanted generation.
pub(super) fn desired(c: &Connection, id: &str, task_runs: &[InventoryEntry], cut: bool) -> Result<(Inventory, i64)> {
    let mut desired = Inventory::default();
    let mut upto = 0;
    for run in task_runs {
        forgotten::seen_again(c, id, &run.key)?;
    }
    let listed: HashSet<&ResourceKey> = task_runs.iter().map(|run| &run.key).collect();
    let lost = |key: &ResourceKey| key.kind == Kind::TaskRun && !cut && !listed.contains(key);
    reports::forget_states(c, id, lost)?;
    for wish in documents::wanted(c, id, 0)? {
        upto = wish.generation;
        if wish.key.kind != Kind::TaskRun {
            let Stored { key, generation, hash, state, .. } = wish;
            desired.insert(InventoryEntry { key, generation, hash, state });
            continue;
        }
        match task_runs.iter().find(|run| run.key == wish.key) {
            // The run is in the cluster, so it was accepted: a restored store may know of a refusal only.
            Some(run) if run.generation == wish.generation && !wish.is_accepted() => {
                documents::record_answer(c, id, &wish.key, wish.generation, &Verdict::Already, 0)?;
            }
            Some(_) if !wish.accepted => documents::was_accepted(c, id, &wish.key)?,
            None if wish.accepted && !cut && mutant::is(Mutant::LostRunSentAgain) => {
                documents::unanswered(c, id, &wish.key)?;
            }
            None if wish.accepted && !cut => {
                reports::task_run_lost(c, id, &wish.key.name, reports::RUN_GONE)?;
            }
            Some(_) | None => {}
        }
    }
    Ok((desired, upto))
}

/// Records what the comparison says about each wish; `gone`: what was told to be gone since the session opened. True if something was
/// found that was never issued here.
pub(super) fn settle(
    c: &Connection,
    id: &str,
    differences: &[Difference],
    upto: i64,
    gone: &HashSet<ResourceKey>,
) -> Result<bool> {
    let adopted_below = sessions::adopted_below(c, id)?;
    let mut strange = None;
    for difference in differences {
        let forgotten = forgotten::generation(c, id, &difference.key)?.unwrap_or(0);
        strange = strange.or_else(|| never_issued(difference, adopted_below.max(forgotten)));
        if difference.stored.is_some() && difference.desired.is_none() {
            forgotten::seen_again(c, id, &difference.key)?;
        }
        if difference.stored.is_none() {
            reports::forget_state(c, id, &difference.key)?;
        }
    }
    if let Some(why) = &strange {
        sessions::hold(c, id, why)?;
    }
    let differing: HashMap<&ResourceKey, &Difference> =
        differences.iter().map(|difference| (&difference.key, difference)).collect();
    // A resource that is neither wanted here nor stored there has no state any more, whoever deleted it.
    let wanted: HashSet<ResourceKey> = documents::wanted(c, id, 0)?.into_iter().map(|wish| wish.key).collect();
    reports::forget_states(c, id, |key| {
        let apart = matches!(key.kind, Kind::TaskRun | Kind::DataPlane);
        !apart && !wanted.contains(key) && !differing.contains_key(key)
    })?;
    let removed: HashMap<ResourceKey, i64> = forgotten::to_forget(c, id)?.into_iter().collect();
    for wish in documents::wanted(c, id, 0)? {
        // Documents written after the desired state was read were not compared.
        if wish.generation > upto && !mutant::is(Mutant::ComparedUnseen) {
            continue;
        }
        let deferred = matches!(wish.answer, Some(Verdict::Deferred { .. }));
        // Task runs are not compared. A deferred one is offered again, since the timer for its retry ended with the session that had it.
        if wish.key.kind == Kind::TaskRun {
            if deferred && !mutant::is(Mutant::RunPutOffForEver) {
                documents::unanswered(c, id, &wish.key)?;
            }
            continue;
        }
        let accepted = wish.is_accepted();
        match differing.get(&wish.key) {
            // It was listed before it went: it is sent again.
            None if gone.contains(&wish.key) => {
                documents::unanswered(c, id, &wish.key)?;
            }
            None if !accepted => {
                documents::record_answer(c, id, &wish.key, wish.generation, &Verdict::Already, 0)?;
            }
            // It was forgotten there, and the answer was lost.
            Some(Difference { stored: None, .. })
                if wish.state == Desired::Absent && removed.get(&wish.key) == Some(&wish.generation) =>
            {
                forgotten::confirmed(c, id, &wish.key, wish.generation)?;
            }
            Some(_) if accepted || deferred => {
                documents::unanswered(c, id, &wish.key)?;
            }
            Some(_) | None => {}
        }
    }
    Ok(strange.is_some())
}

/// Why an inventory entry cannot have come from this store, if so.
/// `known`: up to which generation something without a document here was forgotten or accepted by a person.
fn never_issued(difference: &Difference, known: i64) -> Option<String> {
    let stored = difference.stored.as_ref()?;
    let strange = match &difference.desired {
        None => stored.generation > known,
        Some(desired) => {
            stored.generation > desired.generation
                || (stored.generation == desired.generation && stored.hash != desired.hash)
        }
    };
    strange.then(|| {
        format!(
            "the data plane holds {} at generation {}, which was never issued here: was this control plane restored from a backup?",
            difference.key, stored.generation
        )
    })
}

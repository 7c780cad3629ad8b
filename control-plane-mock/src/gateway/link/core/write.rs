//! Writes what an agent sent to the store: answers, states, facts, and connections that a document may have ended.

use protocol::message::{FactReport, StateReport, Verdict};
use protocol::mutant::{self, Mutant};
use protocol::name::{Kind, ResourceKey};
use protocol::session::{CloseCode, Disconnect};
use rusqlite::Connection;

use super::{Core, Offered, Say};
use crate::desired::{documents, forgotten, quarantine, reports, sessions};
use crate::store::Result;

pub(super) fn state(c: &Connection, id: &str, report: StateReport) -> Result<Say> {
    let StateReport { key, digest, state } = report;
    reports::record_state(c, id, &key, &digest, state.as_ref())?;
    if state.is_none() {
        vanished(c, id, &key)?;
    }
    Ok(Say::AcknowledgeState { key, digest })
}

/// The data plane no longer has a resource that it had accepted: its document is sent again. Not that of a task run, which never runs
/// twice, so its result is Unknown; and not one that is due to be forgotten: it is gone because it was removed.
fn vanished(c: &Connection, data_plane: &str, key: &ResourceKey) -> Result<()> {
    let Some(wish) = documents::find(c, data_plane, key)? else { return Ok(()) };
    if forgotten::to_forget(c, data_plane)?.iter().any(|(known, _)| known == key) {
        return Ok(());
    }
    match key.kind {
        Kind::TaskRun if wish.accepted => reports::task_run_lost(c, data_plane, &key.name, reports::RUN_GONE),
        Kind::DataPlane | Kind::Environment | Kind::Release if wish.is_accepted() => {
            documents::unanswered(c, data_plane, key)
        }
        Kind::TaskRun | Kind::DataPlane | Kind::Environment | Kind::Release => Ok(()),
    }
}

pub(super) fn fact(c: &Connection, id: &str, report: FactReport) -> Result<Say> {
    let FactReport { key, fact } = report;
    reports::record_fact(c, id, &key, &fact)?;
    Ok(Say::AcknowledgeFact { key, id: fact.id })
}

pub(super) fn ended(c: &Connection, id: &str, cause: Disconnect, unanswered: Vec<(ResourceKey, i64)>) -> Result<()> {
    // Only the oldest one is suspected: the others waited behind it.
    let Some((key, generation)) = unanswered.into_iter().next() else { return Ok(()) };
    match cause {
        Disconnect::Cut => quarantine::cut(c, id, &key, generation),
        Disconnect::Closed(
            CloseCode::Protocol | CloseCode::TooLarge | CloseCode::WindowExceeded | CloseCode::Unknown(_),
        ) => quarantine::closed(c, id, &key, generation),
        Disconnect::Closed(_) | Disconnect::Local => Ok(()),
    }
}

impl Core {
    pub(super) fn answered(
        &mut self,
        c: &Connection,
        key: &ResourceKey,
        generation: i64,
        forget: bool,
        verdict: &Verdict,
    ) -> Result<()> {
        let offered = if forget { Offered::Forget(generation) } else { Offered::Document(generation) };
        let put_off = forget && matches!(verdict, Verdict::Deferred { .. });
        if self.offered.get(key) == Some(&offered) && !(put_off && mutant::is(Mutant::ForgetPutOffForEver)) {
            self.offered.remove(key);
        }
        let id = self.data_plane.as_str();
        match verdict {
            Verdict::Forgotten { .. } => forgotten::confirmed(c, id, key, generation),
            Verdict::Refused { .. } if forget => {
                forgotten::refused(c, id, key)?;
                // The removal is recorded, but the API server there was restored from a backup and has an older state of the resource:
                // the removal is sent again under a new generation.
                if key.kind == Kind::TaskRun { Ok(()) } else { documents::redraw(c, id, key, generation) }
            }
            // The data plane holds a higher generation from before a restore, and a person accepted that it stays.
            Verdict::Stale { .. } if forget => {
                forgotten::settled(c, id, key)?;
                if key.kind == Kind::TaskRun { documents::renumber(c, id, key, generation) } else { Ok(()) }
            }
            // A forget that cannot be carried out now is offered again by the next look into the store.
            _ if forget => Ok(()),
            Verdict::Stale { generation: stored, floor, .. } => {
                again_under_new_generation(c, id, key, generation, stored.unwrap_or(0).max(*floor))
            }
            Verdict::Conflict { generation: stored, .. } => again_under_new_generation(c, id, key, generation, *stored),
            Verdict::Accepted { .. } | Verdict::Already | Verdict::Deferred { .. } | Verdict::Refused { .. } => {
                let schema = self.schema.get(&key.kind).copied().unwrap_or(0);
                let newest = match mutant::is(Mutant::AnswerOfAnOlderGeneration) {
                    true => documents::find(c, id, key)?.map(|wish| wish.generation),
                    false => None,
                };
                let generation = newest.unwrap_or(generation);
                documents::record_answer(c, id, key, generation, verdict, schema)
            }
        }
    }
}

/// Sends a wanted document again, under a generation above the one that the data plane holds. If that one was never drawn here, the
/// session is held until a person decides.
fn again_under_new_generation(c: &Connection, id: &str, key: &ResourceKey, generation: i64, seen: i64) -> Result<()> {
    let sql = "SELECT counter FROM data_plane WHERE id = ?1";
    let counter: i64 = c.prepare_cached(sql)?.query_row([id], |row| row.get(0))?;
    if seen > counter {
        let why = format!("the data plane holds generation {seen}, only {counter} were drawn here");
        return sessions::hold(c, id, &why);
    }
    documents::redraw(c, id, key, generation)
}

//! Offers of documents and forgets to the session of a data plane.
//!
//! The store is the only memory: documents without an answer are offered; those that were refused at this schema revision, or are in
//! quarantine, are not. A wake-up says that something changed, never what.

use protocol::message::Verdict;
use protocol::mutant::{self, Mutant};
use protocol::name::ResourceKey;
use protocol::session::{CloseCode, Delivery, Offer};
use rusqlite::Connection;
use serde_json::value::RawValue;

use super::{Core, Offered, REVOKED, Say, SessionState};
use crate::desired::documents::{self, Stored};
use crate::desired::forgotten;
use crate::store::{Error, Result};

impl Core {
    /// Offers all that is unanswered, and notices revocation and adoption.
    pub(super) fn look(&mut self, c: &Connection, session_state: &mut SessionState, say: &mut Vec<Say>) -> Result<()> {
        let sql = "SELECT revoked IS NOT NULL, held IS NOT NULL, counter FROM data_plane WHERE id = ?1";
        let (revoked, held, counter): (bool, bool, i64) =
            c.prepare_cached(sql)?.query_row([&self.data_plane], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        if revoked {
            say.push(Say::Close { code: CloseCode::Revoked, reason: REVOKED });
            return Ok(());
        }
        if session_state.held && !held && session_state.open {
            say.push(Say::Adopt(self.adopted(counter)));
            session_state.held = false;
        }
        // Only the comparison shows which documents were stored though their answers were lost, so nothing is offered before it is over.
        if !session_state.open || session_state.paused {
            return Ok(());
        }
        for wish in documents::unanswered_all(c, &self.data_plane)? {
            self.offer(&wish, say);
        }
        for (key, generation) in forgotten::to_forget(c, &self.data_plane)? {
            if mutant::is(Mutant::ForgetBehindDocument) && self.offered.contains_key(&key) {
                continue;
            }
            let offered = Offered::Forget(generation);
            if self.offered.insert(key.clone(), offered) != Some(offered) {
                say.push(Say::Offer(Offer { key, generation, delivery: Delivery::Forget }));
            }
        }
        Ok(())
    }

    fn offer(&mut self, wish: &Stored, say: &mut Vec<Say>) {
        let schema = self.schema.get(&wish.key.kind).copied().unwrap_or(0);
        if wish.is_refused(schema) || wish.quarantined {
            return;
        }
        let offered = Offered::Document(wish.generation);
        if self.offered.get(&wish.key) == Some(&offered) {
            return;
        }
        match offer(wish) {
            Ok(offer) => {
                self.offered.insert(wish.key.clone(), offered);
                say.push(Say::Offer(offer));
            }
            Err(error) => tracing::error!(%error, resource = %wish.key, "stored document cannot be sent"),
        }
    }

    /// Retries a deferred document. A deferred forget is offered by the look into the store that follows.
    pub(super) fn retry(&mut self, c: &Connection, key: &ResourceKey, say: &mut Vec<Say>) -> Result<()> {
        if let Some(wish) = documents::find(c, &self.data_plane, key)?
            && matches!(wish.answer, Some(Verdict::Deferred { .. }) | None)
            // A forget of this generation is offered, so the document was stored. Offered now, it would replace the forget in the
            // session.
            && self.offered.get(key) != Some(&Offered::Forget(wish.generation))
        {
            self.offer(&wish, say);
        }
        Ok(())
    }
}

fn offer(wish: &Stored) -> Result<Offer> {
    Ok(Offer {
        key: wish.key.clone(),
        generation: wish.generation,
        delivery: Delivery::Document {
            hash: wish.hash.clone(),
            body: RawValue::from_string(wish.body.clone()).map_err(Error::from)?,
            provenance: wish.provenance.clone(),
        },
    })
}

//! What is wanted of a data plane, to its session.
//!
//! The store is the only memory: what is unanswered there is offered, what was refused at this schema revision or set aside is
//! not. A wake-up means that something changed; it is never told what.

use protocol::message::Verdict;
use protocol::name::ResourceKey;
use protocol::session::{CloseCode, Delivery, Offer};
use serde_json::value::RawValue;

use super::Link;
use crate::faults::Fault;
use crate::store::documents::{self, Stored};
use crate::store::{Error, Result};

/// What one look into the store found.
struct Found {
    revoked: bool,
    held: bool,
    wanted: Vec<Stored>,
    forget: Vec<(ResourceKey, i64)>,
}

impl Link {
    /// Offers all that is unanswered, and notices revocation, adoption and a newer session.
    pub(super) async fn look_into_store(&mut self) {
        let found = self
            .in_store(|c, id| {
                let sql = "SELECT revoked IS NOT NULL, held IS NOT NULL FROM data_plane WHERE id = ?1";
                let (revoked, held) = c.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(Found {
                    revoked,
                    held,
                    wanted: documents::unanswered_all(c, id)?,
                    forget: documents::to_forget(c, id)?,
                })
            })
            .await;
        let Some(Found { revoked, held, wanted, forget }) = found else { return };
        if revoked {
            return self.session.close(CloseCode::Revoked, "access was revoked; enrol again with a new token");
        }
        if self.session.is_held() && !held && self.session.is_open() {
            self.adopt().await;
        }
        // Before the comparison is over, nobody knows what was stored without an answer.
        if !self.session.is_open() {
            return;
        }
        if self.shared.faults.holds(self.data_plane(), |fault| matches!(fault, Fault::Pause)) {
            return;
        }
        for wish in wanted {
            self.offer(&wish);
        }
        for (key, generation) in forget {
            if self.offered.insert(key.clone(), generation) != Some(generation) {
                self.session.offer(Offer { key, generation, delivery: Delivery::Forget });
            }
        }
    }

    fn offer(&mut self, wish: &Stored) {
        let schema = self.schema.get(&wish.key.kind).copied().unwrap_or(0);
        if wish.is_refused(schema) || wish.quarantined {
            return;
        }
        if self.offered.get(&wish.key) == Some(&wish.generation) {
            return;
        }
        match offer(wish) {
            Ok(offer) => {
                self.offered.insert(wish.key.clone(), wish.generation);
                self.session.offer(offer);
            }
            Err(error) => tracing::error!(%error, resource = %wish.key, "stored document cannot be sent"),
        }
    }

    /// A deferred document or forget may be tried again.
    pub(super) async fn retry(&mut self, key: ResourceKey) {
        let found = self.in_store(move |c, id| documents::find(c, id, &key)).await;
        if let Some(Some(wish)) = found
            && matches!(wish.answer, Some(Verdict::Deferred { .. }) | None)
        {
            self.offer(&wish);
        }
        self.look_into_store().await;
    }

    /// On a slow timer, refusals that the customer may have taken back are forgotten, and so asked again.
    pub(super) async fn ask_again(&mut self) {
        if self.id.is_some() && self.session.is_open() && !self.session.is_held() {
            self.in_store(documents::ask_policy_again).await;
        }
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
            trace: None,
        },
    })
}

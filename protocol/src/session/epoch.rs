//! Which of two sessions of one data plane is the newer one.

use crate::message::Epoch;
use crate::mutant::{self, Mutant};

/// Order of an incoming session and the recorded one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochOrder {
    /// It takes the place of the other, alive or not.
    Newer,
    /// It is the same or came late: it is closed with `Superseded`.
    Older,
    /// Another Lease, or fewer transitions of the same one (a restored cluster). It is accepted only while no session of the
    /// recorded lineage is alive.
    OtherLineage,
}

impl Epoch {
    /// Orders `self`, the incoming one, against `recorded`.
    #[must_use]
    pub fn against(&self, recorded: &Self) -> EpochOrder {
        if self.lease != recorded.lease || self.transitions < recorded.transitions {
            EpochOrder::OtherLineage
        } else if (self.transitions, self.connection) > (recorded.transitions, recorded.connection) {
            EpochOrder::Newer
        } else {
            EpochOrder::Older
        }
    }

    /// Whether a session with this epoch is accepted, given the recorded one and whether that is alive.
    #[must_use]
    pub fn is_accepted(&self, recorded: Option<(&Self, bool)>) -> bool {
        let Some((recorded, alive)) = recorded.filter(|_| !mutant::is(Mutant::EpochIgnored)) else { return true };
        match self.against(recorded) {
            EpochOrder::Newer => true,
            EpochOrder::Older => false,
            EpochOrder::OtherLineage => !alive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_ordered_by_transitions_then_connection() {
        let recorded = epoch("a", 3, 5);
        for (comes, order) in [
            (epoch("a", 3, 6), EpochOrder::Newer),
            (epoch("a", 4, 1), EpochOrder::Newer),
            (epoch("a", 3, 5), EpochOrder::Older),
            (epoch("a", 3, 4), EpochOrder::Older),
            (epoch("a", 2, 9), EpochOrder::OtherLineage),
            (epoch("b", 9, 9), EpochOrder::OtherLineage),
        ] {
            assert_eq!(comes.against(&recorded), order, "{comes:?}");
        }
        assert!(epoch("b", 1, 1).is_accepted(Some((&recorded, false))));
        assert!(!epoch("b", 1, 1).is_accepted(Some((&recorded, true))));
        assert!(epoch("a", 3, 6).is_accepted(Some((&recorded, true))));
        assert!(epoch("b", 1, 1).is_accepted(None));
    }

    fn epoch(lease: &str, transitions: i64, connection: i64) -> Epoch {
        Epoch { lease: lease.to_owned(), transitions, connection }
    }
}

//! How often calls, watches and commits go wrong in one run.

use super::dice::Dice;

/// How often things go wrong, of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rates {
    pub(super) lost: u64,
    pub(super) throttled: u64,
    pub(super) failing: u64,
    pub(super) slow: u64,
    pub(super) late: u64,
    /// Changes after which a watch is told 410.
    pub(super) gone: u64,
    /// Writes that a webhook of the customer refuses.
    pub(super) refused: u64,
    /// Writes whose webhook does not answer.
    pub(super) unanswered: u64,
    /// Documents that a webhook of the customer changes on their way into the store.
    pub(super) mutated: u64,
    /// Objects that a finalizer holds for a while when they are deleted.
    pub(super) held: u64,
    /// Longest time of a commit in the control plane's store, in milliseconds.
    pub(super) commit: u64,
}

impl Rates {
    /// Most runs get a little of each fault; some get none of it, and some a lot.
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let mut rate = |little: u64, much: u64| match dice.between(0, 9) {
            0..=2 => 0,
            3..=8 => dice.between(0, little),
            _ => dice.between(little, much),
        };
        Self {
            lost: rate(80, 250),
            throttled: rate(30, 200),
            failing: rate(20, 100),
            slow: rate(40, 400),
            late: rate(60, 600),
            gone: rate(10, 200),
            refused: rate(10, 200),
            unanswered: rate(10, 200),
            mutated: rate(50, 500),
            held: rate(100, 800),
            commit: rate(50, 3_000),
        }
    }
}

//! Clocks of processes: each starts anywhere and goes a little too fast or too slow.

use protocol::session::Millis;

use super::dice::Dice;

/// Milliseconds that an exact clock shows for a thousand of the world's.
const TRUE_RATE: u64 = 1_000;

/// One monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    offset: Millis,
    rate: u64,
}

impl Clock {
    /// Up to five percent fast or slow: far more than any quartz.
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let rate = if dice.per_mille(500) { TRUE_RATE } else { dice.between(950, 1_050) };
        Self { offset: dice.between(0, 1_000_000), rate }
    }

    /// What it shows at a time of the world.
    pub(super) const fn shows(self, now: Millis) -> Millis {
        self.offset + now * self.rate / TRUE_RATE
    }

    /// The first time of the world at which it shows `local`.
    pub(super) const fn when(self, local: Millis) -> Millis {
        (local.saturating_sub(self.offset) * TRUE_RATE).div_ceil(self.rate)
    }

    /// Whether it goes wrong.
    pub(super) const fn is_wrong(self) -> bool {
        self.rate != TRUE_RATE
    }
}

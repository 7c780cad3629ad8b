//! How often log streams may start: each reads the policy, its resource and a list of pods at the API server, whatever comes of it,
//! and the control plane may ask as often as it likes. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Starts at once: as many as may be open, so that all of them come back after a cut.
const AT_ONCE: u32 = 64;
/// One more may start after this time.
const EVERY: Duration = Duration::from_millis(500);

/// A bucket of tokens, kept as the time at which it is full again.
#[derive(Debug, Default)]
pub struct Starts {
    full: Option<Instant>,
}

impl Starts {
    /// Takes a token.
    ///
    /// # Errors
    /// How long until there is one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full = self.full.map_or(now, |full| full.max(now)) + EVERY;
        let wait = full.saturating_duration_since(now + EVERY * AT_ONCE);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        self.full = Some(full);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_streams_as_may_be_open_start_at_once_and_then_two_a_second() {
        let (mut starts, begin) = (Starts::default(), Instant::now());
        for _ in 0..AT_ONCE {
            assert_eq!(starts.take(begin), Ok(()));
        }
        // A start that is refused in between gets its wait and takes no token.
        for milliseconds in [0, 1, 499] {
            let now = begin + Duration::from_millis(milliseconds);
            assert_eq!(starts.take(now), Err(EVERY - Duration::from_millis(milliseconds)));
        }
        assert_eq!(starts.take(begin + EVERY), Ok(()));
        assert_eq!(starts.take(begin + EVERY), Err(EVERY));
        // A long rest fills the bucket and no more than that.
        let later = begin + Duration::from_secs(3600);
        assert_eq!((0..200).filter(|_| starts.take(later).is_ok()).count(), 64);
    }
}

//! How much of a bulk connection may be on its way, so that messages of the control connection do not wait behind it.
//!
//! Both connections share a path. What is in flight beyond the capacity of the path waits in its buffers, and the control
//! connection's bytes wait there behind it: its round trip grows. So the window shrinks by half when the round trip is well above
//! the shortest one seen, and grows slowly when it is not (as TCP Vegas does, by another connection's delay). A single late pong
//! may only mean a busy processor; a queue delays two in a row. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The window before anything is known.
const START: u64 = 64 * 1024;
/// The smallest window: one chunk of lines.
const LEAST: u64 = 16 * 1024;
/// The largest; it fills 1 Gbit/s at 16 ms.
const MOST: u64 = 2 * 1024 * 1024;
/// What a round trip may be above the shortest one.
const SLACK: Duration = Duration::from_millis(10);
/// The minimum round trip is taken over this many spans.
const SPANS: usize = 4;
/// Length of one span: after all spans a longer path is the new baseline.
const SPAN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(super) struct Restraint {
    window: u64,
    last: Duration,
    /// Begin of a span, and the shortest round trip in it; newest first.
    shortest: VecDeque<(Instant, Duration)>,
}

impl Restraint {
    pub(super) const fn new() -> Self {
        Self { window: START, last: Duration::ZERO, shortest: VecDeque::new() }
    }

    /// Bytes that may be on their way.
    pub(super) const fn window(&self) -> u64 {
        self.window
    }

    /// The control connection's round trip was measured.
    pub(super) fn round_trip(&mut self, now: Instant, measured: Duration) {
        match self.shortest.front_mut() {
            Some((began, shortest)) if now.duration_since(*began) < SPAN => *shortest = measured.min(*shortest),
            Some(_) | None => self.shortest.push_front((now, measured)),
        }
        self.shortest.truncate(SPANS);
        let shortest = self.shortest.iter().map(|(_, shortest)| *shortest).min().unwrap_or(measured);
        let delayed = measured.min(self.last) > shortest + SLACK;
        self.last = measured;
        let window = if delayed { self.window / 2 } else { self.window + self.window / 8 };
        self.window = window.clamp(LEAST, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn after(restraint: &mut Restraint, now: &mut Instant, round_trips: impl IntoIterator<Item = u32>) -> u64 {
        for round_trip in round_trips {
            *now += 100 * MS;
            restraint.round_trip(*now, round_trip * MS);
        }
        restraint.window()
    }

    #[test]
    fn the_window_shrinks_when_the_round_trip_grows_and_comes_back_slowly() {
        let (mut restraint, mut now) = (Restraint::new(), Instant::now());
        assert_eq!(after(&mut restraint, &mut now, [20; 40]), MOST);
        assert_eq!(after(&mut restraint, &mut now, [31]), MOST, "one late pong");
        assert_eq!(after(&mut restraint, &mut now, [31]), MOST / 2);
        assert_eq!(after(&mut restraint, &mut now, [30]), MOST / 2 + MOST / 16, "within the slack");
        assert_eq!(after(&mut restraint, &mut now, [400; 20]), LEAST, "one chunk always goes");
        assert!(after(&mut restraint, &mut now, [21; 4]) < 3 * LEAST);
        assert_eq!(after(&mut restraint, &mut now, [21; 40]), MOST);
    }

    #[test]
    fn a_path_that_has_become_longer_is_believed_after_two_minutes() {
        let (mut restraint, mut now) = (Restraint::new(), Instant::now());
        after(&mut restraint, &mut now, [5]);
        assert_eq!(after(&mut restraint, &mut now, [80; 10 * 90]), LEAST);
        assert_eq!(after(&mut restraint, &mut now, [80; 10 * 60]), MOST);
    }

    /// A link of 50 Mbit/s and 20 ms whose buffer is 300 KB deep: what is on its way beyond 125 KB stands in the buffer.
    #[test]
    fn on_a_narrow_link_the_buffer_stays_nearly_empty_and_the_link_nearly_full() {
        let (mut restraint, mut now) = (Restraint::new(), Instant::now());
        let (mut carried, mut longest, carries) = (0, 0, 6_250);
        for step in 0..1_000 {
            let on_its_way = restraint.window().min(425_000);
            let round_trip = (on_its_way / carries).max(20);
            carried += (on_its_way * 100 / round_trip).min(carries * 100);
            if step > 40 {
                longest = longest.max(round_trip);
            }
            after(&mut restraint, &mut now, [u32::try_from(round_trip).unwrap()]);
        }
        assert!(longest <= 42, "{longest} ms");
        assert!(carried > 1_000 * 100 * carries * 8 / 10, "{carried} bytes in 100 s");
    }
}

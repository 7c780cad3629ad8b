//! When to dial again.
//!
//! An agent that lost its own network dials at once; twenty thousand that lost one gateway spread their dials. No agent ever gives
//! up: what only a person can change is tried every few minutes.

use super::close::{CloseClass, CloseCode};
use super::{Chance, Millis};

/// A session that lived this long counts as healthy: delays start from the beginning after it.
pub(crate) const HEALTHY: Millis = 60_000;
const FIRST_SPREAD: Millis = 1_000;
const JITTER_MIN: Millis = 250;
const JITTER_MAX: Millis = 30_000;
/// Shortest delay where the other side has too much to do, and did not say for how long.
const BUSY_MIN: Millis = 5_000;
/// Shortest delay where it said: else `Retry-After: 0` would be a loop at the speed of the network.
const ASKED_MIN: Millis = 1_000;
const SLOW_MIN: Millis = 5 * 60_000;
const SLOW_MAX: Millis = 15 * 60_000;

/// How an open connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disconnect {
    /// Noticed here: no pong, no network, own error.
    Local,
    /// Reset or ended by the other side without a close frame.
    Cut,
    /// Closed by the other side.
    Closed(CloseCode),
}

/// How an attempt to connect failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialFailure {
    /// No name, no route, no answer, or a proxy that does not help.
    Unreachable,
    /// The control plane's certificate does not verify.
    Untrusted,
    /// The control plane does not take our certificate (a TLS alert, or 401).
    CertificateRefused,
    /// 403: the access was taken away, or 404: no such address or data plane.
    Rejected,
    /// 429 or 503.
    Busy {
        /// From `Retry-After`, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// Anything else in answer to the upgrade, a redirect for instance.
    Protocol,
}

impl DialFailure {
    /// The failure that an HTTP status stands for.
    #[must_use]
    pub const fn of_status(status: u16, retry_after_ms: Option<u64>) -> Self {
        match status {
            401 => Self::CertificateRefused,
            403 | 404 => Self::Rejected,
            429 | 503 => Self::Busy { retry_after_ms },
            _ => Self::Protocol,
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn class(self) -> CloseClass {
        match self {
            Self::Unreachable | Self::Untrusted | Self::Protocol => CloseClass::BackOff,
            Self::Busy { .. } => CloseClass::Relieve,
            Self::CertificateRefused => CloseClass::Renew,
            Self::Rejected => CloseClass::UntilChange,
        }
    }
}

/// Draws the delays.
#[derive(Debug)]
pub(crate) struct Dialer {
    failures: u32,
    spread: Millis,
}

impl Dialer {
    pub(crate) const fn new() -> Self {
        Self { failures: 0, spread: FIRST_SPREAD }
    }

    pub(crate) fn welcomed(&mut self, spread: Millis) {
        self.spread = spread.min(SLOW_MAX);
    }

    /// Delay after a session that lived for `lived` (none: it was never welcomed).
    pub(crate) fn after_session(&mut self, lived: Option<Millis>, cause: Disconnect, chance: &mut Chance) -> Millis {
        if lived.is_some_and(|lived| lived >= HEALTHY) {
            self.failures = 0;
        }
        let class = match cause {
            Disconnect::Local if self.failures == 0 && lived.is_some_and(|lived| lived >= HEALTHY) => {
                self.failures = 1;
                return 0;
            }
            Disconnect::Local | Disconnect::Cut => CloseClass::Reconnect,
            Disconnect::Closed(code) => code.class(),
        };
        self.delay(class, chance)
    }

    /// Delay after a failed attempt.
    pub(crate) fn after_failure(&mut self, failure: DialFailure, chance: &mut Chance) -> Millis {
        match failure {
            DialFailure::Busy { retry_after_ms: Some(asked) } => {
                self.failures = self.failures.saturating_add(1);
                server_given(asked.max(ASKED_MIN), chance)
            }
            DialFailure::Unreachable
            | DialFailure::Untrusted
            | DialFailure::CertificateRefused
            | DialFailure::Rejected
            | DialFailure::Busy { retry_after_ms: None }
            | DialFailure::Protocol => self.delay(failure.class(), chance),
        }
    }

    fn delay(&mut self, class: CloseClass, chance: &mut Chance) -> Millis {
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        match class {
            CloseClass::UntilChange => chance.between(SLOW_MIN, SLOW_MAX),
            CloseClass::Reconnect if failures == 0 => chance.between(0, self.spread),
            CloseClass::Relieve => chance.between(BUSY_MIN, ceiling(failures).max(2 * BUSY_MIN)),
            CloseClass::Reconnect | CloseClass::BackOff | CloseClass::Renew | CloseClass::IfLeading => {
                chance.between(JITTER_MIN, ceiling(failures))
            }
        }
    }
}

/// Longest random delay after so many failures in a row.
fn ceiling(failures: u32) -> Millis {
    (JITTER_MIN << failures.min(8)).saturating_mul(2).min(JITTER_MAX)
}

/// A delay that the other side asked for, capped, and spread by a fifth.
pub(crate) fn server_given(asked: Millis, chance: &mut Chance) -> Millis {
    let asked = asked.min(SLOW_MAX);
    chance.between(asked, asked + asked / 5).min(SLOW_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_healthy_session_cut_here_is_dialled_at_once_and_only_once() {
        let (mut dialer, mut chance) = (Dialer::new(), Chance::new(1));
        assert_eq!(dialer.after_session(Some(HEALTHY), Disconnect::Local, &mut chance), 0);
        assert!(dialer.after_failure(DialFailure::Unreachable, &mut chance) >= JITTER_MIN);
    }

    #[test]
    fn first_delays_are_spread_as_welcome_said() {
        let delays: Vec<_> = (0..200)
            .map(|seed| {
                let mut dialer = Dialer::new();
                dialer.welcomed(10_000);
                dialer.after_session(Some(HEALTHY), Disconnect::Closed(CloseCode::GoingAway), &mut Chance::new(seed))
            })
            .collect();
        assert!(delays.iter().all(|delay| *delay <= 10_000));
        assert!(delays.iter().any(|delay| *delay < 2_000) && delays.iter().any(|delay| *delay > 8_000));
    }

    #[test]
    fn delays_grow_to_a_ceiling_and_short_sessions_do_not_reset_them() {
        let (mut dialer, mut chance) = (Dialer::new(), Chance::new(7));
        let mut longest = 0;
        for _ in 0..200 {
            longest = longest.max(dialer.after_session(Some(500), Disconnect::Cut, &mut chance));
        }
        assert!((20_000..=JITTER_MAX).contains(&longest), "{longest}");
    }

    #[test]
    fn what_only_a_person_changes_is_tried_slowly() {
        let (mut dialer, mut chance) = (Dialer::new(), Chance::new(3));
        for failure in [DialFailure::of_status(403, None), DialFailure::of_status(404, None)] {
            assert!((SLOW_MIN..=SLOW_MAX).contains(&dialer.after_failure(failure, &mut chance)));
        }
        let revoked = Disconnect::Closed(CloseCode::Revoked);
        assert!((SLOW_MIN..=SLOW_MAX).contains(&dialer.after_session(Some(1), revoked, &mut chance)));
    }

    #[test]
    fn delays_of_the_server_are_spread_and_capped() {
        let mut chance = Chance::new(5);
        for asked in [0, 1_000, 10 * SLOW_MAX] {
            let delay = Dialer::new().after_failure(DialFailure::of_status(503, Some(asked)), &mut chance);
            let asked = asked.max(ASKED_MIN);
            assert!((asked.min(SLOW_MAX)..=SLOW_MAX.min(asked + asked / 5)).contains(&delay), "{asked} {delay}");
        }
    }

    #[test]
    fn who_has_too_much_to_do_and_does_not_say_for_how_long_is_left_alone_for_seconds() {
        let busy = |dialer: &mut Dialer, status, chance: &mut Chance| {
            dialer.after_failure(DialFailure::of_status(status, None), chance)
        };
        for seed in 0..200 {
            let (mut dialer, mut chance) = (Dialer::new(), Chance::new(seed));
            for status in [429, 503] {
                assert!((BUSY_MIN..=2 * BUSY_MIN).contains(&busy(&mut dialer, status, &mut chance)));
            }
            let closed = Disconnect::Closed(CloseCode::Overloaded);
            assert!((BUSY_MIN..=2 * BUSY_MIN).contains(&dialer.after_session(None, closed, &mut chance)));
        }
        let (mut dialer, mut chance) = (Dialer::new(), Chance::new(1));
        let longest = (0..100).map(|_| busy(&mut dialer, 503, &mut chance)).max().unwrap();
        assert!((20_000..=JITTER_MAX).contains(&longest), "{longest}");
    }
}

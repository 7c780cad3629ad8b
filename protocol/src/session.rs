//! Sessions of the control connection, both sides, without IO.
//!
//! A session is fed with what happened (`handle_*`, and what its owner wants sent) and drained of what shall happen:
//! `poll_transmit` (frames to write), `poll_event` (news for the owner), `poll_timeout` (when to call `handle_timeout` at the
//! latest, and why). Time is milliseconds since any fixed start; chance comes from a seed. The same inputs give the same
//! outputs, so that a simulation can run both sides.
//!
//! Frames that wait to be written are bounded: a peer that asks and does not read is closed once more than [`MAX_WAITING`] bytes wait.
//!
//! [`AgentSession`] lives as long as its leadership and spans connections: it also says when to dial. [`ControlSession`] lives as
//! long as one connection.

use std::fmt;

pub mod agent;
mod close;
pub mod control;
mod dial;
mod epoch;
mod waiting;

pub use agent::{AgentEvent, AgentSession, AgentSettings, Ticket};
pub use close::{CloseClass, CloseCode};
pub use control::{ControlEvent, ControlSession, ControlSettings, Delivery, Offer};
pub use dial::{DialFailure, Disconnect};
pub use epoch::EpochOrder;
pub use waiting::MAX_WAITING;
pub(crate) use waiting::Waiting;

use crate::message::{Window, encode, split};

/// Milliseconds since a start that does not change while a session lives.
pub type Millis = u64;

/// Time the agent waits for welcome, and the control plane for hello.
pub const HELLO_TIMEOUT: Millis = 10_000;
/// Shortest time between pings of the agent.
pub const PING_MIN: Millis = 7_000;
/// Longest time between pings of the agent. With the wait for the pong it is 14 s, so that a silent link is shown within 15 s.
pub const PING_MAX: Millis = 9_000;
/// Time between pings of the agent while the round trip is measured closely.
pub const PROBE: Millis = 100;
/// Time the agent waits for any byte after a ping.
pub const PONG_TIMEOUT: Millis = 5_000;
/// Silence after which the control plane closes.
pub const SILENCE_TIMEOUT: Millis = 25_000;

/// What the owner of a session writes to the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// One text frame.
    Text(String),
    /// A WebSocket ping.
    Ping,
    /// A WebSocket close frame; afterwards the connection is dropped. The session counts it as ended already.
    Close {
        /// Code.
        code: CloseCode,
        /// A sentence for people, at most 120 bytes.
        reason: String,
    },
}

/// Why a session wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Time to dial.
    Dial,
    /// Hello or welcome is overdue.
    Hello,
    /// Time for a ping.
    Ping,
    /// A pong is overdue, or nothing was heard for too long.
    Silence,
    /// Time to move to another gateway.
    Drain,
    /// A deferred document may be sent again.
    Retry,
}

impl fmt::Display for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dial => "dial",
            Self::Hello => "hello is overdue",
            Self::Ping => "ping",
            Self::Silence => "silence",
            Self::Drain => "drain",
            Self::Retry => "retry",
        })
    }
}

/// Chance from a seed: splitmix64 (Steele, Lea, Flood 2014). Spreads delays; never used for secrets.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        low + mixed % (high.saturating_sub(low) + 1)
    }
}

/// Unanswered messages in one direction. One message is always allowed, else one larger than the window would wait for ever.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    window: Window,
    messages: u32,
    bytes: u64,
}

impl Flight {
    pub(crate) const fn new(window: Window) -> Self {
        Self { window, messages: 0, bytes: 0 }
    }

    pub(crate) const fn fits(&self, bytes: u64) -> bool {
        self.messages == 0
            || (self.messages < self.window.messages && self.bytes.saturating_add(bytes) <= self.window.bytes)
    }

    pub(crate) const fn add(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(crate) const fn remove(&mut self, bytes: u64) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

pub(crate) fn earliest(deadlines: &[(Option<Millis>, Wake)]) -> Option<(Millis, Wake)> {
    deadlines.iter().filter_map(|(at, wake)| at.map(|at| (at, *wake))).min_by_key(|(at, _)| *at)
}

/// The text of a message. Nothing on the wire can fail to serialise: no maps with other keys than text, no foreign types.
pub(crate) fn text<M: serde::Serialize>(message: &M) -> String {
    encode(message).unwrap_or_default()
}

pub(crate) fn frames(text: &str) -> impl Iterator<Item = Transmit> + use<> {
    split(text).into_iter().map(Transmit::Text)
}

/// The length that counts against a window.
pub(crate) const fn weight(text: &str) -> u64 {
    text.len() as u64
}

/// Cut to what a close frame holds (123 bytes, RFC 6455 section 5.5).
pub(crate) fn close_reason(reason: &str) -> String {
    reason.get(..reason.floor_char_boundary(120)).unwrap_or_default().to_owned()
}

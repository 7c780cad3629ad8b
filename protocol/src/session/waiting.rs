//! Frames that wait to be written, and how many bytes they hold.
//!
//! Reading goes on whatever waits here, so a peer that sends and does not read could let the answers to it pile up without end.

use std::collections::VecDeque;

use super::Transmit;

/// Most bytes of frames that wait to be written. A peer that causes more without reading is closed with `WindowExceeded`. All
/// answers that a window of documents can have at once are less.
pub const MAX_WAITING: usize = 8 * 1024 * 1024;

/// What a frame costs beside its text.
const OVERHEAD: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    frames: VecDeque<Transmit>,
    bytes: usize,
}

impl Waiting {
    pub(crate) fn push(&mut self, frame: Transmit) {
        self.bytes += cost(&frame);
        self.frames.push_back(frame);
    }

    pub(crate) fn pop(&mut self) -> Option<Transmit> {
        let frame = self.frames.pop_front()?;
        self.bytes = self.bytes.saturating_sub(cost(&frame));
        Some(frame)
    }

    /// The connection is over, or ends with `close`: nothing else is worth writing.
    pub(crate) fn end(&mut self, close: Option<Transmit>) {
        self.frames.clear();
        self.bytes = 0;
        self.frames.extend(close);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) const fn is_over_bound(&self) -> bool {
        self.bytes > MAX_WAITING
    }
}

impl Extend<Transmit> for Waiting {
    fn extend<I: IntoIterator<Item = Transmit>>(&mut self, frames: I) {
        frames.into_iter().for_each(|frame| self.push(frame));
    }
}

const fn cost(frame: &Transmit) -> usize {
    OVERHEAD
        + match frame {
            Transmit::Text(text) => text.len(),
            Transmit::Ping => 0,
            Transmit::Close { reason, .. } => reason.len(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Desired;
    use crate::message::{
        AgentMessage, ControlMessage, EndReason, InventoryEntry, MAX_FRAME, MAX_MESSAGE, Renew, StreamEnded, Verdict,
        Window, decode_control,
    };
    use crate::name::{Kind, ResourceKey};
    use crate::session::{
        AgentEvent, AgentSession, AgentSettings, CloseCode, ControlEvent, ControlSession, ControlSettings,
    };

    const WELCOME: &str = include_str!("../../goldens/control/welcome.json");
    /// Frames of a peer that never ends; twice as many as are needed to reach the bound with the smallest answer.
    const FLOOD: usize = 2 * MAX_WAITING / OVERHEAD;

    fn agent(resources: usize) -> AgentSession {
        let settings = AgentSettings {
            data_plane: "dp-1".to_owned(),
            version: String::new(),
            instance: String::new(),
            cluster: String::new(),
            schema: Kind::ALL.into_iter().map(|kind| (kind, 1)).collect(),
            capabilities: Vec::new(),
            window: Window { messages: 64, bytes: 1024 * 1024 },
        };
        let mut agent = AgentSession::new(settings, 1);
        for number in 0..resources {
            let key = ResourceKey { kind: Kind::Release, name: format!("r{number}") };
            agent.stored(InventoryEntry { key, generation: 1, hash: "0".repeat(64), state: Desired::Present });
        }
        agent.start(0);
        agent.handle_connected(0, "lease", 1);
        agent.handle_text(0, WELCOME.trim_end());
        while agent.poll_transmit().is_some() {}
        agent
    }

    /// Lets a control plane send `frame` without reading; the owner answers what it is given. Returns the most bytes that waited, and
    /// how it ended.
    fn flood(agent: &mut AgentSession, frame: impl Fn(usize) -> String) -> (usize, Option<CloseCode>) {
        let mut most = 0;
        for turn in 0..FLOOD {
            agent.handle_text(1, &frame(turn));
            while let Some(event) = agent.poll_event() {
                if let AgentEvent::StreamStart(start) = &event {
                    let (reason, message) = (EndReason::Busy, "too many".to_owned());
                    agent.send_now(AgentMessage::StreamEnded(StreamEnded { stream: start.stream, reason, message }));
                } else if let AgentEvent::Document { ticket, .. } | AgentEvent::Forget { ticket, .. } = &event {
                    agent.answer(*ticket, Verdict::Already);
                } else if let AgentEvent::Lost { .. } = &event {
                    let Some(Transmit::Close { code, .. }) = agent.poll_transmit() else { panic!("a close") };
                    return (most, Some(code));
                }
            }
            most = most.max(agent.waiting());
        }
        (most, None)
    }

    #[test]
    fn a_control_plane_that_sends_and_does_not_read_is_closed_at_the_bound_whatever_it_sends() {
        // What is counted up from one frame to the next, since a number that is unanswered closes with another code.
        for (what, frame, number) in [
            ("unknown", r#"{"type":"dance"}"#, ""),
            ("streamStart", include_str!("../../goldens/control/stream-start.json"), "\"stream\":4"),
            ("document", include_str!("../../goldens/control/document.json"), "\"id\":7"),
            ("forget", include_str!("../../goldens/control/forget.json"), "\"id\":8"),
        ] {
            let counted = |turn: usize| match number.split_once(':') {
                Some((name, _)) => frame.trim_end().replacen(number, &format!("{name}:{}", turn + 100), 1),
                None => frame.to_owned(),
            };
            let (most, closed) = flood(&mut agent(10), counted);
            assert_eq!(closed, Some(CloseCode::WindowExceeded), "{what}");
            assert!((MAX_WAITING / 2..=MAX_WAITING + MAX_FRAME).contains(&most), "{what}: {most} bytes");
        }
    }

    #[test]
    fn what_is_asked_of_the_inventory_again_and_again_is_one_answer_made_when_it_is_written() {
        let buckets: Vec<String> = (0..=255).map(|number| number.to_string()).collect();
        let entries = format!(r#"{{"type":"inventoryNeedEntries","buckets":[{}]}}"#, buckets.join(","));
        let digests = r#"{"type":"inventoryNeedBuckets"}"#.to_owned();
        let mut agent = agent(5_000);
        for turn in 0..10_000 {
            agent.handle_text(1, if turn % 2 == 0 { &digests } else { &entries });
        }
        assert_eq!(agent.waiting(), 0, "nothing is made in advance");
        let (mut written, mut most) = (0, 0);
        while let Some(frame) = agent.poll_transmit() {
            written += cost(&frame);
            most = most.max(agent.waiting());
        }
        assert!((500_000..1_000_000).contains(&written), "each bucket once: {written} bytes");
        assert!(most < MAX_MESSAGE, "one message at a time: {most} bytes");
    }

    #[test]
    fn an_answer_about_a_certificate_that_nobody_asked_for_is_left_aside() {
        let renewed = include_str!("../../goldens/control/renewed.json").trim_end();
        let refused = include_str!("../../goldens/control/renew-refused.json").trim_end();
        let mut agent = agent(0);
        let events = |agent: &mut AgentSession| std::iter::from_fn(|| agent.poll_event()).count();
        events(&mut agent);
        for frame in [renewed, refused] {
            agent.handle_text(1, frame);
            assert_eq!(events(&mut agent), 0, "nothing was asked for");
            agent.send_now(AgentMessage::Renew(Renew { csr: String::new() }));
            agent.handle_text(1, frame);
            agent.handle_text(1, frame);
            assert_eq!(events(&mut agent), 1);
        }
    }

    #[test]
    fn an_agent_that_sends_and_does_not_read_is_closed_at_the_bound() {
        let mut control = ControlSession::new(ControlSettings::default(), 0, 1);
        control.handle_text(0, include_str!("../../goldens/agent/hello-first.json").trim_end());
        let Some(ControlEvent::Hello(hello)) = control.poll_event() else { panic!("a hello") };
        let Ok(ControlMessage::Welcome(welcome)) = decode_control(WELCOME) else { panic!("a welcome") };
        control.welcome(&hello, *welcome);
        let mut most = 0;
        for _ in 0..FLOOD {
            control.handle_text(1, r#"{"type":"dance"}"#);
            let ended =
                std::iter::from_fn(|| control.poll_event()).any(|event| matches!(event, ControlEvent::Ended { .. }));
            if ended {
                break;
            }
            most = most.max(control.waiting());
        }
        let closed = control.poll_transmit();
        assert!(matches!(closed, Some(Transmit::Close { code: CloseCode::WindowExceeded, .. })), "{closed:?}");
        assert!(most <= MAX_WAITING + MAX_FRAME, "{most} bytes");
    }

    #[test]
    fn a_welcome_or_a_hello_that_comes_late_ends_with_the_code_for_what_is_overdue() {
        let late = |mut agent: AgentSession| {
            agent.handle_connected(0, "lease", 1);
            agent.handle_text(10_000, WELCOME.trim_end());
            while let Some(transmit) = agent.poll_transmit() {
                if let Transmit::Close { code, .. } = transmit {
                    return Some(code);
                }
            }
            None
        };
        assert_eq!(late(agent(0)), Some(CloseCode::Timeout));
        let mut control = ControlSession::new(ControlSettings::default(), 0, 1);
        control.handle_text(10_000, include_str!("../../goldens/agent/hello-first.json").trim_end());
        assert!(matches!(control.poll_transmit(), Some(Transmit::Close { code: CloseCode::Timeout, .. })));
    }
}

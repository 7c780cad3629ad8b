//! Messages to text frames and back. A flood of parts never makes the reader hold more than one message.

use super::{MAX_FRAME, MAX_MESSAGE};

/// Leads every frame that is not the last of its message. No JSON text starts with it.
const MORE: char = '+';

/// A frame that breaks the rules; the connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// One frame is too long.
    #[error("frame has {length} bytes, {MAX_FRAME} are allowed")]
    FrameTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The parts of one message are too long together.
    #[error("message has more than {MAX_MESSAGE} bytes")]
    MessageTooLong,
    /// A frame or a part without content.
    #[error("frame is empty")]
    Empty,
}

/// The frames of one message, each at most [`MAX_FRAME`] bytes.
#[must_use]
pub fn split(message: &str) -> Vec<String> {
    let mut frames = Vec::new();
    let mut rest = message;
    while rest.len() > MAX_FRAME {
        let (part, after) = rest.split_at(rest.floor_char_boundary(MAX_FRAME - MORE.len_utf8()));
        let mut frame = String::with_capacity(part.len() + MORE.len_utf8());
        frame.push(MORE);
        frame.push_str(part);
        frames.push(frame);
        rest = after;
    }
    frames.push(rest.to_owned());
    frames
}

/// Puts parts together again.
#[derive(Debug, Default)]
pub struct Joiner {
    parts: String,
}

impl Joiner {
    /// Takes one text frame; gives the message that it completes.
    ///
    /// # Errors
    /// See [`FrameError`]; nothing is allocated for what is refused.
    pub fn push(&mut self, frame: &str) -> Result<Option<String>, FrameError> {
        if frame.len() > MAX_FRAME {
            return Err(FrameError::FrameTooLong { length: frame.len() });
        }
        let (part, last) = match frame.strip_prefix(MORE) {
            Some(part) => (part, false),
            None => (frame, true),
        };
        if part.is_empty() {
            return Err(FrameError::Empty);
        }
        if self.parts.len() + part.len() > MAX_MESSAGE {
            return Err(FrameError::MessageTooLong);
        }
        self.parts.push_str(part);
        Ok(last.then(|| std::mem::take(&mut self.parts)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn split_messages_join_again(head in "[a-zé日😀]{1,20}", times in 1_usize..8000) {
            let message = head.repeat(times);
            prop_assume!(message.len() <= MAX_MESSAGE);
            let frames = split(&message);
            prop_assert!(frames.iter().all(|frame| frame.len() <= MAX_FRAME));
            let mut joiner = Joiner::default();
            let mut joined = Vec::new();
            for frame in &frames {
                joined.extend(joiner.push(frame).unwrap());
            }
            prop_assert_eq!(joined, vec![message]);
        }
    }

    #[test]
    fn endless_parts_are_refused_at_the_limit() {
        let mut joiner = Joiner::default();
        let part = format!("+{}", "x".repeat(MAX_FRAME - 1));
        let refused = (0..100).find_map(|_| joiner.push(&part).err());
        assert_eq!(refused, Some(FrameError::MessageTooLong));
        assert!(joiner.parts.len() <= MAX_MESSAGE);
    }

    #[test]
    fn empty_and_long_frames_are_refused() {
        assert_eq!(Joiner::default().push(""), Err(FrameError::Empty));
        assert_eq!(Joiner::default().push("+"), Err(FrameError::Empty));
        let long = "x".repeat(MAX_FRAME + 1);
        assert_eq!(Joiner::default().push(&long), Err(FrameError::FrameTooLong { length: MAX_FRAME + 1 }));
    }
}

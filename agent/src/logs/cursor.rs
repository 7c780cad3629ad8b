//! Where a receiver stands in a container's log, and how to go on from there. No IO.
//!
//! The log API can be asked from a whole second on, so going on means reading again what was sent and dropping it until the
//! cursor's own line has passed. If that line does not come, the log was rotated: the receiver is told of a gap instead of
//! being given a guess.

use std::fmt;
use std::str::FromStr;

use super::line::{Position, Walker};

/// Lines may stand out of order by less than this: standard output and error are stamped by two writers. Nanoseconds.
const DISORDER: i64 = 1_000_000_000;

/// Seconds before the cursor from which the log is read again, so that lines out of order are among them.
const OVERLAP_SECONDS: i64 = 2;

/// Most bytes that wait for the cursor's line.
const HELD_MAX: usize = 64 * 1024;

/// Up to where a receiver has a container's log. Opaque to receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// `pod/container`, by name.
    pub(crate) source: String,
    /// Uid of the pod.
    pub(crate) pod: String,
    /// Id of the container instance.
    pub(crate) container: String,
    /// Last line that was sent; none before the first one.
    pub(crate) position: Option<Position>,
}

/// The text is no cursor of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed cursor; give back what a chunk carried, or leave it out to start anew")]
pub(crate) struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, pod, container, position } = self;
        write!(f, "1|{source}|{pod}|{container}|")?;
        match position {
            Some(Position { time, ordinal, hash }) => write!(f, "{time}|{ordinal}|{hash:016x}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let parts: Vec<&str> = text.split('|').collect();
        let (["1", source, pod, container], rest) = parts.split_at_checked(4).ok_or(CursorError)? else {
            return Err(CursorError);
        };
        let position = match rest {
            [""] => None,
            [time, ordinal, hash] => Some(Position {
                time: time.parse().map_err(|_| CursorError)?,
                ordinal: ordinal.parse().map_err(|_| CursorError)?,
                hash: u64::from_str_radix(hash, 16).map_err(|_| CursorError)?,
            }),
            _ => return Err(CursorError),
        };
        if source.split('/').count() != 2 || pod.is_empty() || container.is_empty() || text.len() > 1024 {
            return Err(CursorError);
        }
        Ok(Self { source: (*source).to_owned(), pod: (*pod).to_owned(), container: (*container).to_owned(), position })
    }
}

/// Second since 1970 from which to ask for lines after `position`: the API drops fractions, and lines may be out of order.
pub(crate) fn since(position: &Position) -> i64 {
    position.time.div_euclid(1_000_000_000) - OVERLAP_SECONDS
}

/// Drops lines until the cursor's own one has passed.
#[derive(Debug)]
pub(crate) struct Resume {
    after: Position,
    walker: Walker,
    /// Newer lines than the cursor's, until it is clear whether that comes.
    held: Vec<Vec<u8>>,
    held_bytes: usize,
}

/// What to do after a line was seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// Nothing is known yet.
    Searching,
    /// That line was the cursor's: go on with the next one.
    Found,
    /// The cursor's line does not come. There is a gap, and after it these lines.
    Lost(Vec<Vec<u8>>),
}

impl Resume {
    pub(crate) fn new(after: Position) -> Self {
        Self { after, walker: Walker::default(), held: Vec::new(), held_bytes: 0 }
    }

    /// One more line from the API.
    pub(crate) fn line(&mut self, line: &[u8]) -> Resumed {
        self.walker.step(line);
        let time = self.walker.time();
        if time == self.after.time {
            let here = self.walker.position(line);
            // The ordinal may be higher than the cursor's: a stream that began inside a group of equal times counted too few.
            if here.hash == self.after.hash && here.ordinal >= self.after.ordinal {
                return Resumed::Found;
            }
        }
        if time > self.after.time {
            self.held_bytes += line.len();
            self.held.push(line.to_vec());
        }
        if time > self.after.time.saturating_add(DISORDER) || self.held_bytes > HELD_MAX {
            return self.lost();
        }
        Resumed::Searching
    }

    /// Nothing came for a while, or nothing comes any more.
    pub(crate) fn pause(&mut self, at_end: bool) -> Resumed {
        if at_end || !self.held.is_empty() { self.lost() } else { Resumed::Searching }
    }

    /// What was seen so far.
    pub(crate) fn into_walker(self) -> Walker {
        self.walker
    }

    fn lost(&mut self) -> Resumed {
        self.held_bytes = 0;
        Resumed::Lost(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(lines: &[String], last: usize) -> Position {
        let mut walker = Walker::default();
        lines[..=last].iter().for_each(|line| walker.step(line.as_bytes()));
        walker.position(lines[last].as_bytes())
    }

    fn stamped(nanos: i64, text: &str) -> String {
        format!(
            "{:.9} {text}\n",
            jiff::Timestamp::from_nanosecond(1_795_262_400_000_000_000 + i128::from(nanos)).unwrap()
        )
    }

    /// What a receiver gets that goes on after `last`, from a log that still serves `served`.
    fn resume(after: Position, served: &[String]) -> (Vec<String>, bool) {
        let mut resume = Some(Resume::new(after));
        let (mut got, mut gap) = (Vec::new(), false);
        let mut settle = |state: Resumed, got: &mut Vec<String>| match state {
            Resumed::Searching => false,
            Resumed::Found => true,
            Resumed::Lost(held) => {
                gap = true;
                got.extend(held.into_iter().map(|line| String::from_utf8(line).unwrap()));
                true
            }
        };
        for line in served {
            match &mut resume {
                Some(search) => {
                    let state = search.line(line.as_bytes());
                    if settle(state, &mut got) {
                        resume = None;
                    }
                }
                None => got.push(line.clone()),
            }
        }
        if let Some(mut search) = resume {
            settle(search.pause(true), &mut got);
        }
        (got, gap)
    }

    #[test]
    fn a_cursor_survives_its_text_and_nonsense_is_refused() {
        let cursor = Cursor {
            source: "pod/main".into(),
            pod: "3f0c".into(),
            container: "containerd://ab".into(),
            position: Some(Position { time: -5, ordinal: 7, hash: 0xff }),
        };
        for cursor in [Cursor { position: None, ..cursor.clone() }, cursor] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in
            ["", "1|a/b|c|d", "2|a/b|c|d|", "1|a|c|d|", "1|a/b|c|d|x|1|ff", "1|a/b||d|", "1|a/b|c|d|1|2|ff|more"]
        {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }

    #[test]
    fn it_is_asked_for_whole_seconds_before_the_cursor() {
        let at = |time| since(&Position { time, ordinal: 0, hash: 0 });
        assert_eq!([at(10_600_000_000), at(10_000_000_000), at(9_999_999_999)], [8, 8, 7]);
    }

    #[test]
    fn a_rotated_log_is_a_gap_and_goes_on_with_what_is_newer() {
        let lines: Vec<String> = (0..6).map(|n| stamped(n * 10, &format!("line {n}"))).collect();
        let (got, gap) = resume(position(&lines, 2), &lines[4..]);
        assert!(gap);
        assert_eq!(got, lines[4..]);
        assert_eq!(resume(position(&lines, 2), &[]), (vec![], true));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn going_on_loses_and_doubles_nothing_while_the_line_is_served(
            // Small steps make equal times and equal lines likely; a step back is disorder.
            steps in prop::collection::vec((-3_i64..9, 0_u8..3), 1..40),
            last in any::<prop::sample::Index>(),
        ) {
            let mut time = 1_000_000;
            let mut lines: Vec<String> = Vec::new();
            for (number, (step, text)) in steps.iter().enumerate() {
                time += step.max(&0) * 1000;
                // What is out of order is another writer's line, so it is not the same as its neighbours.
                let line = if *step < 0 { stamped(time + step, &format!("err {number}")) } else { stamped(time, &text.to_string()) };
                lines.push(line);
            }
            let last = last.index(lines.len());
            let (got, gap) = resume(position(&lines, last), &lines);
            prop_assert!(!gap);
            prop_assert_eq!(&got[..], &lines[last + 1..]);
        }

        #[test]
        fn what_is_not_served_any_more_is_a_gap_and_nothing_newer_is_lost(
            count in 2_usize..30, last in any::<prop::sample::Index>(), from in any::<prop::sample::Index>(),
        ) {
            let lines: Vec<String> = (0..count).map(|n| stamped(i64::try_from(n).unwrap() * 7, "same")).collect();
            let last = last.index(count - 1);
            let from = last + 1 + from.index(count - last - 1);
            let (got, gap) = resume(position(&lines, last), &lines[from..]);
            prop_assert!(gap);
            prop_assert_eq!(&got[..], &lines[from..]);
        }
    }
}

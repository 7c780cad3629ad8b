//! One read of the log API, from bytes to what is sent: chunks and gaps, in order. No IO.

use super::chunk::{Chunk, Chunker};
use super::cursor::{Cursor, Resume, Resumed};
use super::line::{Splitter, Walker};

/// What goes to the receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Chunk(Chunk),
    /// The cursor's line does not come: lines after it are missing.
    Gap,
}

/// A read that goes on after a cursor, or begins where the API begins.
#[derive(Debug)]
pub(crate) struct Reading {
    splitter: Splitter,
    lines: Lines,
}

#[derive(Debug)]
struct Lines {
    search: Option<Resume>,
    chunker: Chunker,
    out: Vec<Item>,
}

impl Reading {
    /// Goes on after `cursor`, if that has a position.
    pub(crate) fn new(cursor: Cursor) -> Self {
        let search = cursor.position.map(Resume::new);
        let lines = Lines { search, chunker: Chunker::new(cursor, Walker::default()), out: Vec::new() };
        Self { splitter: Splitter::default(), lines }
    }

    /// Bytes came.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let Self { splitter, lines } = self;
        splitter.push(bytes, |line| lines.line(line));
    }

    /// Nothing comes at the moment: what has gathered goes out.
    pub(crate) fn flush(&mut self) {
        let Lines { chunker, out, .. } = &mut self.lines;
        chunker.flush(|chunk| out.push(Item::Chunk(chunk)));
    }

    /// Nothing came for a while.
    pub(crate) fn quiet(&mut self) {
        self.lines.pause(false);
    }

    /// The instance has ended and this was all of it: a line without an end is whole, and a cursor that did not come is lost.
    pub(crate) fn end(&mut self) {
        let Self { splitter, lines } = self;
        splitter.finish(|line| lines.line(line));
        lines.pause(true);
        self.flush();
    }

    /// What is to be sent now.
    pub(crate) fn take(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.lines.out)
    }
}

impl Lines {
    fn line(&mut self, line: &[u8]) {
        match &mut self.search {
            None => self.push(line),
            Some(search) => {
                let state = search.line(line);
                self.settle(state);
            }
        }
    }

    fn pause(&mut self, at_end: bool) {
        if let Some(search) = &mut self.search {
            let state = search.pause(at_end);
            self.settle(state);
        }
    }

    fn settle(&mut self, state: Resumed) {
        match state {
            Resumed::Searching => {}
            Resumed::Found => {
                // Lines of the same time as the cursor's go on being counted.
                let walker = self.search.take().map(Resume::into_walker).unwrap_or_default();
                self.chunker.continue_after(walker);
            }
            Resumed::Lost(held) => {
                self.search = None;
                self.out.push(Item::Gap);
                held.iter().for_each(|line| self.push(line));
            }
        }
    }

    fn push(&mut self, line: &[u8]) {
        let Self { chunker, out, .. } = self;
        chunker.push(line, |chunk| out.push(Item::Chunk(chunk)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A log of one instance, as the API serves it from a second on: complete, with time stamps.
    fn served(log: &[String], cursor: &Cursor) -> String {
        let from = cursor.position.as_ref().map(crate::logs::cursor::since);
        let keep = |line: &&String| {
            let time = line.split(' ').next().unwrap().parse::<jiff::Timestamp>().unwrap();
            from.is_none_or(|from| time.as_second() >= from)
        };
        log.iter().filter(keep).cloned().collect()
    }

    fn line(time: i64, text: &str) -> String {
        let time = jiff::Timestamp::from_nanosecond(1_795_262_400_000_000_000 + i128::from(time)).unwrap();
        format!("{time:.9} {text}\n")
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// The receiver keeps the cursor of the last chunk it got, drops a line that was begun, and asks again.
        #[test]
        fn a_log_read_over_many_cuts_is_the_log(
            steps in prop::collection::vec((prop_oneof![8 => 0_i64..3, 1 => 100_000_000..900_000_000_i64], 0_usize..4), 1..120),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..4000, any::<bool>()), 0..20),
        ) {
            let mut time = 0;
            let mut log = Vec::new();
            for (step, text) in steps {
                time += step;
                // From a few bytes to more than a chunk holds.
                log.push(line(time, &"y".repeat([0, 1, 700, 20_000][text])));
            }
            let mut cursor = Cursor { source: "p/c".into(), pod: "u".into(), container: "i".into(), position: None };
            let mut got = String::new();
            let mut begun = String::new();
            let mut read = |cursor: &mut Cursor, bytes: &[u8], piece: usize, flushes: bool, whole: bool| {
                let mut reading = Reading::new(cursor.clone());
                for piece in bytes.chunks(piece) {
                    reading.bytes(piece);
                    if flushes {
                        reading.flush();
                    }
                }
                if whole { reading.end() } else { reading.flush() }
                begun.clear();
                for item in reading.take() {
                    let Item::Chunk(chunk) = item else { return Err(TestCaseError::fail("a gap")) };
                    begun.push_str(std::str::from_utf8(&chunk.lines).unwrap());
                    if !chunk.partial {
                        got.push_str(&std::mem::take(&mut begun));
                    }
                    *cursor = chunk.cursor;
                }
                Ok(())
            };
            for (cut, piece, flushes) in cuts {
                let bytes = served(&log, &cursor).into_bytes();
                let upto = cut.index(bytes.len() + 1);
                read(&mut cursor, &bytes[..upto], piece, flushes, false)?;
            }
            let rest = served(&log, &cursor).into_bytes();
            read(&mut cursor, &rest, 1000, true, true)?;
            prop_assert!(got == log.concat(), "lost or doubled");
        }
    }

    #[test]
    fn a_gap_stands_before_the_lines_that_follow_it() {
        let log: Vec<String> = (0..5).map(|n| line(n, "x")).collect();
        let start = Cursor { source: "p/c".into(), pod: "u".into(), container: "i".into(), position: None };
        let mut reading = Reading::new(start);
        reading.bytes(log[..2].concat().as_bytes());
        reading.flush();
        let Some(Item::Chunk(chunk)) = reading.take().pop() else { panic!("a chunk") };

        let mut reading = Reading::new(chunk.cursor);
        reading.bytes(log[3..].concat().as_bytes());
        assert_eq!(reading.take(), [], "it may still come");
        reading.quiet();
        reading.flush();
        let items = reading.take();
        assert_eq!(items.first(), Some(&Item::Gap));
        assert!(matches!(&items[1..], [Item::Chunk(chunk)] if chunk.lines == log[3..].concat().into_bytes()));
    }
}

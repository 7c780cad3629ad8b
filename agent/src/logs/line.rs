//! From the bytes of the log API to lines, and where a line stands among others. No IO.
//!
//! The API gives `RFC 3339 time, space, text, LF`. Not every line has a time: text of the kubelet itself and later parts of a
//! long line come without one, and count as further lines of the time before. Bytes are never taken for text here, so what is
//! not UTF-8 passes through.

use std::collections::VecDeque;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// Longest line that is passed on, in bytes; the rest of it is cut and counted.
pub(crate) const LINE_CAP: usize = 256 * 1024;

/// Cuts bytes into lines, whatever pieces they come in.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    begun: Vec<u8>,
    cut: usize,
}

impl Splitter {
    /// Hands each line that is whole now to `line`, with its LF.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (whole, rest) = bytes.split_at(end + 1);
            bytes = rest;
            if self.begun.is_empty() && whole.len() <= LINE_CAP {
                line(whole);
            } else {
                self.keep(whole.strip_suffix(b"\n").unwrap_or(whole));
                self.finish(&mut line);
            }
        }
        self.keep(bytes);
    }

    /// The source is over: a line without an end is a line too.
    pub(crate) fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        if self.begun.is_empty() {
            return;
        }
        if self.cut > 0 {
            let mark = format!(" [{} bytes cut]", self.cut);
            self.begun.extend_from_slice(mark.as_bytes());
        }
        self.begun.push(b'\n');
        line(&self.begun);
        self.forget();
    }

    /// The connection was cut: what has begun comes again.
    pub(crate) fn forget(&mut self) {
        self.cut = 0;
        self.begun.clear();
        self.begun.shrink_to(16 * 1024);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_CAP.saturating_sub(self.begun.len());
        let (kept, cut) = bytes.split_at(room.min(bytes.len()));
        self.begun.extend_from_slice(kept);
        self.cut += cut.len();
    }
}

/// Where a line stands in the log of one container instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// Time of the line, in nanoseconds since 1970.
    pub(crate) time: i64,
    /// Lines of the same time that stand before it.
    pub(crate) ordinal: u32,
    /// First eight bytes of the line's SHA-256.
    pub(crate) hash: u64,
}

/// Times that are remembered: lines may stand out of order, and come back to a time after another one.
const REMEMBERED: usize = 8;

/// Walks over lines and knows the time and ordinal of the last one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Walker {
    /// Times seen last, newest first, each with the number of further lines that had it.
    recent: VecDeque<(Vec<u8>, u32)>,
}

impl Walker {
    /// One more line.
    pub(crate) fn step(&mut self, line: &[u8]) {
        let stamp = stamp(line);
        let known = stamp.map_or(Some(0), |stamp| self.recent.iter().position(|(other, _)| other == stamp));
        match known.and_then(|at| self.recent.remove(at)) {
            Some((stamp, count)) => self.recent.push_front((stamp, count.saturating_add(1))),
            None => {
                let mut place =
                    if self.recent.len() < REMEMBERED { None } else { self.recent.pop_back() }.unwrap_or_default();
                place.0.clear();
                place.0.extend_from_slice(stamp.unwrap_or_default());
                place.1 = 0;
                self.recent.push_front(place);
            }
        }
    }

    /// Time of the last line; 0 before the first one.
    pub(crate) fn time(&self) -> i64 {
        let stamp = self.recent.front().map(|(stamp, _)| stamp.as_slice()).unwrap_or_default();
        let text = std::str::from_utf8(stamp).unwrap_or_default();
        text.parse::<Timestamp>().map_or(0, |time| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX))
    }

    /// Position of the last line, which was `line`.
    pub(crate) fn position(&self, line: &[u8]) -> Position {
        let ordinal = self.recent.front().map_or(0, |(_, count)| *count);
        Position { time: self.time(), ordinal, hash: hash(line) }
    }
}

/// The time at the start of a line, by its shape only.
fn stamp(line: &[u8]) -> Option<&[u8]> {
    let length = line.iter().take(40).position(|byte| *byte == b' ')?;
    let stamp = line.get(..length)?;
    let shaped = stamp.get(4) == Some(&b'-') && stamp.get(10) == Some(&b'T') && stamp.first()?.is_ascii_digit();
    (shaped && length >= 20).then_some(stamp)
}

fn hash(line: &[u8]) -> u64 {
    let digest: [u8; 32] = Sha256::digest(line).into();
    digest.first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for piece in pieces {
            splitter.push(piece, |line| lines.push(line.to_vec()));
        }
        splitter.finish(|line| lines.push(line.to_vec()));
        lines
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_says_by_how_much() {
        let long = vec![b'x'; LINE_CAP + 10];
        for pieces in [vec![long.as_slice(), b"\nnext\n"], vec![&long[..5], &long[5..], b"\n", b"next\n"]] {
            let lines = split(&pieces);
            assert_eq!(lines.len(), 2);
            assert!(lines[0].ends_with(b"x [10 bytes cut]\n"));
            assert_eq!(lines[1], b"next\n");
        }
    }

    #[test]
    fn lines_of_one_time_are_numbered_and_lines_without_time_belong_to_the_one_before() {
        let mut walker = Walker::default();
        let mut seen = Vec::new();
        for line in [
            "2026-11-21T12:00:00.000000001Z a\n",
            "2026-11-21T12:00:00.000000001Z b\n",
            "failed to create fsnotify watcher\n",
            "2026-11-21T12:00:00.000000002Z a\n",
            "2026-11-21T13:00:00.000000002+01:00 a\n",
            "2026-11-21T12:00:00.000000001Z late\n",
        ] {
            walker.step(line.as_bytes());
            let position = walker.position(line.as_bytes());
            seen.push((position.time - 1_795_262_400_000_000_000, position.ordinal));
        }
        assert_eq!(seen, [(1, 0), (1, 1), (1, 2), (2, 0), (2, 0), (1, 3)]);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_the_pieces_they_come_in(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let mut expected: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            if let Some(last) = expected.last_mut().filter(|line| !line.ends_with(b"\n")) {
                last.push(b'\n');
            }
            prop_assert_eq!(split(&pieces), expected);
        }
    }
}

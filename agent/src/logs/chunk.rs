//! From lines to chunks of bounded size, each with the cursor of its last whole line. No IO.

use super::cursor::Cursor;
use super::line::Walker;

/// Most bytes of lines in a chunk: what the largest payload leaves beside the longest head.
pub(crate) const CHUNK_MAX: usize = 15 * 1024;

/// One piece of a source's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Where to go on after it.
    pub(crate) cursor: Cursor,
    /// Lines, as the API gave them.
    pub(crate) lines: Vec<u8>,
    /// The last line goes on in the next chunk.
    pub(crate) partial: bool,
}

/// Gathers lines of one container instance.
#[derive(Debug)]
pub(crate) struct Chunker {
    /// Up to the last line that was taken in whole.
    cursor: Cursor,
    walker: Walker,
    lines: Vec<u8>,
    /// Where the last whole line begins in `lines`.
    last: usize,
}

impl Chunker {
    /// Goes on after `cursor`; `walker` has seen its line, if it has one.
    pub(crate) fn new(cursor: Cursor, walker: Walker) -> Self {
        Self { cursor, walker, lines: Vec::with_capacity(CHUNK_MAX), last: 0 }
    }

    /// Takes one line, with its LF. Chunks that are full are handed to `out`.
    pub(crate) fn push(&mut self, line: &[u8], mut out: impl FnMut(Chunk)) {
        if self.lines.len() + line.len() > CHUNK_MAX {
            self.flush(&mut out);
        }
        if line.len() <= CHUNK_MAX {
            self.walker.step(line);
            self.last = self.lines.len();
            self.lines.extend_from_slice(line);
            return;
        }
        // Until its last piece is out, the cursor stays before this line: a reader that resumes from there gets the line whole.
        let mut pieces = line.chunks(CHUNK_MAX).peekable();
        while let Some(piece) = pieces.next() {
            let partial = pieces.peek().is_some();
            if !partial {
                self.walker.step(line);
                self.cursor.position = Some(self.walker.position(line));
            }
            out(Chunk { cursor: self.cursor.clone(), lines: piece.to_vec(), partial });
        }
    }

    /// Hands out what has gathered.
    pub(crate) fn flush(&mut self, mut out: impl FnMut(Chunk)) {
        let Some(line) = self.lines.get(self.last..).filter(|line| !line.is_empty()) else { return };
        self.cursor.position = Some(self.walker.position(line));
        let lines = std::mem::replace(&mut self.lines, Vec::with_capacity(CHUNK_MAX));
        self.last = 0;
        out(Chunk { cursor: self.cursor.clone(), lines, partial: false });
    }

    /// The line of the cursor, and those before it, were seen by `walker`.
    pub(crate) fn continue_after(&mut self, walker: Walker) {
        self.walker = walker;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(lines: &[Vec<u8>]) -> Vec<Chunk> {
        let start = Cursor { source: "p/c".into(), pod: "u".into(), container: "i".into(), position: None };
        let (mut chunker, mut out) = (Chunker::new(start, Walker::default()), Vec::new());
        for line in lines {
            chunker.push(line, |chunk| out.push(chunk));
        }
        chunker.flush(|chunk| out.push(chunk));
        out
    }

    fn line(number: usize, length: usize) -> Vec<u8> {
        format!("2026-11-21T12:00:00.{number:09}Z {}\n", "x".repeat(length)).into_bytes()
    }

    #[test]
    fn chunks_are_bounded_and_joined_are_the_lines() {
        let lines: Vec<Vec<u8>> =
            [10, 9000, 9000, 40_000, 3].iter().enumerate().map(|(n, length)| line(n, *length)).collect();
        let chunks = chunks(&lines);
        assert!(chunks.iter().all(|chunk| chunk.lines.len() <= CHUNK_MAX));
        let joined: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.lines.clone()).collect();
        assert_eq!(joined, lines.concat());
        let partial: Vec<bool> = chunks.iter().map(|chunk| chunk.partial).collect();
        assert_eq!(partial, [false, false, true, true, false, false]);
    }

    #[test]
    fn the_cursor_is_that_of_the_last_whole_line() {
        let lines = [line(1, 10), line(2, 40_000), line(3, 10)];
        let ends: Vec<i64> =
            chunks(&lines).iter().map(|chunk| chunk.cursor.position.unwrap().time % 1_000_000_000).collect();
        assert_eq!(ends, [1, 1, 1, 2, 3]);
    }
}

//! What a command line is run in: variables, streams that a test reads afterwards, a clock.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use pdpctl::{Io, Width};

/// What a command did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Surroundings of commands.
pub(crate) struct Shell {
    pub(crate) vars: BTreeMap<String, String>,
    pub(crate) out_width: Width,
    pub(crate) err_width: Width,
    /// What a person at a terminal answers to every question; none where nobody is there.
    pub(crate) answer: Option<&'static str>,
    pub(crate) now: fn() -> Timestamp,
    /// What must never be printed.
    pub(crate) secret: String,
}

impl Shell {
    /// Runs one command line; its words are parted by spaces.
    pub(crate) async fn run(&self, line: &str) -> Outcome {
        let (out, err) = (Buffer::default(), Buffer::default());
        let mut io = Io {
            vars: self.vars.clone(),
            input: Box::new(self.answer.unwrap_or_default().as_bytes()),
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            out_width: self.out_width,
            err_width: self.err_width,
            color: false,
            interactive: self.answer.is_some(),
            now: self.now,
        };
        let words = std::iter::once("pdpctl").chain(line.split_whitespace());
        let code = pdpctl::run(words, &mut io).await;
        let outcome = Outcome { code, out: out.text(), err: err.text() };
        assert!(!format!("{outcome:?}").contains(&self.secret), "the token was printed: {outcome:?}");
        outcome
    }
}

/// A stream that a test reads afterwards.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

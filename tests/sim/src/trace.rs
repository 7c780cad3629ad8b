//! What happened, one line each; kept only if somebody will read it.

/// The lines of one run.
#[derive(Debug, Default)]
pub(super) struct Trace(Option<Vec<String>>);

impl Trace {
    pub(super) fn new(kept: bool) -> Self {
        Self(kept.then(Vec::new))
    }

    pub(super) const fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn push(&mut self, line: String) {
        if let Some(lines) = &mut self.0 {
            lines.push(line);
        }
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.0.unwrap_or_default()
    }
}

/// Notes a line of the trace; its words are made only if it is kept.
macro_rules! note {
    ($world:expr, $($words:tt)*) => {
        if $world.trace.is_kept() {
            let line = format!("{:>7} {}", $world.now, format_args!($($words)*));
            $world.trace.push(line);
        }
    };
}
pub(super) use note;

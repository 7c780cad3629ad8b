//! Output of the log: format, level, and what may reach the terminal of whoever reads it.

use std::io::{self, Write};
use std::sync::Arc;

use protocol::document::LogLevel;
use protocol::text::steers;
use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, info};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, reload};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// For people.
    Text,
}

/// Changes the level of the agent's log while it runs. Cheap to clone.
#[derive(Clone)]
pub struct LevelHandle {
    set: Arc<dyn Fn(LogLevel) + Send + Sync>,
}

impl LevelHandle {
    /// Takes effect at once for the whole process.
    pub fn set_level(&self, level: LogLevel) {
        (self.set)(level);
    }

    /// A handle that changes nothing, for tests.
    #[must_use]
    pub fn detached() -> Self {
        Self { set: Arc::new(|_| {}) }
    }
}

impl std::fmt::Debug for LevelHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LevelHandle")
    }
}

/// Starts the log of this process on standard error.
///
/// # Errors
/// It was started before.
pub fn start(format: LogFormat, level: LogLevel) -> Result<LevelHandle, TryInitError> {
    let (subscriber, handle) = subscriber(format, level, io::stderr);
    subscriber.try_init()?;
    Ok(handle)
}

fn subscriber<W>(format: LogFormat, level: LogLevel, writer: W) -> (impl Subscriber + Send + Sync, LevelHandle)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, control) = reload::Layer::new(targets(level));
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Escaped(writer));
    let output = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => lines.boxed(),
    };
    let set = move |level: LogLevel| {
        if control.reload(targets(level)).is_ok() {
            info!(to = ?level, "log level set");
        }
    };
    (tracing_subscriber::registry().with(output.with_filter(filter)), LevelHandle { set: Arc::new(set) })
}

/// Our own lines at `level`. Other crates' lines may hold what we would not print, so they stay at `Warn`.
fn targets(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(own.min(LevelFilter::WARN))
        .with_target("pdp_agent", own)
        .with_target("protocol", own)
        // vaultrs logs what a vault answered; our own errors cover that.
        .with_target("vaultrs", LevelFilter::OFF)
        .with_target("rustify", LevelFilter::OFF)
}

/// Escapes control characters, which could forge lines or drive a terminal: field values come from outside.
struct Escaped<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Escaped<W> {
    type Writer = EscapedWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        EscapedWriter(self.0.make_writer())
    }
}

struct EscapedWriter<W>(W);

impl<W: Write> Write for EscapedWriter<W> {
    /// The formatter hands over one whole line at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(escape(line).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn escape(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let body = text.strip_suffix('\n').unwrap_or(&text);
    let mut out = String::with_capacity(text.len());
    for c in body.chars() {
        if steers(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    if body.len() < text.len() {
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use tracing::{debug, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: LogLevel, act: impl FnOnce(&LevelHandle)) -> Vec<String> {
        let buffer = Buffer::default();
        let out = buffer.clone();
        let (subscriber, handle) = subscriber(format, level, move || out.clone());
        tracing::subscriber::with_default(subscriber, || act(&handle));
        let bytes = buffer.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn control_characters_cannot_forge_a_line_in_either_format() {
        let nasty = "a\nINFO forged\x1b[31mred\u{9b}2J\u{202e}\x7f";
        for format in [LogFormat::Json, LogFormat::Text] {
            let lines = logged(format, LogLevel::Info, |_| warn!(name = %nasty, "an outside value"));
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(!lines[0].chars().any(char::is_control) && !lines[0].contains('\u{202e}'), "{lines:?}");
        }
        let line = logged(LogFormat::Json, LogLevel::Info, |_| warn!(name = %nasty, "an outside value")).remove(0);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["name"], nasty, "JSON readers get the value back");
        assert_eq!(json["message"], "an outside value");
    }

    #[test]
    fn the_level_changes_while_running() {
        let lines = logged(LogFormat::Text, LogLevel::Warn, |handle| {
            debug!("first");
            handle.set_level(LogLevel::Debug);
            debug!("second");
            handle.set_level(LogLevel::Error);
            warn!("third");
        });
        let said = |word: &str| lines.iter().any(|line| line.contains(word));
        assert!(!said("first") && said("second") && !said("third"), "{lines:?}");
    }

    #[test]
    fn other_crates_are_heard_from_warnings_up_at_every_level() {
        let lines = logged(LogFormat::Text, LogLevel::Trace, |_| {
            tracing::debug!(target: "hyper::proto", "their bytes");
            tracing::warn!(target: "hyper::proto", "their trouble");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
}

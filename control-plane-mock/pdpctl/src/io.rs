//! What a command may touch of its surroundings: variables, the clock, two streams, the width of the terminal, files of text.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, IsTerminal, Read as _, Write};
use std::path::Path;

use control_plane_model::component::decoded;
use jiff::Timestamp;

use super::error::Error;

/// How wide output may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// A file or a pipe: one line per row, nothing cut, no redrawing.
    Unlimited,
    /// A terminal of this many columns that never changes.
    Columns(usize),
    /// The process's terminal, asked each time.
    Terminal,
}

impl Width {
    /// Columns, if there is a bound.
    #[must_use]
    pub fn columns(self) -> Option<usize> {
        match self {
            Self::Unlimited => None,
            Self::Columns(columns) => Some(columns),
            Self::Terminal => {
                let size = terminal_size::terminal_size_of(std::io::stdout())
                    .or_else(|| terminal_size::terminal_size_of(std::io::stderr()));
                Some(size.map_or(80, |(width, _)| usize::from(width.0).max(20)))
            }
        }
    }
}

/// Surroundings of one command.
pub struct Io {
    /// Environment variables.
    pub vars: BTreeMap<String, String>,
    /// Answers to questions.
    pub input: Box<dyn BufRead + Send>,
    /// Results.
    pub out: Box<dyn Write + Send>,
    /// Progress and complaints.
    pub err: Box<dyn Write + Send>,
    /// Width of results.
    pub out_width: Width,
    /// Width of progress.
    pub err_width: Width,
    /// Whether complaints and progress may be coloured.
    pub color: bool,
    /// Whether a person can answer questions.
    pub interactive: bool,
    /// The clock.
    pub now: fn() -> Timestamp,
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Variables may hold a token.
        f.debug_struct("Io").field("out_width", &self.out_width).finish_non_exhaustive()
    }
}

impl Io {
    /// The process's own.
    #[must_use]
    pub fn process() -> Self {
        let vars: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let width = |terminal: bool| if terminal { Width::Terminal } else { Width::Unlimited };
        let (out, err) = (std::io::stdout(), std::io::stderr());
        let dumb = vars.get("TERM").is_some_and(|term| term == "dumb");
        let color = err.is_terminal() && !dumb && vars.get("NO_COLOR").is_none_or(String::is_empty);
        Self {
            out_width: width(out.is_terminal()),
            err_width: width(err.is_terminal() && !dumb),
            color,
            interactive: err.is_terminal() && std::io::stdin().is_terminal(),
            input: Box::new(BufReader::new(std::io::stdin())),
            out: Box::new(out),
            err: Box::new(err),
            vars,
            now: Timestamp::now,
        }
    }

    /// A variable, unless it is empty.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Writes a result.
    ///
    /// # Errors
    /// `Pipe` when nobody reads any more.
    pub fn print(&mut self, text: &str) -> Result<(), Error> {
        self.print_bytes(text.as_bytes())
    }

    /// Writes a result as it is.
    ///
    /// # Errors
    /// `Pipe` when nobody reads any more.
    pub fn print_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).and_then(|()| self.out.flush()).map_err(Error::Pipe)
    }

    /// Writes to standard error; a failure is ignored, since there is nowhere left to report it.
    pub fn complain(&mut self, text: &str) {
        let newline = if text.ends_with('\n') { "" } else { "\n" };
        drop(write!(self.err, "{text}{newline}").and_then(|()| self.err.flush()));
    }

    /// Asks a person; `false` unless the answer is yes.
    pub fn confirm(&mut self, question: &str) -> bool {
        drop(write!(self.err, "{question} [y/N] ").and_then(|()| self.err.flush()));
        let mut answer = String::new();
        self.input.read_line(&mut answer).is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
    }
}

/// The text of a file, without the mark that Windows puts in front of UTF-8; `-` is standard input.
///
/// # Errors
/// `Access` when it cannot be read, `File` when it is in another encoding.
pub(super) fn text_of(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Access { what: "read", path: path.to_owned(), source };
    let bytes = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(failed)?;
        bytes
    } else {
        std::fs::read(path).map_err(failed)?
    };
    let text = decoded(bytes).map_err(|problem| Error::File { path: named(path), problems: vec![problem] })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Most that is read of a file in a folder that somebody else made, in bytes: more than fits into a release.
const MAX_WITHIN: u64 = 1024 * 1024;

/// A file in a folder, and nowhere else; an error says in words why not.
pub(super) fn within(folder: &Path, name: &str) -> Result<Vec<u8>, String> {
    let path = folder.join(name);
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    // A link in a checkout that somebody else made must not send out what lies elsewhere on the machine.
    if !path.canonicalize().map_err(failed)?.starts_with(folder.canonicalize().map_err(failed)?) {
        return Err(format!("{} leads out of the component file's folder; put the file itself there", path.display()));
    }
    // A pipe would be waited for.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(format!("{} is no file", path.display()));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&path).map_err(failed)?;
    file.take(MAX_WITHIN + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_WITHIN) {
        return Err(format!("{} has more than {MAX_WITHIN} bytes; put it into the image", path.display()));
    }
    Ok(bytes)
}

/// What a file is called in complaints.
pub(super) fn named(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

//! Why a command did not succeed: what it says to a person, and its exit code.

use std::path::PathBuf;

use crate::component::Located;
use crate::problem::{Code, Problem};

/// Why a command did not succeed. Texts never hold a token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something on the command line or in a context is missing or wrong.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A component file breaks rules.
    #[error("{path} cannot be used")]
    File {
        /// The file.
        path: String,
        /// Everything that is wrong with it.
        problems: Vec<Located>,
    },
    /// A file cannot be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    Access {
        /// `read` or `write`.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The control plane refuses the request.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// What was asked for did not work out.
    #[error("{message}")]
    Failed {
        /// What happened.
        message: String,
        /// What to do.
        hint: String,
    },
    /// It did not work out yet.
    #[error("{message}")]
    TimedOut {
        /// What is still open, and why.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The control plane does not answer, or something else does.
    #[error("{message}")]
    Unreachable {
        /// What, where, why.
        message: String,
        /// What to do.
        hint: String,
    },
    /// Ctrl-C.
    #[error("{0}")]
    Interrupted(String),
    /// Nobody reads the output any more.
    #[error("cannot write the output: {0}")]
    Pipe(#[source] std::io::Error),
}

impl Error {
    pub(super) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// 1 failed or refused, 2 usage or bad file, 3 timed out, 4 not reachable, 130 interrupted.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Failed { .. } => 1,
            Self::Usage { .. } | Self::File { .. } | Self::Access { .. } => 2,
            Self::Refused(problem) => match problem.code {
                Code::Invalid => 2,
                Code::NotFound
                | Code::Conflict
                | Code::Unauthenticated
                | Code::Forbidden
                | Code::TokenUsed
                | Code::TokenExpired
                | Code::NotConnected
                | Code::Internal => 1,
                Code::Unavailable => 4,
            },
            Self::TimedOut { .. } => 3,
            Self::Unreachable { .. } => 4,
            Self::Interrupted(_) => 130,
            // As a shell shows the end by SIGPIPE.
            Self::Pipe(_) => 141,
        }
    }

    /// What is shown to a person; empty when nothing is to be said.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::File { path, problems } => file(path, problems),
            Self::Refused(problem) => {
                let at = problem.field.as_deref().filter(|field| !field.is_empty());
                let hint = match (&problem.hint, problem.code) {
                    (None, Code::Unauthenticated) => {
                        Some("log in again: pdpctl login SERVER --token-file FILE --ca-file FILE")
                    }
                    (hint, _) => hint.as_deref(),
                };
                let at = at.map(|field| format!(" (at {field})")).unwrap_or_default();
                sentence(&format!("{}{at}", problem.message), hint.unwrap_or_default())
            }
            Self::Usage { message, hint }
            | Self::Failed { message, hint }
            | Self::TimedOut { message, hint }
            | Self::Unreachable { message, hint } => sentence(message, hint),
            Self::Access { .. } => sentence(&self.to_string(), ""),
            Self::Interrupted(message) => message.clone(),
            Self::Pipe(source) if source.kind() == std::io::ErrorKind::BrokenPipe => String::new(),
            Self::Pipe(_) => sentence(&self.to_string(), ""),
        }
    }
}

fn sentence(message: &str, hint: &str) -> String {
    let message = message.replace('\n', "\n       ");
    let hint = if hint.is_empty() { String::new() } else { format!("\nhint:  {}", hint.replace('\n', "\n       ")) };
    format!("error: {message}{hint}")
}

/// `file:line: what` as compilers say it, with the hint below.
fn file(path: &str, problems: &[Located]) -> String {
    let count = problems.len();
    let mut text = format!("error: {path} has {count} problem{}", if count == 1 { "" } else { "s" });
    for Located { line, problem } in problems {
        let line = line.map(|line| format!("{line}:")).unwrap_or_default();
        let field = match problem.field.as_deref() {
            Some(field) if !field.is_empty() => format!(" (at {field})"),
            Some(_) | None => String::new(),
        };
        let hint = problem.hint.as_deref().map(|hint| format!("\n    hint: {hint}")).unwrap_or_default();
        text.push_str(&format!("\n  {path}:{line} {}{field}{hint}", problem.message));
    }
    text
}

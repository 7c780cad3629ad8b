//! Why a command did not succeed: what it says to a person, and its exit code.

use std::path::PathBuf;

use control_plane_model::component::Located;
use control_plane_model::problem::{Code, Problem};

use super::table::{plain, wrap_behind};

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
        path: PathBuf,
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

    /// 1 failed or refused, 2 usage or bad file, 3 timed out, 4 not reachable, 130 interrupted, 141 output without a reader.
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

    /// What is shown to a person, in at most `width` columns; empty when nothing is to be said. Hints are not broken into
    /// lines: they hold commands to copy.
    #[must_use]
    pub fn text(&self, width: Option<usize>) -> String {
        let sentence = |message: &str, hint: &str| sentence(message, hint, width);
        match self {
            Self::File { path, problems } => file(path, problems, width),
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

/// Words in lines of at most `width` columns, behind `first` columns on the first line and `indent` on the later ones.
fn hang(text: &str, first: usize, indent: usize, width: Option<usize>) -> String {
    let Some(width) = width.filter(|width| *width > indent + 20) else { return text.to_owned() };
    wrap_behind(first - indent, text, width - indent).join(&format!("\n{}", " ".repeat(indent)))
}

fn sentence(message: &str, hint: &str, width: Option<usize>) -> String {
    // The words may come from a server or a cluster.
    let lines: Vec<String> = message.lines().map(|line| hang(&plain(line), 7, 7, width)).collect();
    let hint: Vec<String> = hint.lines().map(plain).collect();
    let hint = if hint.is_empty() { String::new() } else { format!("\nhint:  {}", hint.join("\n       ")) };
    format!("error: {}{hint}", lines.join("\n       "))
}

/// `file:line: what` as compilers say it, with the hint below.
fn file(path: &str, problems: &[Located], width: Option<usize>) -> String {
    let count = problems.len();
    let mut text = format!("error: {path} has {count} problem{}", if count == 1 { "" } else { "s" });
    for Located { line, problem } in problems {
        let place = match (line, problem.field.as_deref()) {
            (Some(line), _) => format!("{path}:{line}: "),
            (None, Some(field)) if !field.is_empty() => format!("{path}: at {field}: "),
            (None, Some(_) | None) => format!("{path}: "),
        };
        let message = named(problem.field.as_deref().filter(|_| line.is_some()), &problem.message);
        let message = hang(&plain(&message), 2 + place.chars().count(), 4, width);
        let hint = problem.hint.as_deref().map(|hint| format!("\n    hint: {hint}")).unwrap_or_default();
        text.push_str(&format!("\n  {place}{message}{hint}"));
    }
    text
}

/// A sentence with the key that it is about in front, unless it names that itself: several keys may stand on one line.
fn named(field: Option<&str>, message: &str) -> String {
    let is_key = |part: &&str| !part.is_empty() && !part.chars().all(|c| c.is_ascii_digit());
    let key = field.and_then(|field| field.rsplit('/').find(is_key));
    match key {
        Some(key) if !message.contains(key) => format!("{key}: {message}"),
        Some(_) | None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_the_sentence_does_not_name_stands_in_front_of_it() {
        assert_eq!(
            named(Some("/volumes/0/medium"), "must be one of Disk, Memory"),
            "medium: must be one of Disk, Memory"
        );
        assert_eq!(named(Some("/volumes/0"), "a list is expected here"), "volumes: a list is expected here");
        assert_eq!(named(Some("/vaule"), "unknown key `vaule`"), "unknown key `vaule`");
        assert_eq!(named(Some(""), "it is empty"), "it is empty");
    }

    #[test]
    fn sentences_fit_and_hints_stay_whole() {
        let error = Error::Failed {
            message: "Deploying httpbin v1.0/2 to dev: Failed on home\nCrashLoop: container main ends again and again with exit code 3; look at its last lines".into(),
            hint: "pdpctl logs httpbin --environment dev; pdpctl status httpbin --environment dev; and so on".into(),
        };
        let problem = Problem::invalid(
            "/image",
            "the image is named by tag `1.36`, which may mean something else tomorrow; name it by digest",
        )
        .hint("crane digest busybox:1.36");
        let file = Error::File {
            path: "config/samples/task.yaml".into(),
            problems: vec![Located { line: Some(12), problem }],
        };
        insta::assert_snapshot!(format!("{}\n\n{}\n\n{}", error.text(Some(80)), file.text(Some(80)), error.text(None)));
    }
}

//! What can go wrong while the test cluster is made, used or removed. Each variant says its own sentence once.

use std::io;
use std::path::PathBuf;

/// An error of the test bed. Never holds a secret value: commands that take one read it from a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A program could not be started.
    #[error("could not start {program}")]
    Spawn {
        /// The program.
        program: String,
        #[source]
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{what} failed ({status}): {output}")]
    Command {
        /// What the program was to do.
        what: String,
        /// Exit code or signal.
        status: String,
        /// The last lines it printed.
        output: String,
    },
    /// A condition did not come true in time.
    #[error("waited {seconds} s for {what}; last seen: {last}")]
    Timeout {
        /// The condition.
        what: String,
        /// How long.
        seconds: u64,
        /// Why the last look was not enough.
        last: String,
    },
    /// The machine, or what is installed on it, does not fit.
    #[error("{problem}; {fix}")]
    Machine {
        problem: String,
        /// What to do about it.
        fix: String,
    },
    /// The instance is not in the state that the call needs.
    #[error("test cluster {name}: {problem}; {fix}")]
    Instance {
        name: String,
        problem: String,
        /// What to do about it.
        fix: String,
    },
    /// The call needs the network namespaces or processes of a cluster made by the test bed.
    #[error("{0} is not available on an external cluster: it needs a cluster made by `testbed up`")]
    External(&'static str),
    /// A certificate could not be made.
    #[error("could not make a certificate for {subject}")]
    Certificate {
        /// Its common name.
        subject: String,
        #[source]
        source: rcgen::Error,
    },
    /// The vault refused or did not answer.
    #[error("vault: {path}: {problem}")]
    Vault {
        /// The API path.
        path: String,
        /// Status and the vault's own words, or why there was no answer.
        problem: String,
    },
    /// The Kubernetes API refused or did not answer.
    #[error("kubernetes: {0}")]
    Kubernetes(String),
    /// A file of the test bed does not read as it was written.
    #[error("could not read {what}")]
    Json {
        what: String,
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

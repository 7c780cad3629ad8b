//! What may stand in place of a name on the command line: names as they are at the control plane.
//!
//! Asking is silent and short: without a context or a control plane there is simply nothing to propose.

use std::time::Duration;

use clap_complete::engine::CompletionCandidate;
use serde::Deserialize;

use super::error::Error;
use super::io::Io;
use super::session::{self, Chosen, Session};

/// Longest time that a person waits after the tabulator key.
const PATIENCE: Duration = Duration::from_millis(1500);

pub(super) fn contexts() -> Vec<CompletionCandidate> {
    session::context_names(&Io::process()).into_iter().map(CompletionCandidate::new).collect()
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

/// Names that the list at `path` has.
pub(super) fn of(path: impl for<'a> FnOnce(&'a Session) -> Result<Vec<&'a str>, Error>) -> Vec<CompletionCandidate> {
    let ask = || -> Option<Vec<Name>> {
        let session = Session::open(&Io::process(), &typed()).ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let path = path(&session).ok()?;
        runtime.block_on(async { tokio::time::timeout(PATIENCE, session.client.get(&path, &[])).await }).ok()?.ok()
    };
    ask().unwrap_or_default().into_iter().map(|Name { name }| CompletionCandidate::new(name)).collect()
}

/// Context, organization and project as far as they stand on the line that is being completed.
fn typed() -> Chosen {
    let mut chosen = Chosen::default();
    let words: Vec<String> = std::env::args_os().filter_map(|word| word.into_string().ok()).collect();
    for pair in words.windows(2) {
        let [flag, value] = pair else { continue };
        let (flag, value) = flag.split_once('=').unwrap_or((flag.as_str(), value.as_str()));
        match flag {
            "--context" => chosen.context = Some(value.to_owned()),
            "--organization" => chosen.organization = Some(value.to_owned()),
            "--project" | "-p" => chosen.project = Some(value.to_owned()),
            _ => {}
        }
    }
    chosen
}

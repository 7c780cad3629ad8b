//! Shell completion: a script per shell, which asks this binary for names as they are at the control plane.
//!
//! Asking is silent and short: without a context or a control plane there is simply nothing to propose.

use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory as _;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh};
use serde::Deserialize;

use super::args::{Cli, Global, Shell};
use super::context::{self, Session};
use super::{Error, Io};

/// Variable by which a script asks.
const VARIABLE: &str = "COMPLETE";
/// Longest time that a person waits after the tabulator key.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Answers a shell that completes, if one asks.
pub(super) fn answer() -> Option<ExitCode> {
    std::env::var_os(VARIABLE)?;
    let current = std::env::current_dir().ok();
    match CompleteEnv::with_factory(Cli::command).var(VARIABLE).try_complete(std::env::args_os(), current.as_deref()) {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => None,
        Err(_) => Some(ExitCode::FAILURE),
    }
}

/// `completion SHELL`.
pub(super) fn script(io: &mut Io, shell: Shell) -> Result<(), Error> {
    let completer: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut text = Vec::new();
    completer.write_registration(VARIABLE, "pdpctl", "pdpctl", "pdpctl", &mut text).map_err(Error::Pipe)?;
    io.print_bytes(&text)
}

pub(super) fn contexts() -> Vec<CompletionCandidate> {
    context::names(&Io::process()).into_iter().map(CompletionCandidate::new).collect()
}

pub(super) fn organizations() -> Vec<CompletionCandidate> {
    names(|_| Ok(vec!["organizations"]))
}

pub(super) fn projects() -> Vec<CompletionCandidate> {
    names(|session| session.in_organization(&["projects"]))
}

pub(super) fn environments() -> Vec<CompletionCandidate> {
    names(|session| session.in_project(&["environments"]))
}

pub(super) fn data_planes() -> Vec<CompletionCandidate> {
    names(|session| session.in_organization(&["data-planes"]))
}

pub(super) fn tokens() -> Vec<CompletionCandidate> {
    names(|session| session.in_organization(&["tokens"]))
}

pub(super) fn components() -> Vec<CompletionCandidate> {
    names(|session| session.in_project(&["components"]))
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

fn names(path: impl for<'a> FnOnce(&'a Session) -> Result<Vec<&'a str>, Error>) -> Vec<CompletionCandidate> {
    let ask = || -> Option<Vec<Name>> {
        let session = Session::open(&Io::process(), &typed()).ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let path = path(&session).ok()?;
        runtime.block_on(async { tokio::time::timeout(PATIENCE, session.client.get(&path, &[])).await }).ok()?.ok()
    };
    ask().unwrap_or_default().into_iter().map(|Name { name }| CompletionCandidate::new(name)).collect()
}

/// Context, organization and project as far as they stand on the line that is being completed.
fn typed() -> Global {
    let mut global = Global { context: None, organization: None, project: None, output: super::args::Format::Table };
    let words: Vec<String> = std::env::args_os().filter_map(|word| word.into_string().ok()).collect();
    for pair in words.windows(2) {
        let [flag, value] = pair else { continue };
        let (flag, value) = flag.split_once('=').unwrap_or((flag.as_str(), value.as_str()));
        match flag {
            "--context" => global.context = Some(value.to_owned()),
            "--organization" => global.organization = Some(value.to_owned()),
            "--project" | "-p" => global.project = Some(value.to_owned()),
            _ => {}
        }
    }
    global
}

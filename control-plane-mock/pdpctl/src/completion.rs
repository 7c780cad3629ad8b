//! Shell completion: a script per shell, which asks this binary for what may come next.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh};

use super::args::Shell;
use super::commands::Cli;
use super::error::Error;
use super::io::Io;

/// Variable by which a script asks.
const VARIABLE: &str = "COMPLETE";

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

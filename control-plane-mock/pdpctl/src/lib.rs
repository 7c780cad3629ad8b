//! The developers' command line: a client of the control plane's REST API and nothing else.
//!
//! [`run`] takes arguments and an [`Io`] and returns an exit code, so that tests run whole commands in process. What is
//! decided (tables, ages, when waiting ends, what a frame of progress shows) is pure and apart from what talks. Results go to
//! standard output, progress and complaints to standard error. It reads its contexts, the component file, tokens' files and what
//! is imported, and writes its contexts and imported component files only.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

mod age;
mod args;
mod catalog;
mod client;
mod commands;
mod completion;
mod contexts;
mod deployments;
mod error;
mod events;
mod import;
mod io;
mod judge;
mod logs;
mod names;
mod output;
mod progress;
mod session;
mod status;
mod table;
mod views;
mod wait;

pub use error::Error;
pub use io::{Io, Width};

use commands::{Cli, Command};

/// Entry of the binary.
#[must_use]
pub fn main() -> ExitCode {
    // With COMPLETE set, this answers the shell and ends.
    if let Some(code) = completion::answer() {
        return code;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::from(1);
        }
    };
    let code = runtime.block_on(run(std::env::args_os(), &mut Io::process()));
    // A read of standard input that never ends must not hold the process.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Runs one command line; `arguments` begin with the name of the program.
///
/// Returns the exit code: 0 done, 1 failed or refused, 2 usage or bad file, 3 timed out, 4 control plane not reachable, 130
/// interrupted, 141 nobody reads the output any more. Dropping the future stops waiting and changes nothing at the control plane.
pub async fn run<A: Into<OsString> + Clone>(arguments: impl IntoIterator<Item = A>, io: &mut Io) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let text = if io.color { error.render().ansi().to_string() } else { error.render().to_string() };
            if error.use_stderr() {
                io.complain(&text);
                return 2;
            }
            return io.print(&text).map_or_else(|error| error.exit_code(), |()| 0);
        }
    };
    match Box::pin(command(cli, io)).await {
        Ok(()) => 0,
        Err(error) => {
            let text = error.text(io.err_width.columns());
            if !text.is_empty() {
                io.complain(&text);
            }
            error.exit_code()
        }
    }
}

async fn command(cli: Cli, io: &mut Io) -> Result<(), Error> {
    let Cli { global, command } = cli;
    match command {
        Command::Login(ask) => contexts::login(io, &global, ask).await,
        Command::Context { command } => contexts::command(io, &global, command),
        Command::Create { kind } => kind.run(io, &global).await,
        Command::Get { kind } => kind.run(io, &global).await,
        Command::Update { kind } => kind.run(io, &global).await,
        Command::Delete { kind } => kind.run(io, &global).await,
        Command::Revoke { name, yes } => catalog::data_planes::revoke(io, &global, &name, yes).await,
        Command::Adopt { name } => catalog::data_planes::adopt(io, &global, &name).await,
        Command::Import(ask) => import::command::run(io, &global, &ask),
        Command::Deploy(ask) => deployments::deploy(io, &global, ask).await,
        Command::Restart(ask) => deployments::restart(io, &global, ask).await,
        Command::Rollback(ask) => deployments::rollback(io, &global, ask).await,
        Command::Undeploy(ask) => deployments::undeploy(io, &global, ask).await,
        Command::Run(ask) => catalog::runs::run(io, &global, ask).await,
        Command::Cancel { component, run } => catalog::runs::cancel(io, &global, &component, &run).await,
        Command::Status(ask) => status::status(io, &global, ask).await,
        Command::History(ask) => status::history(io, &global, ask).await,
        Command::Events(ask) => status::events(io, &global, ask).await,
        Command::Logs(ask) => logs::logs(io, &global, ask).await,
        Command::Completion { shell } => completion::script(io, shell),
        Command::Version { client } => status::version(io, &global, client).await,
    }
}

/// The command line as clap knows it, for documents and completion.
#[must_use]
pub fn command_line() -> clap::Command {
    Cli::command()
}

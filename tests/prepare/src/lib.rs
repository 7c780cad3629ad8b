//! What this machine lacks for the test cluster, and how it gets it: checks, Debian packages, parts from elsewhere, the project's own
//! programs. All questions come first and at once; then everything is built side by side, with how far it is and how long still.
//!
//! Has no dependencies: it is compiled in seconds and runs before anything else is. Touches the caches below the user's home and,
//! through `apt-get`, the system's packages; nothing else.

mod board;
mod cache;
mod checks;
mod command;
mod packages;
mod programs;
pub mod recipe;
mod seed;

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use board::{Board, Job};
pub use cache::Cache;
pub use packages::present;
pub use programs::Programs;
pub use recipe::{Artifact, Recipe};

/// Why the machine is not ready.
#[derive(Debug)]
pub struct Error {
    pub problem: String,
    /// What to do about it.
    pub fix: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.problem, self.fix)
    }
}

impl std::error::Error for Error {}

impl Error {
    fn new(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { problem: problem.into(), fix: fix.into() }
    }

    /// For `map_err` on file operations.
    fn io(action: &str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let problem = format!("could not {action} {}", path.into().display());
        move |source| Self::new(format!("{problem}: {source}"), "see to that, and run again")
    }
}

/// What has to be there.
#[derive(Debug, Default)]
pub struct Wanted {
    /// A test cluster on this machine: root, packages, namespaces, and these parts.
    pub cluster: Option<Vec<Recipe>>,
    /// The project's own programs, compiled here.
    pub programs: Option<Programs>,
    /// Whether somebody has agreed already.
    pub yes: bool,
}

/// Checks the machine, says what is missing, asks, installs and builds it. Says nothing when nothing is missing.
///
/// On a terminal it asks once, unless told yes before; without one it goes on by itself.
///
/// # Errors
/// All that is wrong with the machine at once; the user says no; something cannot be installed or built.
pub fn ensure(wanted: Wanted) -> Result<(), Error> {
    let cache = Cache::from_env();
    let parts = cache.missing(wanted.cluster.as_deref().unwrap_or_default());
    let packages = if wanted.cluster.is_some() { packages::missing() } else { Vec::new() };
    let programs = wanted.programs;
    let cost = programs.as_ref().map_or(0.0, Programs::cost);
    let fresh = programs.as_ref().is_some_and(|programs| !programs.built_before());
    checks::all(&checks::Needs { cluster: wanted.cluster.is_some(), go: !parts.is_empty(), fresh }, &cache)?;
    if !(packages.is_empty() && parts.is_empty() && !fresh) {
        plan(&packages, &parts, fresh.then_some(cost), &cache);
        if !agreed("go on?", wanted.yes)? {
            return Err(Error::new(
                "nothing was installed or built",
                "run again and say y, or never be asked with YES=1",
            ));
        }
    }
    packages::install(&packages)?;
    let mut lanes = Vec::new();
    if let Some(programs) = programs {
        lanes.push(vec![Job::new("programs", cost, move |report| programs.build(report))]);
    }
    if !parts.is_empty() {
        lanes.push(cache.jobs(parts)?);
    }
    Board::run(lanes)
}

fn plan(packages: &[&packages::Package], parts: &[Recipe], programs: Option<f64>, cache: &Cache) {
    eprintln!("This machine lacks a few things. What comes now, once:");
    if !packages.is_empty() {
        eprintln!("\n  installed with apt-get, their services not started:");
        for package in packages {
            eprintln!("    {:<27} {}", package.name, package.why);
        }
    }
    if !parts.is_empty() {
        eprintln!("\n  built or fetched into {}:", cache.root().display());
        for part in parts {
            eprintln!("    {:<27} {}", format!("{} {}", part.name, part.version), part.why);
        }
    }
    if programs.is_some() {
        eprintln!("\n  compiled: the project's own programs");
    }
    let seconds = parts.iter().map(|part| part.cost).sum::<f64>() + programs.unwrap_or_default();
    let minutes = (seconds / board::cores() / 60.0).ceil().max(1.0);
    eprintln!("\nAbout {minutes:.0} min on the {:.0} processors here.", board::cores());
}

/// Asks on the terminal. Yes without asking when told so before, under `CI=true`, and where there is no terminal to ask on.
fn agreed(question: &str, yes: bool) -> Result<bool, Error> {
    if yes || std::env::var("CI").is_ok_and(|value| value == "true") {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        eprintln!("There is no terminal to ask on: going on.");
        return Ok(true);
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush().map_err(Error::io("write to", "the terminal"))?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Error::io("read", "the terminal"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

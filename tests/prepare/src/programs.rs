//! The project's own programs, compiled by cargo. Its progress bar is read, since nothing else says how much there is to do.

use std::path::PathBuf;
use std::process::Command;

use crate::board::Report;
use crate::command::follow;
use crate::{Error, seed};

/// Seconds of one processor for all programs from nothing, and when only their own sources are compiled.
pub(crate) const COST: f64 = 470.0;
const OWN: f64 = 60.0;

/// Which programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The checkout.
    pub checkout: PathBuf,
    /// Cargo's target folder, of this checkout only.
    pub target: PathBuf,
}

impl Programs {
    /// Whether they were compiled here before, to whichever end.
    pub(crate) fn built_before(&self) -> bool {
        self.target.join("debug/testbed").exists()
    }

    pub(crate) fn cost(&self) -> f64 {
        if self.built_before() { OWN } else { COST }
    }

    pub(crate) fn build(&self, report: &Report) -> Result<(), Error> {
        report.at(0, 0, "");
        seed::ensure(self, report)?;
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--workspace", "--bins"]).current_dir(&self.checkout);
        cargo.env("CARGO_TARGET_DIR", &self.target);
        cargo.env("CARGO_TERM_PROGRESS_WHEN", "always").env("CARGO_TERM_PROGRESS_WIDTH", "160");
        cargo.env("CARGO_TERM_COLOR", "never");
        follow("cargo build", &mut cargo, |line| match progress(line) {
            Some((done, total, now)) => report.at(done, total, now),
            None => true,
        })
    }
}

/// `    Building [====>   ] 120/412: tokio, serde`
fn progress(line: &str) -> Option<(usize, usize, &str)> {
    let (_, bar) = line.split_once("Building [")?;
    let (_, count) = bar.split_once("] ")?;
    let (numbers, now) = count.split_once(':').unwrap_or((count, ""));
    let (done, total) = numbers.trim().split_once('/')?;
    Some((done.parse().ok()?, total.trim().parse().ok()?, now.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_progress_bar_is_read() {
        let line = "    Building [=======>     ] 120/412: tokio, serde(build.rs)";
        assert_eq!(progress(line), Some((120, 412, "tokio, serde(build.rs)")));
        assert_eq!(progress("    Building [=> ] 3/412"), Some((3, 412, "")));
        assert_eq!(progress("   Compiling serde v1.0.0"), None);
    }
}

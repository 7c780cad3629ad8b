//! The project's own programs, compiled by cargo. Its progress bar is read, since nothing else says how much there is to do.

use std::path::PathBuf;
use std::process::Command;

use crate::board::{Report, fraction};
use crate::command::follow;
use crate::{Error, seed};

/// Seconds of one processor for the crates of others, and for the project's own. The latter are compiled one after the other at the
/// end, so they count twice where there are two processors.
const OTHERS: f64 = 370.0;
const OWN: f64 = 240.0;
/// Pieces of work, as cargo counts them, that are the project's own.
const OWN_PIECES: usize = 20;

#[derive(Debug, Clone)]
pub struct Programs {
    /// The checkout.
    pub checkout: PathBuf,
    /// Cargo's target folder, of this checkout only.
    pub target: PathBuf,
}

impl Programs {
    /// Whether they were compiled here before, for whatever purpose.
    pub(crate) fn built_before(&self) -> bool {
        self.target.join("debug/testbed").exists()
    }

    pub(crate) fn cost(&self) -> f64 {
        match (self.built_before(), seed::donor(&self.target)) {
            (true, _) => OWN / 4.0,
            (false, Some(_)) => OWN,
            (false, None) => OTHERS + OWN,
        }
    }

    pub(crate) fn build(&self, report: &Report) -> Result<(), Error> {
        report.at(0, 0, "");
        seed::ensure(self, report)?;
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--workspace", "--bins"]).current_dir(&self.checkout);
        cargo.env("CARGO_TARGET_DIR", &self.target);
        cargo.env("CARGO_TERM_PROGRESS_WHEN", "always").env("CARGO_TERM_PROGRESS_WIDTH", "160");
        cargo.env("CARGO_TERM_COLOR", "never");
        let all = self.cost();
        follow("cargo build", &mut cargo, |line| match progress(line) {
            Some((done, total, now)) => {
                report.spent(spent(done, total, all));
                report.at(done, total, now)
            }
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

/// The part of the cost `all` that is spent when `done` of `total` pieces are: the crates of others are many and small.
fn spent(done: usize, total: usize, all: f64) -> f64 {
    let others = total.saturating_sub(OWN_PIECES);
    let own = OWN.min(all) / all;
    (1.0 - own) * fraction(done.min(others), others) + own * fraction(done.saturating_sub(others), total - others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_own_crates_are_few_and_cost_much() {
        let others = OTHERS / (OTHERS + OWN);
        assert!((spent(396, 416, OTHERS + OWN) - others).abs() < 0.01);
        assert!((spent(416, 416, OTHERS + OWN) - 1.0).abs() < 0.01);
        // Where others' crates are there already, they cost nothing.
        assert!(spent(396, 416, OWN).abs() < 0.01);
        assert!((spent(406, 416, OWN) - 0.5).abs() < 0.01);
    }

    #[test]
    fn cargos_progress_bar_is_read() {
        let line = "    Building [=======>     ] 120/412: tokio, serde(build.rs)";
        assert_eq!(progress(line), Some((120, 412, "tokio, serde(build.rs)")));
        assert_eq!(progress("    Building [=> ] 3/412"), Some((3, 412, "")));
        assert_eq!(progress("   Compiling serde v1.0.0"), None);
    }
}

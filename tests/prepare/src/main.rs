//! `prepare`: what `make demo` and `make test` begin with. See the library.

use std::path::PathBuf;
use std::process::ExitCode;

use prepare::{Programs, Wanted, ensure, recipe};

const USAGE: &str = "usage: prepare [--yes] [--cluster]
  compiles the project's programs in the checkout that it is started in, into $CARGO_TARGET_DIR
  --cluster  all that a test cluster on this machine needs, too
  --yes      asks nothing (nor does it under CI=true, or without a terminal)";

fn main() -> ExitCode {
    let mut wanted = Wanted::default();
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "--yes" => wanted.yes = true,
            "--cluster" => wanted.cluster = Some(recipe::BASE.to_vec()),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let checkout = std::env::current_dir().unwrap_or_default();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout.join("target"), PathBuf::from);
    wanted.programs = Some(Programs { checkout, target });
    match ensure(wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

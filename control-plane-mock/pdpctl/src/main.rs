//! The developers' command line. All of it is in the library, so that tests run it in process.

use std::process::ExitCode;

fn main() -> ExitCode {
    pdpctl::main()
}

//! `pdp-agent` with failpoints, for tests.

#[path = "../main.rs"]
mod agent;

fn main() -> std::process::ExitCode {
    agent::main()
}

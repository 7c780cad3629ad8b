//! Whole commands, in process: [`scripted`] against a control plane that answers what is written down, [`server`] against the real one
//! over TLS, with a fake data plane.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

#[path = "../../../tests/common/mod.rs"]
mod common;

mod command_line;
mod fake;
mod import;
mod scripted;
mod server;
mod shell;
mod tables;

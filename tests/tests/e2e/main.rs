//! End-to-end tests on the test cluster: the real chart, the real image, a control plane across the firewall. One module per concern;
//! every test has a project of its own, so they run side by side against one agent.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "a broken expectation is a failed test, in helpers too"
)]

mod bill;
mod daily;
mod deploy;
mod drift;
mod edited;
mod failing;
mod gate;
mod hostile;
mod logs;
mod paused;
mod reach;
mod refusals;
mod removal;
mod secrets;
mod tasks;
mod versions;

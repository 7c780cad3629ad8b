//! Faults that affect every test at once, and second installations: a sealed vault, a control plane that is away, wrong tokens and
//! certificates. These tests run one after the other, on the cluster and with the agent that the end-to-end tests use too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "a broken expectation is a failed test, in helpers too"
)]

mod certificates;
mod doctor;
mod enrolment;
mod flood;
mod impostor;
mod namespace;
mod second_cluster;
mod trust;
mod upgrade;
mod vault;
mod wire;

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;

/// Runs `body`, then `mend` even if it failed: what all tests share must be whole for the next one.
async fn then_mend<T>(body: impl Future<Output = T>, mend: impl Future<Output = ()>) -> T {
    let outcome = AssertUnwindSafe(body).catch_unwind().await;
    mend.await;
    match outcome {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

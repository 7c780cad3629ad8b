//! The data-plane agent: what its binary, the tests and the simulation share.

pub mod admin;
pub mod api;
pub mod cli;
pub mod client;
pub mod doctor;
pub mod elector;
#[cfg(feature = "failpoints")]
pub mod failpoints;
pub mod kinds;
pub mod link;
pub mod logs;
pub mod operator;
pub mod policy;
pub mod secrets;
pub mod settings;
pub mod start_gate;
pub mod supervisor;
pub mod telemetry;
pub mod yaml;

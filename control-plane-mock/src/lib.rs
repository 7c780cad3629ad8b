//! A control plane to test and show data-plane agents with: library, server and the `pdpctl` command line.

pub mod component;
pub mod model;
pub mod pdpctl;
pub mod problem;

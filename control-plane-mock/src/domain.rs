//! What people own and ask for: each kind of thing with its rules and the statements over its own tables.
//!
//! All of it runs in the store's thread. What a request means for data planes is written as documents ([`crate::desired`]).

pub mod components;
pub mod data_planes;
pub mod deployments;
pub mod environments;
pub mod gateways;
mod handles;
pub mod keys;
pub mod organizations;
pub mod projects;
pub mod releases;
pub mod scope;
pub mod task_runs;
pub mod tokens;

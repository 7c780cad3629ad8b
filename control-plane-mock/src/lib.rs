//! A control plane to test and show data-plane agents with.
//!
//! A library first: [`ControlPlane::start`] gives a whole one on a free port, with its own certificate authority, an embedded
//! store, scripted faults and a record of everything that it received. The server binary is a thin wrapper. `pdpctl` speaks to
//! it over the REST API, as people's tools do.
//!
//! [`store`] is the one place where state lives: [`domain`] what people own and ask for, [`desired`] what data planes shall have and
//! what they say. [`gateway`] is the side of the agents, [`api`] the side of people, [`server`] what both come to. What the API shows
//! and takes is the crate `control-plane-model`.

pub mod api;
pub mod config;
pub mod control_plane;
pub mod desired;
pub mod domain;
pub mod faults;
pub mod gateway;
pub mod record;
pub mod router;
pub mod server;
pub mod shared;
pub mod store;
pub mod supervisor;
pub mod web;

pub use config::Config;
pub use control_plane::ControlPlane;

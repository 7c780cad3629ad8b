//! A control plane to test and show data-plane agents with.
//!
//! A library first: [`ControlPlane::start`] gives a whole one on a free port, with its own certificate authority, an embedded
//! store, scripted faults and a record of everything that it received. The server binary is a thin wrapper. `pdpctl` speaks to
//! it over the REST API, as people's tools do.
//!
//! [`model`] is what the API shows; [`component`] the file that developers write; [`store`] the one place where state lives;
//! [`server`], [`link`] and [`logs`] the side of the agents; [`api`] the side of people.

pub mod api;
pub mod ca;
pub mod component;
pub mod config;
pub mod control_plane;
pub mod faults;
pub mod gateways;
pub mod hub;
pub mod link;
pub mod logs;
pub mod model;
pub mod pdpctl;
pub mod problem;
pub mod record;
pub mod server;
pub mod store;
pub mod supervisor;

pub use config::Config;
pub use control_plane::ControlPlane;

//! What people own and ask for: each kind of thing with its rules, its tables and the statements over them.
//!
//! All of it runs in the store's thread. What a request means for data planes is written as documents ([`crate::desired`]).

use crate::desired::{documents, events, forgotten, reports, sessions};
use crate::store::{self, Steps, elsewhere};

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

/// All tables, for whoever opens the store: those that others refer to come before these.
pub const SCHEMA: &[Steps] = &[
    store::STEPS,
    elsewhere::STEPS,
    organizations::STEPS,
    tokens::STEPS,
    projects::STEPS,
    data_planes::STEPS,
    keys::STEPS,
    sessions::STEPS,
    environments::STEPS,
    components::STEPS,
    releases::STEPS,
    deployments::STEPS,
    documents::STEPS,
    reports::STEPS,
    task_runs::STEPS,
    events::STEPS,
    forgotten::STEPS,
    gateways::STEPS,
];

//! What people own and ask for: each kind of thing with its rules, its tables and the statements over them.
//!
//! All of it runs in the store's thread. What a request means for data planes is written as documents ([`crate::desired`]).

use crate::desired::{documents, events, forgotten, outcomes, reports, sessions};
use crate::store::{self, Tables, elsewhere};

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

/// Migrations of all tables; a referenced table comes first.
pub const SCHEMA: &[Tables] = &[
    Tables::of(store::STEPS),
    Tables::of(elsewhere::STEPS),
    Tables::of(organizations::STEPS),
    Tables::of(tokens::STEPS),
    Tables::of(projects::STEPS),
    Tables::of(data_planes::STEPS).waking(data_planes::WAKES),
    Tables::of(keys::STEPS),
    Tables::of(sessions::STEPS).waking(sessions::WAKES),
    Tables::of(environments::STEPS),
    Tables::of(components::STEPS),
    Tables::of(releases::STEPS),
    Tables::of(deployments::STEPS),
    Tables::of(documents::STEPS).waking(documents::WAKES),
    Tables::of(outcomes::STEPS),
    Tables::of(reports::STEPS).waking(reports::WAKES),
    Tables::of(task_runs::STEPS).waking(task_runs::WAKES),
    Tables::of(events::STEPS).waking(events::WAKES),
    Tables::of(forgotten::STEPS).waking(forgotten::WAKES),
    Tables::of(gateways::STEPS),
];

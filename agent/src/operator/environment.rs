//! Environments: one namespace each, prepared before anything runs in it.

pub mod decide;
pub mod objects;

//! The data-plane agent: what its binary, the tests and the simulation share.

pub mod kinds;

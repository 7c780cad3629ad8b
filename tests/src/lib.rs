//! The test cluster and what end-to-end tests, the simulation and the demo share.

pub mod load;

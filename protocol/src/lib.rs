//! The wire between an agent and a control plane, for both sides.
//!
//! [`tree`] and [`hash`] say when two documents are the same; [`document`] holds the bodies of documents, [`report`] what comes
//! back, [`name`] the identifiers in both, [`quantity`] the amounts of Kubernetes, [`text`] what steers a terminal, [`mutant`] the
//! deliberate mistakes of the simulation. Nothing here does IO, looks at a clock or draws random numbers.

pub mod bulk;
pub mod document;
pub mod enrol;
pub mod hash;
pub mod inventory;
pub mod message;
pub mod mutant;
pub mod name;
pub mod quantity;
pub mod report;
pub mod session;
pub mod text;
pub mod tree;

pub use hash::ContentHash;
pub use tree::{Tree, TreeError};

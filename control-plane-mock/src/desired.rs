//! What each data plane shall have, and what is known of it: documents with their answers, what was forgotten, reports, sessions.
//!
//! One submodule for each concern, each with the statements over its own tables. All of it runs in the store's thread. What people
//! own and ask for is in [`crate::domain`], which writes its wishes here and reads what became of them.

pub mod documents;
pub mod events;
pub mod forgotten;
pub mod history;
pub mod outcomes;
pub mod quarantine;
pub mod reports;
pub mod sessions;
pub mod status;

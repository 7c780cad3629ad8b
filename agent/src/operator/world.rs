//! What the cluster looks like: watches, what they have shown, and which of our resources are due. Knows no kind's rules.

pub mod cluster_words;
pub mod index;
mod interned;
pub(super) mod mark;
pub mod own_kind;
pub mod queue;
pub(super) mod tracked;
pub mod view;
pub mod watch;
pub mod workload;

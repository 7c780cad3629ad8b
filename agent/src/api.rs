//! The API server as every role meets it: one call over HTTP, how it ends otherwise than well, and what a refusal means.
//!
//! What a role makes of it (retries, deadlines of its own, leadership, words for the control plane) is the role's.

mod error;
mod http;
mod refusal;

pub use error::{ApiCause, ApiStatus, CallError};
pub use http::{JSON, Types, call};
pub use refusal::{Refusal, refusal};

//! The API server as every role uses it: one call over HTTP, its errors, and what a refusal means.
//!
//! Retries, further deadlines, leadership checks and messages for the control plane are up to each role.

mod error;
mod http;
mod refusal;

pub use error::{ApiCause, ApiStatus, CallError};
pub use http::{JSON, Types, call};
pub use refusal::{Refusal, refusal};

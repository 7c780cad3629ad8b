//! What routes of things with a name have in common: the names in the path, and one thing out of many.

use axum::extract::Path;
use control_plane_model::problem::Problem;

use crate::store::Result as StoreResult;

pub(super) type One = Path<String>;
pub(super) type Two = Path<(String, String)>;
pub(super) type Three = Path<(String, String, String)>;
pub(super) type Four = Path<(String, String, String, String)>;

/// The thing called `name`.
///
/// # Errors
/// `NotFound`.
pub(super) fn one<T>(all: Vec<T>, what: &str, name: &str, is_it: impl FnMut(&T) -> bool) -> StoreResult<T> {
    let shown: String = name.chars().take(64).collect();
    all.into_iter().find(is_it).ok_or_else(|| Problem::not_found(format_args!("{what} {shown}")).into())
}

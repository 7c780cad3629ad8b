//! Values of which only their digest is kept.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::LazyLock;

/// Stands for a value that is only ever compared within this process: 64 bits, with keys that nobody outside knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

impl Mark {
    #[must_use]
    pub fn of(value: &(impl Hash + ?Sized)) -> Self {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(KEYS.hash_one(value))
    }
}

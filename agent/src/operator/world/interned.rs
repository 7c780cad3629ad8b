//! Strings that many objects share, each held once: namespaces, labels.

use std::collections::HashSet;
use std::sync::Arc;

/// Unused strings are swept when the table has doubled since the last sweep, but not below this size.
const SWEEP: usize = 64;

#[derive(Debug, Default)]
pub(in crate::operator) struct Names {
    held: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Names {
    /// The one copy of `text`.
    pub(in crate::operator) fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(held) = self.held.get(text) {
            return Arc::clone(held);
        }
        if self.held.len() >= self.sweep_at.max(SWEEP) {
            self.held.retain(|held| Arc::strong_count(held) > 1);
            self.sweep_at = self.held.len().saturating_mul(2);
        }
        let held: Arc<str> = text.into();
        self.held.insert(Arc::clone(&held));
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_are_held_once_and_let_go_when_nobody_has_them() {
        let mut names = Names::default();
        let first = names.shared("dev");
        assert!(Arc::ptr_eq(&first, &names.shared("dev")));
        for number in 0..10 * SWEEP {
            names.shared(&format!("release-{number}"));
        }
        assert!(names.held.len() <= 2 * SWEEP, "{} are held", names.held.len());
        assert!(Arc::ptr_eq(&first, &names.shared("dev")), "what is in use stays");
    }
}

//! Which changes wait until the new pods serve: those that move callers.
//!
//! A Service that exists already keeps its ports while the pods roll; it changes in one write once the new ones serve. A new
//! Service moves nobody and is created at once. Target ports are named, so that pods of both generations are reached meanwhile.

use super::object::ObjectKind;

/// Whether a change of an existing object of this kind waits.
#[must_use]
pub const fn waits(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::Service)
}

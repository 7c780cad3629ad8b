//! Which changes wait until the new pods serve: those that move callers.
//!
//! An existing Service keeps its ports until the new pods serve, and then changes in one write. Creating a Service redirects no traffic,
//! so it is not delayed. Target ports are named, so that pods of both generations are reached meanwhile.
//! A Service whose selector somebody changed reaches no pod, so the new ones would never serve: that is taken back at once.

use protocol::mutant::{self, Mutant};

use crate::operator::object::ObjectKind;

/// Whether taking back `drift` of an existing object of this kind waits.
#[must_use]
pub fn waits(kind: ObjectKind, drift: &[String]) -> bool {
    let reaches_nobody = drift.iter().any(|path| path.starts_with("/spec/selector"));
    kind == ObjectKind::Service && (!reaches_nobody || mutant::is(Mutant::SelectorWaits))
}

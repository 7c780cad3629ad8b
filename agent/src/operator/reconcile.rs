//! What every kind's round uses: observing, the one place for writes, status, fights, and what is shared while this process leads.

pub mod apply;
pub mod autoscaler;
pub mod fights;
pub mod halt;
pub mod may_run;
pub mod modified;
pub mod observe;
pub mod rendering;
pub mod round;
pub mod shared;
pub mod unreadable;
pub mod write;

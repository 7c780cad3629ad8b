//! From a container's log to chunks with a cursor: pods, lines, cursor, chunks, one read. No IO, and of no role.

pub mod chunk;
pub mod cursor;
pub mod line;
pub mod pods;
pub mod reading;

//! The demo: both sides of the story on one machine, each step with what it proves and how long it took.
//!
//! It shows the commands that a person would type and runs exactly those. It leaves everything up; Ctrl-C at any moment removes all
//! that it made.

mod commands;
mod programs;
pub mod screen;
pub mod steps;

pub use screen::Screen;
pub use steps::Demo;

//! Helpers of the end-to-end tests: a stack that is up, spoken to over HTTP as its users do.
//!
//! The stack is named by the environment that `millrace local exec` gives the command it runs.

pub mod cli;
pub mod emulator;
pub mod processes;
pub mod stack;

pub use emulator::Emulator;
pub use stack::{Answer, Inside, Stack};

//! Machines that look for the counterexample: a search through everything that can happen to a small fleet, and bugs that are planted
//! to see that something finds them.

#![allow(clippy::missing_panics_doc, reason = "what fails here is a check, and it says so at once")]

mod asking;
mod budget;
pub mod budgets;
mod calm;
mod gate;
mod model;
pub mod planted;
mod promises;
mod state;
mod transport;

pub use budget::{Act, Budget};
pub use calm::Calm;
pub use model::{Action, Fleet};

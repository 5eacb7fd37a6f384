//! What property tests need: strategies, a manual clock, a simulated network, attack scenarios.

mod dispatch_model;
mod fuzz_dispatch;

pub use self::fuzz_dispatch::fuzz_dispatch;
